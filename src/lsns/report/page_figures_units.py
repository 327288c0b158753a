"""Figures of the page that are of units: where they are, what they are, how far masks agree.

Functions `*_spec` take arrays and give plotly specs; functions of `Results` add title, caption,
words for those who do not see the figure, and the table of the same data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from lsns.analysis.outliers import THRESHOLD
from lsns.errors import LsnsError
from lsns.overlap import Overlap, overlap
from lsns.report.figures import SCORE_WORDS, name_masks
from lsns.report.figures_style import (
    BLACK,
    BLUE,
    GREY,
    PALE,
    SKY,
    VERMILLION,
    YELLOW,
    one_two_five,
    spaced,
)
from lsns.report.figures_units import (
    BRIGHTEST_PERCENTILE,
    TOP_DIMENSIONS,
    expected_recurring,
    layer_shares,
    over_median,
    recurring,
)
from lsns.report.page_spec import (
    ALWAYS_DARK,
    ALWAYS_LIGHT,
    COOLWARM,
    INK,
    LONGEST_HOVER,
    LONGEST_NAME,
    VIRIDIS,
    PageFigure,
    Spec,
    axis,
    axis_name,
    hover_text,
    layer_axis,
    layout,
    line_at,
    named_axis,
    shorten,
    typed,
)
from lsns.report.page_tables import Table, count, make_table, number, p_text, probability
from lsns.report.results import LOCALIZATION, NMD, Results, ScoredUnits

Array = np.ndarray[Any, Any]
# Cells of the score map, points of each marked group, and of the units that are nothing special:
# above these a page becomes slow and large.
MOST_CELLS, MOST_MARKED, MOST_OTHERS = 40_000, 10_000, 3_000
# Rows of a table.
MOST_ROWS = 100
OUTLIER = {False: "", True: "outlier"}


def layers_spec(units: Bool[Array, "n_layers hidden_size"]) -> Spec:
    """The share of each layer's units in the mask, and the mean over layers."""
    shares, counts = layer_shares(units), units.sum(axis=1)
    n_layers, width = units.shape
    mean = 100 * float(units.mean())
    bars = {
        "type": "bar",
        "name": "selected units",
        "x": list(range(n_layers)),
        "y": shares.tolist(),
        "marker": {"color": BLUE},
        "hoverinfo": "text",
        "hovertext": [
            f"layer {layer}<br>{n} of {width} units ({share:.2f}%)"
            for layer, (n, share) in enumerate(zip(counts.tolist(), shares.tolist(), strict=True))
        ],
    }
    line = {
        **{"type": "scatter", "mode": "lines", "name": f"mean over layers ({mean:.2f}%)"},
        **{"x": [-0.7, n_layers - 0.3], "y": [mean, mean], "hoverinfo": "skip"},
        "line": {"color": INK, "dash": "dash", "width": 1.5},
    }
    share_axis = axis("Selected units (% of layer)", rangemode="tozero")
    shown = layout(300, xaxis=layer_axis(n_layers), yaxis=share_axis, bargap=0.2)
    return {"data": [bars, line], "layout": shown}


def draw_layers(results: Results) -> PageFigure:
    """Selectivity per layer."""
    units = units_of(results).mask.units
    shares, counts = layer_shares(units), units.sum(axis=1)
    top = int(np.argmax(shares))
    rows = [
        (count(layer), count(int(n)), number(float(share), ".2f"))
        for layer, (n, share) in enumerate(zip(counts, shares, strict=True))
    ]
    return PageFigure(
        "layers",
        "Selectivity per layer",
        "The share of each layer's units that are in the mask. The dashed line is the mean over "
        "layers.",
        f"Bar chart of the share of selected units in each of {len(units)} layers. "
        f"{int((counts > 0).sum())} layers hold selected units; layer {top} has the most, "
        f"{int(counts[top])} units ({shares[top]:.2f}%). The mean is {100 * units.mean():.2f}%.",
        layers_spec(units),
        make_table("Selected units per layer", ("Layer", "Units", "% of layer"), rows),
    )


