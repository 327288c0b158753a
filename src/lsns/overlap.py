"""How alike two masks are, beside what chance would give. Pure arrays.

Two chance levels. Over all units: the second mask is any set of its size. By layer: it is any set
with as many units in each layer as it has, so that masks that agree on layers alone agree by
chance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float

from lsns.errors import LsnsError
from lsns.table import Column

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """How alike two masks A and B of one model are.

    Attributes:
        shared: number of units in both masks.
        dice: 2 |A and B| / (|A| + |B|); 0 for two empty masks.
        jaccard: |A and B| / |A or B|; 0 for two empty masks.
        phi: Pearson's correlation of the two masks. For masks of one size it is Cohen's kappa,
            which is Dice corrected for chance. For a mask of all units (or none) it is not
            defined: 1 if the masks are equal, else 0.
        dice_chance: expected Dice of two random masks of these sizes.
        jaccard_chance: Jaccard at the expected number of shared units.
        expected: expected number of shared units by chance over all units: |A| |B| / units.
        p_value: probability of at least as many shared units by that chance (hypergeometric,
            one-sided).
        expected_by_layer: expected number by chance within each layer, summed over layers.
        p_value_by_layer: probability of at least as many by that chance (the exact distribution
            of the sum of one hypergeometric number per layer).
    """

    chance: ClassVar = (
        Column("chance", "{expected:.1f}"),
        Column("p", "{p_value:.2g}"),
        Column("by layer", "{expected_by_layer:.1f}"),
        Column("p", "{p_value_by_layer:.2g}"),
    )

    shared: int
    dice: float
    jaccard: float
    phi: float
    dice_chance: float
    jaccard_chance: float
    expected: float
    p_value: float
    expected_by_layer: float
    p_value_by_layer: float


def overlap(
    first: Bool[Array, "n_layers hidden_size"], second: Bool[Array, "n_layers hidden_size"]
) -> Overlap:
    """The overlap of two masks, against chance.

    Raises:
        LsnsError: masks of different shapes.
    """
    if first.shape != second.shape:
        raise LsnsError(f"masks of different models: {first.shape} and {second.shape}")
    shared, width = int((first & second).sum()), first.shape[1]
    counts = list(zip(first.sum(axis=1).tolist(), second.sum(axis=1).tolist(), strict=True))
    by_layer = np.ones(1)
    for a, b in counts:
        by_layer = np.convolve(by_layer, _hypergeometric(width, a, b))
    a, b = int(first.sum()), int(second.sum())
    return Overlap(
        shared=shared,
        **agreement(first, second),
        expected=a * b / first.size,
        p_value=_tail(_hypergeometric(first.size, a, b), shared),
        expected_by_layer=sum(a * b for a, b in counts) / width,
        p_value_by_layer=_tail(by_layer, shared),
    )


def overlaps(
    masks: Mapping[str, Bool[Array, "n_layers hidden_size"]],
) -> dict[tuple[str, str], Overlap]:
    """The overlap of every pair of masks, by their names, in the order of the masks.

    Raises:
        LsnsError: masks of different shapes.
    """
    (first, shape), *others = [(name, units.shape) for name, units in masks.items()]
    for name, other in others:
        if other != shape:
            raise LsnsError(
                f"masks of different models: {first} has {shape[0]} x {shape[1]} units, "
                f"{name} {other[0]} x {other[1]}"
            )
    return {(a, b): overlap(masks[a], masks[b]) for a, b in combinations(masks, 2)}


def agreement(
    first: Bool[Array, "n_layers hidden_size"], second: Bool[Array, "n_layers hidden_size"]
) -> dict[str, float]:
    """Dice, Jaccard, phi and the first two by chance, named as in `Overlap`; no probabilities."""
    a, b, total = int(first.sum()), int(second.sum()), first.size
    shared, expected = int((first & second).sum()), a * b / total
    spread = (a * (total - a) * b * (total - b)) ** 0.5
    both, either = max(a + b, 1), max(a + b - shared, 1)
    same = float(np.array_equal(first, second))
    return {
        "dice": 2 * shared / both,
        "jaccard": shared / either,
        "phi": (shared * total - a * b) / spread if spread else same,
        "dice_chance": 2 * expected / both,
        "jaccard_chance": expected / (a + b - expected) if a + b else 0.0,
    }


def _hypergeometric(total: int, a: int, b: int) -> Float[Array, " least_plus_1"]:
    """Probabilities of 0, 1, ... min(a, b) shared units of two random sets out of `total`."""
    x = np.arange(min(a, b) + 1)
    possible = x >= a + b - total
    # Of the impossible ones, any possible number stands in, and is set to 0.
    safe = np.where(possible, x, x[-1])
    log_p = _log_choose(a, safe) + _log_choose(total - a, b - safe)
    return np.where(possible, np.exp(log_p - _log_choose(total, np.array(b))), 0.0)


def _log_choose(n: int, k: Array) -> Array:
    from scipy.special import gammaln

    return gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)


def _tail(probabilities: Array, at_least: int) -> float:
    return float(min(probabilities[at_least:].sum(), 1.0))
