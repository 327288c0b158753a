"""Mergeable statistics of units: counts, means and sums of squared deviations, of x and of |x|.

Everything that the built-in analyzers select by is a function of these few arrays, so a new
percentage, sign or method needs no forward pass. All sums are in float64: float16 and float32
sums overflow or cancel without a sign of it.

Source: the pairwise update of "Updating formulae and a pairwise algorithm for computing sample
variances" (Stanford technical report STAN-CS-79-773).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Moments:
    """First and second moments of a group of items, for every unit.

    Attributes:
        n: number of items.
        mean: mean of x, shape (n_layers, hidden_size), float64.
        m2: sum of squared deviations of x from its mean, same shape.
        abs_mean: mean of |x|, same shape.
        abs_m2: sum of squared deviations of |x| from its mean, same shape.
    """

    n: int
    mean: Float[Array, "n_layers hidden_size"]
    m2: Float[Array, "n_layers hidden_size"]
    abs_mean: Float[Array, "n_layers hidden_size"]
    abs_m2: Float[Array, "n_layers hidden_size"]

    def __repr__(self) -> str:
        """Of how many items and units, in one line."""
        n_layers, hidden_size = self.mean.shape
        return f"Moments({self.n} items, {n_layers} layers x {hidden_size} units)"

    @classmethod
    def zeros(cls, shape: tuple[int, int]) -> Moments:
        """The moments of no items: the neutral element of `merge`."""
        return cls(0, *(np.zeros(shape) for _ in range(4)))

    @classmethod
    def of(cls, x: Float[Array, "n_items n_layers hidden_size"]) -> Moments:
        """The moments of the items in `x`, any float dtype."""
        if len(x) == 0:
            return cls.zeros((x.shape[1], x.shape[2]))
        values = np.asarray(x, dtype=np.float64)
        return cls(len(values), *_mean_and_m2(values), *_mean_and_m2(np.abs(values)))

    def update(self, x: Float[Array, "n_items n_layers hidden_size"]) -> Moments:
        """These moments with further items taken in."""
        return self.merge(Moments.of(x))

    def merge(self, other: Moments) -> Moments:
        """The moments of both groups together. Associative up to rounding."""
        n = self.n + other.n
        if self.n == 0 or other.n == 0:
            return other if self.n == 0 else self
        signed = _merge(self.n, self.mean, self.m2, other.n, other.mean, other.m2)
        absolute = _merge(self.n, self.abs_mean, self.abs_m2, other.n, other.abs_mean, other.abs_m2)
        return Moments(n, *signed, *absolute)


def merge_all(parts: Iterable[Moments]) -> Moments:
    """Merge in the order given, so that the same parts give the same bytes."""
    iterator = iter(parts)
    total = next(iterator)
    for part in iterator:
        total = total.merge(part)
    return total


def welch(
    positive: Moments, negative: Moments, *, signed: bool = False
) -> tuple[Float[Array, "n_layers hidden_size"], Float[Array, "n_layers hidden_size"]]:
    """Welch's unequal-variance t-test of every unit, positive against negative.

    Args:
        positive: moments of the positive items, at least 2.
        negative: moments of the negative items, at least 2.
        signed: test x itself; by default |x| is tested, as in the published method.

    Returns:
        t and the two-sided p, each of shape (n_layers, hidden_size). A unit whose variance is
        zero in both conditions has t = 0 and p = 1: its t is undefined (0/0 or x/0), and a NaN
        would spoil the correction over all units.

    Raises:
        ValueError: fewer than 2 items in a condition.

    Source: Welch's test, as in `scipy.stats.ttest_ind(equal_var=False)`.
    """
    # Imported here: scipy.special costs more than all the arithmetic below.
    from scipy.special import stdtr

    t, a, b = _t_and_errors(positive, negative, signed)
    spread = a**2 / (positive.n - 1) + b**2 / (negative.n - 1)
    varies = spread > 0
    freedom = 1.0 / np.where(varies, spread, 1.0)
    return t, np.where(varies, 2.0 * stdtr(freedom, -np.abs(t)), 1.0)


def welch_t(
    positive: Moments, negative: Moments, *, signed: bool = False
) -> Float[Array, "n_layers hidden_size"]:
    """The t of `welch` alone, for permutations, where p-values would take most of the time."""
    return _t_and_errors(positive, negative, signed)[0]


def mean_difference(
    positive: Moments, negative: Moments, *, signed: bool
) -> Float[Array, "n_layers hidden_size"]:
    """Positive minus negative mean, of x (`signed`) or of |x|."""
    if signed:
        return positive.mean - negative.mean
    return positive.abs_mean - negative.abs_mean


def adjust_p_values(p: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Benjamini-Hochberg adjusted p-values over all units together, same shape as `p`.

    Source: the step-up procedure of "Controlling the false discovery rate"
    (https://doi.org/10.1111/j.2517-6161.1995.tb02031.x).
    """
    flat = p.ravel()
    order = np.argsort(flat, kind="stable")
    stepped = flat[order] * (flat.size / np.arange(1, flat.size + 1))
    adjusted = np.empty_like(flat)
    adjusted[order] = np.minimum(np.minimum.accumulate(stepped[::-1])[::-1], 1.0)
    return adjusted.reshape(p.shape)


def _t_and_errors(positive: Moments, negative: Moments, signed: bool) -> tuple[Array, Array, Array]:
    """t, and the share of either condition in the squared error of the difference."""
    if min(positive.n, negative.n) < 2:
        raise ValueError(f"Welch's t needs 2 items per condition: {positive.n}, {negative.n}")
    difference = mean_difference(positive, negative, signed=signed)
    error_positive = _m2(positive, signed) / (positive.n - 1) / positive.n
    error_negative = _m2(negative, signed) / (negative.n - 1) / negative.n
    error = error_positive + error_negative
    varies = error > 0
    safe = np.where(varies, error, 1.0)
    t = np.where(varies, difference / np.sqrt(safe), 0.0)
    # Shares rather than errors: squares of very small variances underflow.
    return t, error_positive / safe, error_negative / safe


def _m2(moments: Moments, signed: bool) -> Array:
    return moments.m2 if signed else moments.abs_m2


def _mean_and_m2(values: Array) -> tuple[Array, Array]:
    # Shifted by the first item: a constant unit then has a variance of exactly zero, not 1e-34.
    shifted = values - values[0]
    mean = shifted.mean(axis=0)
    return values[0] + mean, np.square(shifted - mean).sum(axis=0)


def _merge(
    n_a: int, mean_a: Array, m2_a: Array, n_b: int, mean_b: Array, m2_b: Array
) -> tuple[Array, Array]:
    delta = mean_b - mean_a
    n = n_a + n_b
    return mean_a + delta * (n_b / n), m2_a + m2_b + np.square(delta) * (n_a * n_b / n)
