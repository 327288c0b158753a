"""Figures of an audit: reliability, the response of held-out units, overlap across protocols."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lsns.errors import LsnsError
from lsns.report import style
from lsns.report.results import Results
from lsns.report.style import Figure, Look, alt, rule, sized, table, tips, values
from lsns.report.visible import LONGEST_HOVER, shorten

SPLITS = {
    "halves": Look("halves", style.BLUE, "circle"),
    "folds": Look("folds", style.VERMILLION, "square", (5, 2)),
}
CONDITIONS = {"positive": style.BLUE, "negative": style.ORANGE}
SHARED = (
    Look("chance", style.GREY, "triangle-down"),
    Look("chance within layers", style.ORANGE, "square"),
    Look("shared", style.BLACK, "diamond"),
)
# Series are moved apart by this factor, so that their intervals do not hide each other.
APART = 1.04


def reliability(results: Results) -> Figure:
    """Dice of the masks of two splits by percentage, beside shuffled labels and chance."""
    rows = [_reliable(row, results) for row in _rows(results, "reliability", "rows")]
    rows = sorted((row for row in rows if row["% of units"]), key=lambda row: row["% of units"])
    if not rows:
        raise LsnsError("no row of reliability has a percentage")
    words = "; ".join(f"{row['split']}: Dice {row['Dice']:.3f}" for row in rows if row["this mask"])
    return Figure(
        _reliability(rows),
        table("Reliability", rows, "split", "% of units:.3g", "units", "Dice:.3f",
              "range over splits = {low:.3f} to {high:.3f}", "chance:.3f", "shuffled:.3f",
              "this mask"),
        {"amounts": len(rows), "words": words},
    )  # fmt: skip


def profile(results: Results) -> Figure:
    """The mean response of held-out units to each condition, with its interval."""
    rows: list[dict[str, Any]] = [
        {
            **{"condition": shorten(row["condition"], LONGEST_HOVER), "items": row["n"]},
            **{"response (SD)": row["mean"], "low": row["low"], "high": row["high"]},
            "95%": f"{row['low']:+.3f} to {row['high']:+.3f}",
            **{"place": place, "colour": CONDITIONS.get(row["condition"], style.PURPLE)},
        }
        for place, row in enumerate(_rows(results, "selectivity", "profile"))
    ]
    words = "; ".join(f"{row['condition']} {row['response (SD)']:+.2f}" for row in rows)
    names = [[*style.lines_of(row["condition"]), f"({row['items']} items)"] for row in rows]
    chart = alt.Chart(values(rows)).encode(
        y=style.down("place", -0.6, len(rows) - 0.4, style.named_axis(names, range(len(rows))))
    )
    bars = chart.mark_rule(color=style.INK, strokeWidth=1.4).encode(x="low:Q", x2="high:Q")
    dots = chart.mark_point(filled=True, size=60, opacity=1).encode(
        style.measured("response (SD)", ["Response of held-out units (SD)"]),
        color=alt.Color("colour:N", scale=None),
        tooltip=tips("condition", "response (SD):+.3f", "95%", "items"),
    )
    return Figure(
        sized(rule(0, vertical=True) + bars + dots, 34 * len(rows)),
        table("Response to held-out items", rows, "condition", "items", "response (SD):+.3f",
              "95% = {low:+.3f} to {high:+.3f}"),
        {"conditions": len(rows), "words": words},
    )  # fmt: skip


def protocols(results: Results) -> Figure:
    """Units shared with masks made in other ways, and what chance would share."""
    found = _rows(results, "overlaps")
    rows: list[dict[str, Any]] = [
        {
            **{"mask": shorten(row["name"], LONGEST_HOVER), "units": row["units"]},
            **{"shared": row["shared"], "Dice": row["dice"], "chance": row["expected"]},
            **{"p": row.get("p_value"), "place": place},
            "chance within layers": row.get("expected_by_layer"),
        }
        for place, row in enumerate(found)
    ]
    words = "; ".join(f"{row['mask']}: {row['shared']} of {row['units']}" for row in rows)
    drawn = [look for look in SHARED if all(row[look.words] is not None for row in rows)]
    marks = [
        row | {"what": look.words, "number": row[look.words]} for look in drawn for row in rows
    ]
    sizes = {row["units"] for row in rows}
    title = f"Shared units (of {sizes.pop()})" if len(sizes) == 1 else "Shared units"
    names = style.named_axis([style.lines_of(row["mask"]) for row in rows], range(len(rows)))
    chart = alt.Chart(values(marks)).mark_point(filled=True, size=50, opacity=1)
    chart = chart.encode(
        style.measured("number", [title]),
        style.down("place", -0.6, len(rows) - 0.4, names),
        tooltip=tips("mask", "shared", "units", "Dice:.3f", "chance:.1f", "p:.2g"),
        **style.looks("what", drawn, "color", "shape"),
    )
    return Figure(
        sized(chart, 30 * len(rows)),
        table("Overlap with other protocols", rows, "mask", "units", "shared", "Dice:.3f",
              "chance:.1f", "chance within layers:.1f", "p:p"),
        {"masks": len(rows), "words": words},
    )  # fmt: skip


def _reliable(row: style.Row, results: Results) -> dict[str, Any]:
    """A row of reliability; selected by number: what percentage that is, the mask's shape tells."""
    percentage, found = row["percentage"], results.localization
    if percentage is None and found is not None:
        percentage = 100 * row["units"] / found.mask.units.size
    split = shorten(row["split"], LONGEST_HOVER)
    number = f" (n = {row['n']})" if "n" in row else ""
    return {
        **{"split": split, "% of units": percentage, "units": row["units"], "Dice": row["dice"]},
        **{"low": row["dice_low"], "high": row["dice_high"], "series": f"{split}{number}"},
        "range over splits": f"{row['dice_low']:.3f} to {row['dice_high']:.3f}",
        **{"chance": row["dice_chance"], "shuffled": row["dice_shuffled"]},
        "this mask": "yes" if row["chosen"] else "",
    }


