"""What a model's name stands for, and the identity of its weights, without loading it.

No torch here: a second run must know which results are its own before anything heavy is imported.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lsns.errors import LsnsError
from lsns.models import bundled
from lsns.models.files import files_identity
from lsns.models.hub import MatchingFiles, ModelRepository
from lsns.store import read_json, remembered_sha256

logger = logging.getLogger(__name__)
Kind = Literal["folder", "gguf", "hub"]
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
# Short names that guides use; printed when used.
ALIASES = {"llama-7b": "meta-llama/Llama-2-7b-hf", "gemma-2b": "google/gemma-2b"}


@dataclass(frozen=True)
class ModelSource:
    """Where a model's files are.

    Attributes:
        name: as the user gave it.
        label: short name for the names of result files, e.g. `Llama-3.2-1B`.
        kind: a folder of transformers files, a GGUF file, or a hub repository.
        location: the folder, the GGUF file, or the hub id.
        revision: of a hub repository: the commit if it is known, else what was asked for.
        identity: names what the files make a model compute, by their content; None where they do
            not say all of it: a hub repository that is not on this machine yet, or code that is
            kept in another repository.
    """

    name: str
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
        name: see `lsns.load_model`.
        revision: of a hub repository.
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
    if name == bundled.NAME:
        folder = bundled.ensure()
        identity = files_identity(folder, pretrained, trust_remote_code)
        return ModelSource(name, name, "folder", str(folder), identity=identity)
    if not name.strip():
        raise LsnsError("the model has no name; give a hub id, a folder or a .gguf file")
    path = Path(name).expanduser()
    if path.is_file() and path.suffix == ".gguf":
        return ModelSource(name, path.name, "gguf", str(path), identity=_file_identity(path))
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise LsnsError(f"folder {name} holds no model: there is no config.json in it")
        identity = files_identity(path, pretrained, trust_remote_code)
        return ModelSource(name, path.resolve().name, "folder", str(path), identity=identity)
    if path.suffix == ".gguf" or path.is_absolute() or name.startswith((".", "~")):
        raise LsnsError(f"no model at {name}: there is no such file or folder")
    if not HUB_ID.fullmatch(name):
        raise LsnsError(f"{name!r} is neither a file, nor a folder, nor a possible hub id")
    commit = cached_commit(name, revision, pretrained=pretrained)
    if commit is None and ask_hub:
        commit = ModelRepository(name, revision, pretrained).ask()
    snapshot = None if commit is None else snapshot_folder(name, commit, pretrained=pretrained)
    identity = snapshot and files_identity(snapshot, pretrained, trust_remote_code)
    return _hub_source(name, commit or revision, identity)


def _file_identity(path: Path) -> str:
    return f"content:{remembered_sha256(path)}"


def _hub_source(name: str, revision: str | None, identity: str | None) -> ModelSource:
    label = name.rpartition("/")[2]
    return ModelSource(name, label, "hub", name, revision=revision, identity=identity)


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


def cached_commit(name: str, revision: str | None = None, *, pretrained: bool = True) -> str | None:
    """The commit of the snapshot of a hub repository that is on this machine, if there is one."""
    folder = snapshot_folder(name, revision, pretrained=pretrained)
    return None if folder is None else folder.name


def snapshot_folder(
    name: str, revision: str | None = None, *, pretrained: bool = True
) -> Path | None:
    """The folder of a snapshot of a hub repository that is on this machine, if it is whole.

    Args:
        name: hub id.
        revision: branch or tag, as it was downloaded, or commit, which may be abbreviated. By
            default `main`; where `HF_HUB_OFFLINE` is set, any that is here will do.
        pretrained: whether weights belong to it.
    """
    return ModelRepository(name, revision, pretrained).here()
