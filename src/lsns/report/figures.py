"""Every figure by its kind, from a results folder to the page, a notebook and a paper.

`plot` gives a chart of Altair; `write_figure` writes one as `lsns plot` does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from lsns.errors import LsnsError
from lsns.report.results import Results, read_results
from lsns.store import atomic

if TYPE_CHECKING:
    import altair as alt

    from lsns.report.style import Figure, Spec

# One column of a journal, 85 mm, in pixels of 1/96 inch; pixels of a picture to the inch.
COLUMN, PIXELS, DPI = 321, 96, 300
# Of a PDF.
POINTS = 72


@dataclass(frozen=True)
class Kind:
    """A figure that can be had of results.

    Attributes:
        home: module and function that draws it: from `Results` to a `Figure`; an `LsnsError`
            says what is missing.
        several: whether it takes more than one results folder.
    """

    home: str
    several: bool = False


KINDS: Mapping[str, Kind] = {
    "layers": Kind("figures_units:layers"),
    "heatmap": Kind("figures_units:heatmap", several=True),
    "scores": Kind("figures_units:scores"),
    "methods": Kind("figures_units:methods"),
    "dose": Kind("figures_study:dose"),
    "effects": Kind("figures_study:effects"),
    "reliability": Kind("figures_audit:reliability"),
    "outliers": Kind("figures_units:outliers"),
    "overlap": Kind("figures_units:overlaps", several=True),
    "protocols": Kind("figures_audit:protocols"),
    "profile": Kind("figures_audit:profile"),
    "recurrence": Kind("figures_units:recurrence"),
}


def plot(kind: str, *results: Results | str | Path) -> alt.Chart:
    """A figure of finished runs as a chart of Altair: to show in a notebook, restyle, join, save.

    Its rows are in it. Charts can be joined with `|` and `&`.

    Args:
        kind: name of the figure, as in `lsns plot KIND`.
        results: a results folder, or what `read_results` gives; several for heatmap and overlap.

    Raises:
        LsnsError: no such kind, results that lack what it shows, or too many of them.
    """
    _check_kind(kind, len(results))
    found = [item if isinstance(item, Results) else read_results(item) for item in results]
    drawn = drawing(kind)
    try:
        return drawn(*found).chart
    except LsnsError as error:
        where = ", ".join(str(item.folder) for item in found)
        raise LsnsError(f"{where}: {kind} cannot be drawn: {error}") from None


def drawing(kind: str) -> Callable[..., Figure]:
    """The function that draws a figure of results; Altair is imported with it, and not before.

    Raises:
        LsnsError: Altair is not installed.
    """
    module, _, name = KINDS[kind].home.partition(":")
    return getattr(import_module(f"lsns.report.{module}"), name)


def write_figure(kind: str, folders: Sequence[str | Path], path: str | Path) -> Path:
    """Draw a figure of results folders and write it; see `plot` and `save_chart`."""
    _writer(Path(path))
    return save_chart(plot(kind, *folders), path)


def save_chart(chart: alt.Chart, path: str | Path) -> Path:
    """Write a chart by the path's ending, in one step and fit for a column of a paper.

    PNG, SVG and PDF are 85 mm wide; a PNG has 300 pixels to the inch, and a PDF its fonts. JSON
    is the specification of Vega-Lite; HTML is a page with the chart, which loads nothing. The same
    chart gives the same bytes, but for a PDF.

    Args:
        chart: from `plot`, or made of such charts.
        path: file to write.

    Raises:
        LsnsError: another ending, or a place that cannot be written to.
    """
    place = Path(path)
    write = _writer(place)
    content = write(chart.to_dict())
    with atomic(place) as temporary:
        temporary.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return place


def draw_svg(spec: Spec, theme: Spec, width: int) -> str:
    """The chart as SVG of that width, with all that stands beside the axes.

    A chart that was joined with others side by side keeps its own width.
    """
    return _drawn(json.dumps(spec), json.dumps(theme), width)


# A page that is made again has much the same figures.
@lru_cache(maxsize=32)
def _drawn(spec_json: str, theme_json: str, width: int) -> str:
    from lsns.report.style import converter

    spec, theme = json.loads(spec_json), json.loads(theme_json)
    views = spec.get("vconcat", [] if {"hconcat", "concat"} & spec.keys() else [spec])
    drawn = ""
    # How much stands beside the axes is known when it is drawn.
    for _ in range(3):
        drawn = converter().vegalite_to_svg(spec, config=theme)
        spare = width - round(_size(drawn)[0])
        if not spare or not all("width" in view for view in views):
            break
        for view in views:
            view["width"] += spare
    return _renumbered(drawn)


def _renumbered(svg: str) -> str:
    """Vega goes on counting what it clips from one chart to the next: here each begins anew."""
    known: dict[str, str] = {}

    def number(found: re.Match[str]) -> str:
        return found[1] + known.setdefault(found[2], f"{found[3]}{len(known)}")

    return re.sub(r'(id="|url\(#)((clip|gradient_?)\d+)', number, svg)


def _size(svg: str) -> tuple[float, float]:
    found = re.match(r'<svg[^>]*? width="([\d.]+)" height="([\d.]+)"', svg)
    return (float(found[1]), float(found[2])) if found else (0.0, 0.0)


def _svg(spec: Spec) -> str:
    from lsns.report.style import PAPER

    return draw_svg(spec, PAPER, COLUMN)


def _png(spec: Spec) -> bytes:
    from lsns.report.style import converter

    return converter().svg_to_png(_svg(spec), scale=DPI / PIXELS)


def _pdf(spec: Spec) -> bytes:
    from lsns.report.style import converter

    svg = _svg(spec)
    wide, high = (POINTS / PIXELS * size for size in _size(svg))
    # A pixel becomes a point there.
    size = f' width="{wide}" height="{high}"'
    return converter().svg_to_pdf(re.sub(r' width="[\d.]+" height="[\d.]+"', size, svg, count=1))


def _json(spec: Spec) -> str:
    from lsns.report.style import PAPER

    return json.dumps({**spec, "config": PAPER}, indent=1)


def _html(spec: Spec) -> str:
    from lsns.report.html import figure_page

    return figure_page(spec)


def _writer(path: Path) -> Callable[[Spec], str | bytes]:
    ending = path.suffix.lower().removeprefix(".")
    if ending not in WRITERS:
        raise LsnsError(f"{path}: the name of a figure ends in {', '.join(WRITERS)}")
    return WRITERS[ending]


def _check_kind(kind: str, count: int) -> None:
    if kind not in KINDS:
        raise LsnsError(f"no figure {kind!r}; use one of {', '.join(KINDS)}")
    if count < 1 or (count > 1 and not KINDS[kind].several):
        names = " and ".join(name for name, found in KINDS.items() if found.several)
        several = f"; several are for {names}" if count else ""
        raise LsnsError(f"figure {kind} is of one results folder, {count} were given{several}")


WRITERS: Mapping[str, Callable[[Spec], str | bytes]] = {
    "pdf": _pdf,
    "svg": _svg,
    "png": _png,
    "json": _json,
    "html": _html,
}
