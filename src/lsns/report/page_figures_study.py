"""Figures of the page that are of a study: what lesions take away, beside every control."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lsns.errors import LsnsError
from lsns.evaluation.study import Study, SummaryRow
from lsns.report.figures_study import (
    GAP,
    PLACES,
    SPREAD,
    Lesion,
    benchmarks_of,
    dose_rows,
    effect_rows,
    lesions_of,
    rows_of,
    scale_of,
)
from lsns.report.figures_style import CONTROL_LOOKS, LESION, control_look, reach, spaced
from lsns.report.page_spec import (
    DASHES,
    INK,
    LONGEST_HOVER,
    LONGEST_NAME,
    PageFigure,
    Spec,
    axis,
    axis_name,
    hover_text,
    layout,
    line_at,
    marker_of,
    named_axis,
    shorten,
    shorten_middle,
)
from lsns.report.page_tables import (
    NOTHING,
    Cell,
    Table,
    count,
    interval,
    make_table,
    number,
    probability,
    span,
)
from lsns.report.results import Results

Row = SummaryRow
# Pixels of a lane, of the axes of a dose-response, and of what is above and below a panel.
LANE, DOSE, HEAD, FOOT, END = 24, 250, 34, 84, 64
# A further line of a panel's title; characters of a line, which a phone has room for.
TITLE_LINE, TITLE_WIDTH = 18, 40
# Characters of a name in a table, where it stands many times.
LONGEST_CELL = 200
# Two lines beside the axes, where words are not broken.
LONGEST_TARGET = 36


def effects_spec(rows: Sequence[Row]) -> Spec:
    """A panel for each benchmark: each lesion with its interval, and every control as a dot."""
    panels = _Panels()
    for name in benchmarks_of(rows):
        part = rows_of(rows, name)
        found = lesions_of(part)
        if not found:
            continue
        scale, label = scale_of(part)
        lanes = sum(item.lanes for item in found) + GAP * (len(found) - 1)
        traces, names = _effect_lanes(found, scale)
        panels.add(
            _panel_title(part),
            LANE * (lanes + 0.6),
            traces,
            axis(label.replace(" (", "<br>(")),
            named_axis(list(names.values()), list(names), -0.6, lanes - 0.4),
            [line_at(0, vertical=True)],
        )
    found = panels.spec()
    # The lanes say what is in them.
    found["layout"]["showlegend"] = False
    return found


def draw_effects(results: Results) -> PageFigure:
    """Lesion effects on each benchmark."""
    rows = effect_rows(_summary(results), _digest(results))
    lesions = [item for name in benchmarks_of(rows) for item in lesions_of(rows_of(rows, name))]
    words = "; ".join(_effect_words(item) for item in lesions[:6])
    return PageFigure(
        "effects",
        "Effects of lesions",
        "The change against the intact model, on the same items. Diamonds are lesions of the "
        "mask, of its outlier units alone and of the rest, as far as the study has them, with "
        "95% intervals; every dot is a control lesion of as many units, and the tick is the mean "
        "of its row.",
        f"Dots and intervals for {len(lesions)} lesions and their controls. {words}.",
        effects_spec(rows),
        lesion_table("Effects of lesions", rows, results.study),
    )


def dose_spec(rows: Sequence[Row]) -> Spec:
    """A panel for each benchmark: the change by percentage, with the band of the controls."""
    panels = _Panels()
    for name in benchmarks_of(rows):
        part = rows_of(rows, name)
        found = sorted(lesions_of(part), key=lambda item: item.row.percentage or 0.0)
        if not found:
            continue
        scale, label = scale_of(part)
        kinds = dict.fromkeys(kind for item in found for kind in item.controls)
        traces = [trace for kind in kinds for trace in _band(kind, found, scale)]
        percentages = [(item.row.percentage or 0.0) for item in found]
        ticks = spaced(percentages)
        below = axis(
            "Units lesioned (% of all)",
            type="log",
            tickvals=ticks,
            ticktext=[f"{tick:g}" for tick in ticks],
        )
        panels.add(
            _panel_title(part),
            DOSE,
            [*traces, _dose_line(found, scale)],
            below,
            axis(label.replace(" (", "<br>(")),
            [line_at(0)],
        )
    return panels.spec()


def draw_dose(results: Results) -> PageFigure:
    """The dose-response."""
    rows = dose_rows(_summary(results))
    if not rows:
        raise LsnsError("the study has one percentage; a dose-response needs two or more")
    lesions = [item for name in benchmarks_of(rows) for item in lesions_of(rows_of(rows, name))]
    words = "; ".join(_effect_words(item) for item in lesions[:6])
    return PageFigure(
        "dose",
        "Dose and response",
        "The change against the intact model as more units are lesioned, with 95% intervals. "
        "Lines of controls are their means, and bands reach from the least to the largest change "
        "of all controls.",
        f"Lines of the change by percentage of units lesioned. {words}.",
        dose_spec(rows),
        lesion_table("Dose and response", rows, results.study),
    )


def lesion_table(name: str, rows: Sequence[Row], study: Study | None) -> Table:
    """Each lesion on each benchmark, and each kind of its controls."""
    found = [
        row
        for benchmark in benchmarks_of(rows)
        for item in lesions_of(rows_of(rows, benchmark))
        for row in _lesion_cells(item, scale_of(rows_of(rows, benchmark)), study)
    ]
    heads = ("Benchmark", "Lesion", "Condition", "Units", "Outliers", "Value", "Change", "Unit",
             "95%, or range of controls", "Controls", "p of lesion")  # fmt: skip
    return make_table(name, heads, found)


def dissociation_table(results: Results) -> Table | None:
    """The effect on language, on other benchmarks, and the gap; None if the study has none."""
    study = results.study
    if study is None or not study.dissociation:
        return None
    found: list[list[Cell]] = []
    for row in study.dissociation:
        sides: list[Cell] = []
        for side in ("language", "other", "gap"):
            middle, low, high = (100 * getattr(row, side + end) for end in ("", "_low", "_high"))
            sides += [number(middle, "+.1f"), interval(low, high, "+.1f")]
        # The kind of control that the lesion is least different from.
        kinds = [one for one in study.controls_of(row) if one.p is not None]
        closest = max(kinds, key=lambda one: one.p or 0.0, default=None)
        found.append(
            [
                shorten_middle(row.target, LONGEST_CELL),
                row.mode,
                *sides,
                NOTHING if closest is None else _kind_words(closest.kind),
                probability(closest and closest.p),
            ]
        )
    heads = ("Lesion", "Mode", "Language (points)", "95% language", "Other (points)", "95% other",
             "Gap (points)", "95% gap", "Closest controls", "p of gap")  # fmt: skip
    return make_table("Language against other benchmarks", heads, found)


def own_lesion(results: Results) -> list[Lesion]:
    """The lesion by the whole mask on the first benchmark of language, and that by the rest of it.

    The rest: without its outlier units, if the study has it. Without a localization, the first
    lesion. Empty if the study has none by this mask.
    """
    digest = _digest(results)
    rows = [row for row in results.summary if row.domain == "language"]
    for name in benchmarks_of(rows):
        lesions = lesions_of(rows_of(rows, name))
        own = [item for item in lesions if digest in (None, item.row.mask)]
        if own:
            rest = (f"{own[0].row.target} rest", own[0].row.mode)
            found = [item for item in lesions if (item.row.target, item.row.mode) == rest]
            return own[:1] + found
    return []


def unit_of(row: Row) -> str:
    """What changes are in, scaled by `scale_of`."""
    return "bits per token" if row.measure == "perplexity" else "points"


class _Panels:
    """Panels one below the other in one spec, each as high as it needs."""

    def __init__(self) -> None:
        self.data: list[Spec] = []
        self.parts: list[tuple[str, float, Spec, Spec, list[Spec]]] = []
        self.known: set[str] = set()

    def add(
        self,
        title: str,
        height: float,
        traces: Sequence[Spec],
        x: Spec,
        y: Spec,
        shapes: list[Spec],
    ) -> None:
        suffix = str(len(self.parts) + 1) if self.parts else ""
        for trace in traces:
            name = trace.get("legendgroup", "")
            # Once in the legend, whatever the number of panels.
            first = bool(name) and trace.get("showlegend", True) and name not in self.known
            self.known |= {name} if first else set()
            own = {"xaxis": f"x{suffix}", "yaxis": f"y{suffix}", "showlegend": first}
            self.data.append({**trace, **own})
        self.parts.append((title, height, x, y, shapes))

    def spec(self) -> Spec:
        total = sum(_head(part[0]) + FOOT + part[1] for part in self.parts) - FOOT
        options: Spec = {"annotations": [], "shapes": []}
        top = total
        for place, (title, height, x, y, shapes) in enumerate(self.parts):
            suffix = str(place + 1) if place else ""
            head = _head(title)
            upper, lower = (top - head) / total, (top - head - height) / total
            options[f"xaxis{suffix}"] = {**x, "anchor": f"y{suffix}"}
            domain = [max(lower, 0.0), upper]
            options[f"yaxis{suffix}"] = {**y, "anchor": f"x{suffix}", "domain": domain}
            options["annotations"].append(_heading(title, upper))
            options["shapes"] += [_on_axes(shape, suffix) for shape in shapes]
            top -= head + FOOT + height
        # The foot of the last panel is the margin.
        shown = layout(total + END + 12, **options)
        return {"data": self.data, "layout": {**shown, "margin": {**shown["margin"], "b": END}}}


def _on_axes(shape: Spec, suffix: str) -> Spec:
    names = {end: str(shape[end]) for end in ("xref", "yref")}
    return {**shape, **{end: name[0] + suffix + name[1:] for end, name in names.items()}}


def _head(title: str) -> float:
    """The height of a title."""
    return HEAD + TITLE_LINE * title.count("<br>")


def _heading(title: str, y: float) -> Spec:
    place = {"xref": "paper", "x": 0, "xanchor": "left", "yref": "paper", "y": y}
    return {
        **place,
        "yanchor": "bottom",
        "align": "left",
        "text": f"<b>{title}</b>",
        "showarrow": False,
    }


def _effect_lanes(found: Sequence[Lesion], scale: float) -> tuple[list[Spec], dict[float, str]]:
    """The traces of a benchmark's lesions, and the names of the lanes by their place."""
    modes = len({item.row.mode for item in found})
    traces: list[Spec] = []
    names: dict[float, str] = {}
    top = 0.0
    for item in found:
        row = item.row
        mode = f", {row.mode}" if modes > 1 else ""
        name = shorten_middle(row.target + mode, LONGEST_TARGET)
        names[top] = f"<b>{axis_name(name, lines=2)}</b>"
        for lane, (kind, controls) in enumerate(item.controls.items(), start=1):
            names[top + lane] = axis_name(control_look(kind).words)
            traces += _dots(kind, controls, top + lane, scale)
        traces.append(_diamond(row, top, scale))
        top += item.lanes + GAP
    return traces, names


