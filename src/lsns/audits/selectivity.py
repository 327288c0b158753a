"""How large is the effect on items that did not choose the units: no double dipping.

Units are chosen on all folds but one and measured on that one, for every fold in turn, so that
each item is measured once, by units that it did not help to choose.

The folds choose each other's units, so that their effects are not independent: where no unit
answers, the textbook variance of Hedges' g is a third of the true one. So labels are shuffled
through the very same cross-fit: a p-value counts the shuffles with as large an effect. For the
interval, what is shuffled are the deviations from the means of the conditions, and every unit gets
back an effect, of a size that the data make likely: what the held-out effect then varies more than
that of units chosen beforehand is the variance that is due to choosing, and is added to the latter.

Source: "Circular analysis in systems neuroscience: the dangers of double dipping"
(https://doi.org/10.1038/nn.2303). Hedges' g and its interval: "Distribution theory for Glass's
estimator of effect size and related estimators" (https://doi.org/10.3102/10769986006002107).
"Permutation P-values should never be zero" (https://doi.org/10.2202/1544-6115.1585).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float

from lsns.analysis import MomentsAnalyzer
from lsns.analysis.shuffles import shuffle_labels
from lsns.audits.crossfit import CrossFit, likely_effects
from lsns.audits.items import Items, Sides, merge_folds
from lsns.errors import LsnsError
from lsns.moments import Moments, welch_t
from lsns.table import Column, Table

Array = np.ndarray[Any, Any]
# Of the normal distribution: 95%.
Z = 1.959963984540054
SHUFFLES = 199


@dataclass(frozen=True)
class Effect:
    """A standardised difference of two conditions.

    Attributes:
        g: Hedges' g: the difference of the means in pooled standard deviations of the items,
            corrected for small samples.
        low: lower end of its 95% interval.
        high: upper end of it.
        n_positive: number of items of the positive condition.
        n_negative: number of items of the negative condition.
    """

    g: float
    low: float
    high: float
    n_positive: int
    n_negative: int


@dataclass(frozen=True)
class Response:
    """The mean response of the selected units to a condition.

    Attributes:
        condition: name of the condition.
        n: number of items.
        mean: mean response, in standard deviations of the units within a condition, from their mean
            over both conditions of the contrast.
        low: lower end of the 95% interval of the mean.
        high: upper end of it.
    """

    columns: ClassVar = (
        Column("condition"),
        Column("items", "{n}"),
        Column("response (SD)", "{mean:+.3f}"),
        Column("95%", "{low:+.3f} to {high:+.3f}"),
    )

    condition: str
    n: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Selectivity:
    """What the units do with items that did not choose them.

    Attributes:
        folds: number of folds with items of either condition.
        units: number of selected units.
        held_out: effect on items held out; its interval is for the expected effect of as many
            items, by shuffled deviations.
        p_value: share of shuffles of the labels with at least as large an effect on items held out.
        in_sample: effect on the very items that chose the units, which is too large.
        profile: mean responses to each condition, all to items held out.
    """

    folds: int
    units: int
    held_out: Effect
    p_value: float
    in_sample: Effect
    profile: tuple[Response, ...]

    def table(self) -> Table:
        """The profile, below both effects."""
        effects = {"held out": self.held_out, "in sample (double dipping)": self.in_sample}
        lead = [
            f"{name}: g {e.g:.2f} (95% {e.low:.2f} to {e.high:.2f}), "
            f"{e.n_positive} against {e.n_negative} items"
            for name, e in effects.items()
        ]
        lead.insert(1, f"p {self.p_value:.2g}: shuffled labels reach it as often, held out alike")
        title = f"selectivity, {self.folds} folds"
        return Table(title, Response.columns, self.profile, lead=lead)


@dataclass(frozen=True, eq=False)
class _Probe:
    """Units, and how their activations become one response.

    Attributes:
        units: which units.
        signs: 1 or -1 for each unit: which way it answers; None: magnitudes are read.
        center: mean of each unit over both conditions.
        spread: standard deviation of each unit within a condition; infinite for a constant one.
    """

    units: Bool[Array, "n_layers hidden_size"]
    signs: Float[Array, " n_selected"] | None
    center: Float[Array, " n_selected"]
    spread: Float[Array, " n_selected"]

    def respond(
        self, rows: Float[Array, "n_items n_layers hidden_size"]
    ) -> Float[Array, " n_items"]:
        """The mean over units of each item's standardised activation."""
        values = np.asarray(rows)[:, self.units].astype(np.float64)
        values = np.abs(values) if self.signs is None else values * self.signs
        return ((values - self.center) / self.spread).mean(axis=1)


