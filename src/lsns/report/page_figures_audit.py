"""Figures of the page that are of an audit: reliability, response profile, overlap of protocols."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lsns.errors import LsnsError
from lsns.report.figures import with_percentages
from lsns.report.figures_audit import APART, CONDITIONS, SPLITS
from lsns.report.figures_style import BLACK, GREY, ORANGE, PURPLE, Look, bounds, spaced
from lsns.report.page_spec import (
    DASHES,
    INK,
    LONGEST_HOVER,
    PageFigure,
    Spec,
    axis,
    axis_name,
    hover_text,
    layout,
    line_at,
    marker_of,
    named_axis,
    shorten,
)
from lsns.report.page_tables import (
    count,
    interval,
    make_table,
    number,
    p_text,
    probability,
    span,
)
from lsns.report.results import Results, Row


def reliability_spec(rows: Sequence[Row]) -> Spec:
    """Dice of the masks of two splits by percentage, beside shuffled labels and chance."""
    ordered = sorted(rows, key=lambda row: row["percentage"])
    splits = list(dict.fromkeys(row["split"] for row in rows))
    traces: list[Spec] = []
    for place, split in enumerate(splits):
        of_split = [row for row in ordered if row["split"] == split]
        traces += _split_traces(of_split, APART**place, DASHES[2 * min(place, 1)])
    chance = {row["percentage"]: row["dice_chance"] for row in ordered}
    traces.append(
        {
            **{"type": "scatter", "mode": "lines", "name": "chance", "hoverinfo": "skip"},
            **{"x": list(chance), "y": list(chance.values())},
            "line": {"color": GREY, "dash": "dot", "width": 1.5},
        }
    )
    chosen = sorted({row["percentage"] for row in rows if row["chosen"]})
    ticks = spaced(chance)
    percentage = axis(
        "Units selected (% of all)",
        type="log",
        tickvals=ticks,
        ticktext=[f"{tick:.3g}" for tick in ticks],
    )
    shown = layout(
        400,
        xaxis=percentage,
        yaxis=axis("Dice of two splits", range=[-0.02, 1]),
        shapes=[line_at(value, vertical=True) for value in chosen],
    )
    return {"data": traces, "layout": shown}


def draw_reliability(results: Results) -> PageFigure:
    """Split-half reliability by percentage."""
    found = _rows(results, "reliability", "rows")
    rows = [r for r in with_percentages(found, results.localization) if r["percentage"]]
    if not rows:
        raise LsnsError("no row of reliability has a percentage")
    own = [row for row in rows if row["chosen"]]
    words = "; ".join(
        f"{shorten(row['split'], LONGEST_HOVER)}: Dice {row['dice']:.3f}" for row in own
    )
    return PageFigure(
        "reliability",
        "Reliability on other items",
        "Units are selected twice, on two parts of the items: random halves, or a fold against all "
        "others. Dice says how far the two masks agree, with the interval of 95% of the splits; "
        "hollow markers are the same with shuffled labels, and the dotted line is chance. The "
        "vertical line is this mask's percentage.",
        f"Dice of masks from two splits of the items for {len(rows)} amounts of units. "
        f"At this mask's own amount, {words}.",
        reliability_spec(rows),
        make_table(
            "Reliability",
            ("Split", "% of units", "Units", "Dice", "95%", "Chance", "Shuffled", "This mask"),
            [
                (
                    row["split"],
                    number(row["percentage"], ".3g"),
                    count(row["units"]),
                    number(row["dice"]),
                    interval(row["dice_low"], row["dice_high"]),
                    number(row["dice_chance"]),
                    number(row["dice_shuffled"]),
                    "yes" if row["chosen"] else "",
                )
                for row in rows
            ],
        ),
    )


def profile_spec(rows: Sequence[Row]) -> Spec:
    """The mean response of held-out units to each condition, with its interval."""
    places = list(range(len(rows)))
    colours = [CONDITIONS.get(row["condition"], PURPLE) for row in rows]
    dots = {
        **{"type": "scatter", "mode": "markers", "showlegend": False, "y": places},
        "x": [row["mean"] for row in rows],
        "error_x": {**_errors(rows, "mean", "low", "high"), "color": INK},
        "marker": {"size": 10, "color": colours, "line": {"color": GREY, "width": 1}},
        "hoverinfo": "text",
        "hovertext": [
            f"{hover_text(row['condition'])}<br>{row['mean']:+.3f} SD "
            f"({span(row['low'], row['high'], '+.3f')})<br>{row['n']} items"
            for row in rows
        ],
    }
    names = [f"{axis_name(row['condition'])}<br>({row['n']} items)" for row in rows]
    shown = layout(
        90 + 52 * len(rows),
        xaxis=axis("Response (SD)"),
        yaxis=named_axis(names, places, -0.6, len(rows) - 0.4),
        shapes=[line_at(0, vertical=True)],
        showlegend=False,
    )
    return {"data": [dots], "layout": shown}


def draw_profile(results: Results) -> PageFigure:
    """The response profile."""
    rows = _rows(results, "selectivity", "profile")
    words = "; ".join(
        f"{shorten(row['condition'], LONGEST_HOVER)} {row['mean']:+.2f}" for row in rows
    )
    return PageFigure(
        "profile",
        "Response to held-out items",
        "The mean response of the units to each condition's items, with its 95% interval. Units "
        "were chosen without the items that they are measured on. Responses are in standard "
        "deviations of the units within a condition, from the mean of both conditions.",
        f"Dots with intervals for {len(rows)} conditions. In standard deviations: {words}.",
        profile_spec(rows),
        make_table(
            "Response to held-out items",
            ("Condition", "Items", "Response (SD)", "95%"),
            [
                (
                    row["condition"],
                    count(row["n"]),
                    number(row["mean"], "+.3f"),
                    interval(row["low"], row["high"], "+.3f"),
                )
                for row in rows
            ],
        ),
    )


def protocols_spec(rows: Sequence[Row]) -> Spec:
    """Units shared with masks made in other ways, and what chance would share."""
    places = list(range(len(rows)))
    hover = [
        f"{hover_text(row['name'])}<br>{row['shared']} of {row['units']} units shared, Dice "
        f"{row['dice']:.3f}<br>{row['expected']:.1f} by chance"
        + (f", p {p_text(row['p_value'])}" if "p_value" in row else "")
        for row in rows
    ]
    series: list[tuple[str, str, Spec]] = [
        ("expected", "chance", {"symbol": "line-ns", "size": 14, "color": GREY,
                                "line": {"color": GREY, "width": 2}}),
        ("expected_by_layer", "chance within layers", {"symbol": "x", "size": 8, "color": ORANGE}),
        ("shared", "shared", {"symbol": "circle", "size": 9, "color": BLACK}),
    ]  # fmt: skip
    traces = [
        {
            **{"type": "scatter", "mode": "markers", "name": name, "marker": marker},
            **{"x": [row[key] for row in rows], "y": places},
            **{"hoverinfo": "text", "hovertext": hover},
        }
        for key, name, marker in series
        if all(key in row for row in rows)
    ]
    names = [axis_name(row["name"]) for row in rows]
    shown = layout(
        110 + 46 * len(rows),
        xaxis=axis("Shared units", rangemode="tozero"),
        yaxis=named_axis(names, places, -0.6, len(rows) - 0.4),
    )
    return {"data": traces, "layout": shown}


def draw_protocols(results: Results) -> PageFigure:
    """The overlap with the masks of other protocols and methods."""
    rows = _rows(results, "overlaps")
    words = "; ".join(
        f"{shorten(row['name'], LONGEST_HOVER)}: {row['shared']} of {row['units']}" for row in rows
    )
    return PageFigure(
        "protocols",
        "The same units by other protocols",
        "How many units the mask shares with masks of the same size that were made in other ways: "
        "other methods, other poolings, other cuts. Chance within layers keeps the numbers per "
        "layer of both masks.",
        f"Dots of the units shared with {len(rows)} other masks. {words}.",
        protocols_spec(rows),
        make_table(
            "Overlap with other protocols",
            ("Mask", "Units", "Shared", "Dice", "Chance", "p", "Chance in layers", "p in layers"),
            [
                (
                    row["name"],
                    count(row["units"]),
                    count(row["shared"]),
                    number(row["dice"]),
                    number(row["expected"], ".1f"),
                    probability(row.get("p_value")),
                    number(row.get("expected_by_layer"), ".1f"),
                    probability(row.get("p_value_by_layer")),
                )
                for row in rows
            ],
        ),
    )  # fmt: skip


def _split_traces(rows: Sequence[Row], factor: float, dash: str) -> list[Spec]:
    """The Dice of a split with its intervals, and that with shuffled labels as hollow markers."""
    split = rows[0]["split"]
    look = SPLITS.get(split) or Look(split, PURPLE, "^")
    name = hover_text(look.words) + (f" (n = {rows[0]['n']})" if "n" in rows[0] else "")
    line = {"color": look.colour, "dash": dash, "width": 2}
    found: list[Spec] = [
        {
            **{"type": "scatter", "mode": "lines+markers", "name": name, "line": line},
            "x": [row["percentage"] * factor for row in rows],
            "y": [row["dice"] for row in rows],
            "error_y": _errors(rows, "dice", "dice_low", "dice_high"),
            "marker": marker_of(look),
            **{"hoverinfo": "text", "hovertext": [_split_words(row) for row in rows]},
        }
    ]
    shuffled = [row for row in rows if row["dice_shuffled"] is not None]
    if shuffled:
        marker = marker_of(look, symbol=f"{marker_of(look)['symbol']}-open")
        found.append(
            {
                **{"type": "scatter", "mode": "markers", "marker": marker},
                "name": f"{hover_text(look.words)}, shuffled labels",
                "x": [row["percentage"] * factor for row in shuffled],
                "y": [row["dice_shuffled"] for row in shuffled],
                **{"hoverinfo": "text", "hovertext": [_split_words(row) for row in shuffled]},
            }
        )
    return found


def _split_words(row: Row) -> str:
    shuffled = number(row["dice_shuffled"]).text
    return (
        f"{hover_text(row['split'])}, {row['percentage']:.3g}% ({row['units']} units)<br>"
        f"Dice {row['dice']:.3f} ({span(row['dice_low'], row['dice_high'])})<br>"
        f"chance {row['dice_chance']:.3f}, shuffled {shuffled}"
    )


def _errors(rows: Sequence[Row], name: str, low: str, high: str) -> Spec:
    """Error bars from the ends of intervals."""
    below, above = bounds(rows, name, low, high).tolist()
    ends: dict[str, Any] = {"type": "data", "symmetric": False, "array": above, "arrayminus": below}
    return {**ends, "thickness": 1.5, "width": 4}


def _rows(results: Results, section: str, key: str | None = None) -> Sequence[Row]:
    found = results.section(section)
    rows = found.get(key) if found and key else found
    if not rows:
        raise LsnsError(results.missing(section) or f"{section} of the audit is empty")
    return rows
