"""What all figures share: one column, one palette, one local style, and how they are written.

Nothing here touches matplotlib's global state: figures are made without pyplot, and the style
holds while one is drawn or written.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lsns.errors import LsnsError
from lsns.store import atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = np.ndarray[Any, Any]
MM = 1 / 25.4
# One column of a journal, in mm.
COLUMN = 85.0
HEIGHT = 60.0
# Points; nothing in a figure is smaller.
SMALLEST = 7.0
DPI = 300
# Share of a logarithmic axis below which two tick labels would meet.
CROWDED = 0.09
# Characters of the lines of names beside axes, and of titles.
NAME_WIDTH, TITLE_WIDTH = 22, 36

# The palette of Okabe and Ito, which all common kinds of colour vision tell apart.
BLACK, GREY, PALE = "#000000", "#767676", "#c4c4c4"
BLUE, VERMILLION, GREEN = "#0072b2", "#d55e00", "#009e73"
SKY, ORANGE, PURPLE, YELLOW = "#56b4e9", "#e69f00", "#cc79a7", "#f0e442"
SEQUENTIAL, DIVERGING = "viridis", "coolwarm"

STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8.0,
    "axes.labelsize": 8.0,
    "axes.titlesize": 8.0,
    "axes.titlelocation": "left",
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.labelsize": SMALLEST,
    "ytick.labelsize": SMALLEST,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "legend.fontsize": SMALLEST,
    "legend.title_fontsize": SMALLEST,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
    "legend.handletextpad": 0.5,
    "legend.columnspacing": 1.2,
    "legend.borderaxespad": 0.2,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.5,
    "image.cmap": SEQUENTIAL,
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "lsns",
}
# No dates, and no version of matplotlib: the same figure is the same bytes.
METADATA: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


@dataclass(frozen=True)
class Look:
    """How a series looks; colour is never all that tells it from another.

    Attributes:
        words: what it is called.
        colour: its colour.
        marker: its marker.
        dash: its line.
    """

    words: str
    colour: str
    marker: str
    dash: Any = "-"


LESION = Look("lesion", BLACK, "D")
CONTROL_LOOKS: Mapping[str, Look] = {
    "uniform": Look("uniform", BLUE, "o", (0, (1, 1))),
    "layer": Look("layer-matched", PURPLE, "s", (0, (4, 1.2))),
    "magnitude": Look("magnitude-matched", VERMILLION, "^", (0, (4, 1.2, 1, 1.2))),
    "least": Look("least selective", GREEN, "v", (0, (2, 2))),
    "outliers": Look("other outliers", ORANGE, "X", (0, (1, 2))),
}


def control_look(kind: str) -> Look:
    """The look of a kind of control; grey for one that is not known here."""
    return CONTROL_LOOKS.get(kind) or Look(kind, GREY, "x", ":")


@contextmanager
def styled() -> Iterator[None]:
    """Matplotlib's defaults with the style of this package, for the length of the block.

    Raises:
        LsnsError: matplotlib is not installed.
    """
    try:
        from matplotlib import style
    except ImportError:
        raise LsnsError("figures need matplotlib; pip install 'lsns[report]'") from None
    with style.context(STYLE, after_reset=True):
        yield


@contextmanager
def canvas(ax: Axes | None, *, height: float = HEIGHT) -> Iterator[Axes]:
    """Axes to draw on, in the style: those given, else those of a new figure.

    Args:
        ax: the user's.
        height: of a new figure, in mm.
    """
    with styled():
        yield new_figure(height).add_subplot() if ax is None else ax


def new_figure(height: float = HEIGHT, *, width: float = COLUMN) -> Figure:
    """An empty figure without pyplot; mm. Drawn on outside of `styled`, it has the user's style."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width * MM, height * MM), layout="constrained")


def figure_of(ax: Axes) -> Figure:
    """The figure that the axes are in."""
    figure = ax.get_figure(root=True)
    assert figure is not None
    return figure


def legend_above(ax: Axes, *, columns: int = 2, **options: Any) -> None:
    """A legend above the axes, where it covers no data; what has an interval comes first."""
    from matplotlib.container import ErrorbarContainer

    handles, labels = ax.get_legend_handles_labels()
    entries = zip(handles, labels, strict=True)
    ordered = sorted(entries, key=lambda entry: not isinstance(entry[0], ErrorbarContainer))
    options = {"ncols": columns, "alignment": "left", **options}
    ax.legend(*zip(*ordered, strict=True), loc="lower left", bbox_to_anchor=(0, 1.01), **options)


def log_ticks(ax: Axes, values: Iterable[float]) -> None:
    """A logarithmic x axis with ticks at these values, or as many of them as have room.

    In plain numbers: powers of ten as matplotlib writes them have exponents smaller than the
    smallest text.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    ax.set_xscale("log")
    ax.xaxis.set_major_locator(FixedLocator(spaced(values)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_locator(NullLocator())


def spaced(values: Iterable[float]) -> list[float]:
    """Those of the positive values that have room for a number each on a logarithmic axis."""
    ordered = sorted(set(values))
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


def layer_ticks(axis: Any) -> None:
    """Whole numbers: there is no layer between two layers."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(nbins=7, integer=True))


def wrapped(name: str, width: int = NAME_WIDTH) -> str:
    """A name in lines short enough to stand beside axes, or with another width above them."""
    return "\n".join(textwrap.wrap(name, width)) or name


def bounds(rows: Iterable[Mapping[str, Any]], name: str, low: str, high: str) -> Array:
    """Distances from values down and up to the ends of their intervals, as matplotlib takes them.

    Returns:
        Shape (2, n_rows).
    """
    return reach((row[name], row[low], row[high]) for row in rows)


def reach(effects: Iterable[tuple[float, float, float]]) -> Array:
    """The same of values with the ends of their intervals."""
    ends = [(value - low, high - value) for value, low, high in effects]
    # An interval of percentiles need not hold the mean.
    return np.maximum(np.array(ends, dtype=float).reshape(-1, 2).T, 0.0)


def save_figure(figure: Figure | Axes, path: str | Path, *, dpi: int = DPI) -> Path:
    """Write a figure as PNG, SVG or PDF, by the path's ending, in one step.

    The same figure gives the same bytes. Text of a PDF stays text (fonts are embedded as
    TrueType); that of an SVG becomes shapes, which look the same on every machine.

    Args:
        figure: or axes in it.
        path: where to.
        dpi: of a PNG, and of what is an image in the others.

    Raises:
        LsnsError: another ending, or a place that cannot be written to.
    """
    from matplotlib.figure import Figure

    place, whole = Path(path), figure if isinstance(figure, Figure) else figure_of(figure)
    ending = file_format(place)
    with styled(), atomic(place) as temporary:
        whole.savefig(temporary, format=ending, dpi=dpi, metadata=METADATA[ending])
    return place


def file_format(path: Path) -> str:
    """`png`, `svg` or `pdf`, by the path's ending.

    Raises:
        LsnsError: another ending.
    """
    ending = path.suffix.lower().removeprefix(".")
    if ending not in METADATA:
        raise LsnsError(f"{path}: the name of a figure ends in .png, .svg or .pdf")
    return ending