def scores_spec(
    scores: Float[Array, "n_layers hidden_size"],
    t_values: Float[Array, "n_layers hidden_size"],
    p_values: Float[Array, "n_layers hidden_size"],
    magnitudes: Float[Array, "n_layers hidden_size"],
    units: Bool[Array, "n_layers hidden_size"],
    outliers: Bool[Array, "n_layers hidden_size"],
    *,
    label: str = "Score",
) -> Spec:
    """The score of every unit, layers x units; the selected ones are circles.

    Where there are more than `MOST_CELLS` units, a cell is several of a layer that are side by
    side, and shows the one with the largest score by magnitude; the circles stay exact up to
    `MOST_MARKED`.
    """
    n_layers, width = scores.shape
    size = cell_size(scores.shape)
    strongest = _strongest(scores, size)
    pick = (np.arange(n_layers)[:, None], strongest)
    known = scores[np.isfinite(scores)]
    top = float(np.percentile(np.abs(known), BRIGHTEST_PERCENTILE)) if known.size else 1.0
    top, signed = top or 1.0, bool((known < 0).any())
    cells = {
        "type": "heatmap",
        "z": typed(scores[pick]),
        "x0": (size - 1) / 2,
        "dx": size,
        "customdata": typed(np.stack([strongest, t_values[pick], magnitudes[pick]], axis=-1)),
        "text": _states(p_values[pick], units[pick], outliers[pick]),
        "hovertemplate": "layer %{y}, unit %{customdata[0]:d}<br>score %{z:.4g}<br>"
        "t %{customdata[1]:.3f}<br>adjusted p %{text}<br>"
        "mean |activation| %{customdata[2]:.4g}<extra></extra>",
        **{"zmin": -top if signed else 0.0, "zmax": top},
        "colorscale": [list(stop) for stop in (COOLWARM if signed else VIRIDIS)],
        "colorbar": {
            "title": {"text": axis_name(label, LONGEST_NAME), "side": "top"},
            **{"orientation": "h", "thickness": 12, "len": 0.6, "x": 1, "xanchor": "right"},
            **{"y": 1.0, "yanchor": "bottom", "outlinewidth": 0},
        },
    }
    rows, columns = (places[thinned(len(places), MOST_MARKED)] for places in np.nonzero(units))
    marks = {
        **{"type": "scatter", "mode": "markers", "name": "selected", "hoverinfo": "skip"},
        **{"x": typed(columns), "y": typed(rows)},
        "marker": {
            "color": YELLOW,
            "size": 5 if width > 256 else 8,
            "line": {"color": ALWAYS_DARK, "width": 1},
        },
    }
    shown = layout(
        max(380, 150 + 10 * n_layers),
        xaxis=axis("Unit (hidden dimension)", range=[-0.5, width - 0.5], showgrid=False),
        yaxis=layer_axis(n_layers, range=[-0.5, n_layers - 0.5]),
        hoverdistance=4,
    )
    return {"data": [cells, marks], "layout": shown}


def draw_scores(results: Results) -> PageFigure:
    """The score map."""
    found = units_of(results)
    units, label = found.mask.units, score_words(found)
    size, chosen = cell_size(units.shape), found.scores[units]
    merged = (
        ""
        if size == 1
        else f" There are too many units to draw each: a cell is {size} neighbours of a layer and "
        "shows the one with the largest score by magnitude."
    )
    if found.mask.count > MOST_MARKED:
        merged += f" Of the selected units, {MOST_MARKED} are marked, evenly over their order."
    table = selected_table(found)
    return PageFigure(
        "scores",
        "Score of every unit",
        "Layers by hidden dimensions; circles are the selected units. Colours end at the "
        f"{BRIGHTEST_PERCENTILE}th percentile of the magnitude, so that a few large scores do not "
        f"hide the rest. Hover for the unit.{merged} The table has the "
        f"{len(table.rows)} selected units with the largest scores by magnitude; all of them are "
        "in localization.npz.",
        f"Heat map of {visible_label(label)}, {units.shape[0]} layers by {units.shape[1]} units. "
        f"{found.mask.count} units are selected, with scores from {chosen.min():.3f} to "
        f"{chosen.max():.3f}.",
        scores_spec(
            found.scores,
            found.t_values,
            found.p_values,
            found.magnitudes,
            units,
            found.outliers,
            label=label,
        ),
        table,
    )


