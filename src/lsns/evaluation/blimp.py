"""BLiMP from the hub: its 67 paradigms, from this machine's hub cache, else downloaded.

The benchmark is described in "BLiMP: The Benchmark of Linguistic Minimal Pairs for English"
(https://doi.org/10.1162/tacl_a_00321); the hub keeps a Parquet file for each paradigm.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from lsns.errors import LsnsError
from lsns.models.hub import MatchingFiles
from lsns.store import remembered_sha256

REPOSITORY = "nyu-mll/blimp"
COMMIT = "c469a80f9d2f1ac16a45fca2890918172ad5694a"
PATTERN = "*/train-*.parquet"
PARADIGMS = 67


def blimp_files() -> list[Path]:
    """The Parquet file of each paradigm, in the order of their names.

    Raises:
        LsnsError: the hub cannot be reached, or what came from it is not whole.
    """
    folder = _snapshot()
    files = sorted(folder.glob(PATTERN))
    if len(files) != PARADIGMS:
        raise LsnsError(
            f"BLiMP in {folder} has {len(files)} paradigms, expected {PARADIGMS}; remove that "
            "folder and try again, or give a folder of its jsonl files, as in blimp:FOLDER"
        )
    for file in files:
        _check(file)
    return files


@dataclass(frozen=True)
class _Blimp(MatchingFiles):
    """At one state: another would be another benchmark."""

    revision: str | None = COMMIT
    pattern: str = PATTERN
    kind: ClassVar = "dataset"
    instead: ClassVar = "give a folder of its jsonl files, as in blimp:FOLDER"

    def title(self) -> str:
        return "BLiMP"


def _snapshot() -> Path:
    repository = _Blimp(REPOSITORY, number=PARADIGMS)
    return repository.here() or repository.fetch(repository.ask())


def _check(file: Path) -> None:
    """The hub's cache names a large file by its SHA-256; what was cut short has another."""
    name = file.resolve().name
    if re.fullmatch(r"[0-9a-f]{64}", name) and remembered_sha256(file) != name:
        raise LsnsError(f"{file} is damaged: its SHA-256 is not {name}; remove it and try again")
