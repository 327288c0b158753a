"""What all figures share: palette, looks of series, axes, and two themes.

A chart says what is drawn, in the colours of the light page. A theme, a configuration of Vega-Lite,
is put on it where it is shown: `PAPER` in a file, `PAGE` on the page. A chart without one can be
joined with others by `|` and `&`, which Altair refuses for charts that have a configuration.
"""

from __future__ import annotations

import json
import math
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from lsns.errors import LsnsError
from lsns.report.visible import LONGEST_HOVER, LONGEST_NAME, shorten
from lsns.table import Column, Table

try:
    import altair as alt
except ImportError:
    raise LsnsError("figures need altair: pip install 'lsns[report]'") from None

Array = np.ndarray[Any, Any]
Row = Mapping[str, Any]
Spec = dict[str, Any]

# The palette of Okabe and Ito, which all common kinds of colour vision tell apart.
BLACK, GREY, PALE = "#000000", "#767676", "#c4c4c4"
BLUE, VERMILLION, GREEN = "#0072b2", "#d55e00", "#009e73"
SKY, ORANGE, PURPLE, YELLOW = "#56b4e9", "#e69f00", "#cc79a7", "#f0e442"
INK, FRAME, GROUND = "#1b1f24", "#6a7178", "#ffffff"
# On coloured cells, which are the same in both themes.
ALWAYS_DARK, ALWAYS_LIGHT = "#101010", "#fefefe"
# The same hues, light enough to stand out from a dark ground and dark enough to differ.
DARK: Mapping[str, str] = {
    **{INK: "#e6e8eb", FRAME: "#8d959e", GROUND: "#15191e"},
    **{BLACK: "#f5f5f5", GREY: "#a6acb3", PALE: "#565e68"},
    **{BLUE: "#3f97dc", VERMILLION: "#f0793a", GREEN: "#2cbf92"},
    **{SKY: "#9fd6f7", ORANGE: "#efb02e", PURPLE: "#dd97be"},
}
SEQUENTIAL, DIVERGING = "viridis", "blueorange"
# Share of a logarithmic axis below which two tick labels would meet.
CROWDED = 0.09
# Characters of a line of a name beside axes, and of one above them.
NAME_LINE, NOTE_LINE = 22, 42
DASHED = (4, 2)
# Pixels of the axes of a chart, as it comes; about what a column of a paper has room for.
WIDTH = 265


@dataclass(frozen=True)
class Look:
    """How a series looks; colour is never all that tells it from another.

    Attributes:
        words: what it is called.
        colour: its colour.
        shape: its marker, as Vega names it.
        dash: lengths of its line's dashes and gaps.
    """

    words: str
    colour: str
    shape: str = "circle"
    dash: tuple[float, ...] = (1, 0)


LESION = Look("lesion, 95%", BLACK, "diamond")
CONTROL_LOOKS: Mapping[str, Look] = {
    "uniform": Look("uniform", BLUE, "circle", (1, 2)),
    "layer": Look("layer-matched", PURPLE, "square", (5, 2)),
    "magnitude": Look("magnitude-matched", VERMILLION, "triangle-up", (5, 2, 1, 2)),
    "decoy": Look("labels shuffled", SKY, "triangle-right", (2, 2)),
    "least": Look("least selective", GREEN, "triangle-down", (3, 3)),
    "outliers": Look("other outliers", ORANGE, "cross", (1, 3)),
}


@dataclass(frozen=True)
class Figure:
    """A figure of results. What is said of it is in templates/figures.toml.

    Attributes:
        chart: the specification with its rows.
        table: the rows to read.
        facts: what the caption and the description of the chart tell.
    """

    chart: Any
    table: Table
    facts: Mapping[str, Any]


def converter() -> Any:
    """The module vl_convert, which draws charts and has the scripts of the page.

    Raises:
        LsnsError: it is not installed.
    """
    try:
        import vl_convert
    except ImportError:
        raise LsnsError("figures need vl-convert-python: pip install 'lsns[report]'") from None
    return vl_convert


def control_look(kind: str) -> Look:
    """The look of a kind of control; grey for one that is not known here."""
    return CONTROL_LOOKS.get(kind) or Look(shorten(kind, LONGEST_HOVER), GREY, "stroke", (1, 3))


