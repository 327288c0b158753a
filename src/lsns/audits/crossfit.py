"""Responses of held-out items under many labels at once, and the effects that units likely have.

For every fold, units are chosen on all other folds and measured on it. Sums over the items of a
fold are products of a matrix of labels with the activations: hundreds of labellings take seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from lsns.analysis import MomentsAnalyzer
from lsns.audits.items import Sides
from lsns.moments import Moments, mean_difference, welch

Array = np.ndarray[Any, Any]
# Values of (labels x units) that are held at a time: 32 MB in float64 for each array.
HELD = 1 << 22
# Of a standard normal distribution: beyond it a p-value is zero in double precision.
_MOST = 37.0


@dataclass(frozen=True, eq=False)
class CrossFit:
    """Activations in folds, and how units are chosen on them.

    Attributes:
        values: what the analyzer looks at, x or |x|, from each unit's mean over all items.
        folds: the fold of each item.
        analyzer: method that chooses the units.
        barred: units that cannot be chosen.
    """

    values: Float[Array, "n_items n_layers hidden_size"]
    folds: Array
    analyzer: MomentsAnalyzer
    barred: Array | None = None

    def respond(
        self,
        labels: Bool[Array, "n_labels n_items"],
        effects: Float[Array, "n_layers hidden_size"] | None = None,
    ) -> Float[Array, "n_labels n_items"]:
        """Each item's mean standardised response, under every labelling.

        Args:
            labels: which items are positive, under each labelling.
            effects: what is added to each unit's value in positive items; None: nothing.

        Returns:
            Responses; NaN under labels that leave fewer than two items of either condition to
            choose units on.
        """
        shape = self.values.shape[1:]
        flat = self.values.reshape(len(self.values), -1)
        added = np.zeros(flat.shape[1]) if effects is None else effects.ravel()
        step = max(1, HELD // flat.shape[1])
        parts = [
            self._respond(flat, labels[start : start + step], added, shape)
            for start in range(0, len(labels), step)
        ]
        return np.concatenate(parts)

    def _respond(self, flat: Array, labels: Array, added: Array, shape: tuple[int, ...]) -> Array:
        weights = labels.astype(np.float64)
        responses = np.full(labels.shape, np.nan)
        first, all_items = _sums(weights, flat), _sums(np.ones((1, len(flat))), flat)
        for fold in np.unique(self.folds):
            inside = np.flatnonzero(self.folds == fold)
            x, ones = flat[inside], np.ones((1, len(inside)))
            positive = [a - b for a, b in zip(first, _sums(weights[:, inside], x), strict=True)]
            both = [a - b for a, b in zip(all_items, _sums(ones, x), strict=True)]
            negative = [a - b for a, b in zip(both, positive, strict=True)]
            numbers = labels.sum(axis=1) - labels[:, inside].sum(axis=1)
            n = len(flat) - len(inside)
            for number in np.unique(numbers).tolist():
                if not 2 <= number <= n - 2:
                    continue
                which = np.flatnonzero(numbers == number)
                sides = (
                    _moments(number, positive[0][which], positive[1][which], added),
                    _moments(n - number, negative[0][which], negative[1][which]),
                )
                scores = self.analyzer.score(*sides)
                center = (both[0][0] + number * added) / n
                for place, score, difference, squares in zip(
                    which.tolist(), scores, sides[0].mean - sides[1].mean,
                    sides[0].m2 + sides[1].m2, strict=True,
                ):  # fmt: skip
                    mask = self.analyzer.select(score.reshape(shape), barred=self.barred)
                    units = np.flatnonzero(mask)
                    spread = np.sqrt(squares[units] / (n - 2))
                    spread[spread == 0] = np.inf
                    if self.analyzer.signed:
                        spread = np.where(difference[units] < 0, -spread, spread)
                    values = x[:, units] + np.outer(weights[place, inside], added[units])
                    responses[place, inside] = ((values - center[units]) / spread).mean(axis=1)
        return responses


def likely_effects(sides: Sides, *, signed: bool) -> Float[Array, "n_layers hidden_size"]:
    """Differences of the conditions as they likely are without noise; not unit by unit.

    Their distribution is the one under which the observed differences are most likely: noise makes
    the largest of them too large. The unit with the largest observed difference gets the largest.

    Args:
        sides: moments of the positive and of the negative items.
        signed: whether x is looked at, or |x|.

    Source: "Consistency of the maximum likelihood estimator in the presence of infinitely many
    incidental parameters" (https://doi.org/10.1214/aoms/1177728066), by the EM algorithm.
    """
    from scipy.special import ndtri

    t, p = welch(*sides, signed=signed)
    observed = -np.sign(t).ravel() * np.maximum(ndtri(p / 2), -_MOST).ravel()
    low, high = observed.min(), observed.max()
    possible = np.linspace(low, high, int(np.clip((high - low) * 6, 40, 500)))
    counts, edges = np.histogram(observed, int(np.clip((high - low) * 12, 100, 1000)))
    likelihood = np.exp(-np.square((edges[1:] + edges[:-1])[:, None] / 2 - possible) / 2)
    weights = np.full(len(possible), 1 / len(possible))
    for _ in range(300):
        expected = np.maximum(likelihood @ weights, np.finfo(float).tiny)
        weights *= likelihood.T @ (counts / expected) / len(observed)
    ranks = (np.argsort(np.argsort(observed, kind="stable")) + 0.5) / len(observed)
    place = np.searchsorted(np.cumsum(weights) / weights.sum(), ranks)
    effects = possible[np.minimum(place, len(possible) - 1)].reshape(t.shape)
    with np.errstate(invalid="ignore", divide="ignore"):
        error = mean_difference(*sides, signed=signed) / t
    return effects * np.where(np.isfinite(error), error, 0.0)


def _sums(weights: Array, x: Array) -> tuple[Array, Array]:
    return weights @ x, weights @ np.square(x)


def _moments(n: int, sums: Array, squares: Array, added: Array | float = 0.0) -> Moments:
    """Of what the analyzer looks at, for x and |x| alike."""
    m2 = squares - np.square(sums) / n
    # What is left where all values are equal is rounding.
    m2[m2 <= 1e-12 * squares] = 0.0
    mean = sums / n + added
    return Moments(n, mean, m2, mean, m2)