def _reliability(rows: Sequence[dict[str, Any]]) -> alt.LayerChart:
    series = list(dict.fromkeys((row["split"], row["series"]) for row in rows))
    found = [
        Look(words, look.colour, look.shape, look.dash)
        for split, words in series
        for look in [SPLITS.get(split) or Look(split, style.PURPLE, "triangle-up", (1, 2))]
    ]
    splits = [split for split, _ in series]
    marks = [row | {"at": row["% of units"] * APART ** splits.index(row["split"])} for row in rows]
    shown = style.looks("series", found, "color", "shape", "strokeDash")
    x = style.log_x("at", "Units selected (% of all)", [row["% of units"] for row in rows])
    y = alt.Y("Dice:Q", title="Dice of two splits", scale=alt.Scale(domain=[0, 1]))
    tooltip = tips("split", "% of units:.3g", "units", "Dice:.3f", "range over splits",
                   "chance:.3f", "shuffled:.3f")  # fmt: skip
    base = alt.Chart(values(marks)).encode(x=x, color=shown["color"])
    lines = base.mark_line(strokeWidth=1.4).encode(y=y, strokeDash=shown["strokeDash"])
    ends = base.mark_rule(strokeWidth=1.2).encode(y="low:Q", y2="high:Q")
    dots = base.mark_point(filled=True, size=36, opacity=1)
    dots = dots.encode(y=y, shape=shown["shape"], tooltip=tooltip)
    shuffled: dict[str, list[dict[str, Any]]] = {}
    for row in marks:
        if row["shuffled"] is not None:
            shuffled.setdefault(row["series"], []).append(row)
    # Each of its own: hollow and filled markers would be one in the legend.
    hollow = [
        alt.Chart(values(shuffled[look.words]))
        .mark_point(color=look.colour, shape=look.shape, size=36, opacity=1)
        .encode(x=x, y="shuffled:Q", tooltip=tooltip)
        for look in found
        if look.words in shuffled
    ]
    level = {row["% of units"]: row["chance"] for row in rows}
    chance = alt.Chart(values({"at": x, "Dice": y} for x, y in level.items()))
    dotted = chance.mark_line(color=style.GREY, strokeDash=[1, 2]).encode(x="at:Q", y="Dice:Q")
    own = [rule(x, vertical=True) for x in {r["% of units"] for r in rows if r["this mask"]}]
    above = "hollow: shuffled labels; dotted: chance; vertical: this mask"
    return sized(alt.layer(*own, dotted, ends, lines, dots, *hollow), 200, above)


def _rows(results: Results, section: str, key: str | None = None) -> Sequence[style.Row]:
    found = results.section(section)
    rows = found.get(key) if found and key else found
    if not rows:
        raise LsnsError(results.missing(section) or f"{section} of the audit is empty")
    return rows