def _theme(font: str, size: float, small: float) -> Spec:
    text = {
        **{"labelFontSize": small, "titleFontSize": size, "titleFontWeight": "normal"},
        **{"labelColor": INK, "titleColor": INK, "labelLimit": 16 * size},
    }
    axis = {"domainColor": FRAME, "tickColor": FRAME, "grid": False, "tickSize": 4}
    legend = {
        **{"orient": "top", "title": None, "columns": 2, "rowPadding": 1, "offset": 6},
        **{"columnPadding": 14, "gradientThickness": 0.8 * size, "titleLimit": 24 * size},
        "symbolStrokeWidth": 1.4,
    }
    title = {
        **{"fontSize": size, "color": INK, "anchor": "start", "frame": "bounds", "offset": 6},
        **{"subtitleFontSize": small, "subtitleColor": INK, "fontWeight": "bold"},
    }
    return {
        **{"font": font, "background": GROUND, "padding": 4, "mark": {"aria": False}},
        **{"view": {"stroke": None}, "text": {"fontSize": small, "color": INK}},
        **{"axis": text | axis, "legend": text | legend, "title": title, "concat": {"spacing": 18}},
    }


# No text of a file is below 7 points; its font comes with the program that draws it.
PAPER = _theme("Liberation Sans, Arial, Helvetica, sans-serif", 10.5, 9.5)
PAGE = _theme(
    "system-ui, -apple-system, Segoe UI, Roboto, Noto Sans, Liberation Sans, sans-serif", 13, 13
)


def variables(colours: Iterable[tuple[str, str]]) -> str:
    """Declarations of CSS: what each colour of a chart is on the page."""
    return " ".join(f"--c{name[1:]}: {shown};" for name, shown in colours)


def with_variables(spec: Spec) -> Spec:
    """The specification with its colours as variables of CSS, so that they follow the theme."""
    drawn = {key: value for key, value in spec.items() if key != "datasets"}
    text = re.sub(
        r'"(#[0-9a-f]{6})"',
        lambda found: f'"var(--c{found[1][1:]})"' if found[1] in DARK else found[0],
        json.dumps(drawn),
    )
    return json.loads(text) | {"datasets": spec.get("datasets", {})}


def records(columns: Mapping[str, Iterable[Any]]) -> list[dict[str, Any]]:
    """Rows out of columns of one length."""
    lists = [c.tolist() if isinstance(c, np.ndarray) else list(c) for c in columns.values()]
    return [dict(zip(columns, row, strict=True)) for row in zip(*lists, strict=True)]


def chart(rows: Iterable[Row], **shared: Any) -> alt.Chart:
    """A chart of rows, to be given marks.

    Args:
        rows: with named fields.
        shared: encodings that all of its marks have.
    """
    # A plain object, which Altair takes as it is: it would check each row of its own class.
    return alt.Chart(cast(Any, {"values": _plain_rows(rows)})).encode(**shared)


