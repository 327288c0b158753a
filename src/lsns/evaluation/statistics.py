"""Statistics of benchmark results: bootstrap over items within paradigms, and empirical p.

Pure arrays and a local generator: the same seed gives the same resamples, whatever else is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from lsns.errors import LsnsError

Array = np.ndarray[Any, Any]
RESAMPLES = 2000
# With more, their means under all conditions would be gigabytes.
MOST_RESAMPLES = 100_000
LEVEL = 0.95
# With fewer, the smallest p that could be reached is 0.05 or more.
ENOUGH_CONTROLS = 20
# Means over paradigms differ in their last digits by the order of the sum: still ties.
TIE = 1e-9
# Counts that are held at a time: 32 MB.
HELD = 1 << 22


def mean_over_paradigms(
    values: Float[Array, "n_items n_conditions"],
    weights: Float[Array, " n_items"],
    paradigms: Int[Array, " n_items"],
) -> Float[Array, " n_conditions"]:
    """The mean over paradigms of sum(values) / sum(weights) within each.

    Args:
        values: with weights of 1, the items' scores; for perplexity, a window's summed surprisal.
        weights: 1, or the number of tokens of each window.
        paradigms: the paradigm of each item, from 0.
    """
    groups = _groups(paradigms)
    ratios = [values[group].sum(axis=0) / weights[group].sum() for group in groups]
    return np.mean(ratios, axis=0)


def bootstrap_means(
    values: Float[Array, "n_items n_conditions"],
    weights: Float[Array, " n_items"],
    paradigms: Int[Array, " n_items"],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Float[Array, "resamples n_conditions"]:
    """`mean_over_paradigms` of resamples: paradigms are drawn with replacement, then their items.

    With P paradigms, P are drawn with replacement; each time one is drawn, as many of its items as
    it has are drawn with replacement. All conditions get the same draws, so that the difference of
    two columns is a paired one. Several draws of one paradigm in a resample are pooled; for
    weights of 1 that is the mean over the draws. With one paradigm, its items are resampled.

    Args:
        values: items' scores, with weights of 1; for perplexity, a window's summed surprisal.
        weights: 1, or the number of tokens of each window.
        paradigms: number of each item's paradigm, from 0.
        resamples: number of resamples.
        seed: random seed for the draws.
    """
    check_resamples(resamples)
    rng = np.random.default_rng(seed)
    groups = _groups(paradigms)
    drawn = rng.multinomial(len(groups), np.full(len(groups), 1 / len(groups)), size=resamples)
    total = np.zeros((resamples, values.shape[1]))
    for place, group in enumerate(groups):
        step = max(1, HELD // len(group))
        for start in range(0, resamples, step):
            times = drawn[start : start + step, place]
            counts = _draw_items(rng, times, len(group))
            sums, sizes = counts @ values[group], counts @ weights[group]
            share = np.divide(times, sizes, out=np.zeros(len(times)), where=sizes > 0)
            total[start : start + step] += sums * share[:, None] / len(groups)
    return total


def check_resamples(resamples: int) -> None:
    """Raise an `LsnsError` for a number of resamples that cannot be drawn."""
    if resamples < 1:
        raise LsnsError(f"resamples must be at least 1; got {resamples}")
    if resamples > MOST_RESAMPLES:
        raise LsnsError(f"resamples must be at most {MOST_RESAMPLES:,}; got {resamples}")


def interval(
    samples: Float[Array, "resamples n_conditions"], level: float = LEVEL
) -> tuple[Float[Array, " n_conditions"], Float[Array, " n_conditions"]]:
    """The percentile interval of each column: its lower and upper ends."""
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high


def empirical_p(harm: float, controls: Sequence[float]) -> float:
    """How rare a harm is among controls, one-sided; ties count against the mask.

    Args:
        harm: harm of the mask's lesion; larger is worse for the model.
        controls: harms of the control lesions.

    Returns:
        (1 + controls at least as harmful) / (1 + controls), which is never 0.

    Raises:
        LsnsError: no controls.
    """
    if not len(controls):
        raise LsnsError("no controls; a p needs at least one")
    as_harmful = int(np.sum(np.asarray(controls) >= harm - TIE))
    return (1 + as_harmful) / (1 + len(controls))


def _groups(paradigms: Array) -> list[Array]:
    return [np.flatnonzero(paradigms == paradigm) for paradigm in np.unique(paradigms)]


def _draw_items(rng: np.random.Generator, times: Array, n_items: int) -> Float[Array, "n m"]:
    """How often each item is drawn in each resample: `times` x n_items draws in all."""
    rows = np.repeat(np.arange(len(times)), times * n_items)
    places = rows * n_items + rng.integers(0, n_items, size=rows.size)
    counts = np.bincount(places, minlength=len(times) * n_items)
    return counts.reshape(len(times), n_items).astype(np.float64)