def _make_probe(analyzer: MomentsAnalyzer, sides: Sides, barred: Array | None = None) -> _Probe:
    """The units that these items choose, standardised by the same items."""
    units = analyzer.select(analyzer.score(*sides), barred=barred)
    positive, negative = sides
    everything, signs = positive.merge(negative), None
    if analyzer.signed:
        signs = np.where(welch_t(positive, negative, signed=True)[units] < 0, -1.0, 1.0)
        center, squares = everything.mean[units] * signs, positive.m2 + negative.m2
    else:
        center, squares = everything.abs_mean[units], positive.abs_m2 + negative.abs_m2
    pooled = np.sqrt(squares / (positive.n + negative.n - 2))[units]
    return _Probe(units, signs, center, np.where(pooled > 0, pooled, np.inf))


def measure_selectivity(
    folds: Sequence[Sides],
    items: Items,
    analyzer: MomentsAnalyzer,
    *,
    barred: Array | None = None,
    further: Mapping[str, tuple[Array, Sequence[int | None]]] | None = None,
    shuffles: int = SHUFFLES,
    seed: int = 0,
) -> Selectivity:
    """Effect size and response profile on held-out items.

    Args:
        folds: (positive, negative) moments of each fold.
        items: single activations; of items with one text the first is measured.
        analyzer: method that chooses the units.
        barred: units that cannot be chosen.
        further: activations of each further condition by its name, and for each of its items the
            fold of the item that it was made from; None: it was made from no item, and is measured
            by the units of every fold.
        shuffles: number of shuffles of the labels.
        seed: random seed for the shuffles.

    Raises:
        LsnsError: fewer than two folds with items, too few items outside a fold, or labels that
            cannot be shuffled.
    """
    items = items.different()
    used = [i for i, (a, b) in enumerate(folds) if a.n or b.n]
    probes = {fold: _make_probe(analyzer, _all_but(folds, items, (fold,)), barred) for fold in used}
    held_out = np.empty(len(items.rows))
    for fold, probe in probes.items():
        inside = np.flatnonzero(items.folds == fold)
        held_out[inside] = probe.respond(items.rows[inside])
    everything = _make_probe(analyzer, _all_but(folds, items, ()), barred)
    in_sample = everything.respond(items.rows)
    responses = {"positive": held_out[items.positive], "negative": held_out[~items.positive]}
    for name, (rows, places) in (further or {}).items():
        responses[name] = _respond_further(probes, np.asarray(rows), places)
    effect = hedges_g(responses["positive"], responses["negative"])
    p_value, half = _shuffled(
        effect,
        _variance(responses["positive"], responses["negative"]),
        items, analyzer, barred, shuffles, seed,
    )  # fmt: skip
    return Selectivity(
        folds=len(used),
        units=int(everything.units.sum()),
        held_out=replace(effect, low=effect.g - half, high=effect.g + half),
        p_value=p_value,
        in_sample=hedges_g(in_sample[items.positive], in_sample[~items.positive]),
        profile=tuple(_response(name, values) for name, values in responses.items()),
    )


def hedges_g(positive: Float[Array, " n"], negative: Float[Array, " m"]) -> Effect:
    """Hedges' g with its large-sample 95% interval; 0 where nothing varies.

    Args:
        positive: a value per item, at least one.
        negative: a value per item, at least one.
    """
    n, m = len(positive), len(negative)
    freedom = max(n + m - 2, 1)
    spread = _pooled(positive, negative)
    d = float(positive.mean() - negative.mean()) / spread if spread > 0 else 0.0
    g = d * (1 - 3 / (4 * freedom - 1))
    half = Z * np.sqrt((n + m) / (n * m) + g**2 / (2 * (n + m)))
    return Effect(g, float(g - half), float(g + half), n, m)


