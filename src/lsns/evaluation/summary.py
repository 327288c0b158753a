"""Item-level results to rows: values, differences, lesions beside controls, dissociations. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from lsns.errors import LsnsError
from lsns.evaluation.benchmark import Benchmark
from lsns.evaluation.conditions import ALL, CONTROLS, LEAST, Condition
from lsns.evaluation.expectation import sides
from lsns.evaluation.statistics import (
    ENOUGH_CONTROLS,
    Estimate,
    beside_controls,
    combine,
    empirical_p,
    lost_share,
    paradigm_values,
    trend,
)
from lsns.evaluation.study import (
    ControlRow,
    DissociationRow,
    InteractionRow,
    SummaryRow,
    TrendRow,
)
from lsns.lesions.controls import effective_number
from lsns.specs import Expect

if TYPE_CHECKING:
    import pyarrow as pa

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What all conditions came to on one benchmark; column 0 is the intact model.

    Attributes:
        benchmark: name of what was scored.
        domain: the benchmark's domain.
        measure: `accuracy` or `perplexity`.
        items: number of items; an item of SyntaxGym is one with all its predictions.
        paradigms: number of paradigms.
        values: (n_units, n_conditions) a share correct, or nats per token, of each paradigm; of
            each item, if there is one paradigm.
        chance: the share correct that guessing has; 0 for perplexity.
    """

    benchmark: str
    domain: str
    measure: str
    items: int
    paradigms: int
    values: Float[Array, "n_units n_conditions"]
    chance: float = 0.0

    @property
    def graded(self) -> bool:
        """Whether it is a share correct, whose chance level is known."""
        return self.measure != "perplexity"

    @property
    def harm_sign(self) -> int:
        """Which way is worse for the model: -1 for accuracy, 1 for surprisal."""
        return -1 if self.graded else 1

    @property
    def differences(self) -> Float[Array, "n_units n_conditions"]:
        """To the intact model, on the same items; for perplexity, the log of the ratio."""
        return self.values - self.values[:, :1]

    @property
    def unable(self) -> bool:
        """Whether the intact model is not shown to be better than guessing: nothing can be lost."""
        return self.graded and self.lost(0) is None

    def lost(self, place: int) -> Float[Array, " n_units"] | None:
        """The share of the intact model's ability that a condition takes; None: it has none."""
        if not self.graded:
            return None
        return lost_share(self.values[:, 0], self.values[:, place], self.chance)


def measure_outcome(benchmark: Benchmark, tables: Sequence[pa.Table]) -> Outcome:
    """The outcome of a benchmark from its cells.

    Args:
        benchmark: what was scored.
        tables: items of each condition, the intact model first.

    Raises:
        LsnsError: the cells are not of the same items.
    """
    names = _names(tables[0])
    if any(_names(table) != names for table in tables[1:]):
        raise LsnsError(f"{benchmark.name}: conditions have other items; use a new output folder")
    values, weights = _values(benchmark, tables)
    chances = np.array(tables[0].column("chance").to_pylist(), np.float64)
    items, paradigms = _codes(names)
    # Predictions of an item are not independent: an item is drawn with all of them.
    n_items = int(items.max()) + 1
    summed = np.zeros((n_items, len(tables) + 1))
    np.add.at(summed, items, np.column_stack([values, np.nan_to_num(chances)]))
    sizes = np.bincount(items, weights=weights, minlength=n_items)
    of_item = np.zeros(n_items, dtype=np.int64)
    of_item[items] = paradigms
    found = paradigm_values(summed, sizes, of_item)
    about = benchmark.name, benchmark.domain, benchmark.measure
    chance = float(found[:, -1].mean())
    return Outcome(*about, n_items, int(paradigms.max()) + 1, found[:, :-1], chance)


def summarize(
    outcome: Outcome, conditions: Sequence[Condition], smallest: float
) -> tuple[list[SummaryRow], list[ControlRow]]:
    """A row for each condition, and one for each lesion and kind of its controls.

    Args:
        outcome: of one benchmark.
        conditions: the intact model, lesions and controls, in the outcome's order.
        smallest: the smallest effect that counts; see `Study`.
    """
    named = ("benchmark", "domain", "measure", "items", "paradigms")
    about = {name: getattr(outcome, name) for name in named}
    rows: list[SummaryRow] = []
    controls: list[ControlRow] = []
    if outcome.graded:
        # Of a model that guesses nothing can be lost, and no difference is too small.
        smallest *= max(float(outcome.values[:, 0].mean()) - outcome.chance, 0.0)
    for place, condition in enumerate(conditions):
        value = _ends("", Estimate.of(outcome.values[:, place]))
        effect = {}
        if condition.kind != "intact":
            effect = _compared("difference", Estimate.of(outcome.differences[:, place]), smallest)
        shown = {name: _shown(end, graded=outcome.graded) for name, end in value.items()}
        rows.append(SummaryRow(**about, **condition.columns, **shown, **effect))
        controls += _control_rows(outcome, conditions, place, smallest)
    return rows, controls


