"""Results of an analysis in one file: arrays as arrays, the rest as JSON, nothing pickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lsns.errors import LsnsError
from lsns.store import DamagedFileError, atomic, parse_object, read_arrays

Array = np.ndarray[Any, Any]
# Stands in the JSON where an array stood.
MARK = "__array__"
TEXT = "__json__"


def save_results(path: str | Path, mask: Array, metadata: Mapping[str, Any]) -> Path:
    """Write a mask and its metadata as one `.npz`.

    Args:
        path: the file; its name ends in `.npz`.
        mask: shape (n_layers, hidden_size).
        metadata: numbers, texts, None, arrays, and lists and dictionaries of them.

    Raises:
        LsnsError: another ending, or a value that is none of these.
    """
    place = Path(path)
    if place.suffix != ".npz":
        raise LsnsError(f"{place}: the name of a results file ends in .npz")
    arrays: dict[str, Array] = {}
    try:
        text = json.dumps(_pack({"mask": np.asarray(mask), "metadata": dict(metadata)}, arrays))
    except TypeError as error:
        raise LsnsError(f"metadata cannot be saved: {error}") from None
    with atomic(place) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **{TEXT: np.array(text)}, **arrays)
    return place


def load_results(path: str | Path) -> tuple[Array, dict[str, Any]]:
    """Read what `save_results` wrote: the mask and its metadata.

    Raises:
        LsnsError: no such file, or not one that `save_results` wrote.
    """
    try:
        arrays = read_arrays(path)
        content = _unpack(parse_object(str(arrays[TEXT]).encode()), arrays)
        mask, metadata = content["mask"], content["metadata"]
    except (OSError, DamagedFileError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise LsnsError(f"{path} holds no results ({type(error).__name__})") from None
    if not isinstance(mask, np.ndarray) or not isinstance(metadata, dict):
        raise LsnsError(f"{path} holds no results: a mask and its metadata were expected")
    return mask, metadata


def _pack(value: Any, arrays: dict[str, Array]) -> Any:
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            raise TypeError("an array of objects")
        name = f"array_{len(arrays)}"
        arrays[name] = value
        return {MARK: name}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {str(key): _pack(item, arrays) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_pack(item, arrays) for item in value]
    return value


def _unpack(value: Any, arrays: Mapping[str, Array]) -> Any:
    if isinstance(value, dict):
        if set(value) == {MARK}:
            return arrays[value[MARK]]
        return {key: _unpack(item, arrays) for key, item in value.items()}
    if isinstance(value, list):
        return [_unpack(item, arrays) for item in value]
    return value
