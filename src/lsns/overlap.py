"""How many units two masks share, beside what chance would give. Pure arrays.

Two chance levels. Over all units: the second mask is any set of its size. By layer: it is any set
with as many units in each layer as it has, so that agreement on layers alone counts as chance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from lsns.errors import LsnsError

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Overlap:
    """Units that two masks share.

    Attributes:
        shared: how many.
        expected: by chance over all units, k1 * k2 / N.
        p_value: of at least as many by chance (hypergeometric, one-sided).
        expected_by_layer: by chance within each layer, summed.
        p_value_by_layer: of at least as many by chance within each layer (the exact distribution
            of the sum of one hypergeometric number per layer).
    """

    shared: int
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
    shared = int((first & second).sum())
    width = first.shape[1]
    counts = list(zip(first.sum(axis=1).tolist(), second.sum(axis=1).tolist(), strict=True))
    by_layer = np.ones(1)
    for k1, k2 in counts:
        by_layer = np.convolve(by_layer, hypergeometric(width, k1, k2))
    k1, k2 = int(first.sum()), int(second.sum())
    return Overlap(
        shared=shared,
        expected=k1 * k2 / first.size,
        p_value=_tail(hypergeometric(first.size, k1, k2), shared),
        expected_by_layer=sum(a * b for a, b in counts) / width,
        p_value_by_layer=_tail(by_layer, shared),
    )


def hypergeometric(total: int, k1: int, k2: int) -> Float[Array, " least_plus_1"]:
    """Probabilities of 0, 1, ... min(k1, k2) shared units of two random sets out of `total`."""
    x = np.arange(min(k1, k2) + 1)
    possible = x >= k1 + k2 - total
    # Of the impossible ones, any possible number stands in, and is set to 0.
    safe = np.where(possible, x, x[-1])
    log_p = _log_choose(k1, safe) + _log_choose(total - k1, k2 - safe)
    return np.where(possible, np.exp(log_p - _log_choose(total, np.array(k2))), 0.0)


def _log_choose(n: int, k: Array) -> Array:
    from scipy.special import gammaln

    return gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)


def _tail(probabilities: Array, at_least: int) -> float:
    return float(min(probabilities[at_least:].sum(), 1.0))
