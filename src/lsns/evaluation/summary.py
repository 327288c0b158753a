"""Item-level results to numbers: accuracy, difference to intact, rank among controls. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from lsns.errors import LsnsError
from lsns.evaluation.benchmark import LANGUAGE, OTHER, SIDES, Benchmark
from lsns.evaluation.conditions import CONTROLS, LEAST, Condition
from lsns.evaluation.statistics import (
    ENOUGH_CONTROLS,
    bootstrap_means,
    empirical_p,
    interval,
    mean_over_paradigms,
)
from lsns.evaluation.study import ControlRow, DissociationRow, SummaryRow

if TYPE_CHECKING:
    import pyarrow as pa

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What all conditions came to on one benchmark; column 0 is the intact model.

    Attributes:
        benchmark: what was scored.
        items: number of items; an item of SyntaxGym is one with all its predictions.
        paradigms: number of paradigms.
        point: (n_conditions,) mean over paradigms: a share correct, or nats per token.
        samples: (resamples, n_conditions) these means of bootstrap resamples.
    """

    benchmark: Benchmark
    items: int
    paradigms: int
    point: Float[Array, " n_conditions"]
    samples: Float[Array, "resamples n_conditions"]

    @property
    def harm_sign(self) -> int:
        """Which way is worse for the model: -1 for accuracy, 1 for surprisal."""
        return 1 if self.benchmark.measure == "perplexity" else -1

    @property
    def differences(self) -> Float[Array, " n_conditions"]:
        """To the intact model, on the same items; for perplexity, the log of the ratio."""
        return self.point - self.point[0]

    @property
    def difference_samples(self) -> Float[Array, "resamples n_conditions"]:
        """Differences to the intact model in each resample; all conditions share resamples."""
        return self.samples - self.samples[:, :1]


def measure_outcome(benchmark: Benchmark, tables: Sequence[pa.Table], *, resamples: int) -> Outcome:
    """The outcome of a benchmark from its cells.

    Args:
        benchmark: what was scored.
        tables: items of each condition, the intact model first.
        resamples: number of bootstrap resamples.

    Raises:
        LsnsError: the cells are not of the same items.
    """
    names = _names(tables[0])
    if any(_names(table) != names for table in tables[1:]):
        raise LsnsError(f"{benchmark.name}: conditions have other items; use a new output folder")
    values, weights = _values(benchmark, tables)
    items, paradigms = _codes(names)
    # Predictions of an item are not independent: an item is drawn with all of them.
    n_items = int(items.max()) + 1
    summed = np.zeros((n_items, len(tables)))
    np.add.at(summed, items, values)
    sizes = np.bincount(items, weights=weights, minlength=n_items)
    of_item = np.zeros(n_items, dtype=np.int64)
    of_item[items] = paradigms
    # Draws of their own for each benchmark, the same in every study of it.
    seed = int(benchmark.digest[:12], 16)
    return Outcome(
        benchmark,
        n_items,
        int(paradigms.max()) + 1,
        mean_over_paradigms(summed, sizes, of_item),
        bootstrap_means(summed, sizes, of_item, resamples=resamples, seed=seed),
    )


def summarize(
    outcome: Outcome, conditions: Sequence[Condition]
) -> tuple[list[SummaryRow], list[ControlRow]]:
    """A row for each condition, and one for each lesion and kind of its controls.

    Args:
        outcome: of one benchmark.
        conditions: the intact model, lesions and controls, in the outcome's order.
    """
    benchmark = outcome.benchmark
    shown = np.exp if benchmark.measure == "perplexity" else np.asarray
    value, (low, high) = shown(outcome.point), map(shown, interval(outcome.samples))
    difference, ends = outcome.differences, interval(outcome.difference_samples)
    rows: list[SummaryRow] = []
    controls: list[ControlRow] = []
    for place, condition in enumerate(conditions):
        effect: dict[str, Any] = {}
        if condition.kind != "intact":
            effect = {
                "difference": float(difference[place]),
                "difference_low": float(ends[0][place]),
                "difference_high": float(ends[1][place]),
            }
        rows.append(
            SummaryRow(
                benchmark=benchmark.name,
                domain=benchmark.domain,
                measure=benchmark.measure,
                items=outcome.items,
                paradigms=outcome.paradigms,
                **condition.columns,
                value=float(value[place]),
                low=float(low[place]),
                high=float(high[place]),
                **effect,
            )
        )
        harm = outcome.harm_sign * difference
        controls += _control_rows(
            conditions, place, value, harm, benchmark=benchmark.name, measure=benchmark.measure
        )
    return rows, controls


