"""Would other items give the same units: split halves and folds, from the moments of the folds.

No model runs, and no single activation is read but for the shuffled labels, which say what
agreement is reached where there is nothing to agree on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Bool, Float

from lsns.analysis import MomentsAnalyzer
from lsns.analysis.selection import random_state
from lsns.audits.shuffles import Centered, shuffle_labels
from lsns.errors import LsnsError
from lsns.moments import Moments, merge_all
from lsns.overlap import agreement
from lsns.table import Column, Table

Array = np.ndarray[Any, Any]
Split = Literal["halves", "folds"]
Sides = tuple[Moments, Moments]
Agreement = dict[str, float]
# Different positive and negative texts of each fold.
Counts = Sequence[tuple[int, int]]
HALVES = 20
MOST_HALVES = 10_000
PERCENTAGES = (0.125, 0.25, 0.5, 1.0, 2.0, 5.0)


@dataclass(frozen=True)
class MaskReliability:
    """How alike the masks of two parts of the items are, on average over splits.

    Attributes:
        split: `halves` (random halves), or `folds` (each fold against all others).
        percentage: of the units; None for a number of units.
        units: how many are selected.
        chosen: whether this is the localization's own amount.
        n: how many splits.
        dice: mean over splits.
        dice_low: the 2.5th percentile over splits.
        dice_high: the 97.5th.
        dice_chance: of random masks of that size.
        dice_shuffled: after shuffling the labels; None if single activations were not kept, or
            groups are too few to be shuffled.
        jaccard: mean over splits.
        jaccard_chance: of random masks of that size.
        jaccard_shuffled: after shuffling the labels.
        phi: Dice corrected for chance (Cohen's kappa), mean over splits.
        phi_corrected: phi for all items by Spearman-Brown; None for folds, which are no halves.
    """

    columns: ClassVar = (
        Column("split", lambda row: f"{row.split} *" if row.chosen else row.split),
        Column("%", "{percentage:g}", "-"),
        Column("units"),
        Column("n"),
        Column("Dice", "{dice:.3f}"),
        Column("95%", "{dice_low:.3f} to {dice_high:.3f}"),
        Column("chance", "{dice_chance:.3f}"),
        Column("shuffled", "{dice_shuffled:.3f}", "-"),
        Column("Jaccard", "{jaccard:.3f}"),
        Column("corrected", "{phi_corrected:.3f}", "-"),
    )

    split: Split
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
    phi_corrected: float | None


@dataclass(frozen=True)
class ScoreReliability:
    """The correlation of the score maps of two parts of the items, over all units.

    Attributes:
        split: see `MaskReliability`.
        n: how many splits.
        r: mean of Pearson's r over splits.
        r_low: the 2.5th percentile over splits.
        r_high: the 97.5th.
        r_corrected: for all items, by Spearman-Brown; None for folds.
        r_shuffled: after shuffling the labels; None as for `MaskReliability.dice_shuffled`.
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
    """

    rows: tuple[MaskReliability, ...]
    scores: tuple[ScoreReliability, ...]

    def table(self) -> Table:
        """A row for each split and percentage; the score maps are in the notes."""
        scores = [
            f"score maps, {row.split}: r {row.r:.3f} ({row.r_low:.3f} to {row.r_high:.3f}), "
            f"shuffled {_shown(row.r_shuffled)}, corrected {_shown(row.r_corrected)}"
            for row in self.scores
        ]
        note = (
            "*: the localization's own amount; corrected: phi (Dice corrected for chance) of "
            "halves, by Spearman-Brown for all items"
        )
        return Table("reliability", MaskReliability.columns, self.rows, notes=[*scores, note])


@dataclass(frozen=True, eq=False)
class Items:
    """Single activations.

    Attributes:
        rows: (n_items, n_layers, hidden_size).
        positive: which items are positive.
        groups: a label per item.
        folds: the fold of each item.
        texts: a number per item, the same for items with the same text, which share group and
            fold; None: all texts differ.
    """

    rows: Float[Array, "n_items n_layers hidden_size"]
    positive: Bool[Array, " n_items"]
    groups: Sequence[str]
    folds: Array
    texts: Array | None = None

    def different(self) -> Items:
        """The first item of every text: what is the same twice counts once."""
        if self.texts is None:
            return self
        firsts: list[int] = np.sort(np.unique(self.texts, return_index=True)[1]).tolist()
        if len(firsts) == len(self.texts):
            return self
        groups = [self.groups[i] for i in firsts]
        return Items(self.rows[firsts], self.positive[firsts], groups, self.folds[firsts])


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
        items: for shuffled labels; None: no single activations.
        counts: different positive and negative texts of each fold; None: all texts differ.
        barred: units that cannot be selected.
        n_halves: how many random halves; fewer if the folds allow no more.
        seed: of the splits and the shuffles.

    Raises:
        LsnsError: too few items or groups to split.
    """
    counts = [(a.n, b.n) for a, b in folds] if counts is None else counts
    splits = {"halves": random_halves(counts, n_halves, seed), "folds": single_folds(counts)}
    rows, scores = [], []
    for name, chosen in splits.items():
        if not chosen:
            continue
        pairs = [_merged(folds, split) for split in chosen]
        chance = None if items is None else _chance_pairs(items, chosen, seed)
        found, correlations = _agreements(analyzers, pairs, barred)
        none, noise = _agreements(analyzers, chance, barred) if chance else (None, None)
        split: Any = name
        for place, analyzer in enumerate(analyzers):
            shuffled = None if none is None else none[place]
            rows.append(_mask_row(split, analyzer, found[place], shuffled, chosen=place == 0))
        scores.append(_score_row(split, correlations, noise))
    return Reliability(tuple(rows), tuple(scores))


def random_halves(
    counts: Counts, count: int, seed: int
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Random halves of the folds, all different, each with the other half.

    Args:
        counts: different positive and negative texts of each fold.
        count: of halves at most.
        seed: of the draw.

    Raises:
        LsnsError: no split leaves two texts of either condition on both sides.
    """
    used = [i for i, both in enumerate(counts) if any(both)]
    firsts = combinations(used, len(used) // 2)
    pairs = [(half, tuple(i for i in used if i not in half)) for half in firsts]
    # With an even number every split is there twice.
    distinct = {frozenset(pair): pair for pair in pairs}
    possible = [pair for pair in distinct.values() if all(_enough(counts, half) for half in pair)]
    if not possible:
        raise LsnsError(
            "the items cannot be split in halves with two different ones of either condition "
            "(and whole groups)"
        )
    order: list[int] = random_state(seed).permutation(len(possible))[:count].tolist()
    return [possible[i] for i in order]


def single_folds(counts: Counts) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Each fold with all others; neighbours are joined until each has two texts per condition.

    Empty if no joining of neighbours does it, as for groups that each hold one condition.
    """
    used = [i for i, both in enumerate(counts) if any(both)]
    for size in range(1, len(used)):
        parts = [tuple(used[i : i + size]) for i in range(0, len(used), size)]
        if len(parts[-1]) < size:
            parts[-2:] = [parts[-2] + parts[-1]]
        pairs = [(part, tuple(i for i in used if i not in part)) for part in parts]
        if all(_enough(counts, side) for pair in pairs for side in pair):
            return pairs
    return []


def _enough(counts: Counts, which: Sequence[int]) -> bool:
    return all(sum(counts[i][side] for i in which) >= 2 for side in (0, 1))


def _merged(
    folds: Sequence[Sides], split: tuple[Sequence[int], Sequence[int]]
) -> tuple[Sides, Sides]:
    one, other = (
        (merge_all(folds[i][0] for i in half), merge_all(folds[i][1] for i in half))
        for half in split
    )
    return one, other


def _chance_pairs(
    items: Items, splits: Sequence[tuple[Sequence[int], Sequence[int]]], seed: int
) -> list[tuple[Sides, Sides]] | None:
    try:
        return _shuffled_pairs(items, splits, seed)
    except LsnsError:
        return None


def _shuffled_pairs(
    items: Items, splits: Sequence[tuple[Sequence[int], Sequence[int]]], seed: int
) -> list[tuple[Sides, Sides]]:
    """For every split, the moments of both parts, the labels shuffled anew within each."""
    sides = [np.isin(items.folds, half) for split in splits for half in split]
    labels = [_shuffled_side(items, side, seed + place) for place, side in enumerate(sides, 1)]
    sets = np.array([one for side, label in zip(sides, labels, strict=True)
                     for one in (side & label, side & ~label)])  # fmt: skip
    by_layer = [
        Centered(items.rows[:, layer]).moments(sets) for layer in range(items.rows.shape[1])
    ]
    arrays: list[Array] = [np.stack([parts[k] for parts in by_layer], axis=1) for k in range(4)]
    numbers: list[int] = sets.sum(axis=1).tolist()
    moments = [Moments(n, *(a[i] for a in arrays)) for i, n in enumerate(numbers)]
    pairs = list(zip(moments[::2], moments[1::2], strict=True))
    return list(zip(pairs[::2], pairs[1::2], strict=True))


def _shuffled_side(items: Items, side: Array, seed: int) -> Bool[Array, " n_items"]:
    """Labels shuffled among the items of one part: as many of each condition as it had."""
    label = np.zeros(len(side), dtype=bool)
    inside = np.flatnonzero(side)
    groups = [items.groups[i] for i in inside.tolist()]
    texts = None if items.texts is None else items.texts[inside]
    label[inside] = shuffle_labels(items.positive[inside], groups, 1, seed=seed, texts=texts)[0]
    return label


def _agreements(
    analyzers: Sequence[MomentsAnalyzer],
    pairs: Sequence[tuple[Sides, Sides]],
    barred: Array | None,
) -> tuple[list[list[Agreement]], list[float]]:
    """Per analyzer the agreement of every split, with the number of units; and correlations."""
    found: list[list[Agreement]] = [[] for _ in analyzers]
    correlations = []
    for one, other in pairs:
        # The score does not depend on the amount: computed once for all of them.
        scores = analyzers[0].score(*one), analyzers[0].score(*other)
        correlations.append(_correlate(*scores))
        for place, analyzer in enumerate(analyzers):
            first, second = (analyzer.select(score, barred=barred) for score in scores)
            found[place].append({"units": int(first.sum()), **agreement(first, second)})
    return found, correlations


def _mask_row(
    split: Split,
    analyzer: MomentsAnalyzer,
    found: Sequence[Agreement],
    shuffled: Sequence[Agreement] | None,
    *,
    chosen: bool,
) -> MaskReliability:
    means, none = _means(found), _means(shuffled or ())
    low, high = np.quantile([one["dice"] for one in found], [0.025, 0.975])
    return MaskReliability(
        split=split,
        percentage=analyzer.config.get("percentage"),
        units=int(found[0]["units"]),
        chosen=chosen,
        n=len(found),
        dice=means["dice"],
        dice_low=float(low),
        dice_high=float(high),
        dice_chance=means["dice_chance"],
        dice_shuffled=none.get("dice"),
        jaccard=means["jaccard"],
        jaccard_chance=means["jaccard_chance"],
        jaccard_shuffled=none.get("jaccard"),
        phi=means["phi"],
        phi_corrected=_spearman_brown(means["phi"]) if split == "halves" else None,
    )


def _score_row(
    split: Split, correlations: Sequence[float], shuffled: Sequence[float] | None
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
    abilities" (https://doi.org/10.1111/j.2044-8295.1910.tb00207.x). It is for a correlation: it
    is applied to score maps and to phi, not to Dice. Below 0 it says nothing, and r is returned.
    """
    return 2 * r / (1 + r) if r > 0 else r
