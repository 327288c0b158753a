"""Figures of a study: what lesions take away, beside every control; by benchmark and by dose.

Each function takes rows of `Study.summary` of one benchmark, and axes to draw on or None for a
new figure, and returns the axes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lsns.errors import LsnsError
from lsns.evaluation.conditions import ALL
from lsns.evaluation.study import SummaryRow
from lsns.report.figures_style import (
    BLACK,
    CONTROL_LOOKS,
    GREY,
    LESION,
    TITLE_WIDTH,
    canvas,
    control_look,
    legend_above,
    log_ticks,
    reach,
    wrapped,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Row = SummaryRow
# In lanes: between one lesion's lanes and the next's.
GAP = 0.6
LANE_MM = 4.0
# The height of a panel of `plot_dose`.
DOSE_MM = 68.0
# Dots of a lane are spread over this much of it, in this many places.
SPREAD, PLACES = 0.44, 5


@dataclass(frozen=True)
class Lesion:
    """A lesion on a benchmark and its controls by kind, in the order of `CONTROL_LOOKS`."""

    row: Row
    controls: Mapping[str, Sequence[Row]]

    @property
    def lanes(self) -> int:
        """How many lanes it takes: its own, and one for each kind of control."""
        return 1 + len(self.controls)


def benchmarks_of(rows: Iterable[Row]) -> list[str]:
    """The benchmarks' names, in their order."""
    return list(dict.fromkeys(row.benchmark for row in rows))


def rows_of(rows: Iterable[Row], benchmark: str) -> list[Row]:
    """The rows of one benchmark."""
    return [row for row in rows if row.benchmark == benchmark]


def effect_rows(rows: Sequence[Row], digest: str | None = None) -> list[Row]:
    """The rows of one mask and of its parts (its outliers, the rest).

    Args:
        rows: a study's summary.
        digest: of the mask; all rows if it is None or was not lesioned.
    """
    own = [row for row in rows if row.whole == digest]
    return own if any(row.part == ALL for row in own) else list(rows)


def dose_rows(rows: Sequence[Row]) -> list[Row]:
    """The rows of the masks that differ in percentage alone: of the longest such series.

    Nothing if there are not two percentages.
    """
    series: dict[tuple[str, str], set[float | None]] = {}
    for row in rows:
        if row.condition == "lesion":
            series.setdefault((row.series, row.mode), set()).add(row.percentage)
    longest = max(series, key=lambda name: len(series[name]), default=("", ""))
    if len(series.get(longest, ())) < 2:
        return []
    return [row for row in rows if row.condition != "intact" and (row.series, row.mode) == longest]


def lesions_of(rows: Sequence[Row]) -> list[Lesion]:
    """Every lesion with its controls."""
    found: list[Lesion] = []
    for row in rows:
        if row.condition != "lesion":
            continue
        controls: dict[str, list[Row]] = {kind: [] for kind in CONTROL_LOOKS}
        for other in rows:
            same = (other.target, other.mode) == (row.target, row.mode)
            if other.condition == "control" and same:
                controls.setdefault(other.control, []).append(other)
        found.append(Lesion(row, {kind: drawn for kind, drawn in controls.items() if drawn}))
    return found


def effects_height(rows: Sequence[Row]) -> float:
    """The height in mm that `plot_effects` needs for these rows."""
    found = lesions_of(rows)
    return 17 + LANE_MM * (sum(item.lanes for item in found) + GAP * (len(found) - 1))


def plot_effects(rows: Sequence[Row], ax: Axes | None = None) -> Axes:
    """Lesion effects on a benchmark: the change with its 95% interval, every control as a dot.

    Raises:
        LsnsError: no lesion, or more than one benchmark.
    """
    found = lesions_of(rows)
    scale, label = scale_of(rows)
    with canvas(ax, height=effects_height(rows)) as ax:
        ax.axvline(0, color=GREY, lw=0.8, zorder=0)
        names: dict[float, str] = {}
        heads: list[float] = []
        top = 0.0
        for item in found:
            heads.append(top)
            names |= _draw_lanes(ax, item, top, scale, modes=len({r.row.mode for r in found}))
            top += item.lanes + GAP
        ax.set_yticks(list(names), list(names.values()))
        for place, label_of_lane in zip(names, ax.get_yticklabels(), strict=True):
            label_of_lane.set_fontweight("bold" if place in heads else "normal")
        ax.set_ylim(top - GAP - 0.4, -0.6)
        ax.tick_params(axis="y", length=0)
        ax.set_xlabel(label, loc="right")
        ax.set_title(title_of(rows))
    return ax


