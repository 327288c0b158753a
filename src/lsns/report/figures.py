"""Every figure by its kind, from a results folder to the page, a notebook and a paper.

`plot` gives a chart of Altair; `write_figure` writes one as `lsns plot` does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from lsns.errors import LsnsError
from lsns.report.results import Results, as_results
from lsns.store import atomic

if TYPE_CHECKING:
    import altair as alt

    from lsns.audits.audit import Audit
    from lsns.evaluation.study import Study
    from lsns.localization import Localization
    from lsns.report.style import Figure, Spec

# One column of a journal, 85 mm, in pixels of 1/96 inch; pixels of a picture to the inch.
COLUMN, PIXELS, DPI = 321, 96, 300
# Of a PDF.
POINTS = 72


# Module and function that draws each: from `Results` to a `Figure`; an `LsnsError` says what is
# missing for it.
KINDS: Mapping[str, str] = {
    "layers": "figures_units:layers",
    "heatmap": "figures_units:heatmap",
    "scores": "figures_units:scores",
    "methods": "figures_units:methods",
    "dose": "figures_study:dose",
    "effects": "figures_study:effects",
    "reliability": "figures_audit:reliability",
    "outliers": "figures_units:outliers",
    "overlap": "figures_units:matrix",
    "protocols": "figures_audit:protocols",
    "profile": "figures_audit:profile",
    "recurrence": "figures_units:recurrence",
}
# What may be of more than one results folder.
SEVERAL = ("heatmap", "overlap")
ENDINGS = ("pdf", "svg", "png", "json", "html")


def plot(kind: str, *results: Results | Study | Audit | Localization | str | Path) -> alt.Chart:
    """A figure of what was found as a chart of Altair: to show in a notebook, restyle, join, save.

    Its rows are in it. Charts can be joined with `|` and `&`.

    Args:
        kind: name of the figure, as in `lsns plot KIND`.
        results: a results folder, what `read_results` gives, or what `localize`, `evaluate` or
            `audit` gave if the figure needs no more; several for heatmap and overlap.

    Raises:
        LsnsError: no such kind, results that lack what it shows, or too many of them.
    """
    if kind not in KINDS:
        raise LsnsError(f"no figure {kind!r}; use one of {', '.join(KINDS)}")
    if not results or (len(results) > 1 and kind not in SEVERAL):
        several = f"; several are for {' and '.join(SEVERAL)}" if results else ""
        raise LsnsError(
            f"figure {kind} is of one results folder, {len(results)} were given{several}"
        )
    found = [as_results(item) for item in results]
    draw = drawing(kind)
    try:
        return draw(*found).chart
    except LsnsError as error:
        where = ", ".join(
            str(one.folder or type(item).__name__) for one, item in zip(found, results, strict=True)
        )
        raise LsnsError(f"{where}: {kind} cannot be drawn: {error}") from None


def drawing(kind: str) -> Callable[..., Figure]:
    """The function that draws a figure of results; Altair is imported with it, and not before.

    Raises:
        LsnsError: Altair is not installed.
    """
    module, _, name = KINDS[kind].partition(":")
    return getattr(import_module(f"lsns.report.{module}"), name)


def write_figure(kind: str, folders: Sequence[str | Path], path: str | Path) -> Path:
    """Draw a figure of results folders and write it; see `plot` and `save_chart`."""
    _ending(Path(path))
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
    ending = _ending(place)
    content = _encoded(chart.to_dict(), ending)
    with atomic(place) as temporary:
        temporary.write_bytes(content)
    return place


def _ending(path: Path) -> str:
    ending = path.suffix.lower().removeprefix(".")
    if ending not in ENDINGS:
        raise LsnsError(f"{path}: the name of a figure ends in {', '.join(ENDINGS)}")
    return ending


def _encoded(spec: Spec, ending: str) -> bytes:
    from lsns.report.html import figure_page
    from lsns.report.style import PAPER, converter

    if ending == "json":
        return json.dumps({**spec, "config": PAPER}, indent=1).encode()
    if ending == "html":
        return figure_page(spec).encode()
    svg = draw_svg(spec, COLUMN)
    if ending == "png":
        return converter().svg_to_png(svg, scale=DPI / PIXELS)
    if ending == "pdf":
        wide, high = (POINTS / PIXELS * size for size in _size(svg))
        # A pixel becomes a point there.
        size = f' width="{wide}" height="{high}"'
        svg = re.sub(r' width="[\d.]+" height="[\d.]+"', size, svg, count=1)
        return converter().svg_to_pdf(svg)
    return svg.encode()


def draw_svg(spec: Spec, width: int) -> str:
    """The chart as SVG of that width for paper, with all that stands beside the axes.

    A chart that was joined with others side by side keeps its own width.
    """
    return _drawn(json.dumps(spec), width)


# A page that is made again has much the same figures.
@lru_cache(maxsize=32)
def _drawn(spec_json: str, width: int) -> str:
    from lsns.report.style import PAPER, converter

    spec = json.loads(spec_json)
    views = spec.get("vconcat", [] if {"hconcat", "concat"} & spec.keys() else [spec])
    drawn = ""
    # How much stands beside the axes is known when it is drawn.
    for _ in range(3):
        drawn = converter().vegalite_to_svg(spec, config=PAPER)
        spare = width - round(_size(drawn)[0])
        if not spare or not all("width" in view for view in views):
            break
        for view in views:
            view["width"] += spare
    # Vega goes on counting what it clips from one chart to the next: here each begins anew.
    known: dict[str, str] = {}

    def number(found: re.Match[str]) -> str:
        return found[1] + known.setdefault(found[2], f"{found[3]}{len(known)}")

    return re.sub(r'(id="|url\(#)((clip|gradient_?)\d+)', number, drawn)


def _size(svg: str) -> tuple[float, float]:
    found = re.match(r'<svg[^>]*? width="([\d.]+)" height="([\d.]+)"', svg)
    return (float(found[1]), float(found[2])) if found else (0.0, 0.0)