def methods_spec(
    ttest: Bool[Array, "n_layers hidden_size"], nmd: Bool[Array, "n_layers hidden_size"]
) -> Spec:
    """Units per layer by T-test and by NMD."""
    n_layers, both = len(ttest), (ttest & nmd).sum(axis=1).tolist()
    bars = [
        {
            **{"type": "bar", "name": f"{name} ({int(units.sum())} units)"},
            "x": list(range(n_layers)),
            "y": units.sum(axis=1).tolist(),
            "marker": {"color": colour, "line": {"color": edge, "width": 1}},
            "hoverinfo": "text",
            "hovertext": [
                f"layer {layer}<br>{n} units by {name}<br>{both[layer]} units by both"
                for layer, n in enumerate(units.sum(axis=1).tolist())
            ],
        }
        for units, name, colour, edge in ((ttest, "T-test", BLUE, BLUE), (nmd, "NMD", SKY, BLUE))
    ]
    axes = {"xaxis": layer_axis(n_layers), "yaxis": axis("Selected units", rangemode="tozero")}
    return {"data": bars, "layout": layout(300, **axes, barmode="group", bargap=0.25)}


def draw_methods(results: Results) -> PageFigure:
    """T-test against NMD."""
    found = units_of(results)
    if results.nmd is None:
        raise LsnsError(f"there is no {NMD}, the mask to compare with")
    ttest, nmd = found.mask.units, results.nmd.mask.units
    both = overlap(ttest, nmd)
    counts = zip(ttest.sum(axis=1), nmd.sum(axis=1), (ttest & nmd).sum(axis=1), strict=True)
    rows = [[count(layer), *map(count, map(int, row))] for layer, row in enumerate(counts)]
    return PageFigure(
        "methods",
        "T-test against NMD, per layer",
        f"Units of each layer by two methods that select equally many. {both.shared} units are in "
        f"both masks; chance would put {both.expected:.1f} there, and {both.expected_by_layer:.1f} "
        "if each mask keeps its numbers per layer.",
        f"Grouped bar chart of the selected units in {len(ttest)} layers by T-test "
        f"({int(ttest.sum())} units) and NMD ({int(nmd.sum())} units). They share {both.shared}.",
        methods_spec(ttest, nmd),
        make_table("Units per layer by method", ("Layer", "T-test", "NMD", "Both"), rows),
    )


def outliers_spec(
    magnitudes: Float[Array, "n_layers hidden_size"],
    t_values: Float[Array, "n_layers hidden_size"],
    p_values: Float[Array, "n_layers hidden_size"],
    units: Bool[Array, "n_layers hidden_size"],
    outliers: Bool[Array, "n_layers hidden_size"],
    *,
    threshold: float = THRESHOLD,
) -> Spec:
    """Every unit's magnitude against its t; units that are neither selected nor outliers thinned.

    Thinned: evenly over the order of t, the extremes included; nothing is drawn at random.
    """
    ratio = over_median(magnitudes)
    groups: tuple[tuple[str, Array, int, Spec], ...] = (
        ("other units", ~units & ~outliers, MOST_OTHERS, {"color": PALE, "size": 3}),
        ("selected", units & ~outliers, MOST_MARKED, {"color": BLUE, "size": 6}),
        ("outlier, not selected", ~units & outliers, MOST_MARKED,
         {"color": VERMILLION, "size": 8, "symbol": "x-thin",
          "line": {"color": VERMILLION, "width": 1.5}}),
        ("selected outlier", units & outliers, MOST_MARKED,
         {"color": BLACK, "size": 9, "symbol": "diamond"}),
    )  # fmt: skip
    traces: list[Spec] = []
    for name, group, most, marker in groups:
        layers, columns = _thinned_by(t_values, group, most)
        place = (layers, columns)
        traces.append(
            {
                **{"type": "scatter", "mode": "markers", "name": f"{name} ({int(group.sum())})"},
                **{"x": typed(ratio[place]), "y": typed(t_values[place]), "marker": marker},
                "customdata": typed(np.stack([layers, columns, magnitudes[place]], axis=-1)),
                "text": [p_text(p) for p in p_values[place].tolist()],
                "hovertemplate": "layer %{customdata[0]:d}, unit %{customdata[1]:d}<br>"
                f"{name}<br>t %{{y:.3f}}<br>adjusted p %{{text}}<br>"
                "mean |activation| %{customdata[2]:.4g}<br>%{x:.3g} × median of layer"
                "<extra></extra>",
            }
        )
    ticks = spaced(one_two_five(float(ratio.min()), float(ratio.max())) or [1.0])
    line = line_at(threshold, vertical=True, line={"color": GREY, "width": 1.5, "dash": "dash"})
    magnitude = axis(
        "Mean |activation| (× median of layer)",
        type="log",
        tickvals=ticks,
        ticktext=[f"{tick:g}" for tick in ticks],
    )
    shown = layout(440, xaxis=magnitude, yaxis=axis("Welch's t"), shapes=[line])
    # The dots of the other units are too small to be seen there.
    shown["legend"]["itemsizing"] = "constant"
    return {"data": traces, "layout": shown}


