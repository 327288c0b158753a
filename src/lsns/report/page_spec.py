"""What the page's figures share: plotly specs as plain dicts, small arrays, text that is only text.

A spec is `{"data": [traces], "layout": {...}}`, as plotly's JavaScript takes it; plotly for Python
is not needed to build one. Colours are those of the light page; `DARK` says what they become.
"""

from __future__ import annotations

import base64
import html
import textwrap
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lsns.report.figures_style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PALE,
    PURPLE,
    SKY,
    VERMILLION,
    Look,
)
from lsns.report.page_tables import Table

Array = np.ndarray[Any, Any]
Spec = dict[str, Any]
INK, FRAME, GRID, PAPER, CLEAR = "#1b1f24", "#6a7178", "#e3e6ea", "#ffffff", "rgba(0,0,0,0)"
SANS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'Liberation Sans', sans-serif"
# On coloured cells, which are the same in both themes.
ALWAYS_DARK, ALWAYS_LIGHT = "#101010", "#fefefe"
# The same hues, light enough to stand out from a dark ground and dark enough to differ.
DARK: Mapping[str, str] = {
    **{INK: "#e6e8eb", FRAME: "#8d959e", GRID: "#2c323a", PAPER: "#15191e"},
    **{BLACK: "#f5f5f5", GREY: "#a6acb3", PALE: "#565e68"},
    **{BLUE: "#3f97dc", VERMILLION: "#f0793a", GREEN: "#2cbf92"},
    **{SKY: "#9fd6f7", ORANGE: "#efb02e", PURPLE: "#dd97be"},
}
# Cool to warm through a light middle, as matplotlib's `coolwarm`.
COOLWARM: tuple[tuple[float, str], ...] = (
    *((0.0, "#3b4cc0"), (0.125, "#6282ea"), (0.25, "#8db0fe"), (0.375, "#b8d0f9")),
    *((0.5, "#dddddd"), (0.625, "#f5c4ad"), (0.75, "#f49a7b"), (0.875, "#de604d")),
    (1.0, "#b40426"),
)
VIRIDIS: tuple[tuple[float, str], ...] = (
    *((0.0, "#440154"), (0.125, "#472d7b"), (0.25, "#3b528b"), (0.375, "#2c728e")),
    *((0.5, "#21918c"), (0.625, "#28ae80"), (0.75, "#5ec962"), (0.875, "#addc30")),
    (1.0, "#fde725"),
)
# Characters of a name beside axes and of a line of it; the same of one in a hover label.
LONGEST_NAME, NAME_LINE, LONGEST_HOVER, HOVER_LINE = 44, 22, 80, 40
# Markers of matplotlib by what plotly calls them.
SYMBOLS = {"o": "circle", "s": "square", "^": "triangle-up", "v": "triangle-down", "D": "diamond",
           "X": "x", "x": "x-thin"}  # fmt: skip
DASHES = ("solid", "dot", "dash", "dashdot", "longdash")
# Format characters that are letters' company and are drawn, or join what is drawn.
_JOINING = {"\u200c", "\u200d"}
_DRAWN = {*map(chr, range(0x600, 0x606)), "\u06dd", "\u070f", "\u0890", "\u0891", "\u08e2"}
_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}


@dataclass(frozen=True)
class PageFigure:
    """A figure of the page.

    Attributes:
        kind: as in `lsns plot KIND`.
        title: what it is called.
        caption: how to read it, in plain sentences.
        alt: what it shows, with the main numbers, for those who do not see it.
        spec: see the module.
        table: the same data; None where that is too many rows.
    """

    kind: str
    title: str
    caption: str
    alt: str
    spec: Spec
    table: Table | None = None


@dataclass(frozen=True)
class Absent:
    """A figure that these results do not hold.

    Attributes:
        kind: as in `lsns plot KIND`.
        title: what it is called.
        reason: why it is not there.
    """

    kind: str
    title: str
    reason: str


def visible_text(text: str) -> str:
    """The text with characters that are not seen, or that turn others around, written out.

    >>> visible_text("a" + chr(0x202E) + "b")
    'a⟨U+202E⟩b'

    Line feeds and tabs stay, and so do the joiners that scripts and emoji need.
    """
    return text.translate({ord(c): f"⟨U+{ord(c):04X}⟩" for c in set(text) if _is_hidden(c)})


def _is_hidden(character: str) -> bool:
    kept = character in "\n\t" or character in _JOINING or character in _DRAWN
    return not kept and unicodedata.category(character) in _HIDDEN


