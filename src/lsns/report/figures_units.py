"""Figures of units: where they are, what they were selected by, how far masks agree.

Each function takes arrays, and axes to draw on or None for a new figure, and returns the axes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Bool, Float

from lsns.analysis.outliers import THRESHOLD
from lsns.errors import LsnsError
from lsns.overlap import overlap
from lsns.report.figures_style import (
    BLACK,
    BLUE,
    COLUMN,
    DIVERGING,
    GREY,
    HEIGHT,
    MM,
    PALE,
    SEQUENTIAL,
    SKY,
    SMALLEST,
    VERMILLION,
    YELLOW,
    canvas,
    figure_of,
    layer_ticks,
    legend_above,
    log_ticks,
    one_two_five,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = np.ndarray[Any, Any]
Depth = Literal["absolute", "relative"]
# Colours end here: a few outlier dimensions must not make all others look alike.
BRIGHTEST_PERCENTILE = 99
TOP_DIMENSIONS = 15
# Characters of names that fit side by side below the axes of one column.
FITTING = 32
# About the width of the axes of one column.
AXES_POINTS = 180


def layer_shares(units: Bool[Array, "n_layers hidden_size"]) -> Float[Array, " n_layers"]:
    """Percent of each layer's units that are selected."""
    return 100 * units.mean(axis=1)


def plot_layers(units: Bool[Array, "n_layers hidden_size"], ax: Axes | None = None) -> Axes:
    """Selectivity per layer: the share of each layer's units in the mask."""
    with canvas(ax, height=50) as ax:
        shares = layer_shares(units)
        ax.bar(np.arange(len(shares)), shares, width=0.8, color=BLUE)
        ax.axhline(
            100 * units.mean(), color=BLACK, lw=0.8, ls=(0, (4, 2)), label="mean over layers"
        )
        ax.set_xlabel("Layer")
        ax.set_ylabel("Selected units (% of layer)")
        ax.set_xlim(-0.7, len(shares) - 0.3)
        layer_ticks(ax.xaxis)
        legend_above(ax)
    return ax


def plot_heatmap(
    masks: Mapping[str, Bool[Array, "n_layers hidden_size"]],
    ax: Axes | None = None,
    *,
    depth: Depth | None = None,
) -> Axes:
    """Selectivity per layer of many models: layers x models, a column for each mask.

    Args:
        masks: by the name of their model.
        ax: axes.
        depth: the layer's number, or its place between first and last in percent; default: the
            number if all models have as many layers.
    """
    if not masks:
        raise LsnsError("a heat map needs at least one mask")
    with canvas(ax, height=80) as ax:
        columns = {name: layer_shares(units) for name, units in masks.items()}
        counts = {len(shares) for shares in columns.values()}
        relative = (depth or ("absolute" if len(counts) == 1 else "relative")) == "relative"
        brightest = max(float(shares.max()) for shares in columns.values()) or 1.0
        mesh: Any = None
        for place, shares in enumerate(columns.values()):
            edges = np.arange(len(shares) + 1) - 0.5
            edges = np.linspace(0, 100, len(shares) + 1) if relative else edges
            mesh = ax.pcolormesh(
                [place - 0.5, place + 0.5], edges, shares[:, None],
                vmin=0, vmax=brightest, cmap=SEQUENTIAL, edgecolors="face", linewidth=0.1,
            )  # fmt: skip
        _name_columns(ax, list(columns))
        ax.set_ylabel("Depth (% of layers)" if relative else "Layer")
        ax.set_ylim((0, 100) if relative else (-0.5, max(counts) - 0.5))
        if relative:
            ax.set_yticks(range(0, 101, 25))
        else:
            layer_ticks(ax.yaxis)
        figure_of(ax).colorbar(mesh, ax=ax, label="Selected units (% of layer)")
    return ax