def draw_outliers(results: Results) -> PageFigure:
    """The outlier audit."""
    found, audited = units_of(results), results.section("outliers") or {}
    units, outliers = found.mask.units, found.outliers
    threshold = float(audited.get("threshold", THRESHOLD))
    both, rest = int((units & outliers).sum()), int((~units & ~outliers).sum())
    drawn = min(rest, MOST_OTHERS)
    some = f", of which {drawn} are drawn, evenly over the order of t" if drawn < rest else ""
    groups = (int((units & ~outliers).sum()), int((~units & outliers).sum()), both)
    if max(groups) > MOST_MARKED:
        some += f"; of selected units and outliers at most {MOST_MARKED} of each kind"
    return PageFigure(
        "outliers",
        "Magnitude against t",
        f"Every unit's mean |activation|, in medians of its layer, against its t. An outlier has "
        f"more than {threshold:g} medians (dashed line). {rest} units are neither selected nor "
        f"outliers{some}.",
        f"Scatter plot of magnitude against t. {both} of {found.mask.count} selected units are "
        f"outliers, of {int(outliers.sum())} outliers among all {units.size} units.",
        outliers_spec(
            found.magnitudes,
            found.t_values,
            found.p_values,
            units,
            outliers,
            threshold=threshold,
        ),
        _dimension_table(audited.get("dimensions") or []),
    )


@dataclass(frozen=True)
class Pair:
    """Two masks.

    Attributes:
        first: name of one.
        second: of the other.
        both: what they share.
        dice: twice the shared units over the sum of both; 0 of two empty masks.
    """

    first: str
    second: str
    both: Overlap
    dice: float


def pairs_of(masks: Mapping[str, Bool[Array, "n_layers hidden_size"]]) -> list[Pair]:
    """Every pair of masks, once."""
    names = list(masks)
    found: list[Pair] = []
    for place, first in enumerate(names):
        for second in names[:place]:
            both = overlap(masks[first], masks[second])
            total = int(masks[first].sum() + masks[second].sum())
            found.append(Pair(first, second, both, 2 * both.shared / total if total else 0.0))
    return found


def overlap_spec(counts: Mapping[str, int], pairs: Sequence[Pair]) -> Spec:
    """Dice of every pair of masks; on the diagonal, their numbers of units."""
    names = list(counts)
    known = {(names.index(pair.first), names.index(pair.second)): pair for pair in pairs}
    places = range(len(names))
    cells = {
        "type": "heatmap",
        "z": [[known[i, j].dice if (i, j) in known else None for j in places] for i in places],
        "hovertext": [
            [_pair_words(known[i, j]) if (i, j) in known else "" for j in places] for i in places
        ],
        **{"hoverinfo": "text", "zmin": 0, "zmax": 1, "showscale": False, "xgap": 2, "ygap": 2},
        "colorscale": [list(stop) for stop in VIRIDIS],
    }
    notes = [_note(place, place, f"{n} units") for place, n in enumerate(counts.values())]
    notes += [_note(i, j, f"{pair.dice:.2f}", pair.dice) for (i, j), pair in known.items()]
    ends = [-0.5, len(names) - 0.5]
    shown_names = [axis_name(name, 16) for name in names]
    options: Spec = {"tickvals": list(places), "ticktext": shown_names, "showgrid": False}
    shown = layout(
        130 + 60 * len(names),
        xaxis=axis(**options, ticks="", range=ends),
        yaxis=axis(**options, ticks="", range=ends[::-1]),
        annotations=notes,
        showlegend=False,
    )
    return {"data": [cells], "layout": shown}


def draw_overlap(results: Results) -> PageFigure:
    """The overlap of the masks in the folder."""
    found = [item for item in (results.localization, results.nmd) if item is not None]
    if len(found) < 2:
        raise LsnsError(f"an overlap matrix needs two masks, and there is no {_lacking(results)}")
    names = name_masks(found, [results.folder] * len(found))
    pairs = pairs_of(dict(zip(names, (item.mask.units for item in found), strict=True)))
    counts = dict(zip(names, (item.mask.count for item in found), strict=True))
    short = {name: shorten(name, LONGEST_HOVER) for name in names}
    words = "; ".join(f"{short[p.first]} and {short[p.second]}: {p.dice:.2f}" for p in pairs)
    return PageFigure(
        "overlap",
        "Overlap of masks",
        "Dice of every pair of masks in the folder: twice the shared units over the sum of both. "
        "On the diagonal, the number of units.",
        f"Matrix of the Dice overlap of {len(names)} masks. {words}.",
        overlap_spec(counts, pairs),
        make_table(
            "Overlap of masks",
            ("Mask", "Other mask", "Shared units", "Dice", "Shared by chance", "p"),
            [
                (
                    pair.first,
                    pair.second,
                    count(pair.both.shared),
                    number(pair.dice),
                    number(pair.both.expected, ".1f"),
                    probability(pair.both.p_value),
                )
                for pair in pairs
            ],
        ),
    )