def shorten(text: str, length: int) -> str:
    """One visible line of at most `length` characters."""
    line = " ".join(visible_text(text[: 4 * length]).split())
    whole = len(line) <= length and len(text) <= 4 * length
    return line if whole else line[: length - 1].rstrip() + "…"


def shorten_middle(text: str, length: int) -> str:
    """The same for names that differ at their ends, as those of a mask's parts do.

    >>> shorten_middle("a very long name of stimuli@1 outliers", 26)
    'a very long…li@1 outliers'
    """
    line = " ".join(visible_text(text).split())
    if len(line) <= length:
        return line
    end = length // 2
    return f"{line[: length - end - 1].rstrip()}…{line[-end:].lstrip()}"


def hover_text(text: str) -> str:
    """A model's, a file's or a user's text for plotly, whose labels know tags and entities."""
    return _lines(shorten(text, LONGEST_HOVER), HOVER_LINE)


def axis_name(text: str, width: int = NAME_LINE, lines: int | None = None) -> str:
    """The same in lines short enough to stand beside axes; in at most so many."""
    return _lines(shorten(text, LONGEST_NAME), width, lines)


def _lines(text: str, width: int, lines: int | None = None) -> str:
    wrapped = textwrap.wrap(text, width, max_lines=lines, placeholder="…")
    return "<br>".join(html.escape(line, quote=False) for line in wrapped)


def typed(values: Array, dtype: str = "f4") -> dict[str, str]:
    """An array of one dimension or more in the form that takes plotly the fewest bytes.

    >>> typed(np.array([[0, 1]]), "u1")
    {'dtype': 'u1', 'bdata': 'AAE=', 'shape': '1, 2'}
    """
    packed = np.ascontiguousarray(values, dtype=np.dtype(dtype).newbyteorder("<"))
    found = {"dtype": dtype, "bdata": base64.b64encode(packed.tobytes()).decode("ascii")}
    return found if values.ndim == 1 else {**found, "shape": ", ".join(map(str, values.shape))}


def axis(title: str = "", **options: Any) -> Spec:
    """An axis with a line, ticks outside of it, and no zero line."""
    return {
        **{"showline": True, "linecolor": FRAME, "linewidth": 1, "zeroline": False},
        **{"ticks": "outside", "tickcolor": FRAME, "ticklen": 4, "automargin": True},
        **{"gridcolor": GRID, "title": {"text": title, "standoff": 8}},
        **options,
    }


def layer_axis(n_layers: int, **options: Any) -> Spec:
    """An axis of layers: whole numbers, in steps that have room."""
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 1000) if n_layers / step <= 10)
    found = axis("Layer", tick0=0, dtick=step, range=[-0.7, n_layers - 0.3])
    return {**found, "showgrid": False, **options}


def named_axis(names: Sequence[str], places: Sequence[float], low: float, high: float) -> Spec:
    """A vertical axis with names in place of numbers, from the top down."""
    shown = axis(tickvals=list(places), ticktext=list(names), range=[high, low])
    return {**shown, "showline": False, "ticks": "", "showgrid": False}


def layout(height: float, **options: Any) -> Spec:
    """What all figures share; the page sets the width."""
    return {
        "height": round(height),
        "margin": {"l": 48, "r": 12, "t": 12, "b": 44},
        "font": {"family": SANS, "size": 13, "color": INK},
        **{"paper_bgcolor": PAPER, "plot_bgcolor": CLEAR, "hovermode": "closest"},
        "hoverlabel": {"align": "left", "bgcolor": PAPER, "bordercolor": FRAME,
                       "font": {"family": SANS, "size": 13, "color": INK}},
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.0, "yanchor": "bottom",
                   "bgcolor": CLEAR},
        "showlegend": True,
        **options,
    }  # fmt: skip


def marker_of(look: Look, size: float = 8, **options: Any) -> Spec:
    """The marker of a series, as plotly writes it."""
    symbol = SYMBOLS.get(look.marker, "circle")
    return {"symbol": symbol, "size": size, "color": look.colour, **options}


def line_at(value: float, *, vertical: bool = False, **options: Any) -> Spec:
    """A grey line across the whole axes, below the data."""
    ends = {"x0": value, "x1": value, "y0": 0, "y1": 1, "xref": "x", "yref": "y domain"}
    if not vertical:
        ends = {"y0": value, "y1": value, "x0": 0, "x1": 1, "yref": "y", "xref": "x domain"}
    line = {"color": GREY, "width": 1}
    return {"type": "line", "layer": "below", "line": line, **ends, **options}