def dissociate(
    outcomes: Sequence[Outcome], conditions: Sequence[Condition]
) -> tuple[list[DissociationRow], list[ControlRow]]:
    """For each lesion: its effect on language, on others, and the gap between; accuracy only.

    Each side is the mean of its benchmarks' differences to intact. The gap's p is among the gaps
    of the controls: a lesion that harms everything alike has none.

    Args:
        outcomes: one for each benchmark.
        conditions: the intact model, lesions and controls, in the outcomes' order.

    Returns:
        A row for each lesion, and one for each lesion and kind of its controls; none unless there
        are benchmarks on both sides.
    """
    sides = {
        side: [
            o
            for o in outcomes
            if (o.benchmark.domain == LANGUAGE) == (side == LANGUAGE) and o.harm_sign < 0
        ]
        for side in SIDES
    }
    if not all(sides.values()):
        return [], []
    point = {side: np.mean([o.differences for o in sides[side]], axis=0) for side in SIDES}
    drawn = {side: np.mean([o.difference_samples for o in sides[side]], axis=0) for side in SIDES}
    point["gap"], drawn["gap"] = point[LANGUAGE] - point[OTHER], drawn[LANGUAGE] - drawn[OTHER]
    ends = {side: interval(samples) for side, samples in drawn.items()}
    rows: list[DissociationRow] = []
    controls: list[ControlRow] = []
    for place, condition in enumerate(conditions):
        if condition.kind != "lesion":
            continue
        values: dict[str, Any] = {side: float(values[place]) for side, values in point.items()}
        values |= {f"{side}_low": float(low[place]) for side, (low, _) in ends.items()}
        values |= {f"{side}_high": float(high[place]) for side, (_, high) in ends.items()}
        about = condition.columns
        named = ("target", "part", "percentage", "mode", "mask", "units")
        rows.append(DissociationRow(**{name: about[name] for name in named}, **values))
        gap = point["gap"]
        controls += _control_rows(conditions, place, gap, -gap, benchmark="", measure="gap")
    return rows, controls


def _control_rows(
    conditions: Sequence[Condition],
    place: int,
    value: Array,
    harm: Array,
    *,
    benchmark: str,
    measure: str,
) -> list[ControlRow]:
    """A row for each kind of a lesion's controls; none for what is no lesion."""
    lesion = conditions[place]
    if lesion.kind != "lesion":
        return []
    rows: list[ControlRow] = []
    for kind in CONTROLS:
        places = [p for p, one in enumerate(conditions) if one.is_control_of(lesion, kind)]
        if not places:
            continue
        n, outliers = len(places), [conditions[p].outlier_units for p in places]
        distinct = len({mask.digest for p in places if (mask := conditions[p].mask) is not None})
        # The least selective units are one mask, not a draw from a distribution.
        p = None if kind == LEAST else empirical_p(float(harm[place]), harm[places].tolist())
        rows.append(
            ControlRow(
                benchmark=benchmark,
                measure=measure,
                target=lesion.label,
                part=lesion.part,
                mode=lesion.mode,
                kind=kind,
                n=n,
                distinct=distinct,
                outliers=None if None in outliers else float(np.mean(np.array(outliers))),
                mean=float(np.mean(value[places])),
                min=float(np.min(value[places])),
                max=float(np.max(value[places])),
                p=p,
                note="" if p is None else _note(n, distinct),
            )
        )
    return rows


def _note(n: int, distinct: int) -> str:
    few, repeated = n < ENOUGH_CONTROLS, distinct < n
    return ", ".join(["few controls"] * few + [f"only {distinct} distinct"] * repeated)


def _names(table: pa.Table) -> list[tuple[str, str, int | None]]:
    columns = (table.column(name).to_pylist() for name in ("paradigm", "item", "prediction"))
    return list(zip(*columns, strict=True))


def _codes(
    names: Sequence[tuple[str, str, int | None]],
) -> tuple[Int[Array, " n_rows"], Int[Array, " n_rows"]]:
    """For each row its item and its paradigm, numbered by their names, in any order of rows."""
    items = sorted({(paradigm, item) for paradigm, item, _ in names})
    paradigms = sorted({paradigm for paradigm, _ in items})
    item_number = {name: number for number, name in enumerate(items)}
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
