"""Control masks: as many units as a mask has, drawn from outside it, alike in what is asked.

Pure arrays and a local generator: the same seed gives the same mask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from jaxtyping import Bool, Float

from lsns.analysis.selection import random_state
from lsns.errors import LsnsError
from lsns.mask import UnitMask, as_mask

if TYPE_CHECKING:
    from lsns.localization import Localization

Array = np.ndarray[Any, Any]
Control = Literal["uniform", "layer", "magnitude", "outliers"]
# A partner is drawn among at most this many units, none of which differs by more than this
# factor; where there is none, it is the nearest. Without the factor, the few largest units, which
# matter most, would get partners far smaller than the largest that are free.
NEIGHBOURS = 8
LARGEST_FACTOR = 1.5


class TooFewUnitsError(LsnsError):
    """There are not enough units outside a mask for a control of that kind."""


def control_mask(
    mask: UnitMask | Localization,
    kind: Control = "uniform",
    *,
    seed: int = 42,
    magnitudes: Float[Array, "n_layers hidden_size"] | None = None,
    barred: Bool[Array, "n_layers hidden_size"] | None = None,
    outliers: Bool[Array, "n_layers hidden_size"] | None = None,
) -> UnitMask:
    """A random mask of `mask.count` units, none of which is in `mask`.

    Args:
        mask: the mask to be controlled for, or what `localize` found.
        kind: `uniform` over all other units (as published: the very draw of the published
            script); `layer`: as many in every layer as the mask has there; `magnitude`: in every
            layer, for each unit of the mask one of about the same mean |activation|; `outliers`:
            as many outlier units as the mask has, of any layer, and the rest of the units from
            those that are none.
        seed: random seed for the draw.
        magnitudes: mean |activation| of every unit, for `magnitude`, e.g.
            `Localization.magnitudes`.
        barred: units that are not drawn either; where the mask itself could not have them, a
            control must not.
        outliers: outlier units of the model, for `outliers`, e.g. `Localization.outlier_units`.

    Returns:
        The mask; its manifest names the kind, the seed, where units are barred how many, and where
        magnitudes are given how well it matched: the ratio of the summed |activation| of the
        control to that of the mask.

    Raises:
        LsnsError: no magnitudes or no outliers where they are needed, or arrays of another shape.
        TooFewUnitsError: too few units outside the mask.
    """
    mask = as_mask(mask)
    if kind not in get_args(Control):
        raise LsnsError(f"no control {kind!r}; use one of {', '.join(get_args(Control))}")
    _check_arrays(kind, mask, magnitudes=magnitudes, barred=barred, outliers=outliers)
    free = ~mask.units if barred is None else ~(mask.units | barred.astype(bool))
    units = _draw(kind, mask.units, free, magnitudes, outliers, random_state(seed))
    note: dict[str, Any] = {"kind": kind, "seed": seed, "of": mask.digest}
    if barred is not None:
        note["barred"] = int(barred.sum())
    if magnitudes is not None:
        ratio = magnitudes[units].sum() / magnitudes[mask.units].sum()
        note["magnitude_ratio"] = float(ratio)
    return UnitMask(units, {**mask.manifest, "control": note})


def _check_arrays(kind: Control, mask: UnitMask, **arrays: Array | None) -> None:
    """Raise an `LsnsError` for an array that is missing or of another model."""
    needed = {"magnitude": ("magnitudes", "magnitudes"), "outliers": ("outliers", "outlier_units")}
    name, source = needed.get(kind, ("", ""))
    if name and arrays[name] is None:
        raise LsnsError(f"control {kind!r} needs {name}=, e.g. Localization.{source}")
    for name, array in arrays.items():
        if array is not None and array.shape != mask.units.shape:
            raise LsnsError(
                f"{name}= of shape {array.shape} does not fit a mask of {mask.units.shape}"
            )


def _draw(
    kind: Control,
    selected: Array,
    free: Array,
    magnitudes: Array | None,
    outliers: Array | None,
    rng: np.random.RandomState,
) -> Array:
    if kind == "outliers" and outliers is not None:
        # The others first: a mask without outliers has the units of the uniform control, where
        # outliers are barred.
        large = outliers.astype(bool)
        others = _some(free & ~large, selected & ~large, "units that are no outliers", rng)
        return others | _some(free & large, selected & large, "outlier units", rng)
    if kind == "uniform":
        return _some(free, selected, "units", rng)
    sizes = magnitudes if kind == "magnitude" else None
    rows = [
        _in_layer(layer, selected[layer], free[layer], sizes, rng) for layer in range(len(selected))
    ]
    return np.stack(rows)


def _some(free: Array, selected: Array, what: str, rng: np.random.RandomState) -> Array:
    """As many free units as there are selected ones."""
    k, places = int(selected.sum()), np.flatnonzero(free)
    if places.size < k:
        raise TooFewUnitsError(
            f"{k} {what} are selected and only {places.size} others may be drawn: no control of "
            "that size"
        )
    units = np.zeros(selected.size, dtype=bool)
    units[rng.choice(places, size=k, replace=False)] = True
    return units.reshape(selected.shape)


def _in_layer(
    layer: int,
    selected: Array,
    free: Array,
    magnitudes: Array | None,
    rng: np.random.RandomState,
) -> Array:
    if free.sum() < selected.sum():
        raise TooFewUnitsError(
            f"layer {layer} has {int(selected.sum())} selected units and only {int(free.sum())} "
            "others may be drawn; use a smaller mask or the uniform control"
        )
    if magnitudes is None:
        return _some(free, selected, "units", rng)
    return _matched(selected, free, magnitudes[layer], rng)


def _matched(selected: Array, free: Array, magnitudes: Array, rng: np.random.RandomState) -> Array:
    """For each selected unit one free unit of like magnitude, on a logarithmic scale."""
    sizes = np.log(np.maximum(magnitudes, np.finfo(np.float64).tiny))
    left = list(np.flatnonzero(free))
    units = np.zeros(selected.shape, dtype=bool)
    # The largest first: they have the fewest units of their kind.
    targets = np.flatnonzero(selected)
    for unit in targets[np.argsort(-sizes[targets], kind="stable")]:
        distances = np.abs(sizes[left] - sizes[unit])
        nearest = np.argsort(distances, kind="stable")[:NEIGHBOURS]
        alike = nearest[distances[nearest] <= np.log(LARGEST_FACTOR)]
        units[left.pop(int(rng.choice(alike if alike.size else nearest[:1])))] = True
    return units