def plot_scores(
    scores: Float[Array, "n_layers hidden_size"],
    units: Bool[Array, "n_layers hidden_size"],
    ax: Axes | None = None,
    *,
    label: str = "Score",
) -> Axes:
    """The score of every unit, layers x units, and which are selected.

    Args:
        scores: what units were selected by; those below 0 make the colours diverge from 0.
        units: the selected ones.
        ax: axes.
        label: what the score is.
    """
    with canvas(ax, height=70) as ax:
        top = float(np.percentile(np.abs(scores), BRIGHTEST_PERCENTILE)) or 1.0
        signed = bool((scores < 0).any())
        # Without interpolation PDF and SVG hold every unit; a PNG may have fewer pixels.
        image = ax.imshow(
            scores, aspect="auto", origin="lower", interpolation="none",
            cmap=DIVERGING if signed else SEQUENTIAL, vmin=-top if signed else 0.0, vmax=top,
        )  # fmt: skip
        rows, columns = np.nonzero(units)
        ax.scatter(
            columns, rows, s=5, marker="o", c=YELLOW, edgecolors=BLACK, lw=0.4,
            label=f"selected ({len(rows)} units)",
        )  # fmt: skip
        ax.set_xlabel("Unit (hidden dimension)")
        ax.set_ylabel("Layer")
        layer_ticks(ax.yaxis)
        legend_above(ax)
        extend = "both" if signed else "max"
        figure_of(ax).colorbar(image, ax=ax, label=label, extend=extend)
    return ax


def plot_methods(
    ttest: Bool[Array, "n_layers hidden_size"],
    nmd: Bool[Array, "n_layers hidden_size"],
    ax: Axes | None = None,
) -> Axes:
    """Units per layer by T-test and by NMD, and how many are in both.

    Raises:
        LsnsError: masks of different shapes.
    """
    both = overlap(ttest, nmd)
    with canvas(ax, height=60) as ax:
        layers = np.arange(len(ttest))
        for units, shift, colour, name in ((ttest, -0.2, BLUE, "T-test"), (nmd, 0.2, SKY, "NMD")):
            label = f"{name} ({int(units.sum())} units)"
            ax.bar(layers + shift, units.sum(axis=1), width=0.4, color=colour, label=label)
        ax.set_xlabel("Layer")
        ax.set_ylabel("Selected units")
        ax.set_xlim(-0.8, len(ttest) - 0.2)
        layer_ticks(ax.xaxis)
        legend_above(ax, title=f"{both.shared} units in both, {both.expected:.1f} by chance")
    return ax


def plot_outliers(
    magnitudes: Float[Array, "n_layers hidden_size"],
    t_values: Float[Array, "n_layers hidden_size"],
    units: Bool[Array, "n_layers hidden_size"],
    outliers: Bool[Array, "n_layers hidden_size"],
    ax: Axes | None = None,
    *,
    threshold: float = THRESHOLD,
) -> Axes:
    """Outlier audit: every unit's magnitude against its t, selected and outliers marked.

    Args:
        magnitudes: mean |activation|.
        t_values: Welch's t.
        units: the selected ones.
        outliers: all outlier units, selected or not.
        ax: axes.
        threshold: magnitude, in medians of the layer, above which a unit is an outlier.
    """
    with canvas(ax, height=70) as ax:
        ratio = over_median(magnitudes)
        options: dict[str, Any]
        groups: tuple[tuple[str, Array, dict[str, Any]], ...] = (
            ("other units", ~units & ~outliers, {"c": PALE, "s": 1.5, "marker": "o"}),
            ("selected", units & ~outliers, {"c": BLUE, "s": 6, "marker": "o"}),
            (
                "outlier, not selected",
                ~units & outliers,
                {"c": VERMILLION, "s": 10, "marker": "x", "lw": 0.7},
            ),
            ("selected outlier", units & outliers, {"c": BLACK, "s": 14, "marker": "D"}),
        )
        for name, group, look in groups:
            label = f"{name} ({int(group.sum())})"
            options = {"lw": 0, "rasterized": True, "label": label, **look}
            ax.scatter(ratio[group], t_values[group], **options)
        log_ticks(ax, one_two_five(ratio.min(), ratio.max()))
        line: dict[str, Any] = {"color": GREY, "lw": 0.8, "ls": (0, (4, 2)), "zorder": 0}
        ax.axvline(threshold, label=f"{threshold:g} × median", **line)
        ax.set_xlabel("Mean |activation| (× median of layer)")
        ax.set_ylabel("Welch's t")
        legend_above(ax, markerscale=1.3)
    return ax