def recurrence_spec(
    units: Bool[Array, "n_layers hidden_size"],
    outliers: Bool[Array, "n_layers hidden_size"],
    t_values: Float[Array, "n_layers hidden_size"],
) -> Spec:
    """The dimensions that are selected in most layers, in which layers, and where outliers."""
    dimensions = recurring(units, TOP_DIMENSIONS)
    groups: tuple[tuple[str, Array, Spec], ...] = (
        ("selected", units, {"symbol": "square", "size": 9, "color": BLUE}),
        ("outlier", outliers, {"symbol": "circle-open", "size": 14, "color": VERMILLION,
                               "line": {"width": 1.5}}),
    )  # fmt: skip
    traces: list[Spec] = []
    for name, group, marker in groups:
        places, layers = np.nonzero(group[:, dimensions].T)
        pairs = zip(layers.tolist(), places.tolist(), strict=True)
        found = [(layer, dimensions[place]) for layer, place in pairs]
        traces.append(
            {
                **{"type": "scatter", "mode": "markers", "name": name, "marker": marker},
                **{"x": layers.tolist(), "y": places.tolist(), "hoverinfo": "text"},
                "hovertext": [
                    f"layer {layer}, unit {unit}<br>"
                    f"{_state(units[layer, unit], outliers[layer, unit])}<br>"
                    f"t {t_values[layer, unit]:.3f}"
                    for layer, unit in found
                ],
            }
        )  # fmt: skip
    places = list(range(len(dimensions)))
    names = [f"{dimension}" for dimension in dimensions]
    rows = named_axis(names, places, -0.6, len(dimensions) - 0.4)
    rows["title"] = {"text": "Dimension", "standoff": 8}
    shown = layout(110 + 22 * len(dimensions), xaxis=layer_axis(len(units)), yaxis=rows)
    return {"data": traces, "layout": shown}


def draw_recurrence(results: Results) -> PageFigure:
    """Units that recur across layers."""
    found = units_of(results)
    units, outliers = found.mask.units, found.outliers
    dimensions = recurring(units, TOP_DIMENSIONS)
    many, chance = int((units.sum(axis=0) > 1).sum()), expected_recurring(units)
    rows = [
        (
            count(dimension),
            count(int(units[:, dimension].sum())),
            count(int(outliers[:, dimension].sum())),
            _ranges(np.flatnonzero(units[:, dimension]).tolist()),
        )
        for dimension in dimensions
    ]
    top = f" Dimension {dimensions[0]} is selected in {units[:, dimensions[0]].sum()} layers."
    return PageFigure(
        "recurrence",
        "Dimensions selected in many layers",
        f"The {len(dimensions)} dimensions of the residual stream that are selected in most "
        f"layers. {many} dimensions are selected in 2 layers or more; {chance:.1f} would be if "
        "each layer's units were drawn at random.",
        f"Chart of the {len(dimensions)} most recurring dimensions against {len(units)} layers."
        f"{top if dimensions else ''} {many} dimensions are selected in 2 layers or more, "
        f"{chance:.1f} by chance.",
        recurrence_spec(units, outliers, found.t_values),
        make_table(
            "Dimensions selected in many layers",
            ("Dimension", "Layers selected", "Layers outlier", "Selected in layers"),
            rows,
        ),
    )


def selected_table(found: ScoredUnits) -> Table:
    """The selected units with the largest scores, at most `MOST_ROWS`."""
    layers, columns = np.nonzero(found.mask.units)
    order = np.argsort(-np.abs(found.scores[layers, columns]), kind="stable")[:MOST_ROWS]
    rows = [
        (
            count(layer),
            count(unit),
            number(float(found.scores[layer, unit]), ".4g"),
            number(float(found.t_values[layer, unit])),
            probability(float(found.p_values[layer, unit])),
            number(float(found.magnitudes[layer, unit]), ".4g"),
            OUTLIER[bool(found.outliers[layer, unit])],
        )
        for layer, unit in zip(layers[order].tolist(), columns[order].tolist(), strict=True)
    ]
    heads = ("Layer", "Unit", "Score", "t", "Adjusted p", "Mean |activation|", "Outlier")
    return make_table("Selected units", heads, rows)


