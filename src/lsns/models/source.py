"""What a model's name stands for, its identity, and whether its files are whole, unloaded.

No torch here: a second run must know which results are its own before anything heavy is imported.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lsns.errors import LsnsError
from lsns.models import bundled
from lsns.models.files import SHA256, files_identity, files_read
from lsns.models.hub import COMMIT, MatchingFiles, ModelRepository
from lsns.store import CHUNK_BYTES, read_json, remembered_sha256, reread_sha256

logger = logging.getLogger(__name__)
Kind = Literal["folder", "gguf", "hub"]
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
# Short names that guides use; printed when used.
ALIASES = {"llama-7b": "meta-llama/Llama-2-7b-hf", "gemma-2b": "google/gemma-2b"}


@dataclass(frozen=True)
class ModelSource:
    """Where a model's files are.

    Attributes:
        label: short name for the names of result files, e.g. `Llama-3.2-1B`.
        kind: a folder of transformers files, a GGUF file, or a hub repository.
        location: the folder, the GGUF file, or the hub id.
        revision: the commit of a hub repository if it is known, else the revision that was asked
            for; None for files that are no such repository's.
        identity: names what the files make a model compute, by their content; None where they do
            not say all of it: a hub repository that is not on this machine yet, or code that is
            kept in another repository.
    """

    label: str
    kind: Kind
    location: str
    revision: str | None = None
    identity: str | None = None


def resolve_model(
    name: str,
    *,
    revision: str | None = None,
    ask_hub: bool = False,
    pretrained: bool = True,
    trust_remote_code: bool = False,
) -> ModelSource:
    """Find out what `name` stands for: the bundled model, a folder, a `.gguf` file, a hub id.

    A hub repository of which a snapshot is on this machine, whole, is taken from there, without
    asking the hub; `revision` asks for another one.

    Args:
        name: what the model is asked for by.
        revision: branch, tag or commit of a hub repository.
        ask_hub: ask the hub about a repository that is not on this machine, before anything is
            downloaded; its commit is then known. If the hub cannot be reached, the newest snapshot
            on this machine is taken, unless `revision` names another.
        pretrained: whether its weights are read, and so a part of its identity.
        trust_remote_code: whether code that comes with it is run, and so a part of its identity.

    Raises:
        LsnsError: a path that is not there, a name that cannot be a hub id, or, with `ask_hub`,
            a repository that cannot be had.
    """
    if name in ALIASES:
        logger.info("%s stands for %s", name, ALIASES[name])
        name = ALIASES[name]
    path = Path(name).expanduser()
    if name == bundled.NAME:
        path = bundled.ensure()
    elif not name.strip():
        raise LsnsError("the model has no name; give a hub id, a folder or a .gguf file")
    elif path.is_file() and path.suffix == ".gguf":
        return ModelSource(path.name, "gguf", str(path), None, f"content:{remembered_sha256(path)}")
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise LsnsError(f"folder {name} holds no model: there is no config.json in it")
        identity = files_identity(path, pretrained, trust_remote_code)
        label = name if name == bundled.NAME else path.resolve().name
        return ModelSource(label, "folder", str(path), None, identity)
    if path.suffix == ".gguf" or path.is_absolute() or name.startswith((".", "~")):
        raise LsnsError(f"no model at {name}: there is no such file or folder")
    if not HUB_ID.fullmatch(name):
        raise LsnsError(f"{name!r} is neither a file, nor a folder, nor a possible hub id")
    repository = ModelRepository(name, revision, pretrained)
    snapshot = repository.here()
    commit = snapshot.name if snapshot else repository.ask() if ask_hub else revision
    if snapshot is None and ask_hub:
        snapshot = ModelRepository(name, commit, pretrained).here()
    identity = snapshot and files_identity(snapshot, pretrained, trust_remote_code)
    return ModelSource(name.rpartition("/")[2], "hub", name, commit, identity)


def model_type(name: str) -> str | None:
    """The `model_type` in the configuration of a folder or hub repository, if it can be had."""
    folder = Path(name).expanduser()
    if not (folder / "config.json").is_file() and HUB_ID.fullmatch(name):
        repository = MatchingFiles(name, pattern="config.json")
        try:
            folder = repository.here() or repository.fetch(repository.ask())
        except LsnsError:
            # Not there, or offline: what loads the model will say so.
            return None
    kind = read_json(folder / "config.json").get("model_type")
    return kind if isinstance(kind, str) else None


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
        name: `smollm2-135m`, a hub id, a local folder, or a `.gguf` file.
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
            bundled.ensure(again=True)
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
    snapshot = ModelRepository(meant, revision).here() if HUB_ID.fullmatch(meant) else None
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
    if COMMIT.fullmatch(named):
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