def plot_dose(rows: Sequence[Row], ax: Axes | None = None) -> Axes:
    """Dose-response: the change with its interval by percentage of units lesioned.

    Of each kind of control: the mean, and the band from the least to the largest change.

    Args:
        rows: from `dose_rows`, of one benchmark.
        ax: axes.

    Raises:
        LsnsError: less than two percentages, or more than one benchmark.
    """
    found = sorted(lesions_of(rows), key=lambda item: item.row.percentage or 0.0)
    scale, label = scale_of(rows)
    percentages = [(item.row.percentage or 0.0) for item in found]
    if len(set(percentages)) < 2:
        raise LsnsError("a dose-response needs two percentages or more, as in --percentage 0.5,1,2")
    with canvas(ax, height=DOSE_MM) as ax:
        ax.axhline(0, color=GREY, lw=0.8, zorder=0)
        for kind in dict.fromkeys(kind for item in found for kind in item.controls):
            _draw_band(ax, kind, found, scale)
        values = [scale * item.row.effect[0] for item in found]
        ends = abs(scale) * reach(item.row.effect for item in found)
        ax.errorbar(
            percentages, values, yerr=ends, color=LESION.colour, marker=LESION.marker,
            capsize=2, zorder=4, label=f"{LESION.words}, 95%",
        )  # fmt: skip
        log_ticks(ax, percentages)
        ax.set_xlabel("Units lesioned (% of all)")
        ax.set_ylabel(label.replace(" (", "\n("))
        legend_above(ax, title=f"{title_of(rows)}; bands: all controls")
    return ax


def _draw_lanes(
    ax: Axes, item: Lesion, top: float, scale: float, *, modes: int
) -> dict[float, str]:
    """The lanes of a lesion from `top` down; their names by their place."""
    row, ends = item.row, abs(scale) * reach([item.row.effect])
    ax.errorbar(
        scale * row.effect[0], top, xerr=ends, color=LESION.colour, marker=LESION.marker,
        capsize=2, ls="none", zorder=4,
    )  # fmt: skip
    names = {top: row.target + (f", {row.mode}" if modes > 1 else "")}
    for lane, (kind, controls) in enumerate(item.controls.items(), start=1):
        _draw_dots(ax, kind, [scale * control.effect[0] for control in controls], top + lane)
        names[top + lane] = control_look(kind).words
    return names


def _draw_dots(ax: Axes, kind: str, values: Sequence[float], lane: float) -> None:
    look = control_look(kind)
    # Spread over the lane in a fixed pattern: equal values stay visible, and nothing is random.
    shifts = [SPREAD * ((place % PLACES) / (PLACES - 1) - 0.5) for place in range(len(values))]
    heights = lane + (np.array(shifts) if len(values) > 1 else 0.0) + np.zeros(len(values))
    ax.scatter(values, heights, s=9, c=look.colour, marker=look.marker, alpha=0.7, lw=0)
    if len(values) > 1:
        mean = float(np.mean(values))
        ax.plot([mean, mean], [lane - 0.36, lane + 0.36], color=BLACK, lw=0.8)


def _draw_band(ax: Axes, kind: str, found: Sequence[Lesion], scale: float) -> None:
    look = control_look(kind)
    drawn = [item for item in found if kind in item.controls]
    x = [(item.row.percentage or 0.0) for item in drawn]
    values = [[scale * c.effect[0] for c in item.controls[kind]] for item in drawn]
    means = [float(np.mean(v)) for v in values]
    if any(len(v) > 1 for v in values):
        low, high = [min(v) for v in values], [max(v) for v in values]
        ax.fill_between(x, low, high, color=look.colour, alpha=0.18, lw=0)
    ax.plot(x, means, color=look.colour, marker=look.marker, ls=look.dash, label=look.words)


def scale_of(rows: Sequence[Row]) -> tuple[float, str]:
    """What differences are multiplied by, and what they are then.

    A difference of perplexities is stored as the log of their ratio: nats per token.
    """
    measures = {(row.benchmark, row.measure) for row in rows}
    if len(measures) != 1:
        raise LsnsError(f"rows of one benchmark were expected; got {len(measures)}")
    if not any(row.condition == "lesion" for row in rows):
        raise LsnsError("there is no lesion in these rows")
    if next(iter(measures))[1] == "perplexity":
        return 1 / math.log(2), "Change in surprisal (bits per token)"
    return 100.0, "Change in accuracy (percentage points)"


def title_of(rows: Sequence[Row]) -> str:
    """The benchmark's name and how many items it has."""
    first = rows[0]
    unit = "windows" if first.measure == "perplexity" else "items"
    number = f", {first.items} {unit}"
    return wrapped(first.benchmark + number, TITLE_WIDTH)
