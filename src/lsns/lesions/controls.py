"""Control masks: as many units as a mask has, drawn from outside it, alike in what is asked.

Pure arrays and a local generator: the same seed gives the same mask.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float

from lsns.analysis.selection import random_state
from lsns.errors import LsnsError
from lsns.mask import UnitMask

Array = np.ndarray[Any, Any]
Control = Literal["uniform", "layer", "magnitude"]
# A partner is drawn among at most this many units, none of which differs by more than this
# factor; where there is none, it is the nearest. Without the factor, the few largest units, which
# matter most, would get partners far smaller than the largest that are free.
NEIGHBOURS = 8
LARGEST_FACTOR = 1.5


def control_mask(
    mask: UnitMask,
    kind: Control = "uniform",
    *,
    seed: int = 42,
    magnitudes: Float[Array, "n_layers hidden_size"] | None = None,
) -> UnitMask:
    """A random mask of `mask.count` units, none of which is in `mask`.

    Args:
        mask: the mask to be controlled for.
        kind: `uniform` over all other units (as published: the very draw of the published
            script); `layer`: as many in every layer as the mask has there; `magnitude`: in every
            layer, for each unit of the mask one of about the same mean |activation|.
        seed: of the draw.
        magnitudes: mean |activation| of every unit, for `magnitude`, e.g.
            `Localization.magnitudes`.

    Returns:
        The mask; its manifest names the kind, the seed, and for `magnitude` how well it matched:
        the ratio of the summed |activation| of the control to that of the mask.

    Raises:
        LsnsError: too few units outside the mask, or no magnitudes.
    """
    if kind not in get_args(Control):
        raise LsnsError(f"no control {kind!r}; use one of {', '.join(get_args(Control))}")
    if kind == "magnitude" and magnitudes is None:
        raise LsnsError("control 'magnitude' needs magnitudes=, e.g. Localization.magnitudes")
    if magnitudes is not None and magnitudes.shape != mask.units.shape:
        raise LsnsError(
            f"magnitudes of shape {magnitudes.shape} do not fit a mask of {mask.units.shape}"
        )
    rng = random_state(seed)
    if kind == "uniform":
        units = _uniform(mask.units.ravel(), mask.count, rng).reshape(mask.units.shape)
    else:
        rows = [
            _in_layer(layer, mask.units[layer], magnitudes if kind == "magnitude" else None, rng)
            for layer in range(len(mask.units))
        ]
        units = np.stack(rows)
    matched = {} if magnitudes is None else {"magnitude_ratio": _ratio(units, mask, magnitudes)}
    note = {"kind": kind, "seed": seed, "of": mask.digest, **matched}
    return UnitMask(units, {**mask.manifest, "control": note})


def _in_layer(
    layer: int, taken: Array, magnitudes: Array | None, rng: np.random.RandomState
) -> Array:
    if (~taken).sum() < taken.sum():
        raise LsnsError(
            f"layer {layer} has {int(taken.sum())} selected units and only "
            f"{int((~taken).sum())} others; use a smaller mask or the uniform control"
        )
    if magnitudes is None:
        return _uniform(taken, int(taken.sum()), rng)
    return _matched(taken, magnitudes[layer], rng)


def _uniform(taken: Array, k: int, rng: np.random.RandomState) -> Array:
    free = np.flatnonzero(~taken)
    if free.size < k:
        raise LsnsError(
            f"{k} units are selected and only {free.size} are not: no control of that size"
        )
    units = np.zeros(taken.shape, dtype=bool)
    units[rng.choice(free, size=k, replace=False)] = True
    return units


def _matched(taken: Array, magnitudes: Array, rng: np.random.RandomState) -> Array:
    """For each taken unit one free unit of like magnitude, on a logarithmic scale."""
    sizes = np.log(np.maximum(magnitudes, np.finfo(np.float64).tiny))
    free = list(np.flatnonzero(~taken))
    units = np.zeros(taken.shape, dtype=bool)
    # The largest first: they have the fewest units of their kind.
    selected = np.flatnonzero(taken)
    for unit in selected[np.argsort(-sizes[selected], kind="stable")]:
        distances = np.abs(sizes[free] - sizes[unit])
        nearest = np.argsort(distances, kind="stable")[:NEIGHBOURS]
        alike = nearest[distances[nearest] <= np.log(LARGEST_FACTOR)]
        units[free.pop(int(rng.choice(alike if alike.size else nearest[:1])))] = True
    return units


def _ratio(units: Array, mask: UnitMask, magnitudes: Array) -> float:
    return float(magnitudes[units].sum() / magnitudes[mask.units].sum())
