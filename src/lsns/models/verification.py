"""`verify_model`: are the files of a model what they should be? All of them are read."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lsns.errors import LsnsError
from lsns.models import bundled
from lsns.models.files import SHA256, files_read
from lsns.models.source import ALIASES, HUB_ID, snapshot_folder
from lsns.store import CHUNK_BYTES, reread_sha256

GIT_SHA1 = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class CheckedFile:
    """A file of a model that was read whole.

    Attributes:
        path: the file.
        against: what its content was compared with; empty if it had not been read before.
        damaged: whether its content differs from that, or it is gone.
    """

    path: Path
    against: str
    damaged: bool

    def __str__(self) -> str:
        """A line for a terminal."""
        state = "damaged" if self.damaged else "ok"
        return f"{state:<8} {self.path.name} ({self.against or 'read for the first time'})"


def verify_model(name: str, *, revision: str | None = None) -> Iterator[CheckedFile]:
    """Read all files of a model, and compare each with what it should be.

    The bundled model's are compared with the digests that were noted when it was made, and it is
    made again if one is damaged; those in the hub's cache with the digests that name them; others
    with their content when they were last read with the same size and time of change.

    Args:
        name: see `lsns.load_model`.
        revision: branch, tag or commit of a hub repository.

    Yields:
        Each file, when it has been read.

    Raises:
        LsnsError: no such model on this machine, or, after the last file, one was damaged.
    """
    damaged: list[CheckedFile] = []
    noted: dict[str, str] = {}
    if name == bundled.NAME:
        noted = bundled.expected_digests(bundled.place())
    for path in _files(name, revision, noted):
        checked = _check(path, noted.get(path.name))
        damaged += [checked] * checked.damaged
        yield checked
    if damaged:
        if name == bundled.NAME:
            bundled.make_again(bundled.place())
        raise LsnsError(_describe(name, damaged))


def _files(name: str, revision: str | None, noted: dict[str, str]) -> list[Path]:
    path = Path(name).expanduser()
    if name == bundled.NAME:
        folder = bundled.place() if noted else bundled.ensure()
        return sorted({*files_read(folder), *(folder / name for name in noted)})
    if path.is_file() and path.suffix == ".gguf":
        return [path]
    if (path / "config.json").is_file():
        return files_read(path)
    meant = ALIASES.get(name, name)
    snapshot = snapshot_folder(meant, revision) if HUB_ID.fullmatch(meant) else None
    if snapshot is None:
        raise LsnsError(
            f"no model {name!r} on this machine: no folder, no .gguf file, and nothing in the "
            "hub's cache; load it first, or give another"
        )
    return sorted(file for file in snapshot.rglob("*") if not file.is_dir())


def _check(path: Path, noted: str | None) -> CheckedFile:
    if not path.is_file():
        return CheckedFile(path, "it is gone", damaged=True)
    digest, before = reread_sha256(path)
    # The hub's cache names files by their content: large ones by SHA-256, others as git does.
    named = path.resolve().name
    if noted is not None:
        return CheckedFile(path, "as it was made", digest != noted)
    if SHA256.fullmatch(named):
        return CheckedFile(path, "as the hub names it", digest != named)
    if GIT_SHA1.fullmatch(named):
        return CheckedFile(path, "as the hub names it", _git_sha1(path) != named)
    known = "as when it was read before" if before else ""
    return CheckedFile(path, known, before not in (None, digest))


def _git_sha1(path: Path) -> str:
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(CHUNK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _describe(name: str, damaged: Sequence[CheckedFile]) -> str:
    """What is damaged, and what to do."""
    if name == bundled.NAME:
        names = ", ".join(one.path.name for one in damaged)
        return f"the bundled model was damaged ({names}); it has been made again"
    what = ", ".join(str(one.path.resolve()) for one in damaged)
    if any("hub" in one.against for one in damaged):
        return f"model {name!r} is damaged; remove {what}, so that it is downloaded again"
    return f"model {name!r} is damaged; copy {what} again from where it came"
