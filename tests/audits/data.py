"""Activations made up for the tests of the audit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lsns.audits.items import Items, Sides
from lsns.moments import Moments


def deal_folds(positive: np.ndarray, n_folds: int) -> np.ndarray:
    """A fold for each item, as many of either condition in each as there can be."""
    folds = np.empty(len(positive), dtype=int)
    for side in (positive, ~positive):
        folds[side] = np.arange(side.sum()) % n_folds
    return folds


def make_items(rows: np.ndarray, n_positive: int, n_folds: int = 10) -> Items:
    """Items without groups, positive ones first."""
    positive = np.arange(len(rows)) < n_positive
    groups = [str(i) for i in range(len(rows))]
    return Items(rows, positive, groups, deal_folds(positive, n_folds))


def fold_moments(items: Items) -> list[Sides]:
    """The moments of each condition in each fold."""
    rows, positive, folds = np.asarray(items.rows), items.positive, items.folds
    return [
        (Moments.of(rows[(folds == f) & positive]), Moments.of(rows[(folds == f) & ~positive]))
        for f in range(int(folds.max()) + 1)
    ]


def noise_with(
    planted: Sequence[tuple[int, int]],
    effect: float,
    *,
    n: int = 40,
    shape: tuple[int, int] = (3, 50),
    seed: int = 0,
) -> np.ndarray:
    """Noise of standard deviation 1 around 10, and higher planted units in the first n items."""
    rows = np.random.default_rng(seed).normal(10, 1, (2 * n, *shape))
    for layer, unit in planted:
        rows[:n, layer, unit] += effect
    return rows.astype(np.float32)
