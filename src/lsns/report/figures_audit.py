"""Figures of an audit: reliability, the response of held-out units, overlap across protocols.

Each function takes rows of a section of audit.json, and axes to draw on or None for a new figure,
and returns the axes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lsns.errors import LsnsError
from lsns.report.figures_style import (
    BLACK,
    BLUE,
    GREY,
    ORANGE,
    PURPLE,
    VERMILLION,
    Look,
    bounds,
    canvas,
    legend_above,
    log_ticks,
    wrapped,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Row = Mapping[str, Any]
SPLITS: Mapping[str, Look] = {
    "halves": Look("halves", BLUE, "o"),
    "folds": Look("folds", VERMILLION, "s", (0, (4, 1.2))),
}
CONDITIONS = {"positive": BLUE, "negative": ORANGE}
# Series are moved apart by this factor, so that their intervals do not hide each other.
APART = 1.04


def plot_reliability(rows: Sequence[Row], ax: Axes | None = None) -> Axes:
    """Split-half reliability by percentage: Dice of the splits' masks, beside what chance gives.

    Args:
        rows: `reliability.rows` of an audit; those without a percentage have no place.
        ax: axes.

    Raises:
        LsnsError: no rows.
    """
    rows = [row for row in rows if row["percentage"] is not None]
    _need(rows)
    with canvas(ax, height=75) as ax:
        ordered = sorted(rows, key=lambda row: row["percentage"])
        for place, split in enumerate(dict.fromkeys(row["split"] for row in rows)):
            _draw_split(ax, [row for row in ordered if row["split"] == split], APART**place)
        chance = {row["percentage"]: row["dice_chance"] for row in ordered}
        ax.plot(list(chance), list(chance.values()), color=GREY, ls=":", label="chance")
        log_ticks(ax, chance)
        for percentage in {row["percentage"] for row in rows if row["chosen"]}:
            ax.axvline(percentage, color=GREY, lw=0.6, zorder=0, label="this mask")
        ax.set_ylim(0, 1)
        ax.set_xlabel("Units selected (% of all)")
        ax.set_ylabel("Dice of two splits")
        legend_above(ax)
    return ax


def plot_profile(rows: Sequence[Row], ax: Axes | None = None) -> Axes:
    """Response profile: what the units, selected on other items, do on each condition's items.

    Args:
        rows: `selectivity.profile` of an audit.
        ax: axes.

    Raises:
        LsnsError: no rows.
    """
    _need(rows)
    with canvas(ax, height=20 + 9 * len(rows)) as ax:
        ax.axvline(0, color=GREY, lw=0.8, zorder=0)
        for place, row in enumerate(rows):
            ax.errorbar(
                row["mean"], place, xerr=bounds([row], "mean", "low", "high"), capsize=2,
                marker="o", ls="none", color=CONDITIONS.get(row["condition"], PURPLE),
            )  # fmt: skip
        names = [f"{wrapped(row['condition'])}\n({row['n']} items)" for row in rows]
        ax.set_yticks(range(len(rows)), names)
        ax.set_ylim(len(rows) - 0.4, -0.6)
        ax.tick_params(axis="y", length=0)
        ax.set_xlabel("Response of held-out units (SD)")
    return ax


def plot_protocols(rows: Sequence[Row], ax: Axes | None = None) -> Axes:
    """Units that the mask shares with masks made in other ways, and how many chance would share.

    Args:
        rows: `overlaps` of an audit.
        ax: axes.

    Raises:
        LsnsError: no rows.
    """
    _need(rows)
    by_layer = [row["expected_by_layer"] for row in rows if "expected_by_layer" in row]
    with canvas(ax, height=34 + 8 * len(rows)) as ax:
        places = range(len(rows))
        expected = [row["expected"] for row in rows]
        ax.scatter(expected, places, c=GREY, marker="|", s=40, lw=1.2, label="chance")
        if len(by_layer) == len(rows):
            ax.scatter(by_layer, places, c=ORANGE, marker="x", s=16, label="chance within layers")
        ax.scatter([row["shared"] for row in rows], places, c=BLACK, s=16, label="shared")
        ax.set_yticks(places, [wrapped(row["name"]) for row in rows])
        ax.set_ylim(len(rows) - 0.4, -0.6)
        ax.set_xlim(left=min(0, ax.get_xlim()[0]))
        ax.tick_params(axis="y", length=0)
        sizes = {row["units"] for row in rows}
        ax.set_xlabel(f"Shared units (of {sizes.pop()})" if len(sizes) == 1 else "Shared units")
        legend_above(ax, columns=1)
    return ax


def _draw_split(ax: Axes, rows: Sequence[Row], factor: float) -> None:
    look = SPLITS.get(rows[0]["split"]) or Look(rows[0]["split"], PURPLE, "^")
    number = f" (n = {rows[0]['n']})" if "n" in rows[0] else ""
    x = [row["percentage"] * factor for row in rows]
    ax.errorbar(
        x, [row["dice"] for row in rows], yerr=bounds(rows, "dice", "dice_low", "dice_high"),
        color=look.colour, marker=look.marker, ls=look.dash, capsize=2, zorder=3,
        label=f"{look.words}{number}",
    )  # fmt: skip
    shuffled = [row for row in rows if row["dice_shuffled"] is not None]
    if shuffled:
        ax.plot(
            [row["percentage"] * factor for row in shuffled],
            [row["dice_shuffled"] for row in shuffled], ls="none", color=look.colour,
            marker=look.marker, markerfacecolor="none", clip_on=False,
            label=f"{look.words}, shuffled labels",
        )  # fmt: skip


def _need(rows: Sequence[Row]) -> None:
    if not rows:
        raise LsnsError("there are no rows to draw")
