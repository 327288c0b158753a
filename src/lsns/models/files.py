"""Which files of a folder a model is read from, and the identity that their content gives it.

By content alone, so that the same files in a folder and in the hub's cache are the same model.
"""

from __future__ import annotations

import re
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
    code = [
        one for name in ("config.json", "tokenizer_config.json") for one in _code(folder / name)
    ]
    if trust_remote_code and any("--" in one for one in code):
        return None
    files = [f for f in files_read(folder) if pretrained or not _is_weights(f)]
    content: dict[str, Any] = {str(file.relative_to(folder)): _sha256(file) for file in files}
    # The same files with and without their code may be two models.
    return f"content:{digest_of(content | ({'': 'code'} if trust_remote_code and code else {}))}"


def files_read(folder: Path) -> list[Path]:
    """The files of a folder that a model is read from: of the weights, one set of several."""
    present = [
        file
        for file in sorted(folder.iterdir())
        if file.suffix in MODEL_FILES and file.name not in UNREAD and file.is_file()
    ]
    weights = _weights(folder)
    if not weights or read_json(folder / "config.json").get("transformers_weights"):
        return present
    others = [f for f in present if not _is_weights(f) or f.name.startswith("adapter_")]
    return sorted({*others, *(file for file in weights if file.is_file())})


def missing_weights(folder: Path) -> str | None:
    """The weights, or parts of them, that a folder lacks, in words; None: it has them."""
    weights = _weights(folder)
    if not weights:
        return "weights"
    lacking = [file.name for file in weights if not file.is_file()]
    return f"weights ({', '.join(lacking)})" if lacking else None


def shards(index: Path) -> list[str]:
    """The names of the files that an index of weights names."""
    named = read_json(index).get("weight_map")
    return sorted({str(name) for name in named.values()}) if isinstance(named, dict) else []


def _weights(folder: Path) -> list[Path]:
    first = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if first is None:
        # A configuration may name others (`transformers_weights`).
        return sorted(folder.glob("*.safetensors"))
    parts = shards(first) if first.suffix == ".json" else []
    return [first, *(folder / name for name in parts)]


def _is_weights(file: Path) -> bool:
    return file.suffix in (".safetensors", ".bin") or file.name.endswith(".index.json")


def _sha256(file: Path) -> str:
    digest, name = remembered_sha256(file), file.resolve().name
    # The hub's cache names large files by their content.
    if SHA256.fullmatch(name) and name != digest:
        raise LsnsError(
            f"{file.name} of the hub's cache is damaged: it has other content than its name says; "
            f"remove {file.resolve()}, so that it is downloaded again"
        )
    return digest


def _code(config: Path) -> list[str]:
    """The code that a configuration names, such as `modeling_own.OwnModel`."""
    named = read_json(config).get("auto_map")
    values = named.values() if isinstance(named, dict) else [named]
    parts = [part for value in values for part in (value if isinstance(value, list) else [value])]
    return [part for part in parts if isinstance(part, str)]