def units_of(results: Results) -> ScoredUnits:
    """The localization.

    Raises:
        LsnsError: there is none.
    """
    if results.localization is None:
        raise LsnsError(f"there is no {LOCALIZATION}")
    return results.localization


def score_words(found: ScoredUnits) -> str:
    """What units were selected by."""
    selection = found.manifest.get("selection") or {}
    method = shorten(str(selection.get("method", "")), LONGEST_HOVER)
    return SCORE_WORDS.get(method, f"Score ({method})" if method else "Score")


def visible_label(label: str) -> str:
    """The same inside a sentence."""
    return label[:1].lower() + label[1:] if label.startswith(("Score", "Difference")) else label


def cell_size(shape: tuple[int, ...]) -> int:
    """How many neighbours of a layer share a cell of the score map."""
    n_layers, width = shape
    return next(size for size in range(1, width + 1) if n_layers * -(-width // size) <= MOST_CELLS)


def thinned(total: int, most: int) -> Array:
    """At most `most` places out of `total`, evenly, the first and last among them."""
    if total <= most:
        return np.arange(total)
    return np.unique(np.round(np.linspace(0, total - 1, most)).astype(np.int64))


def _thinned_by(values: Array, group: Array, most: int) -> tuple[Array, Array]:
    """The places of a group, thinned evenly over the order of the values, in order of place."""
    layers, columns = np.nonzero(group)
    order = np.argsort(values[layers, columns], kind="stable")
    kept = np.sort(order[thinned(len(order), most)])
    return layers[kept], columns[kept]


def _strongest(scores: Array, size: int) -> Array:
    """Of each cell, the unit with the largest score by magnitude; the first of equal ones."""
    n_layers, width = scores.shape
    n_cells = -(-width // size)
    padded = np.full((n_layers, n_cells * size), -1.0)
    padded[:, :width] = np.nan_to_num(np.abs(scores), nan=0.0)
    best = padded.reshape(n_layers, n_cells, size).argmax(axis=2)
    return best + size * np.arange(n_cells)


def _states(p_values: Array, units: Array, outliers: Array) -> list[list[str]]:
    """For each cell its p-value, and what else is to be said of the unit."""
    rows = [[p_text(p) for p in row] for row in p_values.tolist()]
    for layer, cell in zip(*map(np.ndarray.tolist, np.nonzero(units | outliers)), strict=True):
        rows[layer][cell] += f"<br>{_state(units[layer, cell], outliers[layer, cell])}"
    return rows


def _state(selected: Any, outlier: Any) -> str:
    return ", ".join(["selected"] * bool(selected) + ["outlier"] * bool(outlier))


def _pair_words(pair: Pair) -> str:
    return (
        f"{hover_text(pair.first)}<br>{hover_text(pair.second)}<br>Dice {pair.dice:.3f}<br>"
        f"{pair.both.shared} shared units, {pair.both.expected:.1f} by chance"
    )


def _note(row: int, column: int, text: str, dice: float | None = None) -> Spec:
    place = {"x": column, "y": row, "text": text, "showarrow": False}
    return {**place, "font": {"color": _on_cell(dice)}}


def _dimension_table(rows: Sequence[Mapping[str, Any]]) -> Table | None:
    if not rows:
        return None
    return make_table(
        "Outlier dimensions in the mask",
        ("Dimension", "Layers outlier and selected", "Layers outlier"),
        [
            (count(row["dimension"]), count(row["selected_layers"]), count(row["outlier_layers"]))
            for row in rows[:MOST_ROWS]
        ],
    )


def _on_cell(value: float | None) -> str:
    """The colour of text on a cell; on none, that of the page."""
    if value is None:
        return INK
    return ALWAYS_DARK if value > 0.5 else ALWAYS_LIGHT


def _lacking(results: Results) -> str:
    return LOCALIZATION if results.localization is None else NMD


def _ranges(layers: Sequence[int]) -> str:
    """`[1, 2, 3, 7]` as `1–3, 7`."""
    found: list[list[int]] = []
    for layer in layers:
        if found and layer == found[-1][-1] + 1:
            found[-1].append(layer)
        else:
            found.append([layer])
    return ", ".join(f"{run[0]}–{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in found)