def _diamond(row: Row, place: float, scale: float) -> Spec:
    return {
        **{"type": "scatter", "mode": "markers", "legendgroup": "lesion"},
        **{"name": "lesion, 95%", "x": [scale * row.effect[0]], "y": [place]},
        "error_x": _errors([row], scale),
        "marker": marker_of(LESION, 10),
        **{"hoverinfo": "text", "hovertext": [_row_words(row, scale)]},
    }


def _dots(kind: str, controls: Sequence[Row], lane: float, scale: float) -> list[Spec]:
    """Every control of a kind, spread over its lane in a fixed pattern, and their mean."""
    look, values = control_look(kind), [scale * row.effect[0] for row in controls]
    shifts = [SPREAD * ((place % PLACES) / (PLACES - 1) - 0.5) for place in range(len(values))]
    heights = [lane + shift for shift in shifts] if len(values) > 1 else [lane]
    name = hover_text(look.words)
    dots: list[Spec] = [
        {
            **{"type": "scatter", "mode": "markers", "name": name, "legendgroup": f"of {name}"},
            **{"x": values, "y": heights, "marker": marker_of(look, 7, opacity=0.75)},
            **{"hoverinfo": "text", "hovertext": [_row_words(row, scale) for row in controls]},
        }
    ]
    if len(values) > 1:
        line = {"color": INK, "width": 2}
        dots.append(
            {
                **{"type": "scatter", "mode": "markers", "name": "mean of controls"},
                **{"legendgroup": "mean", "x": [float(np.mean(values))], "y": [lane]},
                "marker": {"symbol": "line-ns", "size": 18, "color": INK, "line": line},
                "hoverinfo": "text",
                "hovertext": [f"mean of {len(values)} {name} controls: {np.mean(values):+.3g}"],
            }
        )
    return dots


