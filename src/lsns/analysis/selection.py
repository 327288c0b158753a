"""Scores to exactly k units: how many, from which percentiles, over all layers or per layer.

Selection is by rank, never by threshold, so ties cannot make a mask larger than asked; tied units
are taken in the order of their index. Pure arrays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from lsns.errors import LsnsError

Array = np.ndarray[Any, Any]


def random_state(seed: int) -> np.random.RandomState:
    """A local generator, whose stream is that of the published scripts and never changes."""
    if not 0 <= seed < 2**32:
        raise LsnsError(f"seed must lie between 0 and {2**32 - 1}; got {seed}")
    return np.random.RandomState(seed)


@dataclass(frozen=True)
class PercentileRange:
    """Where in the distribution of scores units are taken from.

    `100-100` is the k highest, `0-0` the k lowest, `x-y` a random draw of k among the units
    whose score lies between those percentiles.
    """

    start: float
    end: float

    @classmethod
    def parse(cls, text: str) -> PercentileRange:
        """Read `START-END`, as in `100-100`, `0-0` or `80-90`."""
        advice = "use 100-100 (highest), 0-0 (lowest) or START-END with 0 <= START < END <= 100"
        try:
            start, end = (float(part) for part in text.split("-"))
        except ValueError:
            raise LsnsError(f"localize-range {text!r} is not a range; {advice}") from None
        extreme = start == end and start in (0.0, 100.0)
        if not extreme and not 0 <= start < end <= 100:
            raise LsnsError(f"localize-range {text!r} is not possible; {advice}")
        return cls(start, end)

    @property
    def is_draw(self) -> bool:
        """Whether units are drawn at random, rather than taken by rank."""
        return self.start != self.end


def count_units(
    total: int, *, percentage: float | None = None, num_units: int | None = None
) -> int:
    """How many units to select out of `total`: a percentage, rounded down, or a number.

    Raises:
        LsnsError: both or neither given, out of bounds, or less than one unit.
    """
    if num_units is not None and percentage is None:
        if not float(num_units).is_integer() or not 1 <= num_units <= total:
            raise LsnsError(f"num-units must lie between 1 and {total}, all units; got {num_units}")
        return int(num_units)
    if percentage is None or num_units is not None:
        raise LsnsError("give either a percentage or a number of units, and not both")
    if not (math.isfinite(percentage) and 0 < percentage <= 100):
        raise LsnsError(f"percentage must be above 0 and at most 100; got {percentage}")
    # Exact arithmetic on the decimal that was written: 0.29 / 100 * 10000 is 28.999... in floats.
    k = int(Fraction(str(percentage)) * total / 100)
    if k == 0:
        raise LsnsError(
            f"{percentage}% of {total} units is less than one unit; "
            f"give at least {100 / total:.2g} or use --num-units"
        )
    return k


def select_units(
    scores: Float[Array, "n_layers hidden_size"],
    k: int,
    *,
    localize_range: str = "100-100",
    per_layer: bool = False,
    seed: int = 42,
    barred: Bool[Array, "n_layers hidden_size"] | None = None,
) -> Bool[Array, "n_layers hidden_size"]:
    """A mask of exactly `k` units.

    Args:
        scores: one finite number per unit.
        k: number of units, 1 to all of them.
        localize_range: where units are taken from, as `PercentileRange.parse` reads it.
        per_layer: the same number in every layer; where `k` is no multiple of the number of
            layers, the first layers take one more.
        seed: random seed for a draw from between two percentiles. The draw is that of the published
            scripts: `numpy.random.RandomState(seed).choice`, a stream that never changes.
        barred: units that are not selected whatever their score; percentiles are of the others.

    Raises:
        LsnsError: a score that is not a number, fewer than `k` units that may be selected (in a
            layer, fewer than its share), or fewer in the range.
    """
    if np.isnan(scores).any():
        raise LsnsError(f"{int(np.isnan(scores).sum())} units have no score (NaN); none selected")
    where = PercentileRange.parse(localize_range)
    rng = random_state(seed)
    free = np.ones(scores.shape, dtype=bool) if barred is None else ~barred.astype(bool)
    if not per_layer:
        chosen = _select(scores.ravel(), free.ravel(), k, where, rng, "the model")
        return chosen.reshape(scores.shape)
    shares = [k // len(scores) + (row < k % len(scores)) for row in range(len(scores))]
    rows = [
        _select(row, free[layer], shares[layer], where, rng, f"layer {layer}")
        for layer, row in enumerate(scores)
    ]
    return np.stack(rows)


def _select(
    scores: Array, free: Array, k: int, where: PercentileRange, rng: np.random.RandomState, of: str
) -> Array:
    open_units = np.flatnonzero(free)
    if open_units.size < k:
        raise LsnsError(
            f"{k} units of {of} were asked for and only {open_units.size} may be selected "
            f"({free.size - open_units.size} are excluded); ask for fewer"
        )
    mask = np.zeros(scores.size, dtype=bool)
    pick = _draw if where.is_draw else _rank
    mask[open_units[pick(scores[open_units], k, where, rng)]] = True
    return mask


def _rank(scores: Array, k: int, where: PercentileRange, _: np.random.RandomState) -> Array:
    if k == 0:
        return np.zeros(0, dtype=int)
    ranked = -scores if where.start == 100 else scores
    # Only those that can be among the first k are sorted: hundreds rather than all units.
    candidates = np.flatnonzero(ranked <= np.partition(ranked, k - 1)[k - 1])
    return candidates[np.argsort(ranked[candidates], kind="stable")[:k]]


def _draw(scores: Array, k: int, where: PercentileRange, rng: np.random.RandomState) -> Array:
    if k == 0:
        # A layer's share may be none, and a layer without free units has no percentiles.
        return np.zeros(0, dtype=int)
    low, high = np.percentile(scores, [where.start, where.end])
    candidates = np.flatnonzero((scores >= low) & (scores <= high))
    if candidates.size < k:
        raise LsnsError(
            f"localize-range {where.start:g}-{where.end:g} holds {candidates.size} units, "
            f"{k} were asked for; widen the range or ask for fewer"
        )
    return rng.choice(candidates, size=k, replace=False)
