"""Figures of a study: what lesions take away, beside every control; by benchmark and by dose."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lsns.errors import LsnsError
from lsns.evaluation.conditions import ALL
from lsns.evaluation.study import SummaryRow
from lsns.report import style
from lsns.report.results import Results
from lsns.report.style import Figure, Look, alt, intervals, number, rule, sized, table, tips
from lsns.report.visible import LONGEST_HOVER, LONGEST_NAME, shorten, shorten_middle
from lsns.table import Table

Rows = list[dict[str, Any]]
# In lanes: between one lesion's lanes and the next's. In pixels: a lane, and a dose-response.
GAP, LANE, DOSE = 0.6, 15, 170
# Dots of a lane are spread over this much of it, in this many places.
SPREAD, PLACES = 0.44, 5
# Characters of a line of a panel's title, and of two lines beside axes.
TITLE_LINE, LONGEST_TARGET = 36, 36
_HOVER = ("lesion", "condition", "units = size", "change, 95% = changed")


@dataclass(frozen=True)
class Lesion:
    """A lesion on a benchmark with its controls.

    Attributes:
        row: the lesion.
        controls: by kind, in the order of `style.CONTROL_LOOKS`.
        p_values: of the lesion against each kind; None where there is none.
    """

    row: SummaryRow
    controls: Mapping[str, Sequence[SummaryRow]]
    p_values: Mapping[str, float | None]

    @property
    def unit(self) -> str:
        """What changes are in."""
        return "bits per token" if self.row.measure == "perplexity" else "points"

    def change(self, row: SummaryRow) -> tuple[float, float, float]:
        """The change of a condition against the intact model, and the ends of its 95% interval.

        A difference of perplexities is stored as the log of their ratio: nats per token.
        """
        scale = 1 / math.log(2) if row.measure == "perplexity" else 100.0
        middle, low, high = (scale * end for end in row.effect)
        return middle, low, high

    def changes(self, kind: str) -> list[float]:
        """The change of every control of a kind."""
        return [self.change(row)[0] for row in self.controls[kind]]


def effects(results: Results) -> Figure:
    """A panel for each benchmark: each lesion with its interval, and every control as a dot."""
    return _panels("Effects of lesions", _of_mask(lesions_of(results), _digest(results)), _effects)


def dose(results: Results) -> Figure:
    """A panel for each benchmark: the change by percentage, with the band of the controls."""
    found = _longest_series(lesions_of(results))
    if not found:
        raise LsnsError(
            "the study has one percentage; a dose-response needs two or more, as in "
            "lsns evaluate --percentage 0.5,1,2"
        )
    return _panels("Dose and response", found, _dose)


def _panels(title: str, lesions: Sequence[Lesion], draw: Callable[[list[Lesion]], Any]) -> Figure:
    panels: defaultdict[str, list[Lesion]] = defaultdict(list)
    for item in lesions:
        panels[item.row.benchmark].append(item)
    words = "; ".join(
        f"{shorten(item.row.target, LONGEST_HOVER)} on {shorten(item.row.benchmark, LONGEST_HOVER)}"
        f": {item.change(item.row)[0]:+.2f} {item.unit}"
        for item in lesions[:6]
    )
    chart = alt.vconcat(*map(draw, panels.values()))
    return Figure(chart, lesion_table(title, lesions), {"lesions": len(lesions), "words": words})


def lesions_of(results: Results) -> list[Lesion]:
    """Every lesion of the study on every benchmark, with its controls.

    Raises:
        LsnsError: there is none.
    """
    study = results.study
    if study is None or not any(row.condition == "lesion" for row in study.summary):
        raise LsnsError("there is no study of a lesion; lsns evaluate makes one")
    usual = {kind: place for place, kind in enumerate(style.CONTROL_LOOKS)}
    controls = [row for row in study.summary if row.condition == "control"]
    controls.sort(key=lambda row: usual.get(row.control, len(usual)))
    found: dict[tuple[str, ...], dict[str, list[SummaryRow]]] = {}
    for row in controls:
        of_lesion = found.setdefault((row.benchmark, row.target, row.mode), {})
        of_lesion.setdefault(row.control, []).append(row)
    return [
        Lesion(
            row,
            found.get((row.benchmark, row.target, row.mode), {}),
            {one.kind: one.p for one in study.controls_of(row)},
        )
        for row in study.summary
        if row.condition == "lesion"
    ]


def own_lesion(results: Results) -> list[Lesion]:
    """The lesion by the whole mask on the first benchmark that it should harm, and by its rest.

    The rest: without its outlier units, if the study has it. Without a localization, the first
    lesion. Empty if the study has none by this mask.
    """
    study, network = results.study, (results.manifest.get("stimuli") or {}).get("name")
    if study is None or not any(row.condition == "lesion" for row in study.summary):
        return []
    found = [
        item for item in lesions_of(results) if study.expects_harm(item.row, network) is not False
    ]
    digest = _digest(results)
    own = [item for item in found if digest in (None, item.row.mask)][:1]
    return own + [
        item
        for whole in own
        for item in found
        if (item.row.whole, item.row.part) == (whole.row.mask, "rest")
        and (item.row.benchmark, item.row.mode) == (whole.row.benchmark, whole.row.mode)
    ]


def lesion_table(title: str, lesions: Iterable[Lesion]) -> Table:
    """Each lesion on each benchmark, and each kind of its controls."""
    rows: Rows = []
    for item in lesions:
        rows += [_lesion(item), *(_controls(item, kind) for kind in item.controls)]
    return table(title, rows, "benchmark", "lesion", "condition", "units", "outliers:.4g",
                 "value:#.4g", "change:+.2f", "unit",
                 "95%, or range of controls = {low:+.2f} to {high:+.2f}", "controls",
                 "p of lesion:p")  # fmt: skip


def _of_mask(lesions: Sequence[Lesion], digest: str | None) -> Sequence[Lesion]:
    """Those of one mask and of its parts; all of them if the mask was not lesioned."""
    own = [item for item in lesions if item.row.whole == digest]
    return own if any(item.row.part == ALL for item in own) else lesions


def _longest_series(lesions: Sequence[Lesion]) -> list[Lesion]:
    """Those of masks that differ in percentage alone; empty if there are not two percentages."""
    series: defaultdict[tuple[str, str], list[Lesion]] = defaultdict(list)
    for item in lesions:
        series[item.row.series, item.row.mode].append(item)
    amounts = {key: len({item.row.percentage for item in found}) for key, found in series.items()}
    longest = max(amounts, key=lambda key: amounts[key])
    return sorted(series[longest], key=_percentage) if amounts[longest] > 1 else []


def _percentage(item: Lesion) -> float:
    return item.row.percentage or 0.0


def _effects(lesions: Sequence[Lesion]) -> alt.LayerChart:
    """A lane for each lesion and one below for each kind of its controls."""
    modes = len({item.row.mode for item in lesions})
    rows: Rows = []
    means: Rows = []
    names: dict[float, list[str]] = {}
    heads: list[float] = []
    top = 0.0
    for item in lesions:
        mode = f", {item.row.mode}" if modes > 1 else ""
        heads.append(top)
        names[top] = style.lines_of(shorten_middle(item.row.target + mode, LONGEST_TARGET))[:2]
        rows.append(_lesion(item) | {"lane": top})
        # A second line needs room.
        top += 1 + GAP * (len(names[top]) - 1)
        for kind in item.controls:
            names[top] = [shorten(style.control_look(kind).words, style.NAME_LINE)]
            rows += _dots(item, kind, top)
            if len(item.controls[kind]) > 1:
                mean = {name: _controls(item, kind)[name] for name in ("condition", "change")}
                means.append(mean | {"lane": top - 0.36, "below": top + 0.36})
            top += 1
        top += GAP
    kinds = dict.fromkeys(["lesion", *(kind for item in lesions for kind in item.controls)])
    y = style.lanes("lane", names, top - GAP - 0.4, heads)
    chart = style.chart(rows, y=y)
    dots = chart.mark_point(filled=True, opacity=0.8, size=30).encode(
        x=style.amount("change", _axis_title(lesions[0])),
        tooltip=tips(*_HOVER, "value = measured"),
        **style.looks("kind", [_look(kind) for kind in kinds], "color", "shape", legend=None),
    )
    ends = intervals(chart.transform_filter("isValid(datum.low)"), "x", color=style.INK)
    ticks = style.chart(means, y=y).mark_rule(color=style.INK, strokeWidth=1.4)
    ticks = ticks.encode(x="change:Q", y2="below:Q", tooltip=tips("condition", "change:+.3g"))
    drawn = rule("x", 0) + ends + dots + ticks
    return sized(drawn, LANE * (top - GAP + 0.2), _title(lesions[0]))


def _dots(item: Lesion, kind: str, lane: float) -> Rows:
    """Every control of a kind: spread over its lane in a fixed pattern, nothing at random."""
    rows = item.controls[kind]
    spread = SPREAD if len(rows) > 1 else 0.0
    return [
        _condition(item, row, kind)
        | {"lane": lane + spread * (n % PLACES / (PLACES - 1) - 0.5), "low": None, "high": None}
        for n, row in enumerate(rows)
    ]


def _dose(lesions: Sequence[Lesion]) -> alt.LayerChart:
    """The line of the lesion with intervals, and of each kind of control its mean and band."""
    kinds = dict.fromkeys(kind for item in lesions for kind in item.controls)
    percentages = [_percentage(item) for item in lesions]
    rows = [_lesion(item) for item in lesions]
    rows += [_controls(item, kind) for kind in kinds for item in lesions if kind in item.controls]
    found = [_look(kind) for kind in ("lesion", *kinds)]
    shown = style.looks("kind", found, "color", "shape", "strokeDash")
    x = style.log("percentage", "Units lesioned (% of all)", percentages)
    chart = style.chart(rows, x=x, color=shown["color"])
    is_lesion = f"datum.kind == '{style.LESION.words}'"
    bands = chart.transform_filter(f"!({is_lesion}) && datum.low < datum.high")
    bands = bands.mark_area(opacity=0.16).encode(y="low:Q", y2="high:Q")
    y = number("change", _axis_title(lesions[0]))
    lines = chart.mark_line(strokeWidth=1.5).encode(y=y, strokeDash=shown["strokeDash"])
    shape, tooltip = shown["shape"], tips("percentage", *_HOVER)
    dots = style.dots(chart, 36, y="change:Q", shape=shape, tooltip=tooltip)
    ends = intervals(chart.transform_filter(is_lesion), "y")
    return sized(rule("y", 0) + bands + ends + lines + dots, DOSE, _title(lesions[0]))


def _condition(item: Lesion, row: SummaryRow, kind: str) -> dict[str, Any]:
    """What is drawn, listed and said of a condition: the lesion, or a control of it."""
    form = ".2f" if row.measure == "perplexity" else ".3f"
    change, low, high = item.change(row)
    seed = "" if row.seed is None else f", seed {row.seed}"
    known = "" if row.outlier_units is None else f", {row.outlier_units} of them outliers"
    return {
        "benchmark": shorten(row.benchmark, LONGEST_HOVER),
        "lesion": shorten_middle(row.target, LONGEST_HOVER),
        "percentage": _percentage(item),
        "kind": _look(kind).words,
        "condition": kind if kind == "lesion" else f"{_look(kind).words}{seed}",
        "units": row.units,
        "outliers": row.outlier_units,
        "value": row.value,
        "unit": item.unit,
        "change": change,
        "low": _finite(low),
        "high": _finite(high),
        "size": f"{row.units}{known}",
        "measured": f"{row.measure} {row.value:{form}}{_words(row.low, row.high, form)}",
        "changed": f"{change:+.3g} {item.unit}{_words(low, high, '+.3g')}",
    }


def _lesion(item: Lesion) -> dict[str, Any]:
    return _condition(item, item.row, "lesion")


def _controls(item: Lesion, kind: str) -> dict[str, Any]:
    """The mean and range of all controls of a kind."""
    rows, changes = item.controls[kind], item.changes(kind)
    known = [row.outlier_units for row in rows if row.outlier_units is not None]
    change, low, high = float(np.mean(changes)), min(changes), max(changes)
    words = _look(kind).words
    return _lesion(item) | {
        "kind": words,
        "condition": words + f", mean of {len(rows)}" * (len(rows) > 1),
        "outliers": float(np.mean(known)) if known else None,
        "value": float(np.mean([row.value for row in rows])),
        "change": change,
        "low": low,
        "high": high,
        "size": f"{item.row.units}",
        "changed": f"{change:+.3g}, from {low:+.3g} to {high:+.3g}",
        "controls": len(rows),
        "p of lesion": item.p_values.get(kind),
    }


def _finite(number: float) -> float | None:
    """Of one item alone there is no interval, and nothing to draw."""
    return number if math.isfinite(number) else None


def _words(low: float | None, high: float | None, form: str) -> str:
    known = low is not None and high is not None and math.isfinite(low)
    return f" ({low:{form}} to {high:{form}})" if known else ""


def _look(kind: str) -> Look:
    return style.LESION if kind == "lesion" else style.control_look(kind)


def _title(item: Lesion) -> alt.TitleParams:
    """The benchmark's name and how many items it has."""
    unit = "windows" if item.row.measure == "perplexity" else "items"
    number = f", {item.row.items} {unit}"
    name = shorten(item.row.benchmark, LONGEST_NAME - len(number))
    return alt.TitleParams(style.lines_of(name + number, TITLE_LINE, 2 * LONGEST_NAME))


def _axis_title(item: Lesion) -> list[str]:
    if item.row.measure == "perplexity":
        return ["Change in surprisal", "(bits per token)"]
    return ["Change in accuracy", "(percentage points)"]


def _digest(results: Results) -> str | None:
    return None if results.localization is None else results.localization.mask.digest
