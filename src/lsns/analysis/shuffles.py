"""Labels shuffled, and the moments of each condition under every shuffle at once.

Sums over items are products of a matrix of labels with the activations, so a thousand shuffles
take a second. Shuffles keep what the design fixed: labels move within groups that hold both
conditions, and whole groups change sides where they hold one. Items with the same text move as one:
each for itself, they would say that chance splits what it cannot.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from lsns.analysis.selection import random_state
from lsns.errors import LsnsError
from lsns.moments import Moments

Array = np.ndarray[Any, Any]
# Uneven groups that change sides may leave a side with one item, which has no variance.
TRIES = 100


def shuffle_labels(
    positive: Bool[Array, " n_items"],
    groups: Sequence[str],
    count: int,
    *,
    seed: int,
    texts: Array | None = None,
) -> Bool[Array, "count n_items"]:
    """Labels (True: positive) under `count` random shuffles.

    Args:
        positive: true labels, at least two of either kind.
        groups: a label for each item; items of a group belong together.
        count: number of shuffles.
        seed: random seed for the draws.
        texts: a number for each item, equal for items with one text, which are of one group and
            one condition; None: all texts differ.

    Returns:
        Labels with at least two items of either kind; what has fewer is drawn again.

    Raises:
        LsnsError: hardly a shuffle has as many.
    """
    rng = random_state(seed)
    codes = np.unique(np.asarray(groups), return_inverse=True)[1]
    members = [np.flatnonzero(codes == code) for code in range(codes.max() + 1)]
    mixed = [m for m in members if 0 < positive[m].sum() < len(m)]
    whole = [m for m in members if not 0 < positive[m].sum() < len(m)]
    sides = np.array([positive[m[0]] for m in whole])
    copies = [_copies(m if texts is None else np.asarray(texts)[m]) for m in mixed]
    labels = np.tile(positive, (count, 1))
    for row in labels:
        for _ in range(TRIES):
            for m, (firsts, text) in zip(mixed, copies, strict=True):
                row[m] = rng.permutation(positive[m][firsts])[text]
            for m, side in zip(whole, rng.permutation(sides), strict=True):
                row[m] = side
            if 2 <= row.sum() <= len(row) - 2:
                break
        else:
            raise LsnsError(
                "labels cannot be shuffled: groups move as a whole, and hardly a shuffle leaves "
                "two items of either condition; the groups are too few or too uneven"
            )
    return labels


def _copies(texts: Array) -> tuple[Array, Array]:
    """The places of the different texts, as they come; and for each item which of them it is."""
    _, firsts, numbers = np.unique(texts, return_index=True, return_inverse=True)
    order = np.argsort(firsts)
    return firsts[order], np.argsort(order)[numbers]


class Centered:
    """Activations made ready for sums over many sets of items.

    From the first item on, a constant unit is exactly zero; then from the mean, for sums of
    squares of large numbers cancel.

    Args:
        rows: (n_items, n_units).
    """

    def __init__(self, rows: Float[Array, "n_items n_units"]) -> None:
        x = np.asarray(rows, dtype=np.float64)
        self.n_items = len(x)
        self._parts = [_center(x), _center(np.abs(x))]

    def moments(
        self, sets: Bool[Array, "n_sets n_items"]
    ) -> tuple[Float[Array, "n_sets n_units"], ...]:
        """Mean and sum of squared deviations of x, and of |x|, over the items of every set.

        Args:
            sets: the items of each set, at least one.
        """
        weights = sets.astype(np.float64)
        return tuple(array for part in self._parts for array in _mean_and_m2(*part, weights))


def shuffled_moments(
    items: Centered, labels: Bool[Array, "n_shuffles n_items"]
) -> Iterator[tuple[Array, Moments, Moments]]:
    """Moments of the two conditions under each shuffle, for some of the units.

    Args:
        items: activations of these units.
        labels: from `shuffle_labels`; or any others, of at least one item on each side.

    Yields:
        (which, positive, negative) for shuffles with the same number of positive items: the
        indexes of these shuffles, and Moments whose arrays have shape (n_which, n_units).
    """
    numbers = labels.sum(axis=1)
    for number in np.unique(numbers).tolist():
        which = np.flatnonzero(numbers == number)
        positive, negative = (items.moments(sets) for sets in (labels[which], ~labels[which]))
        yield which, Moments(number, *positive), Moments(items.n_items - number, *negative)


def _center(x: Array) -> tuple[Array, Array, Array]:
    """Where the values are taken from; the centered values; their squares."""
    centered = x - x[0]
    shift = centered.mean(axis=0)
    centered -= shift
    return x[0] + shift, centered, np.square(centered)


def _mean_and_m2(
    center: Array, centered: Array, squares: Array, weights: Array
) -> tuple[Array, Array]:
    n = weights.sum(axis=1)[:, None]
    mean, summed = weights @ centered / n, weights @ squares
    m2 = summed - np.square(mean) * n
    # What is left where all values of a set are equal is rounding.
    m2[m2 <= 1e-12 * summed] = 0.0
    return center + mean, m2
