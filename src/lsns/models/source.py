"""What a model's name stands for, its identity, and whether its files are whole, unloaded.

No torch here: a second run must know which results are its own before anything heavy is imported.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from lsns.errors import LsnsError
from lsns.models import bundled
from lsns.models.files import SHA256, files_identity, files_read
from lsns.models.hub import COMMIT, ModelRepository, Repository
from lsns.store import read_json, remembered_sha256, reread_sha256

logger = logging.getLogger(__name__)
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
        path: the folder or file on this machine; None for a hub repository that is not here yet.
        revision: the commit of a hub repository if it is known, else the revision that was asked
            for; None for files that are no such repository's.
        pretrained: whether its weights are read, and so a part of its identity.
        trust_remote_code: whether code that comes with it is run, and so a part of its identity.
    """

    label: str
    kind: Literal["folder", "gguf", "hub"]
    location: str
    path: Path | None = None
    revision: str | None = None
    pretrained: bool = True
    trust_remote_code: bool = False

    @cached_property
    def identity(self) -> str | None:
        """Names what the files make a model compute, by their content.

        None where they do not say all of it: a hub repository that is not on this machine yet, or
        code that is kept in another repository.

        Raises:
            LsnsError: a file of the hub's cache is damaged.
        """
        if self.path is None:
            return None
        if self.kind == "gguf":
            return f"content:{remembered_sha256(self.path)}"
        return files_identity(self.path, self.pretrained, self.trust_remote_code)


def resolve_model(
    name: str,
    revision: str | None = None,
    *,
    pretrained: bool = True,
    trust_remote_code: bool = False,
) -> ModelSource:
    """Find out what `name` stands for: the bundled model, a folder, a `.gguf` file, a hub id.

    A hub repository of which a snapshot is on this machine, whole, is taken from there. The hub is
    not asked.

    Args:
        name: what the model is asked for by.
        revision: branch, tag or commit of a hub repository.
        pretrained: whether its weights are read.
        trust_remote_code: whether code that comes with it is run.

    Raises:
        LsnsError: a path that is not there, or a name that cannot be a hub id.
    """
    if name in ALIASES:
        logger.info("%s stands for %s", name, ALIASES[name])
        name = ALIASES[name]
    path = bundled.ensure() if name == bundled.NAME else Path(name).expanduser()
    read = (pretrained, trust_remote_code)
    if not name.strip():
        raise LsnsError("the model has no name; give a hub id, a folder or a .gguf file")
    if path.is_file() and path.suffix == ".gguf":
        return ModelSource(path.name, "gguf", str(path), path, None, *read)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise LsnsError(f"folder {name} holds no model: there is no config.json in it")
        label = name if name == bundled.NAME else path.resolve().name
        return ModelSource(label, "folder", str(path), path, None, *read)
    if path.suffix == ".gguf" or path.is_absolute() or name.startswith((".", "~")):
        raise LsnsError(f"no model at {name}: there is no such file or folder")
    if not HUB_ID.fullmatch(name):
        raise LsnsError(f"{name!r} is neither a file, nor a folder, nor a possible hub id")
    snapshot = ModelRepository(name, revision, weights=pretrained).here()
    commit = snapshot.name if snapshot else revision
    return ModelSource(name.rpartition("/")[2], "hub", name, snapshot, commit, *read)


def model_type(name: str) -> str | None:
    """The `model_type` in the configuration of a folder or hub repository, if it can be had."""
    folder = Path(name).expanduser()
    if not (folder / "config.json").is_file() and HUB_ID.fullmatch(name):
        try:
            folder = Repository(name, pattern="config.json").get()
        except LsnsError:
            # Not there, or offline: what loads the model will say so.
            return None
    kind = read_json(folder / "config.json").get("model_type")
    return kind if isinstance(kind, str) else None


def verify_model(name: str, *, revision: str | None = None) -> Iterator[str]:
    """Read all files of a model, and compare each with what it should be.

    The bundled model's are compared with the digests that were noted when it was made, and it is
    made again if one is damaged; those in the hub's cache with the digests that name them; others
    with their content when they were last read with the same size and time of change.

    Args:
        name: `smollm2-135m`, a hub id, a local folder, or a `.gguf` file.
        revision: branch, tag or commit of a hub repository.

    Yields:
        A line about each file, when it has been read.

    Raises:
        LsnsError: no such model on this machine, or, after the last file, one was damaged.
    """
    noted: dict[str, str] = {}
    if name == bundled.NAME:
        noted = bundled.expected_digests() or bundled.expected_digests(bundled.ensure())
    files = [bundled.place() / file for file in noted] or _files(name, revision)
    damaged: list[Path] = []
    for path in files:
        against, is_damaged = _check(path, noted.get(path.name))
        damaged += [path] * is_damaged
        state = "damaged" if is_damaged else "ok"
        yield f"{state:<8} {path.name} ({against or 'read for the first time'})"
    if damaged and noted:
        bundled.ensure(again=True)
        names = ", ".join(path.name for path in damaged)
        raise LsnsError(f"the bundled model was damaged ({names}); it has been made again")
    if damaged:
        what = ", ".join(str(path.resolve()) for path in damaged)
        of_the_hub = any(_named_by_content(path) for path in damaged)
        advice = f"remove {what}, so that it is downloaded again"
        other = f"copy {what} again from where it came"
        raise LsnsError(f"model {name!r} is damaged; {advice if of_the_hub else other}")


def _files(name: str, revision: str | None) -> list[Path]:
    source = resolve_model(name, revision)
    if source.path is None:
        raise LsnsError(
            f"no model {name!r} on this machine: no folder, no .gguf file, and nothing in the "
            "hub's cache; load it first, or give another"
        )
    if source.kind == "hub":
        return sorted(file for file in source.path.rglob("*") if not file.is_dir())
    return [source.path] if source.kind == "gguf" else files_read(source.path)


def _check(path: Path, noted: str | None) -> tuple[str, bool]:
    """What a file was compared with, empty if it was not read before, and whether it differs."""
    if not path.is_file():
        return "it is gone", True
    digest, before = reread_sha256(path)
    if noted is not None:
        return "as it was made", digest != noted
    if _named_by_content(path):
        from huggingface_hub.utils.sha import git_hash

        name = path.resolve().name
        found = digest if SHA256.fullmatch(name) else git_hash(path.read_bytes())
        return "as the hub names it", found != name
    return "as when it was read before" if before else "", before not in (None, digest)


def _named_by_content(path: Path) -> bool:
    """Whether it is of the hub's cache: large files by SHA-256, others as git names them."""
    name = path.resolve().name
    return bool(SHA256.fullmatch(name) or COMMIT.fullmatch(name))