def _band(kind: str, found: Sequence[Lesion], scale: float) -> list[Spec]:
    """The band of a kind of control, and the line of its means."""
    look, place = (
        control_look(kind),
        list(CONTROL_LOOKS).index(kind) if kind in CONTROL_LOOKS else 0,
    )
    drawn = [item for item in found if kind in item.controls]
    x = [(item.row.percentage or 0.0) for item in drawn]
    values = [[scale * c.effect[0] for c in item.controls[kind]] for item in drawn]
    name, group = hover_text(look.words), f"of {hover_text(look.words)}"
    traces: list[Spec] = []
    if any(len(v) > 1 for v in values):
        low, high = [min(v) for v in values], [max(v) for v in values]
        traces.append(
            {
                **{"type": "scatter", "mode": "lines", "x": x + x[::-1], "y": high + low[::-1]},
                **{"fill": "toself", "fillcolor": f"{look.colour}2e", "hoverinfo": "skip"},
                **{"line": {"width": 0}, "legendgroup": group, "showlegend": False, "name": name},
            }
        )
    line = {"color": look.colour, "dash": DASHES[1 + place % 4], "width": 2}
    traces.append(
        {
            **{"type": "scatter", "mode": "lines+markers", "name": name, "legendgroup": group},
            **{"x": x, "y": [float(np.mean(v)) for v in values], "line": line},
            **{"marker": marker_of(look), "hoverinfo": "text"},
            "hovertext": [
                f"{name}, {(item.row.percentage or 0.0):g}%<br>"
                f"mean of {len(v)}: {np.mean(v):+.3g}<br>from {min(v):+.3g} to {max(v):+.3g}"
                for item, v in zip(drawn, values, strict=True)
            ],
        }
    )
    return traces  # fmt: skip


