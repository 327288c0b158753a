"""Which files of a folder a model is read from, and the identity that their content gives it.

By content alone, so that the same files in a folder and in the hub's cache are the same model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from lsns.errors import LsnsError
from lsns.store import digest_of, read_json, remembered_sha256

# Configuration, tokenizer, remote code, weights.
MODEL_FILES = (".json", ".jinja", ".txt", ".model", ".py", ".safetensors", ".bin")
# What a folder may hold beside a model, and a snapshot of the hub does not.
UNREAD = (
    "lsns.json", "trainer_state.json", "training_args.bin", "all_results.json",
    "train_results.json", "eval_results.json", "requirements.txt", "LICENSE.txt",
)  # fmt: skip
# In the order in which they are looked for: the first that is there is read.
WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
SHA256 = re.compile(r"[0-9a-f]{64}")


def files_identity(folder: Path, pretrained: bool, trust_remote_code: bool) -> str | None:
    """Names what the files of a folder make a model compute, by their content.

    Args:
        folder: in the layout of transformers.
        pretrained: whether weights are read.
        trust_remote_code: whether code that comes with the model is run.

    Returns:
        None if that code is kept in another repository.

    Raises:
        LsnsError: a file of the hub's cache has other content than its name says.
    """
    configurations = ("config.json", "tokenizer_config.json")
    code = [read_json(folder / name).get("auto_map") for name in configurations]
    # A name such as `owner/name--file.Class`.
    if trust_remote_code and "--" in json.dumps(code):
        return None
    files = [f for f in files_read(folder) if pretrained or not _is_weights(f)]
    content: dict[str, Any] = {str(file.relative_to(folder)): sound_sha256(file) for file in files}
    # The same files with and without their code may be two models.
    if trust_remote_code and any(code):
        content[""] = "code"
    return f"content:{digest_of(content)}"


def files_read(folder: Path) -> list[Path]:
    """The files of a folder that a model is read from: of the weights, one set of several."""
    present = [
        file
        for file in sorted(folder.iterdir())
        if file.suffix in MODEL_FILES and file.name not in UNREAD and file.is_file()
    ]
    weights = weights_of(folder)
    if not weights or read_json(folder / "config.json").get("transformers_weights"):
        return present
    others = [f for f in present if not _is_weights(f) or f.name.startswith("adapter_")]
    return sorted({*others, *(file for file in weights if file.is_file())})


def weights_among(names: Iterable[str], read: Callable[[str], Path]) -> list[str]:
    """Of the names of files in a folder, those that the weights are read from.

    Args:
        names: all names.
        read: where an index of weights, one of the names, can be read.
    """
    there = set(names)
    first = next((name for name in WEIGHTS if name in there), None)
    if first is None:
        # A configuration may name others (`transformers_weights`).
        return sorted(n for n in there if n.endswith(".safetensors") and "/" not in n)
    index = read_json(read(first)).get("weight_map") if first.endswith(".json") else None
    shards = {str(name) for name in index.values()} if isinstance(index, dict) else ()
    return [first, *sorted(shards)]


def weights_of(folder: Path) -> list[Path]:
    """The files that the weights of a folder are read from; an index may name some that lack."""
    names = [file.name for file in folder.iterdir() if file.is_file()]
    return [folder / name for name in weights_among(names, folder.joinpath)]


def _is_weights(file: Path) -> bool:
    return file.suffix in (".safetensors", ".bin") or file.name.endswith(".index.json")


def sound_sha256(file: Path) -> str:
    """SHA-256 of a file, remembered.

    Raises:
        LsnsError: it is in the hub's cache, which names large files by their content, and has
            other content than its name says.
    """
    digest, name = remembered_sha256(file), file.resolve().name
    if SHA256.fullmatch(name) and name != digest:
        raise LsnsError(
            f"{file} is damaged: its SHA-256 is not the one that names it in the hub's cache; "
            f"remove {file.resolve()}, so that it is downloaded again"
        )
    return digest
