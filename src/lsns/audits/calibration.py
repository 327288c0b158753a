"""The largest score that chance would give anywhere in the model: a max-statistic permutation test.

Source: "Nonparametric permutation tests for functional neuroimaging"
(https://doi.org/10.1002/hbm.1058). The maximum over all units makes the threshold hold for the
family of all units (family-wise error); the p of the largest counts the true labels among the
shuffles, so that it is never 0 ("Permutation p-values should never be zero",
https://doi.org/10.2202/1544-6115.1585).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from lsns.analysis import MomentsAnalyzer
from lsns.analysis.shuffles import Centered, shuffle_labels, shuffled_moments
from lsns.audits.items import Items
from lsns.errors import LsnsError
from lsns.table import Table

Array = np.ndarray[Any, Any]
PERMUTATIONS = 1000
ALPHA = 0.05
# Values of (shuffles x units) that are held at a time: 2 MB in float64 for each array.
HELD = 1 << 18
# A shuffle that gives the true labels again gives the same score but for its last digits.
TIE = 1e-9


@dataclass(frozen=True)
class Calibration:
    """What chance would give, and what was found.

    Attributes:
        statistic: name of the method whose score is permuted.
        permutations: number of shuffles.
        alpha: family-wise error rate of the threshold.
        threshold: a score above it is reached by chance, anywhere in the model, with a
            probability of at most `alpha`.
        largest: largest score under the true labels.
        weakest: lowest selected score.
        p_value: probability of as large a score anywhere by chance.
        selected: number of selected units.
        above: number of selected units that score above the threshold.
        units_above: number of all units that do.
    """

    statistic: str
    permutations: int
    alpha: float
    threshold: float
    largest: float
    weakest: float
    p_value: float
    selected: int
    above: int
    units_above: int

    def table(self) -> Table:
        """All of it in words: there is one row, and its numbers are of different kinds."""
        title = f"calibration: largest {self.statistic} score under {self.permutations} shuffles"
        lead = (
            f"threshold at family-wise p {self.alpha:g}: {self.threshold:.3f}; selected scores "
            f"{self.weakest:.3f} to {self.largest:.3f} (p of the largest {self.p_value:.4f})",
            f"above it: {self.above} of {self.selected} selected units, "
            f"{self.units_above} of all units",
        )
        return Table(title, (), (), lead=lead)


def permutation_test(
    items: Items,
    scores: Float[Array, "n_layers hidden_size"],
    mask: Bool[Array, "n_layers hidden_size"],
    analyzer: MomentsAnalyzer,
    *,
    permutations: int = PERMUTATIONS,
    alpha: float = ALPHA,
    seed: int = 0,
    barred: Bool[Array, "n_layers hidden_size"] | None = None,
) -> Calibration:
    """Permute labels, and compare the scores with the largest of each shuffle.

    Args:
        items: single activations with their labels.
        scores: score of each unit under the true labels.
        mask: selected units.
        analyzer: method whose `score` is permuted, whatever its selection does after it.
        permutations: number of shuffles.
        alpha: family-wise error rate.
        seed: random seed for the shuffles.
        barred: units that could not have been selected; they are left out of the maximum.

    Raises:
        LsnsError: too few different shuffles for that error rate.
    """
    positive = items.positive
    labels = shuffle_labels(positive, items.groups, permutations, seed=seed, texts=items.texts)
    different = len(np.unique(np.vstack([positive, labels]), axis=0))
    if alpha * different < 1:
        raise LsnsError(
            f"labels can be shuffled in {different} ways only, too few for p {alpha:g}: "
            "there are too few different items (or groups of items)"
        )
    free = np.ones(mask.shape, dtype=bool) if barred is None else ~barred
    largest = np.sort(_largest_scores(items.rows, labels, analyzer, free))
    found = float(scores[free].max())
    # Of permutations + 1 values, the true one among them, at most alpha lie above. Exact
    # arithmetic on the decimal that was written: 0.07 * 100 is 7.000000000000001 in floats.
    above = int(Fraction(str(alpha)) * (permutations + 1))
    threshold = float(largest[min(permutations - above, permutations - 1)])
    limit = threshold + TIE * abs(threshold)
    return Calibration(
        statistic=analyzer.get_analyzer_name(),
        permutations=permutations,
        alpha=alpha,
        threshold=threshold,
        largest=found,
        weakest=float(scores[mask].min()),
        p_value=float((1 + np.sum(largest + TIE * np.abs(largest) >= found)) / (1 + permutations)),
        selected=int(mask.sum()),
        above=int((scores[mask] > limit).sum()),
        units_above=int((scores[free] > limit).sum()),
    )


def _largest_scores(
    rows: Float[Array, "n_items n_layers hidden_size"],
    labels: Bool[Array, "n_shuffles n_items"],
    analyzer: MomentsAnalyzer,
    free: Bool[Array, "n_layers hidden_size"],
) -> Float[Array, " n_shuffles"]:
    """The largest score of any unit under each shuffle, computed layer by layer."""
    largest = np.full(len(labels), -np.inf)
    step = max(1, HELD // rows.shape[2])
    for layer in range(rows.shape[1]):
        columns = np.flatnonzero(free[layer])
        if not columns.size:
            continue
        items = Centered(np.asarray(rows[:, layer, :])[:, columns])
        for start in range(0, len(labels), step):
            part = slice(start, start + step)
            for which, first, second in shuffled_moments(items, labels[part]):
                best = analyzer.score(first, second).max(axis=1)
                largest[start + which] = np.maximum(largest[start + which], best)
    return largest
