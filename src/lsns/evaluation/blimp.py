"""BLiMP from the hub: its 67 paradigms, from this machine's hub cache, else downloaded.

The benchmark is described in "BLiMP: The Benchmark of Linguistic Minimal Pairs for English"
(https://doi.org/10.1162/tacl_a_00321); the hub keeps a Parquet file for each paradigm.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lsns.errors import LsnsError
from lsns.evaluation.minimal_pairs import MinimalPairs
from lsns.models.files import sound_sha256
from lsns.models.hub import Repository
from lsns.store import sha256_file

# At one state: another would be another benchmark.
COMMIT = "c469a80f9d2f1ac16a45fca2890918172ad5694a"
PATTERN = "*/train-*.parquet"
PARADIGMS = 67
INSTEAD = "give a folder of its jsonl files, as in blimp:FOLDER"


@dataclass(frozen=True)
class Blimp(MinimalPairs):
    """BLiMP as the hub has it: a Parquet file for each paradigm."""

    @property
    def paths(self) -> list[Path]:
        """The file of each paradigm, in the order of their names; downloaded if not here.

        Raises:
            LsnsError: the hub cannot be reached, or what came from it is not whole.
        """
        repository = Repository(
            "nyu-mll/blimp", COMMIT, "dataset", PATTERN, PARADIGMS, "BLiMP", INSTEAD
        )
        folder = repository.get()
        files = sorted(folder.glob(PATTERN))
        if len(files) != PARADIGMS:
            raise LsnsError(
                f"BLiMP in {folder} has {len(files)} paradigms, expected {PARADIGMS}; remove that "
                f"folder and try again, or {INSTEAD}"
            )
        for file in files:
            sound_sha256(file)
        return files

    @property
    def description(self) -> dict[str, Any]:
        """All that determines the items; the files have one name, in a folder for each paradigm."""
        content = {f"{path.parent.name}/{path.name}": sha256_file(path) for path in self.paths}
        return {"kind": type(self).__name__, "files": content, "limit": self.limit}
