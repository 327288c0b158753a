"""Control masks: as many units as a mask has, alike in what is asked and else drawn at random.

Pure arrays and a local generator: the same seed gives the same mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
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
# Magnitudes are matched as they are seen with an error of this standard deviation, of the
# logarithm: so partners differ by about a tenth where there are many, and by no more where none is.
NOISE = 0.1
# Of so many such matches of a layer the one is kept whose squares sum to most nearly the same: an
# error favours the smaller of two partners, of which there are more.
MATCHES = 8


class NoControlError(LsnsError):
    """There is no control of that kind for a mask."""


class TooFewUnitsError(NoControlError):
    """There are not enough units for a control of that kind, or none but the mask's own."""


@dataclass(frozen=True)
class Match:
    """How the magnitudes of a control compare with those of its mask.

    Attributes:
        total: summed squares of the control, as a multiple of those of the mask.
        median: unit by unit (in each layer the largest beside the largest, and so on), the factor
            between the two that half of the pairs exceed; None for other numbers per layer.
        worst: the largest such factor.
    """

    total: float
    median: float | None = None
    worst: float | None = None


def control_mask(
    mask: UnitMask | Localization,
    kind: Control = "uniform",
    *,
    seed: int = 42,
    magnitudes: Float[Array, "n_layers hidden_size"] | None = None,
    barred: Bool[Array, "n_layers hidden_size"] | None = None,
    outliers: Bool[Array, "n_layers hidden_size"] | None = None,
    outside: bool = True,
) -> UnitMask:
    """A random mask of `mask.count` units.

    Args:
        mask: the mask to be controlled for, or what `localize` found.
        kind: `uniform` over all units; `layer`: as many in every layer as the mask has there;
            `magnitude`: in every layer, for each unit of the mask one of about the same magnitude;
            `outliers`: the outlier units of as many whole outlier dimensions as the mask has, in
            the layers where it has them, as many in all; and of the others as many in every layer.
        seed: random seed for the draw.
        magnitudes: how large every unit is, for `magnitude`, e.g. `Localization.rms`.
        barred: units that are not drawn; where the mask itself could not have them, a control must
            not.
        outliers: outlier units of the model, for `outliers`, e.g. `Localization.outlier_units`.
        outside: whether the mask's own units are not drawn, as published (`uniform` is the very
            draw of the published script). To rank a lesion among its controls they must be: without
            them controls overlap each other and never the mask, and p is too small.

    Returns:
        The mask; its manifest names the kind, the seed, where units are barred how many, and where
        magnitudes are given how well it matched (`match`, see `Match`).

    Raises:
        LsnsError: no magnitudes or no outliers where they are needed, or arrays of another shape.
        TooFewUnitsError: too few units, or none but the mask's own.
    """
    mask = as_mask(mask)
    if kind not in get_args(Control):
        raise LsnsError(f"no control {kind!r}; use one of {', '.join(get_args(Control))}")
    _check_arrays(kind, mask, magnitudes=magnitudes, barred=barred, outliers=outliers)
    pool = np.ones(mask.units.shape, dtype=bool) if barred is None else ~barred.astype(bool)
    pool = pool & ~mask.units if outside else pool
    units = _draw(kind, mask.units, pool, magnitudes, outliers, random_state(seed))
    note: dict[str, Any] = {"kind": kind, "seed": seed, "of": mask.digest}
    if barred is not None:
        note["barred"] = int(barred.sum())
    if magnitudes is not None:
        note["match"] = asdict(match_of(mask.units, units, magnitudes))
    return UnitMask(units, {**mask.manifest, "control": note})


def match_of(
    mask: Bool[Array, "n_layers hidden_size"],
    control: Bool[Array, "n_layers hidden_size"],
    magnitudes: Float[Array, "n_layers hidden_size"],
) -> Match:
    """How well a control's magnitudes match those of the mask.

    Args:
        mask: units of the mask.
        control: units of the control.
        magnitudes: how large every unit is.
    """
    squares = np.square(magnitudes)
    whole = float(squares[mask].sum())
    total = float(squares[control].sum()) / whole if whole > 0 else float("nan")
    if (mask.sum(axis=1) != control.sum(axis=1)).any():
        return Match(total)
    logs = _logs(magnitudes)
    pairs = zip(mask, control, logs, strict=True)
    apart = np.concatenate([np.sort(row[a]) - np.sort(row[b]) for a, b, row in pairs])
    factors = np.exp(np.minimum(np.abs(apart), 700.0))
    return Match(total, float(np.median(factors)), float(factors.max()))


def effective_number(
    masks: Sequence[Bool[Array, "n_layers hidden_size"]],
    weights: Float[Array, "n_layers hidden_size"] | None = None,
) -> float:
    """How many independent controls as many overlapping ones are worth: 1 to their number.

    The participation ratio of the matrix of their overlaps, n squared over the summed squares of
    all n x n overlaps: 1 where all are the same, their number where none shares more than chance
    makes it. An overlap is the weight of the shared units as a share of the weight of the units of
    either, beyond what independent draws with as many units in each layer would share.

    Args:
        masks: units of each control, at least one.
        weights: what each unit counts, e.g. its squared magnitude; None: all alike.
    """
    units = np.stack(masks)
    weight = np.ones(units.shape[1:]) if weights is None else np.asarray(weights, np.float64)
    shares = units.mean(axis=(0, 2))
    of_layers = weight.sum(axis=1)
    expected = shares @ of_layers
    chance = float(shares**2 @ of_layers / expected) if expected > 0 else 0.0
    drawn = units.any(axis=0)
    rows = units[:, drawn] * np.sqrt(weight[drawn])
    norms = np.linalg.norm(rows, axis=1)
    rows = rows / np.where(norms > 0, norms, 1.0)[:, None]
    overlaps = rows @ rows.T
    beyond = np.maximum(overlaps - chance, 0) / max(1 - chance, 1e-12)
    np.fill_diagonal(beyond, 1.0)
    return float(len(masks) ** 2 / np.square(np.minimum(beyond, 1.0)).sum())


