"""Would other items give the same units: split halves and folds, from the moments of the folds.

No model runs, and no single activation is read but for the shuffled labels, which say what
agreement is reached where there is nothing to agree on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, combinations
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Bool, Float

from lsns.analysis import MomentsAnalyzer
from lsns.analysis.selection import random_state
from lsns.analysis.shuffles import Centered, shuffle_labels
from lsns.audits.items import Items, Sides, merge_folds
from lsns.errors import LsnsError
from lsns.moments import Moments
from lsns.overlap import agreement
from lsns.table import Column, Table

Array = np.ndarray[Any, Any]
Split = Literal["halves", "folds", "parts"]
# The folds of one part of the items, and those of the other.
Pair = tuple[tuple[int, ...], tuple[int, ...]]
Agreement = dict[str, Any]
# Different positive and negative texts of each fold.
Counts = Sequence[tuple[int, int]]
HALVES = 20


@dataclass(frozen=True)
class MaskReliability:
    """How alike the masks of two parts of the items are, on average over splits.

    Attributes:
        split: `halves` (random halves), `folds` (each fold against all others), or `parts` (two
            parts of as many folds, which have no item in common and leave some out).
        items: number of different items that the smaller part holds, on average over splits.
        percentage: percentage of the units that is selected; None for a number of units.
        units: number of selected units.
        chosen: whether this is the localization's own amount.
        n: number of splits.
        dice: mean Dice over splits.
        dice_low: 2.5th percentile of Dice over splits. Splits share items: this is how much they
            differ, and no confidence interval.
        dice_high: 97.5th percentile of Dice over splits.
        dice_chance: expected Dice of random masks of that size.
        dice_shuffled: mean Dice after shuffling the labels; None if single activations were not
            kept, or groups are too few to be shuffled.
        jaccard: mean Jaccard over splits.
        jaccard_chance: Jaccard of random masks of that size.
        jaccard_shuffled: mean Jaccard after shuffling the labels; None as for `dice_shuffled`.
        phi: Dice corrected for chance (Cohen's kappa), mean over splits.
    """

    columns: ClassVar = (
        Column("split", lambda row: f"{row.split} *" if row.chosen else row.split),
        Column("items"),
        Column("%", "{percentage:g}", "-"),
        Column("units"),
        Column("n"),
        Column("Dice", "{dice:.3f}"),
        Column("range over splits", "{dice_low:.3f} to {dice_high:.3f}"),
        Column("chance", "{dice_chance:.3f}"),
        Column("shuffled", "{dice_shuffled:.3f}", "-"),
        Column("Jaccard", "{jaccard:.3f}"),
        Column("phi", "{phi:.3f}"),
    )

    split: Split
    items: int
    percentage: float | None
    units: int
    chosen: bool
    n: int
    dice: float
    dice_low: float
    dice_high: float
    dice_chance: float
    dice_shuffled: float | None
    jaccard: float
    jaccard_chance: float
    jaccard_shuffled: float | None
    phi: float


@dataclass(frozen=True)
class ScoreReliability:
    """The correlation of the score maps of two parts of the items, over all units.

    Attributes:
        split: `halves` or `folds`, as in `MaskReliability`.
        n: number of splits.
        r: mean of Pearson's r over splits.
        r_low: 2.5th percentile of r over splits.
        r_high: 97.5th percentile of r over splits.
        r_corrected: r for all items by Spearman-Brown's formula, whose theory is that of
            correlations; None for folds, which are no halves.
        r_shuffled: mean r after shuffling the labels; None as for `MaskReliability.dice_shuffled`.
    """

    split: Split
    n: int
    r: float
    r_low: float
    r_high: float
    r_corrected: float | None
    r_shuffled: float | None


@dataclass(frozen=True)
class Reliability:
    """How far other items give the same units.

    Attributes:
        rows: agreement of masks, by split and percentage.
        scores: correlation of score maps, by split.
        curve: agreement of the localization's own masks by the number of items, fewest first; its
            last point is that of the halves, in `rows`.
    """

    rows: tuple[MaskReliability, ...]
    scores: tuple[ScoreReliability, ...]
    curve: tuple[MaskReliability, ...] = ()

    def table(self) -> Table:
        """A row for each split and percentage, then the curve; the score maps are in the notes."""
        scores = [
            f"score maps, {row.split}: r {row.r:.3f} ({row.r_low:.3f} to {row.r_high:.3f}), "
            f"shuffled {_shown(row.r_shuffled)}, corrected {_shown(row.r_corrected)}"
            for row in self.scores
        ]
        note = (
            "*: the localization's own amount; items: of the smaller part; phi: Dice corrected for "
            "chance; range: the middle 95% of splits; corrected: by Spearman-Brown for all items"
        )
        rows = [*self.rows, *self.curve]
        return Table("reliability", MaskReliability.columns, rows, notes=[*scores, note])


def measure_reliability(
    folds: Sequence[Sides],
    analyzers: Sequence[MomentsAnalyzer],
    *,
    items: Items | None = None,
    counts: Counts | None = None,
    barred: Array | None = None,
    n_halves: int = HALVES,
    seed: int = 0,
) -> Reliability:
    """Split the items again and again, and select on both parts.

    Args:
        folds: (positive, negative) moments of each fold.
        analyzers: one for each amount of units, the localization's own first.
        items: single activations, for shuffled labels; None: no labels are shuffled.
        counts: different positive and negative texts of each fold; None: all texts differ.
        barred: units that cannot be selected.
        n_halves: number of random halves; fewer if the folds allow no more.
        seed: random seed for the splits and the shuffles.

    Raises:
        LsnsError: too few items or groups to split.
    """
    counts = [(a.n, b.n) for a, b in folds] if counts is None else counts
    size = len(_used(counts)) // 2

    def measure(
        split: Split, pairs: Sequence[Pair], analyzers: Sequence[MomentsAnalyzer]
    ) -> tuple[list[MaskReliability], ScoreReliability]:
        found, correlations = _agreements(
            analyzers, [(merge_folds(folds, a), merge_folds(folds, b)) for a, b in pairs], barred
        )
        shuffled = _shuffled_pairs(items, pairs, seed) if items is not None else []
        none, noise = _agreements(analyzers, shuffled, barred)
        number = round(float(np.mean([min(_sizes(counts, pair)) for pair in pairs])))
        rows = [
            _mask_row(split, number, analyzer, found[i], none[i], chosen=i == 0)
            for i, analyzer in enumerate(analyzers)
        ]
        return rows, _score_row(split, correlations, noise)

    halves = _random_parts(counts, size, n_halves, seed)
    if not halves:
        raise LsnsError(
            "the items cannot be split in halves with two different ones of either condition "
            "(and whole groups)"
        )
    splits: dict[Split, list[Pair]] = {"halves": halves, "folds": _single_folds(counts)}
    parts = [_random_parts(counts, number, n_halves, seed) for number in range(1, size)]
    rows, scores = zip(*(measure(s, p, analyzers) for s, p in splits.items() if p), strict=True)
    curve = [measure("parts", pairs, analyzers[:1])[0] for pairs in parts if pairs]
    return Reliability(tuple(chain(*rows)), tuple(scores), tuple(chain(*curve)))


def _random_parts(counts: Counts, size: int, count: int, seed: int) -> list[Pair]:
    """Random pairs of parts of the folds, all different, neither sharing a fold with the other.

    Args:
        counts: different positive and negative texts of each fold.
        size: folds in a part; if it is half of them, the other part is all the rest.
        count: largest number of pairs.
        seed: random seed for the draw.

    Returns:
        Pairs with two texts of either condition on both sides; empty if there are none.
    """
    used = _used(counts)
    others = len(used) - size if size == len(used) // 2 else size
    pairs = [
        (part, other)
        for part in combinations(used, size)
        for other in combinations([i for i in used if i not in part], others)
    ]
    # Of parts of one size every pair is there twice.
    distinct = {frozenset(pair): pair for pair in pairs}
    possible = [pair for pair in distinct.values() if _enough(counts, pair)]
    order: list[int] = random_state(seed).permutation(len(possible))[:count].tolist()
    return [possible[i] for i in order]


def _single_folds(counts: Counts) -> list[Pair]:
    """Each fold with all others; neighbours are joined until each has two texts per condition.

    Empty if no joining of neighbours does it, as for groups that each hold one condition.
    """
    used = _used(counts)
    for size in range(1, len(used)):
        parts = [tuple(used[i : i + size]) for i in range(0, len(used), size)]
        if len(parts[-1]) < size:
            parts[-2:] = [parts[-2] + parts[-1]]
        pairs = [_with_rest(part, used) for part in parts]
        if all(_enough(counts, pair) for pair in pairs):
            return pairs
    return []


def _used(counts: Counts) -> list[int]:
    return [i for i, both in enumerate(counts) if any(both)]


def _with_rest(part: tuple[int, ...], used: Sequence[int]) -> Pair:
    return part, tuple(i for i in used if i not in part)


def _sizes(counts: Counts, pair: Pair) -> list[int]:
    return [sum(sum(counts[i]) for i in part) for part in pair]


def _enough(counts: Counts, pair: Pair) -> bool:
    return all(sum(counts[i][side] for i in part) >= 2 for part in pair for side in (0, 1))


def _shuffled_pairs(items: Items, pairs: Sequence[Pair], seed: int) -> list[tuple[Sides, Sides]]:
    """For every split the moments of both parts, labels shuffled anew within each part.

    Empty if they cannot be shuffled.
    """
    parts = [np.isin(items.folds, part) for pair in pairs for part in pair]
    try:
        labels = [_shuffled_part(items, part, seed + i) for i, part in enumerate(parts, 1)]
    except LsnsError:
        return []
    sets = np.array([one for part, label in zip(parts, labels, strict=True)
                     for one in (part & label, part & ~label)])  # fmt: skip
    by_layer = [
        Centered(items.rows[:, layer]).moments(sets) for layer in range(items.rows.shape[1])
    ]
    arrays: list[Array] = [np.stack([parts[k] for parts in by_layer], axis=1) for k in range(4)]
    numbers: list[int] = sets.sum(axis=1).tolist()
    moments = [Moments(n, *(a[i] for a in arrays)) for i, n in enumerate(numbers)]
    sides = list(zip(moments[::2], moments[1::2], strict=True))
    return list(zip(sides[::2], sides[1::2], strict=True))


def _shuffled_part(items: Items, part: Array, seed: int) -> Bool[Array, " n_items"]:
    """Labels shuffled among the items of one part: as many of each condition as it had."""
    label = np.zeros(len(part), dtype=bool)
    inside = np.flatnonzero(part)
    groups = [items.groups[i] for i in inside.tolist()]
    texts = None if items.texts is None else items.texts[inside]
    label[inside] = shuffle_labels(items.positive[inside], groups, 1, seed=seed, texts=texts)[0]
    return label


def _agreements(
    analyzers: Sequence[MomentsAnalyzer],
    pairs: Sequence[tuple[Sides, Sides]],
    barred: Array | None,
) -> tuple[list[list[Agreement]], list[float]]:
    """For each analyzer the agreement of every split; and the correlations of the score maps."""
    found: list[list[Agreement]] = [[] for _ in analyzers]
    correlations = []
    for one, other in pairs:
        # The score does not depend on the amount: computed once for all of them.
        scores = analyzers[0].score(*one), analyzers[0].score(*other)
        correlations.append(_correlate(*scores))
        for place, analyzer in enumerate(analyzers):
            first, second = (analyzer.select(score, barred=barred) for score in scores)
            found[place].append(agreement(first, second) | {"units": int(first.sum())})
    return found, correlations


def _mask_row(
    split: Split,
    items: int,
    analyzer: MomentsAnalyzer,
    found: Sequence[Agreement],
    shuffled: Sequence[Agreement],
    *,
    chosen: bool,
) -> MaskReliability:
    means, none = _means(found), _means(shuffled)
    low, high = np.quantile([one["dice"] for one in found], [0.025, 0.975])
    return MaskReliability(
        **means | {"units": int(means["units"])},
        split=split,
        items=items,
        percentage=analyzer.config.get("percentage"),
        chosen=chosen,
        n=len(found),
        dice_low=float(low),
        dice_high=float(high),
        dice_shuffled=none.get("dice"),
        jaccard_shuffled=none.get("jaccard"),
    )


def _score_row(
    split: Split, correlations: Sequence[float], shuffled: Sequence[float]
) -> ScoreReliability:
    low, high = np.quantile(correlations, [0.025, 0.975])
    r = float(np.mean(correlations))
    return ScoreReliability(
        split=split,
        n=len(correlations),
        r=r,
        r_low=float(low),
        r_high=float(high),
        r_corrected=_spearman_brown(r) if split == "halves" else None,
        r_shuffled=float(np.mean(shuffled)) if shuffled else None,
    )


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _means(parts: Sequence[Agreement]) -> Agreement:
    names = parts[0] if parts else ()
    return {name: float(np.mean([part[name] for part in parts])) for name in names}


def _correlate(
    first: Float[Array, "n_layers hidden_size"], second: Float[Array, "n_layers hidden_size"]
) -> float:
    """Pearson's correlation of two score maps over all units; 0 if one of them is constant."""
    # From the first unit on, a constant map is exactly zero.
    a, b = first.ravel() - first.flat[0], second.ravel() - second.flat[0]
    a, b = a - a.mean(), b - b.mean()
    spread = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / spread if spread else 0.0


def _spearman_brown(r: float) -> float:
    """The reliability of all items, from the correlation of two halves: 2r / (1 + r).

    Source: the prophecy formula of "Some experimental results in the correlation of mental
    abilities" (https://doi.org/10.1111/j.2044-8295.1910.tb00207.x). It is for a correlation of
    scores, not of masks. Below 0 it says nothing, and r is returned.
    """
    return 2 * r / (1 + r) if r > 0 else r