def plot_overlap(
    masks: Mapping[str, Bool[Array, "n_layers hidden_size"]], ax: Axes | None = None
) -> Axes:
    """Overlap matrix: Dice of every pair of masks; on the diagonal, their numbers of units.

    Raises:
        LsnsError: fewer than two masks, or masks of different shapes.
    """
    names, units = list(masks), list(masks.values())
    if len(names) < 2:
        raise LsnsError(f"an overlap matrix needs at least two masks; got {len(names)}")
    dice = np.array([[_dice(a, b) for b in units] for a in units])
    shown = np.ma.masked_array(dice, np.triu(np.ones_like(dice, dtype=bool)))
    with canvas(ax, height=max(HEIGHT, 40 + 10 * len(names))) as ax:
        ax.imshow(shown, vmin=0, vmax=1, cmap=SEQUENTIAL, aspect="auto")
        for row, mask in enumerate(units):
            ax.fill_between([row - 0.5, row + 0.5], row - 0.5, row + 0.5, color=PALE, lw=0)
            _write(ax, row, row, f"{int(mask.sum())}", BLACK)
            for column, value in enumerate(dice[row, :row]):
                _write(ax, column, row, f"{value:.2f}", BLACK if value > 0.5 else "white")
        _name_columns(ax, names)
        ax.set_yticks(range(len(names)), names)
        ax.spines[["left", "bottom"]].set_visible(False)
        ax.tick_params(length=0)
        ax.set_title("Dice; on the diagonal, units", loc="right")
    return ax


def plot_recurrence(
    units: Bool[Array, "n_layers hidden_size"],
    outliers: Bool[Array, "n_layers hidden_size"] | None = None,
    ax: Axes | None = None,
    *,
    top: int = TOP_DIMENSIONS,
) -> Axes:
    """Dimensions of the residual stream that are selected in most layers, and in which.

    Args:
        units: the selected ones.
        outliers: all outlier units, selected or not; shown for these dimensions.
        ax: axes.
        top: how many dimensions at most.
    """
    dimensions = recurring(units, top)
    with canvas(ax, height=max(45.0, 22 + 3.6 * len(dimensions))) as ax:
        places, layers = np.nonzero(units[:, dimensions].T)
        side = min(3.0, AXES_POINTS / len(units))
        ax.scatter(layers, places, s=side**2, c=BLUE, marker="s", lw=0, label="selected")
        if outliers is not None:
            places, layers = np.nonzero(outliers[:, dimensions].T)
            ax.scatter(
                layers, places, s=2.2 * side**2, facecolors="none", edgecolors=VERMILLION,
                marker="o", lw=0.7, label="outlier",
            )  # fmt: skip
        ax.set_yticks(range(len(dimensions)), [str(d) for d in dimensions])
        ax.set_xlabel("Layer")
        ax.set_ylabel("Dimension")
        ax.set_xlim(-0.8, len(units) - 0.2)
        ax.set_ylim(len(dimensions) - 0.4, -0.6)
        layer_ticks(ax.xaxis)
        many, chance = int((units.sum(axis=0) > 1).sum()), expected_recurring(units)
        legend_above(ax, title=f"{many} dimensions in 2 or more layers, {chance:.1f} by chance")
    return ax


def recurring(units: Bool[Array, "n_layers hidden_size"], top: int) -> Sequence[int]:
    """The dimensions selected in most layers, most first; ties by number."""
    counts = units.sum(axis=0)
    ranked = np.argsort(-counts, kind="stable")[:top]
    return [int(dimension) for dimension in ranked if counts[dimension] > 0]


def expected_recurring(units: Bool[Array, "n_layers hidden_size"]) -> float:
    """Dimensions selected in two layers or more if each layer's units were drawn at random."""
    shares = units.mean(axis=1)
    others = [np.prod(1 - np.delete(shares, layer)) for layer in range(len(shares))]
    return float(units.shape[1] * (1 - np.prod(1 - shares) - shares @ np.array(others)))


def over_median(
    magnitudes: Float[Array, "n_layers hidden_size"],
) -> Float[Array, "n_layers hidden_size"]:
    """Magnitudes in medians of their layer; a unit that is always 0 is put at the smallest."""
    median = np.median(magnitudes, axis=1, keepdims=True)
    ratio = magnitudes / np.where(median > 0, median, 1.0)
    smallest = ratio[ratio > 0].min(initial=1.0)
    return np.maximum(ratio, smallest)


def _dice(first: Array, second: Array) -> float:
    total = int(first.sum() + second.sum())
    return 2 * overlap(first, second).shared / total if total else 0.0


def _write(ax: Axes, x: float, y: float, text: str, colour: str) -> None:
    ax.text(x, y, text, ha="center", va="center", color=colour, fontsize=SMALLEST)


def _name_columns(ax: Axes, names: Sequence[str]) -> None:
    """Names below columns, slanted if they would meet."""
    room = FITTING * figure_of(ax).get_size_inches()[0] / (COLUMN * MM)
    slanted = len(names) * max(map(len, names)) > room
    options: dict[str, Any] = (
        {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if slanted else {}
    )
    ax.set_xticks(range(len(names)), list(names), **options)