def _dose_line(found: Sequence[Lesion], scale: float) -> Spec:
    rows = [item.row for item in found]
    return {
        **{"type": "scatter", "mode": "lines+markers", "name": "lesion, 95%"},
        **{"legendgroup": "lesion", "x": [(row.percentage or 0.0) for row in rows]},
        "y": [scale * row.effect[0] for row in rows],
        "error_y": _errors(rows, scale),
        "line": {"color": LESION.colour, "width": 2},
        "marker": marker_of(LESION, 9),
        **{"hoverinfo": "text", "hovertext": [_row_words(row, scale) for row in rows]},
    }


def _errors(rows: Sequence[Row], scale: float) -> Spec:
    below, above = (abs(scale) * reach(row.effect for row in rows)).tolist()
    ends: dict[str, Any] = {"type": "data", "symmetric": False, "array": above, "arrayminus": below}
    return {**ends, "thickness": 1.5, "width": 4}


def _row_words(row: Row, scale: float) -> str:
    """Kind, seed, units, value and change of a condition, for its hover label."""
    seed = "" if row.seed is None else f", seed {row.seed}"
    kind = "lesion" if row.condition == "lesion" else f"{control_look(row.control).words}"
    change = _changes(row, scale)
    return (
        f"{hover_text(row.target)}<br>{hover_text(kind)}{seed}<br>{row.units} units"
        f"{_outlier_words(row)}<br>{row.measure} {number(row.value, _form(row)).text} "
        f"({span(row.low, row.high, _form(row))})<br>change {change[0].text} {unit_of(row)} "
        f"({span(change[1].value, change[2].value, '+.3g')})"
    )


def _outlier_words(row: Row) -> str:
    found = row.outlier_units
    return "" if found is None else f", {found} of them outliers"


def _changes(row: Row, scale: float) -> list[Any]:
    return [number(scale * value, "+.3g") for value in row.effect]


def _lesion_cells(item: Lesion, scaled: tuple[float, str], study: Study | None) -> list[list[Cell]]:
    """The rows of a lesion in a table: its own, and one for each kind of control."""
    scale, row = scaled[0], item.row
    p_values = {} if study is None else {one.kind: one.p for one in study.controls_of(row)}
    form, unit = _form(row), unit_of(row)
    middle, low, high = _changes(row, scale)
    names = [shorten(row.benchmark, LONGEST_CELL), shorten_middle(row.target, LONGEST_CELL)]
    first: list[Cell] = [*names, "lesion", count(row.units)]
    outliers = count(row.outlier_units)
    value, ends = number(row.value, form), interval(low.value, high.value, "+.2f")
    change = number(middle.value, "+.2f")
    found = [[*first, outliers, value, change, unit, ends, NOTHING, NOTHING]]
    for kind, controls in item.controls.items():
        changes = [scale * control.effect[0] for control in controls]
        known = [c.outlier_units for c in controls if c.outlier_units is not None]
        found.append(
            [
                *first[:2],
                _kind_words(kind) + (", mean" if len(controls) > 1 else ""),
                first[3],
                number(float(np.mean(known)), ".1f") if known else number(None),
                number(float(np.mean([control.value for control in controls])), form),
                number(float(np.mean(changes)), "+.2f"),
                unit,
                interval(min(changes), max(changes), "+.2f"),
                count(len(controls)),
                probability(p_values.get(kind)),
            ]
        )  # fmt: skip
    return found


def _effect_words(item: Lesion) -> str:
    row = item.row
    scale, _ = scale_of([row])
    words = f"{shorten(row.target, LONGEST_HOVER)} on {shorten(row.benchmark, LONGEST_HOVER)}: "
    return words + f"{scale * row.effect[0]:+.2f} {unit_of(row)}"


def _panel_title(rows: Sequence[Row]) -> str:
    first = rows[0]
    unit = "windows" if first.measure == "perplexity" else "items"
    number_of = f", {first.items} {unit}"
    name = shorten(first.benchmark, LONGEST_NAME - len(number_of))
    return axis_name(name + number_of, TITLE_WIDTH)


def _kind_words(kind: str) -> str:
    return shorten(control_look(kind).words, LONGEST_CELL)


def _form(row: Row) -> str:
    return ".2f" if row.measure == "perplexity" else ".3f"


def _digest(results: Results) -> str | None:
    return None if results.localization is None else results.localization.mask.digest


def _summary(results: Results) -> Sequence[Row]:
    if not any(row.condition == "lesion" for row in results.summary):
        raise LsnsError("there is no study of a lesion; lsns evaluate makes one")
    return results.summary