def _plain_rows(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Rows as Vega-Lite has them: null for numbers that JSON does not have."""
    return [{key: _plain(value) for key, value in row.items()} for row in rows]


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def p_text(value: float) -> str:
    """A probability with two digits; one too small for a float is said to be below it."""
    return "<1e-300" if value < 1e-300 else f"{value:.2g}"


def tips(*names: str) -> list[alt.Tooltip]:
    """Fields of a row for its hover label.

    Args:
        names: each a field, with a format behind a colon as in `t:.3f`, and in front of it, as in
            `items = n`, what it is called there if that is another name.
    """
    found = [
        (title, *rest.partition(":")) for title, _, rest in (n.rpartition(" = ") for n in names)
    ]
    return [
        alt.Tooltip(
            f"{field}:{'Q' if form else 'N'}", title=title or field, format=form or alt.Undefined
        )
        for title, field, _, form in found
    ]


def table(title: str, rows: Iterable[Row], *names: str) -> Table:
    """Rows to read, with a dash for what is missing.

    Args:
        title: what it is a table of.
        rows: with named fields.
        names: fields with formats as in `tips`, of which `p` is that of a probability, or a head
            and a format string, as in `95% = {low:.2f} to {high:.2f}`.
    """
    return Table(title, [_column(name) for name in names], _plain_rows(rows))


def _column(name: str) -> Column:
    head, _, show = name.partition(" = ")
    field, _, form = head.partition(":")
    if form == "p":
        return Column(field, lambda row: "–" if row.get(field) is None else p_text(row[field]))
    return Column(field, show or f"{{{field}:{form}}}", "–")


def lines_of(text: str, width: int = NAME_LINE, length: int = LONGEST_NAME) -> list[str]:
    """A text of anyone in lines short enough to stand beside axes."""
    return textwrap.wrap(shorten(text, length), width) or [""]


def named_axis(names: Mapping[float, Sequence[str]], heads: Iterable[float] = ()) -> Spec:
    """An axis with names, in lines, in place of numbers.

    Args:
        names: lines of each, by where it stands.
        heads: the places of names in bold.
    """
    # What JSON is, an expression of Vega is as well: a name in it stays a text.
    lines, places, bold = (json.dumps([*part]) for part in (names.values(), names, heads))
    is_bold = {"test": f"indexof({bold}, datum.value) >= 0", "value": "bold"}
    return {
        "values": [*names],
        "labelExpr": f"{lines}[indexof({places}, datum.value)]",
        "labelFontWeight": {"condition": is_bold, "value": "normal"},
        "labelOverlap": False,
        "labelPadding": 6,
        "labelAngle": 0,
        "ticks": False,
        "domain": False,
    }


def zoom() -> alt.Parameter:
    """The wheel zooms while Alt is held, so that it scrolls else; dragging moves."""
    wheel = "wheel![event.altKey]"
    return alt.selection_interval(name="zoom", bind="scales", zoom=wheel, clear="dblclick")


def number(field: str, title: Any, axis: Spec | None = None, **scale: Any) -> Spec:
    """The encoding of a number.

    Args:
        field: name of the field.
        title: beside the axis; several lines, or None, are possible.
        axis: its options.
        scale: options of the scale.
    """
    found = {"field": field, "type": "quantitative", "title": title}
    return {**found, "axis": axis or {}, "scale": scale}


def amount(field: str, title: Any) -> Spec:
    """The encoding of a number as a place along `x`, 0 included."""
    return number(field, title, {"tickCount": 6}, zero=True)


def lanes(
    field: str, names: Mapping[float, Sequence[str]], end: float, heads: Iterable[float] = ()
) -> Spec:
    """Named places from the top down to an end; see `named_axis`."""
    domain = [-0.6, end]
    axis = named_axis(names, heads)
    return number(field, None, axis, domain=domain, nice=False, zero=False, reverse=True)


def log(field: str, title: str, ticks: Iterable[float]) -> Spec:
    """A logarithmic axis with plain numbers at these places, or as many of them as have room."""
    axis = {"values": _spaced(ticks), "format": "~g", "labelOverlap": False}
    return number(field, title, axis, type="log", nice=False, padding=12)


def layer_axis(n_layers: int) -> Spec:
    """Whole numbers, in steps that have room."""
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 1000) if n_layers / step <= 8)
    return {"values": list(range(0, n_layers, step)), "labelAngle": 0, "format": "d"}


def looks(field: str, found: Sequence[Look], *channels: str, **options: Any) -> dict[str, Any]:
    """How series look by a field that has their words; channels share one legend.

    Args:
        field: name of the field.
        found: looks of the series.
        channels: of `color`, `shape` and `strokeDash`.
        options: of each channel.
    """
    ranges = {
        "color": [look.colour for look in found],
        "shape": [look.shape for look in found],
        "strokeDash": [look.dash for look in found],
    }
    # A band, a line and a marker in one legend would make it pale, dashed and large.
    legend = {"symbolOpacity": 1, "symbolSize": 40, "symbolDash": [1, 0]}
    shared = {"field": field, "type": "nominal", "title": None, "legend": legend} | options
    words = [look.words for look in found]
    return {name: shared | {"scale": {"domain": words, "range": ranges[name]}} for name in channels}


def sized(chart: Any, height: float, above: str | alt.TitleParams = "") -> Any:
    """The chart with a height, and a width to begin with: what shows it has its own.

    Args:
        chart: single or layered.
        height: of the axes, in pixels.
        above: title, or a note in a line or two that says what a legend would.
    """
    if isinstance(above, str):
        above = alt.TitleParams(textwrap.wrap(above, NOTE_LINE), fontWeight="normal")
    options = {"title": above} if above.text else {}
    return chart.properties(width=WIDTH, height=round(height), **options)


def rule(channel: str, place: float, **look: Any) -> alt.Chart:
    """A line across the whole chart at a place along `x` or `y`, grey if nothing else is said."""
    drawn: Any = chart([{"at": place}])
    return drawn.mark_rule(**{"color": GREY, **look}).encode(**{channel: "at:Q"})


def intervals(drawn: alt.Chart, channel: str, **look: Any) -> alt.Chart:
    """A line from `low` to `high` of each row, along `x` or `y`."""
    marks: Any = drawn
    marks = marks.mark_rule(**{"strokeWidth": 1.4, **look})
    return marks.encode(**{channel: "low:Q", f"{channel}2": "high:Q"})


def dots(drawn: alt.Chart, size: float, **encodings: Any) -> alt.Chart:
    """A filled marker of that size, in square pixels, for each row."""
    return drawn.mark_point(filled=True, size=size, opacity=1).encode(**encodings)


def _spaced(ticks: Iterable[float]) -> list[float]:
    """Those of the positive values that have room for a number each on a logarithmic axis."""
    ordered = sorted(set(ticks))
    room = CROWDED * np.log10(ordered[-1] / ordered[0])
    kept = ordered[:1]
    for value in ordered[1:]:
        if np.log10(value / kept[-1]) >= room:
            kept.append(value)
    return kept


def one_two_five(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten from `low` to `high`."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [v for power in powers for v in (d * 10.0**power for d in (1, 2, 5)) if low <= v <= high]