def dissociate(
    outcomes: Sequence[Outcome], conditions: Sequence[Condition], expect: Expect
) -> tuple[list[DissociationRow], list[ControlRow], list[InteractionRow]]:
    """What lesions take of what they should harm and of what they should spare.

    Each side is the mean over its benchmarks of the share that is lost of what the intact model
    does above chance, so that benchmarks with other room to fall can be compared. The gap's p is
    among the gaps of the controls.

    Args:
        outcomes: one for each benchmark.
        conditions: the intact model, lesions and controls, in the outcomes' order.
        expect: which benchmarks a lesion should harm, and which it should spare.

    Returns:
        A row for each lesion that has benchmarks on both sides, one for each of these and kind of
        its controls, and one for each two lesions of networks that should harm different ones.
    """
    able = [outcome for outcome in outcomes if outcome.graded and not outcome.unable]
    rows: list[DissociationRow] = []
    controls: list[ControlRow] = []
    found: list[tuple[int, Sequence[Outcome], Sequence[Outcome]]] = []
    for place, condition in enumerate(conditions):
        harm, spare = sides(expect, condition.network, able)
        if condition.kind != "lesion" or not harm or not spare:
            continue
        harmed, spared = _lost(harm, place), _lost(spare, place)
        gap = harmed - spared
        ends = _ends("harmed", harmed) | _ends("spared", spared) | _ends("gap", gap)
        about = condition.columns
        named = ("target", "part", "percentage", "mode", "mask", "units")
        names = {"harm": _joined(harm), "spare": _joined(spare)}
        rows.append(DissociationRow(**{name: about[name] for name in named}, **names, **ends))
        found.append((place, harm, spare))
        controls += _gap_rows(conditions, place, harm, spare)
    return rows, controls, _interactions(conditions, found)


def find_trends(outcome: Outcome, conditions: Sequence[Condition]) -> Iterator[TrendRow]:
    """The trend over doses of each series of masks that differ in their number of units alone.

    Args:
        outcome: of one benchmark.
        conditions: the intact model, lesions and controls, in the outcome's order.
    """
    series: dict[tuple[str, str], dict[float, int]] = {}
    for place, condition in enumerate(conditions):
        if condition.kind == "lesion" and condition.percentage:
            doses = series.setdefault((condition.series, condition.mode), {})
            doses[condition.percentage] = place
    for (name, mode), doses in series.items():
        found = trend(outcome.differences[:, list(doses.values())], list(doses))
        if found is not None:
            slope, p = found
            benchmark, percentages = outcome.benchmark, tuple(sorted(doses))
            yield TrendRow(benchmark, name, mode, percentages, **_ends("slope", slope), p=p)


def _lost(outcomes: Sequence[Outcome], place: int) -> Estimate:
    """The share lost, on average over benchmarks, which were drawn independently."""
    parts = [lost for one in outcomes if (lost := one.lost(place)) is not None]
    return combine([Estimate.of(part) for part in parts], [1 / len(parts)] * len(parts))


def _joined(outcomes: Sequence[Outcome]) -> str:
    return ", ".join(outcome.benchmark for outcome in outcomes)


def _interactions(
    conditions: Sequence[Condition],
    found: Sequence[tuple[int, Sequence[Outcome], Sequence[Outcome]]],
) -> list[InteractionRow]:
    """Two whole masks, of which each should harm what the other should spare: mask x domain."""
    rows: list[InteractionRow] = []
    for (one, harm, _), (other, others, _) in combinations(found, 2):
        first, second = conditions[one], conditions[other]
        crossed = not any(outcome in others for outcome in harm)
        if not crossed or first.mode != second.mode or {first.part, second.part} != {ALL}:
            continue
        # On the same paradigms, so the two lesions are paired within each benchmark.
        parts = [
            (Estimate.of(a - b), sign / len(side))
            for side, sign in ((harm, 1.0), (others, -1.0))
            for outcome in side
            if (a := outcome.lost(one)) is not None and (b := outcome.lost(other)) is not None
        ]
        total = combine([part for part, _ in parts], [weight for _, weight in parts])
        ends = _ends("interaction", total)
        rows.append(InteractionRow(first.label, second.label, first.mode, **ends))
    return rows


def _controls_of(conditions: Sequence[Condition], place: int) -> Iterator[tuple[str, list[int]]]:
    """Each kind of a lesion's controls with their places; nothing for what is no lesion."""
    lesion = conditions[place]
    for kind in CONTROLS if lesion.kind == "lesion" else ():
        places = [p for p, one in enumerate(conditions) if one.is_control_of(lesion, kind)]
        if places:
            yield kind, places


