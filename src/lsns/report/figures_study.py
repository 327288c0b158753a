"""Figures of a study: what lesions take away, beside every control; by benchmark and by dose."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lsns.errors import LsnsError
from lsns.evaluation.benchmark import LANGUAGE, OTHER
from lsns.evaluation.conditions import ALL
from lsns.evaluation.study import DissociationRow, Study, SummaryRow
from lsns.report import style
from lsns.report.results import Results
from lsns.report.style import Figure, Look, alt, rule, sized, table, tips, values
from lsns.report.visible import LONGEST_HOVER, LONGEST_NAME, shorten, shorten_middle
from lsns.table import Table

# In lanes: between one lesion's lanes and the next's. In pixels: a lane, and a dose-response.
GAP, LANE, DOSE = 0.6, 15, 170
_SIDES = (LANGUAGE, OTHER, "gap")
# Dots of a lane are spread over this much of it, in this many places.
SPREAD, PLACES = 0.44, 5
# Characters of a line of a panel's title, and of two lines beside axes.
TITLE_LINE, LONGEST_TARGET = 36, 36
_OF_CONDITION = ("lesion", "condition", "units", "change, 95%")


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
        middle, low, high = row.effect
        return scale * middle, scale * low, scale * high

    def changes(self, kind: str) -> list[float]:
        """The change of every control of a kind."""
        return [self.change(row)[0] for row in self.controls[kind]]


def effects(results: Results) -> Figure:
    """A panel for each benchmark: each lesion with its interval, and every control as a dot."""
    found = _of_mask(lesions_of(results), _digest(results))
    words = "; ".join(_effect_words(item) for item in found[:6])
    panels = [_effects(part) for part in _by_benchmark(found)]
    return Figure(
        alt.vconcat(*panels),
        lesion_table("Effects of lesions", found),
        {"lesions": len(found), "words": words},
    )


def dose(results: Results) -> Figure:
    """A panel for each benchmark: the change by percentage, with the band of the controls."""
    found = _longest_series(lesions_of(results))
    if not found:
        raise LsnsError(
            "the study has one percentage; a dose-response needs two or more, as in "
            "lsns evaluate --percentage 0.5,1,2"
        )
    words = "; ".join(_effect_words(item) for item in found[:6])
    panels = [_dose(part) for part in _by_benchmark(found)]
    return Figure(
        alt.vconcat(*panels),
        lesion_table("Dose and response", found),
        {"words": words},
    )


def lesions_of(results: Results) -> list[Lesion]:
    """Every lesion of the study on every benchmark, with its controls.

    Raises:
        LsnsError: there is none.
    """
    study = results.study
    rows = [] if study is None else [row for row in study.summary if row.condition == "lesion"]
    if study is None or not rows:
        raise LsnsError("there is no study of a lesion; lsns evaluate makes one")
    controls: dict[tuple[str, ...], dict[str, list[SummaryRow]]] = {}
    for row in study.summary:
        if row.condition == "control":
            controls.setdefault(_key(row), {}).setdefault(row.control, []).append(row)
    found: list[Lesion] = []
    for row in rows:
        own, known = controls.get(_key(row), {}), [*style.CONTROL_LOOKS]
        kinds = sorted(own, key=lambda kind: known.index(kind) if kind in known else len(known))
        p_values = {one.kind: one.p for one in study.controls_of(row)}
        found.append(Lesion(row, {kind: own[kind] for kind in kinds}, p_values))
    return found


def _key(row: SummaryRow) -> tuple[str, ...]:
    return row.benchmark, row.target, row.mode


def own_lesion(results: Results) -> list[Lesion]:
    """The lesion by the whole mask on the first benchmark of language, and that by the rest of it.

    The rest: without its outlier units, if the study has it. Without a localization, the first
    lesion. Empty if the study has none by this mask.
    """
    if not any(row.condition == "lesion" for row in results.summary):
        return []
    found = [item for item in lesions_of(results) if item.row.domain == LANGUAGE]
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
    rows: list[dict[str, Any]] = []
    for item in lesions:
        rows += [_lesion_row(item), *(_control_row(item, kind) for kind in item.controls)]
    return table(title, rows, "benchmark", "lesion", "condition", "units", "outliers:.4g",
                 "value:#.4g", "change:+.2f", "unit",
                 "95%, or range of controls = {low:+.2f} to {high:+.2f}", "controls",
                 "p of lesion:p")  # fmt: skip


def dissociation_table(results: Results) -> Table | None:
    """The effect on language, on other benchmarks, and the gap; None if the study has none."""
    if results.study is None or not results.study.dissociation:
        return None
    rows = [_dissociated(row, results.study) for row in results.study.dissociation]
    names = [name for side in _SIDES for name in (f"{side} (points):+.1f", _interval(side))]
    return table("Language against other benchmarks", rows, "lesion", "mode", *names,
                 "closest controls", "p of gap:p")  # fmt: skip


def _dissociated(row: DissociationRow, study: Study) -> dict[str, Any]:
    ends = {"": "points", "_low": "low", "_high": "high"}
    values = {
        f"{side} ({words})": 100 * getattr(row, f"{side}{end}")
        for side in _SIDES
        for end, words in ends.items()
    }
    # The kind of control that the lesion is least different from.
    kinds = [one for one in study.controls_of(row) if one.p is not None]
    closest = max(kinds, key=lambda one: one.p or 0.0, default=None)
    words = None if closest is None else shorten(style.control_look(closest.kind).words)
    about = {"lesion": shorten_middle(row.target), "mode": row.mode}
    return about | values | {"closest controls": words, "p of gap": closest and closest.p}


def _interval(side: str) -> str:
    return f"95% {side} = {{{side} (low):+.1f}} to {{{side} (high):+.1f}}"


def _by_benchmark(lesions: Sequence[Lesion]) -> list[list[Lesion]]:
    found: dict[str, list[Lesion]] = {}
    for item in lesions:
        found.setdefault(item.row.benchmark, []).append(item)
    return list(found.values())


def _of_mask(lesions: Sequence[Lesion], digest: str | None) -> list[Lesion]:
    """Those of one mask and of its parts; all of them if the mask was not lesioned."""
    own = [item for item in lesions if item.row.whole == digest]
    return own if any(item.row.part == ALL for item in own) else list(lesions)


def _longest_series(lesions: Sequence[Lesion]) -> list[Lesion]:
    """Those of masks that differ in percentage alone; empty if there are not two percentages."""
    series: dict[tuple[str, str], set[float | None]] = {}
    for item in lesions:
        series.setdefault((item.row.series, item.row.mode), set()).add(item.row.percentage)
    longest = max(series, key=lambda name: len(series[name]))
    found = [item for item in lesions if (item.row.series, item.row.mode) == longest]
    return sorted(found, key=_percentage) if len(series[longest]) > 1 else []


def _percentage(item: Lesion) -> float:
    return item.row.percentage or 0.0


def _effects(lesions: Sequence[Lesion]) -> alt.LayerChart:
    """A lane for each lesion and one below for each kind of its controls."""
    modes = len({item.row.mode for item in lesions})
    rows: list[dict[str, Any]] = []
    names: dict[float, list[str]] = {}
    heads: list[float] = []
    top = 0.0
    for item in lesions:
        mode = f", {item.row.mode}" if modes > 1 else ""
        heads.append(top)
        names[top] = style.lines_of(shorten_middle(item.row.target + mode, LONGEST_TARGET))[:2]
        rows.append(_mark(item, item.row, "lesion") | {"lane": top})
        # A second line needs room.
        top += 1 + GAP * (len(names[top]) - 1)
        for kind in item.controls:
            names[top] = [shorten(style.control_look(kind).words, style.NAME_LINE)]
            rows += _dots(item, kind, top)
            top += 1
        top += GAP
    kinds = list(dict.fromkeys(["lesion", *(kind for item in lesions for kind in item.controls)]))
    axis = style.named_axis(list(names.values()), list(names), heads)
    y = style.down("lane", -0.6, top - GAP - 0.4, axis)
    chart = alt.Chart(values(rows)).encode(y=y)
    ends = chart.transform_filter("isValid(datum.low)").mark_rule(color=style.INK, strokeWidth=1.4)
    dots = chart.mark_point(filled=True, opacity=0.8, size=30).encode(
        style.measured("change", _axis_title(lesions[0])),
        tooltip=tips(*_OF_CONDITION, "value"),
        **style.looks("kind", [_look(kind) for kind in kinds], "color", "shape", legend=None),
    )
    means = alt.Chart(values(_means(rows))).mark_rule(color=style.INK, strokeWidth=1.4)
    means = means.encode(x="mean:Q", y=y, y2="below:Q", tooltip=tips("of", "mean:+.3g"))
    drawn = rule(0, vertical=True) + ends.encode(x="low:Q", x2="high:Q") + dots + means
    return sized(drawn, LANE * (top - GAP + 0.2), _title(lesions[0]))


def _dots(item: Lesion, kind: str, lane: float) -> list[dict[str, Any]]:
    """Every control of a kind: spread over its lane in a fixed pattern, nothing at random."""
    rows = item.controls[kind]
    alone = len(rows) == 1
    shifts = [
        0.0 if alone else SPREAD * ((n % PLACES) / (PLACES - 1) - 0.5) for n in range(len(rows))
    ]
    return [
        _mark(item, row, kind) | {"lane": lane + shift, "middle": lane, "low": None, "high": None}
        for row, shift in zip(rows, shifts, strict=True)
    ]


def _means(rows: Sequence[style.Row]) -> list[dict[str, Any]]:
    """The mean of each lane that has several controls."""
    lanes: dict[float, list[style.Row]] = {}
    for row in rows:
        if "middle" in row:
            lanes.setdefault(row["middle"], []).append(row)
    return [
        {
            "of": f"mean of {len(drawn)} {drawn[0]['kind']} controls",
            "mean": float(np.mean([row["change"] for row in drawn])),
            **{"lane": lane - 0.36, "below": lane + 0.36},
        }
        for lane, drawn in lanes.items()
        if len(drawn) > 1
    ]


def _dose(lesions: Sequence[Lesion]) -> alt.LayerChart:
    """The line of the lesion with intervals, and of each kind of control its mean and band."""
    kinds = list(dict.fromkeys(kind for item in lesions for kind in item.controls))
    rows = [_mark(item, item.row, "lesion") | {"percentage": _percentage(item)} for item in lesions]
    for kind in kinds:
        rows += [_band(item, kind) for item in lesions if kind in item.controls]
    percentages = [*map(_percentage, lesions)]
    found = [_look(kind) for kind in ("lesion", *kinds)]
    shown = style.looks("kind", found, "color", "shape", "strokeDash")
    x = style.log_x("percentage", "Units lesioned (% of all)", percentages)
    chart = alt.Chart(values(rows)).encode(x=x, color=shown["color"])
    is_lesion = f"datum.kind == '{style.LESION.words}'"
    bands = chart.transform_filter(f"!({is_lesion}) && datum.low < datum.high").mark_area(
        opacity=0.16
    )
    ends = chart.transform_filter(is_lesion).mark_rule(strokeWidth=1.4)
    y = alt.Y("change:Q", title=_axis_title(lesions[0]))
    lines = chart.mark_line(strokeWidth=1.5).encode(y=y, strokeDash=shown["strokeDash"])
    dots = chart.mark_point(filled=True, size=36, opacity=1)
    dots = dots.encode(
        y="change:Q", shape=shown["shape"], tooltip=tips("percentage", *_OF_CONDITION)
    )
    drawn = rule(0) + bands.encode(y="low:Q", y2="high:Q") + ends.encode(y="low:Q", y2="high:Q")
    return sized(drawn + lines + dots, DOSE, _title(lesions[0]))


def _band(item: Lesion, kind: str) -> dict[str, Any]:
    changes = item.changes(kind)
    return {
        "percentage": _percentage(item),
        **{"lesion": shorten_middle(item.row.target, LONGEST_HOVER), "units": item.row.units},
        **{"kind": _look(kind).words, "condition": f"mean of {len(changes)} controls"},
        **{"change": float(np.mean(changes)), "low": min(changes), "high": max(changes)},
        "change, 95%": f"{np.mean(changes):+.3g}, from {min(changes):+.3g} to {max(changes):+.3g}",
    }


def _mark(item: Lesion, row: SummaryRow, kind: str) -> dict[str, Any]:
    """What is said of a condition where it is drawn."""
    form = ".2f" if row.measure == "perplexity" else ".3f"
    change, low, high = item.change(row)
    seed = "" if row.seed is None else f", seed {row.seed}"
    known = "" if row.outlier_units is None else f", {row.outlier_units} of them outliers"
    return {
        **{"lesion": shorten_middle(row.target, LONGEST_HOVER), "kind": _look(kind).words},
        "condition": kind if kind == "lesion" else f"{_look(kind).words}{seed}",
        "units": f"{row.units}{known}",
        "value": f"{row.measure} {row.value:{form}} ({row.low:{form}} to {row.high:{form}})",
        "change, 95%": f"{change:+.3g} {item.unit} ({low:+.3g} to {high:+.3g})",
        **{"change": change, "low": low, "high": high},
    }


def _look(kind: str) -> Look:
    return style.LESION if kind == "lesion" else style.control_look(kind)


def _lesion_row(item: Lesion) -> dict[str, Any]:
    row, (change, low, high) = item.row, item.change(item.row)
    return {
        **{"benchmark": shorten(row.benchmark), "lesion": shorten_middle(row.target)},
        **{"condition": "lesion", "units": row.units, "outliers": row.outlier_units},
        **{"value": row.value, "change": change, "unit": item.unit, "low": low, "high": high},
    }


def _control_row(item: Lesion, kind: str) -> dict[str, Any]:
    controls, changes = item.controls[kind], item.changes(kind)
    known = [row.outlier_units for row in controls if row.outlier_units is not None]
    words = shorten(style.control_look(kind).words) + ", mean" * (len(controls) > 1)
    return _lesion_row(item) | {
        **{"condition": words, "outliers": float(np.mean(known)) if known else None},
        **{"value": float(np.mean([row.value for row in controls])), "controls": len(controls)},
        **{"change": float(np.mean(changes)), "low": min(changes), "high": max(changes)},
        "p of lesion": item.p_values.get(kind),
    }


def _effect_words(item: Lesion) -> str:
    target, benchmark = (shorten(t, LONGEST_HOVER) for t in (item.row.target, item.row.benchmark))
    return f"{target} on {benchmark}: {item.change(item.row)[0]:+.2f} {item.unit}"


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