def _check_arrays(kind: Control, mask: UnitMask, **arrays: Array | None) -> None:
    """Raise an `LsnsError` for an array that is missing or of another model."""
    needed = {"magnitude": ("magnitudes", "rms"), "outliers": ("outliers", "outlier_units")}
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
    pool: Array,
    magnitudes: Array | None,
    outliers: Array | None,
    rng: np.random.RandomState,
) -> Array:
    if kind == "uniform":
        _check_pools([("units are selected", selected, pool)])
        return _some(pool, int(selected.sum()), rng)
    large = None if kind != "outliers" or outliers is None else outliers.astype(bool)
    others = True if large is None else ~large
    rest, free = selected & others, pool & others
    strata = [
        (f"units of layer {n} are selected", *rows)
        for n, rows in enumerate(zip(rest, free, strict=True))
    ]
    if large is not None:
        strata.append(("outlier units are selected", selected & large, pool & large))
    _check_pools(strata)
    sizes = _logs(magnitudes) if kind == "magnitude" and magnitudes is not None else None
    units = np.zeros(selected.shape, dtype=bool)
    for layer, (row, there) in enumerate(zip(rest, free, strict=True)):
        if sizes is None:
            units[layer] = _some(there, int(row.sum()), rng)
        else:
            units[layer] = _matched(row, there, sizes[layer], rng)
    return units if large is None else units | _dimensions(selected & large, pool & large, rng)


def _check_pools(strata: Sequence[tuple[str, Array, Array]]) -> None:
    """Whether enough may be drawn of each kind of units, and not the selected ones alone.

    Raises:
        TooFewUnitsError: no.
    """
    for words, selected, pool in strata:
        if pool.sum() < selected.sum():
            raise TooFewUnitsError(
                f"{int(selected.sum())} {words} and only {int(pool.sum())} others may be drawn; "
                "use a smaller mask, or another kind of control"
            )
    if not any((pool & ~selected).any() for _, selected, pool in strata if selected.any()):
        raise TooFewUnitsError("no unit but the mask's own may be drawn: it is its only control")


def _some(pool: Array, count: int, rng: np.random.RandomState) -> Array:
    units = np.zeros(pool.size, dtype=bool)
    units[rng.choice(np.flatnonzero(pool), size=count, replace=False)] = True
    return units.reshape(pool.shape)


def _logs(magnitudes: Array) -> Array:
    return np.log(np.maximum(magnitudes, np.finfo(np.float64).tiny))


def _matched(selected: Array, pool: Array, logs: Array, rng: np.random.RandomState) -> Array:
    """For each selected unit of a layer one of about its magnitude, the best assignment of all."""
    from scipy.optimize import linear_sum_assignment

    targets, places = logs[selected], np.flatnonzero(pool)
    units = np.zeros(selected.shape, dtype=bool)
    if not targets.size:
        return units
    found: list[tuple[float, Array]] = []
    for _ in range(MATCHES):
        seen = logs[places] + NOISE * rng.standard_normal(places.size)
        _, columns = linear_sum_assignment(np.abs(targets[:, None] - seen))
        chosen = places[columns]
        # Sums of squares on a scale on which the largest is 1.
        sums = [np.exp(2 * (values - targets.max())).sum() for values in (logs[chosen], targets)]
        found.append((abs(float(np.log(sums[0] / sums[1]))), chosen))
    units[min(found, key=lambda match: match[0])[1]] = True
    return units


def _dimensions(selected: Array, pool: Array, rng: np.random.RandomState) -> Array:
    """Outlier units of whole dimensions: as many, in the layers where the selected ones are."""
    units = np.zeros(selected.shape, dtype=bool)

    def take(dimension: int, layers: Array, count: int) -> None:
        there = np.flatnonzero(pool[:, dimension] & ~units[:, dimension])
        distances = np.abs(there[:, None] - layers).min(axis=1, initial=len(pool))
        units[there[np.argsort(distances, kind="stable")[:count]], dimension] = True

    mine = rng.permutation(np.flatnonzero(selected.any(axis=0)))
    drawn = rng.permutation(np.flatnonzero(pool.any(axis=0))).tolist()
    for dimension, own in zip(drawn, mine, strict=False):
        layers = np.flatnonzero(selected[:, own])
        take(dimension, layers, len(layers))
    # Those drawn may be outliers in fewer layers: further dimensions make up the number.
    for dimension in [*drawn[len(mine) :], *drawn[: len(mine)]]:
        missing = int(selected.sum() - units.sum())
        take(dimension, np.flatnonzero(selected.any(axis=1)), missing)
    return units