def _control_rows(
    outcome: Outcome, conditions: Sequence[Condition], place: int, smallest: float
) -> Iterator[ControlRow]:
    lesion, values = conditions[place], outcome.values
    means = values.mean(axis=0)
    harm = outcome.harm_sign * means
    about = {"benchmark": outcome.benchmark, "measure": outcome.measure}
    for kind, places in _controls_of(conditions, place):
        beside = beside_controls(values[:, place], values[:, places])
        # The least selective units are one mask, not a draw from a distribution.
        p = None if kind == LEAST else empirical_p(float(harm[place]), harm[places].tolist())
        yield ControlRow(
            **about,
            **_kind_of(lesion, kind, [conditions[p] for p in places]),
            **_spread([_shown(v, graded=outcome.graded) for v in means[places].tolist()]),
            p=p,
            **_compared("beside", beside, smallest),
        )


def _gap_rows(
    conditions: Sequence[Condition],
    place: int,
    harm: Sequence[Outcome],
    spare: Sequence[Outcome],
) -> Iterator[ControlRow]:
    """The gap of a lesion among those of its controls."""

    def gap(which: int) -> float:
        return _lost(harm, which).value - _lost(spare, which).value

    for kind, places in _controls_of(conditions, place):
        gaps = [gap(p) for p in places]
        yield ControlRow(
            benchmark="",
            measure="gap",
            **_kind_of(conditions[place], kind, [conditions[p] for p in places]),
            **_spread(gaps),
            p=None if kind == LEAST else empirical_p(gap(place), gaps),
        )


def _kind_of(lesion: Condition, kind: str, controls: Sequence[Condition]) -> dict[str, Any]:
    masks = [control.mask for control in controls if control.mask is not None]
    outliers = [control.outlier_units for control in controls]
    matches = [control.match for control in controls]
    n, distinct = len(masks), len({mask.digest for mask in masks})
    few, repeated = n < ENOUGH_CONTROLS, distinct < n
    note = ["few controls"] * few + [f"only {distinct} distinct"] * repeated
    return {
        "target": lesion.label,
        "part": lesion.part,
        "mode": lesion.mode,
        "kind": kind,
        "n": n,
        "distinct": distinct,
        "outliers": None if None in outliers else float(np.mean(np.array(outliers))),
        "match": None if None in matches else float(np.mean([one.total for one in matches if one])),
        "effective": effective_number([mask.units for mask in masks], lesion.squares),
        "note": "" if kind == LEAST else ", ".join(note),
    }


def _spread(values: Sequence[float]) -> dict[str, Any]:
    return {"mean": float(np.mean(values)), "min": min(values), "max": max(values)}


def _ends(name: str, estimate: Estimate) -> dict[str, Any]:
    """A mean and the ends of its interval under the names of a row; None: there is none."""
    low, high = map(_finite, estimate.interval())
    first, front = (name, f"{name}_") if name else ("value", "")
    return {first: estimate.value, f"{front}low": low, f"{front}high": high}


def _compared(name: str, estimate: Estimate, smallest: float) -> dict[str, Any]:
    bounds = {"within": estimate.within(), "detectable": estimate.detectable()}
    found = {name: _finite(bound) for name, bound in bounds.items()}
    return {**_ends(name, estimate), **found, "smallest": smallest}


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _shown(value: float | None, *, graded: bool) -> Any:
    """A share correct, which lies between 0 and 1; or nats per token as perplexity."""
    if value is None:
        return None
    return min(max(value, 0.0), 1.0) if graded else math.exp(value)


def _names(table: pa.Table) -> list[tuple[str, str, int | None]]:
    columns = (table.column(name).to_pylist() for name in ("paradigm", "item", "prediction"))
    return list(zip(*columns, strict=True))


def _codes(
    names: Sequence[tuple[str, str, int | None]],
) -> tuple[Int[Array, " n_rows"], Int[Array, " n_rows"]]:
    """For each row its item and its paradigm, numbered by their names, in any order of rows."""
    items = sorted({(paradigm, item) for paradigm, item, _ in names})
    paradigms = sorted({paradigm for paradigm, _ in items})
    item_number: Mapping[Any, int] = {name: number for number, name in enumerate(items)}
    paradigm_number = {name: number for number, name in enumerate(paradigms)}
    return (
        np.array([item_number[paradigm, item] for paradigm, item, _ in names]),
        np.array([paradigm_number[paradigm] for paradigm, _, _ in names]),
    )


def _values(benchmark: Benchmark, tables: Sequence[pa.Table]) -> tuple[Array, Array]:
    if benchmark.measure == "perplexity":
        values = np.stack([-table.column("logp").to_numpy() for table in tables], axis=1)
        return values, tables[0].column("n_tokens").to_numpy().astype(np.float64)
    values = np.stack([table.column("score").to_numpy() for table in tables], axis=1)
    return values, np.ones(len(values))