def _shuffled(
    effect: Effect,
    variance: float,
    items: Items,
    analyzer: MomentsAnalyzer,
    barred: Array | None,
    shuffles: int,
    seed: int,
) -> tuple[float, float]:
    """Probability of as large an effect by chance, and the half width of its 95% interval.

    Args:
        effect: on items held out.
        variance: of that effect, if units had been chosen beforehand.
        items: single activations.
        analyzer: method that chooses the units.
        barred: units that cannot be chosen.
        shuffles: number of shuffles of the labels.
        seed: random seed for the shuffles.
    """
    from scipy.special import stdtrit

    labels = shuffle_labels(items.positive, items.groups, shuffles, seed=seed)
    rows = np.asarray(items.rows, dtype=np.float64)
    values = rows if analyzer.signed else np.abs(rows)
    # From the first item on, a constant unit is exactly zero.
    values = values - values[0]
    values -= values.mean(axis=0)
    by_chance, _ = _effects(labels, CrossFit(values, items.folds, analyzer, barred).respond(labels))
    # What differs in its last digits only is as large.
    as_large = int(np.sum(by_chance >= effect.g - 1e-9 * abs(effect.g)))
    sides = (Moments.of(rows[items.positive]), Moments.of(rows[~items.positive]))
    likely = likely_effects(sides, signed=analyzer.signed)
    freedom = len(values) - 2
    for side in (items.positive, ~items.positive):
        values[side] -= values[side].mean(axis=0)
    values *= np.sqrt((freedom + 1) / freedom)
    cross = CrossFit(values, items.folds, analyzer, barred)
    around, spreads = _effects(labels, cross.respond(labels, likely))
    # Shuffling keeps the spread of units that are always chosen, which other items would not.
    kept = max(0.0, 1 / (2 * freedom) - float(np.var(np.log(spreads), ddof=1)))
    ratio = len(values) / (items.positive.sum() * (~items.positive).sum())
    beforehand = ratio + np.square(around) * (1 / (2 * len(values)) - kept)
    chosen = max(0.0, float(np.var(around, ddof=1) - beforehand.mean()))
    p_value = (1 + as_large) / (1 + len(by_chance))
    return p_value, float(stdtrit(freedom, 0.975) * np.sqrt(variance + chosen))


def _variance(positive: Array, negative: Array) -> float:
    """Of Hedges' g of units chosen beforehand, whatever the distributions (delta method)."""
    n, spread = len(positive) + len(negative), _pooled(positive, negative)
    if spread == 0:
        return 0.0
    g, total = hedges_g(positive, negative).g, 0.0
    for values, sign in ((positive, 1), (negative, -1)):
        off = (values - values.mean()) / spread
        pulls = sign * off / len(values) - g * (np.square(off) - np.mean(off**2)) / (2 * n)
        total += float(np.sum(np.square(pulls)))
    return total * n / (n - 2)


def _effects(labels: Array, responses: Array) -> tuple[Array, Array]:
    """Hedges' g under each labelling that has one, and the pooled standard deviations."""
    there = ~np.isnan(responses).any(axis=1)
    if there.sum() < 2:
        raise LsnsError("too few items (or groups of items) to shuffle labels and choose units")
    both = [(row[label], row[~label])
            for label, row in zip(labels[there], responses[there], strict=True)]  # fmt: skip
    spreads = [_pooled(*sides) for sides in both]
    return np.array([hedges_g(*sides).g for sides in both]), np.maximum(spreads, 1e-300)


def _pooled(positive: Array, negative: Array) -> float:
    """Pooled standard deviation; from the first item on: of equal values it is exactly zero."""
    squares = sum(np.var(values - values[0]) * len(values) for values in (positive, negative))
    return float(np.sqrt(squares / max(len(positive) + len(negative) - 2, 1)))


def _respond_further(
    probes: Mapping[int, _Probe], rows: Array, places: Sequence[int | None]
) -> Float[Array, " n_items"]:
    """Each item by the units of its own fold, or the mean over those of every fold."""
    by_fold = {fold: probe.respond(rows) for fold, probe in probes.items()}
    overall = np.mean(list(by_fold.values()), axis=0)
    return np.array(
        [overall[i] if place is None else by_fold[place][i] for i, place in enumerate(places)]
    )


def _response(condition: str, values: Float[Array, " n"]) -> Response:
    from scipy.special import stdtrit

    n, mean = len(values), float(values.mean())
    half = 0.0
    if n > 1:
        half = float(stdtrit(n - 1, 0.975) * values.std(ddof=1) / np.sqrt(n))
    return Response(condition, n, mean, mean - half, mean + half)


def _all_but(folds: Sequence[Sides], items: Items, out: Sequence[int]) -> Sides:
    """The moments of all other folds, if those hold two items of either condition."""
    left = items.positive[~np.isin(items.folds, out)]
    if min(left.sum(), (~left).sum()) < 2:
        raise LsnsError(
            "too few items (or groups of items) to choose units on some and measure others"
        )
    return merge_folds(folds, (i for i in range(len(folds)) if i not in out))
