"""BLiMP from the hub: its 67 paradigms, from this machine's hub cache, else downloaded.

The benchmark is described in "BLiMP: The Benchmark of Linguistic Minimal Pairs for English"
(https://doi.org/10.1162/tacl_a_00321); the hub keeps a Parquet file for each paradigm.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from lsns.errors import LsnsError
from lsns.evaluation.minimal_pairs import MinimalPairs
from lsns.models.hub import MatchingFiles
from lsns.store import remembered_sha256, sha256_file

REPOSITORY = "nyu-mll/blimp"
COMMIT = "c469a80f9d2f1ac16a45fca2890918172ad5694a"
PATTERN = "*/train-*.parquet"
PARADIGMS = 67


@dataclass(frozen=True)
class Blimp(MinimalPairs):
    """BLiMP as the hub has it: a Parquet file for each paradigm."""

    @property
    def paths(self) -> list[Path]:
        """The file of each paradigm, in the order of their names; downloaded if not here.

        Raises:
            LsnsError: the hub cannot be reached, or what came from it is not whole.
        """
        repository = _Repository(REPOSITORY, number=PARADIGMS)
        folder = repository.here() or repository.fetch(repository.ask())
        files = sorted(folder.glob(PATTERN))
        if len(files) != PARADIGMS:
            raise LsnsError(
                f"BLiMP in {folder} has {len(files)} paradigms, expected {PARADIGMS}; remove that "
                f"folder and try again, or {_Repository.instead}"
            )
        for file in files:
            _check(file)
        return files

    @property
    def description(self) -> dict[str, Any]:
        """All that determines the items; the files have one name, in a folder for each paradigm."""
        content = {f"{path.parent.name}/{path.name}": sha256_file(path) for path in self.paths}
        return {"kind": type(self).__name__, "files": content, "limit": self.limit}


@dataclass(frozen=True)
class _Repository(MatchingFiles):
    """At one state: another would be another benchmark."""

    revision: str | None = COMMIT
    pattern: str = PATTERN
    kind: ClassVar = "dataset"
    instead: ClassVar = "give a folder of its jsonl files, as in blimp:FOLDER"

    def title(self) -> str:
        return "BLiMP"


def _check(file: Path) -> None:
    """The hub's cache names a large file by its SHA-256; what was cut short has another."""
    name = file.resolve().name
    if re.fullmatch(r"[0-9a-f]{64}", name) and remembered_sha256(file) != name:
        raise LsnsError(f"{file} is damaged: its SHA-256 is not {name}; remove it and try again")
