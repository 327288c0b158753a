"""Results folders as they should never be: one value, or some bytes, changed at random."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np

from lsns.analysis.results import load_results, save_results

JSON = ("audit.json", "study/study.json", "continuations.json", "versions.json")
NPZ = ("localization.npz", "localization-nmd.npz")
FILES = (*JSON, *NPZ, "config.yaml", "localization.txt")
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 3, 0.5, 1e308, -1e308, float("inf"), float("nan"), 10**19, 10**400),
    *("", "x", "../x", "\ud800", "\u202e", "<script>", "%s", "good", "intact", "lesion", "\0"),
    *([], {}, [[]], [{}], [None], {"a": {"b": []}}, ["x"] * 3),
)
DTYPES = ("float16", "int8", "bool", "complex64", "U3", "M8[s]", "float64")


def mutate(folder: Path, rng: random.Random) -> str:
    """Change one thing in one file of a results folder; what was done, in words."""
    name = rng.choice([name for name in FILES if (folder / name).is_file()])
    path = folder / name
    if rng.random() < 0.1:
        return f"{name}: {_damage(path, rng)}"
    if name in JSON:
        content = json.loads(path.read_text())
        done = _change(content, rng)
        path.write_text(json.dumps(content))
        return f"{name}: {done}"
    if name in NPZ:
        return f"{name}: {_change_arrays(path, rng)}"
    return f"{name}: {_damage(path, rng)}"


def _damage(path: Path, rng: random.Random) -> str:
    content = bytearray(path.read_bytes())
    kind = rng.choice(("flip", "cut", "empty", "append", "remove", "folder"))
    if kind == "flip":
        for _ in range(rng.choice((1, 5, 50))):
            content[rng.randrange(len(content))] = rng.randrange(256)
    elif kind == "cut":
        content = content[: rng.randrange(len(content))]
    elif kind == "empty":
        content = bytearray()
    elif kind == "append":
        content += rng.randbytes(20)
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind != "remove":
        path.write_bytes(content)
    return kind


def _change(content: Any, rng: random.Random) -> str:
    """Replace, remove or add something at a random place."""
    place, name = content, ""
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = rng.choice(keys)
        name += f".{key}"
        inner = place[key]
        if not isinstance(inner, (dict, list)) or not inner or rng.random() < 0.12:
            break
        place = inner
    kind = rng.choice(("replace", "replace", "replace", "remove", "add"))
    if kind == "replace":
        place[key] = rng.choice(VALUES)
        return f"{name} is {place[key]!r}"[:200]
    if kind == "remove":
        del place[key]
    elif isinstance(place, dict):
        place[rng.choice(("x", "uniform_p", "run", "g", "\ud800"))] = rng.choice(VALUES)
    else:
        place.insert(0, rng.choice((*VALUES, place[0])))
    return f"{name}: {kind}"


def _change_arrays(path: Path, rng: random.Random) -> str:
    mask, metadata = load_results(path)
    arrays = [name for name, value in metadata.items() if isinstance(value, np.ndarray)]
    name = rng.choice(("mask", *arrays, "manifest", "manifest"))
    if name == "manifest":
        done = _change(metadata["manifest"], rng)
    elif rng.random() < 0.3:
        done = _change(metadata, rng)
    else:
        array = np.array(mask if name == "mask" else metadata[name])
        array, done = _other_array(array, rng)
        if name == "mask":
            mask = array
        else:
            metadata[name] = array
    save_results(path, mask, metadata)
    return f"{name}: {done}"


def _other_array(array: Any, rng: random.Random) -> tuple[Any, str]:
    kind = rng.choice(("dtype", "cut", "flat", "empty", "value", "all"))
    if kind == "dtype":
        dtype = rng.choice(DTYPES)
        with np.errstate(all="ignore"):
            return array.astype(dtype), dtype
    if kind in ("value", "all"):
        value = rng.choice((0.0, 1.0, -1.0, np.nan, np.inf, -np.inf, 1e308, -1e308))
        array = array.astype(float)
        array[(0, 0) if kind == "value" else slice(None)] = value
        return array, f"{kind} {value}"
    other = {"cut": array[1:], "flat": array.ravel(), "empty": array[:0]}[kind]
    return other, kind
