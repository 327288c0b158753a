"""Figures of an audit: reliability, the response of held-out units, overlap across protocols."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from lsns.audits.protocols import ProtocolOverlap
from lsns.errors import LsnsError
from lsns.report import style
from lsns.report.results import Results
from lsns.report.style import Figure, Look, intervals, lines_of, number, rule, sized, tips
from lsns.report.visible import LONGEST_HOVER, shorten
from lsns.table import Table

SPLITS = {
    "halves": Look("halves", style.BLUE, "circle"),
    "folds": Look("folds", style.VERMILLION, "square", (5, 2)),
}
OTHER_SPLIT = Look("", style.PURPLE, "triangle-up", (1, 2))
CONDITIONS = {"positive": style.BLUE, "negative": style.ORANGE}
SHARED = {
    "expected": Look("chance", style.GREY, "triangle-down"),
    "expected_by_layer": Look("chance within layers", style.ORANGE, "square"),
    "shared": Look("shared", style.BLACK, "diamond"),
}
# Series are moved apart by this factor, so that their intervals do not hide each other.
APART = 1.04


def reliability(results: Results) -> Figure:
    """Dice of the masks of two splits by percentage, beside shuffled labels and chance."""
    found, localized = _section(results, "reliability", "rows"), results.localization
    size = localized.mask.units.size if localized else 0
    rows: list[dict[str, Any]] = []
    for row in _named(found.rows, "split"):
        # Selected by number: what percentage that is, the mask's shape tells.
        if row["percentage"] is None and size:
            row["percentage"] = 100 * row["units"] / size
        row |= {"low": row["dice_low"], "high": row["dice_high"]}
        row |= {"range over splits": f"{row['low']:.3f} to {row['high']:.3f}"}
        row |= {"series": f"{row['split']} (n = {row['n']})"}
        rows += [row] if row["percentage"] else []
    if not rows:
        raise LsnsError("no row of reliability has a percentage")
    rows.sort(key=lambda row: row["percentage"])
    words = "; ".join(f"{row['split']}: Dice {row['dice']:.3f}" for row in rows if row["chosen"])
    facts = {"amounts": len(rows), "words": words}
    return Figure(_reliability(rows), found.table(), facts)


def _reliability(rows: list[dict[str, Any]]) -> style.alt.LayerChart:
    splits = {row["series"]: row["split"] for row in rows}
    series = [
        replace(SPLITS.get(split, OTHER_SPLIT), words=words) for words, split in splits.items()
    ]
    apart = {words: APART**place for place, words in enumerate(splits)}
    marks = [row | {"at": row["percentage"] * apart[row["series"]]} for row in rows]
    shown = style.looks("series", series, "color", "shape", "strokeDash")
    x = style.log("at", "Units selected (% of all)", [row["percentage"] for row in rows])
    y = number("dice", "Dice of two splits", domain=[0, 1])
    tooltip = tips("split", "% of units = percentage:.3g", "units", "Dice = dice:.3f",
                   "range over splits", "chance = dice_chance:.3f",
                   "shuffled = dice_shuffled:.3f")  # fmt: skip
    base = style.chart(marks, x=x, color=shown["color"])
    lines = base.mark_line(strokeWidth=1.4).encode(y=y, strokeDash=shown["strokeDash"])
    dots = style.dots(base, 36, y=y, shape=shown["shape"], tooltip=tooltip)
    # Each of its own: hollow and filled markers would be one in the legend.
    hollow = [
        style.chart(shuffled, x=x, y="dice_shuffled:Q", tooltip=tooltip).mark_point(
            color=look.colour, shape=look.shape, size=36, opacity=1
        )
        for look in series
        if (shuffled := [row for row in marks if row["series"] == look.words
                         and row["dice_shuffled"] is not None])
    ]  # fmt: skip
    level = {
        row["percentage"]: {"at": row["percentage"], "dice": row["dice_chance"]} for row in rows
    }
    chance = style.chart(level.values(), x="at:Q", y="dice:Q")
    dotted = chance.mark_line(color=style.GREY, strokeDash=[1, 2])
    own = [rule("x", place) for place in {row["percentage"] for row in rows if row["chosen"]}]
    layers = [*own, dotted, intervals(base, "y", strokeWidth=1.2), lines, dots, *hollow]
    above = "hollow: shuffled labels; dotted: chance; vertical: this mask"
    return sized(style.alt.layer(*layers), 200, above)


def profile(results: Results) -> Figure:
    """The mean response of held-out units to each condition, with its interval."""
    found = _section(results, "selectivity", "profile")
    rows = [
        row | {"95%": f"{row['low']:+.3f} to {row['high']:+.3f}"}
        for row in _named(found.profile, "condition")
    ]
    names = [[*lines_of(row["condition"]), f"({row['n']} items)"] for row in rows]
    conditions = [row["condition"] for row in rows]
    colours = [Look(name, CONDITIONS.get(name, style.PURPLE)) for name in conditions]
    chart = style.chart(rows, y=style.lanes("place", dict(enumerate(names)), len(rows) - 0.4))
    means = style.dots(
        chart,
        60,
        x=style.amount("mean", "Response of held-out units (SD)"),
        tooltip=tips("condition", "response (SD) = mean:+.3f", "95%", "items = n"),
        **style.looks("condition", colours, "color", legend=None),
    )
    drawn = rule("x", 0) + intervals(chart, "x", color=style.INK) + means
    words = "; ".join(f"{row['condition']} {row['mean']:+.2f}" for row in rows)
    facts = {"conditions": len(rows), "words": words}
    return Figure(sized(drawn, 34 * len(rows)), found.table(), facts)


def protocols(results: Results) -> Figure:
    """Units shared with masks made in other ways, and what chance would share."""
    found = _section(results, "overlaps")
    rows = _named(found, "name")
    marks = [
        row | {"what": look.words, "number": row[field]}
        for field, look in SHARED.items()
        for row in rows
    ]
    sizes = {row["units"] for row in rows}
    title = f"Shared units (of {sizes.pop()})" if len(sizes) == 1 else "Shared units"
    names = {row["place"]: lines_of(row["name"]) for row in rows}
    drawn = style.dots(
        style.chart(marks),
        50,
        x=style.amount("number", title),
        y=style.lanes("place", names, len(rows) - 0.4),
        tooltip=tips("mask = name", "shared", "units", "Dice = dice:.3f", "chance = expected:.1f",
                     "p = p_value:.2g"),
        **style.looks("what", [*SHARED.values()], "color", "shape"),
    )  # fmt: skip
    listed = Table("Overlap with other protocols", ProtocolOverlap.columns, found)
    words = "; ".join(f"{row['name']}: {row['shared']} of {row['units']}" for row in rows)
    return Figure(sized(drawn, 30 * len(rows)), listed, {"masks": len(rows), "words": words})


def _named(found: Iterable[Any], name: str) -> list[dict[str, Any]]:
    """Rows as mappings with a place for each, and a name that is short enough to be shown."""
    return [
        {**vars(row), name: shorten(getattr(row, name), LONGEST_HOVER), "place": place}
        for place, row in enumerate(found)
    ]


def _section(results: Results, name: str, field: str = "") -> Any:
    """A section of the audit that holds something, in that field of it."""
    found = results.section(name)
    if not (getattr(found, field, None) if field else found):
        raise LsnsError(results.missing(name) or f"{name} of the audit is empty")
    return found
