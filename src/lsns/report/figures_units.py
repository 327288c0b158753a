"""Figures of units: where they are, what they were selected by, how far masks agree.

Each function takes results and gives a `Figure`; what is missing for it is an `LsnsError`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from lsns.errors import LsnsError
from lsns.mask import UnitMask
from lsns.overlap import overlap, overlaps
from lsns.report import style
from lsns.report.results import LOCALIZATION, NMD, Results, ScoredUnits
from lsns.report.style import Figure, Look, lines_of, number, records, rule, sized, table, tips
from lsns.report.visible import LONGEST_HOVER, LONGEST_NAME, shorten
from lsns.table import Table

Array = np.ndarray[Any, Any]
Units = Bool[Array, "n_layers hidden_size"]
Rows = list[dict[str, Any]]


class Limits(NamedTuple):
    """How much a figure of every unit has at most, so that it is drawn soon.

    Attributes:
        cells: of the score map.
        marked: marks of a group of selected units or outliers, and rows of a table.
        others: marks of units that are neither.
    """

    cells: int
    marked: int
    others: int


FINE, COARSE = Limits(20_000, 10_000, 3_000), Limits(1_600, 300, 300)
# Colours end here: a few outlier dimensions must not make all others look alike.
BRIGHTEST_PERCENTILE = 99
TOP_DIMENSIONS = 15
SCORE_WORDS = {
    "ttest": "Welch's t of |activation|",
    "ttest-signed": "Welch's t of activation",
    "mean": "Difference of mean |activation|",
    "nmd": "|Difference of mean activation|",
}
METHOD_WORDS = {"ttest": "T-test", "ttest-signed": "signed T-test", "nmd": "NMD", "mean": "mean"}
# How units look that are neither, selected, outliers and both, and how large, in square pixels.
_GROUPS = (
    (Look("other units", style.PALE), 6),
    (Look("selected", style.BLUE), 22),
    (Look("outlier, not selected", style.VERMILLION, "triangle-up"), 36),
    (Look("selected outlier", style.BLACK, "diamond"), 42),
)
_STATES = ("", "selected", "outlier", "selected, outlier")
_NUMBERS = ("layer", "unit", "score:.4g", "t:.3f", "adjusted p:.2g", "mean |activation|:.4g")
_PER_LAYER = ("layer", "units", "% of layer:.2f")


def layers(results: Results) -> Figure:
    """The share of each layer's units in the mask."""
    units = _localized(results).mask.units
    rows, mean = _per_layer(units), 100 * float(units.mean())
    bars = style.chart(rows, x=_layers(units)).mark_bar(color=style.BLUE)
    bars = bars.encode(
        y=number("% of layer", "Selected units (% of layer)"), tooltip=tips(*_PER_LAYER)
    )
    line = rule("y", mean, color=style.INK, strokeDash=style.DASHED)
    return Figure(
        sized(bars + line, 150, f"dashed: mean over layers, {mean:.2f}%"),
        table("Selected units per layer", rows, *_PER_LAYER),
        {
            "top": max(rows, key=lambda row: row["units"]),
            "held": int(units.any(axis=1).sum()),
            "layers": len(units),
            "mean": mean,
        },
    )


def heatmap(*results: Results) -> Figure:
    """The share of each layer's units, layers x models; of several results folders."""
    found = [(_localized(item), item.folder) for item in results]
    names, masks = _name_masks(found), [item.mask.units for item, _ in found]
    relative = len({len(units) for units in masks}) > 1
    rows: Rows = []
    for place, (name, units) in enumerate(zip(names, masks, strict=True)):
        ends = np.arange(len(units) + 1)
        ends = 100 * ends / len(units) if relative else ends - 0.5
        same = {"model": name, "place": place}
        rows += [same | row for row in _per_layer(units, start=ends[:-1], end=ends[1:])]
    fields = ("model", *_PER_LAYER)
    colour = {"field": "% of layer", "type": "quantitative"}
    colour |= {"scale": {"scheme": style.SEQUENTIAL, "domainMin": 0}}
    legend = {"title": "% of layer selected", "gradientLength": 110, "tickCount": 3}
    cells = style.chart(rows).mark_rect(strokeWidth=0.3)
    cells = cells.encode(
        x=_places(names, 12),
        y=number("start", "Depth (% of layers)" if relative else "Layer", nice=False),
        y2="end:Q",
        color=colour | {"legend": legend},
        # Else the ground shines through between cells.
        stroke=colour | {"legend": None},
        tooltip=tips(*fields),
    )
    listed = table("Selected units per layer", rows, *fields)
    return Figure(sized(cells, 260), listed, {"masks": len(masks)})


def scores(results: Results, limits: Limits = FINE) -> Figure:
    """The score of every unit, layers x units; the selected ones are circles.

    Args:
        results: of a localization.
        limits: of more units than cells, those of a layer that are side by side share a cell,
            which shows the one with the largest score by magnitude. The circles stay exact.
    """
    found = _localized(results)
    units, label, count = found.mask.units, score_words(found), found.mask.count
    chosen, size = found.scores[units], _cell_size(units.shape, limits.cells)
    ranked = np.argwhere(units).T[:, np.argsort(-np.abs(chosen), kind="stable")]
    merged = "" if size == 1 else (
        f" There are too many units to draw each: a cell is {size} neighbours of a layer and "
        "shows the one with the largest score by magnitude."
    )  # fmt: skip
    listed = f"the {count} selected units"
    if count > limits.marked:
        merged += f" Of the selected units, {limits.marked} are marked, evenly over their order."
        listed = f"the {limits.marked} selected units with the largest scores by magnitude"
    circles = _circles(found, ranked[:, _thinned(count, limits.marked)])
    drawn = _cells(found, size, label) + circles
    rows = _unit_rows(found, ranked[:, : limits.marked])
    return Figure(
        sized(drawn, max(200, 6 * len(units)), f"circles: the {count} selected units"),
        table("Selected units", rows, *_NUMBERS[:4], "adjusted p:p", _NUMBERS[5], "state"),
        {"percentile": BRIGHTEST_PERCENTILE, "merged": merged, "listed": listed,
         "label": within(label), "shape": units.shape, "selected": count,
         "low": chosen.min(initial=np.inf), "high": chosen.max(initial=-np.inf)},
    )  # fmt: skip


def methods(results: Results) -> Figure:
    """Units per layer by T-test and by NMD."""
    found = _localized(results)
    if results.nmd is None:
        raise LsnsError(f"there is no {NMD}, the mask to compare with")
    masks = {"T-test": found.mask, "NMD": results.nmd.mask}
    first, second = (mask.units for mask in masks.values())
    both = overlap(first, second)
    counts = {name: mask.per_layer for name, mask in masks.items()}
    rows = records({"layer": range(len(first)), **counts, "both": (first & second).sum(axis=1)})
    words = {name: f"{name} ({mask.count} units)" for name, mask in masks.items()}
    marks = [row | {"method": words[name], "units": row[name]} for row in rows for name in words]
    looks = [Look(words["T-test"], style.BLUE), Look(words["NMD"], style.SKY)]
    bars = style.chart(marks, x=_layers(first)).mark_bar()
    bars = bars.encode(
        **style.looks("method", looks, "color", legend={}),
        y=number("units", "Selected units"),
        xOffset={"field": "method", "type": "nominal", "sort": [*words.values()]},
        tooltip=tips("layer", "method", "units", "both"),
    )
    return Figure(
        sized(bars, 150, f"{both.shared} units in both, {both.expected:.1f} by chance"),
        table("Units per layer by method", rows, "layer", *masks, "both"),
        {"both": both, "layers": len(first), "masks": masks},
    )


def outliers(results: Results, limits: Limits = FINE) -> Figure:
    """Every unit's magnitude against its t.

    Args:
        results: of a localization.
        limits: of more units, some are drawn: evenly over the order of t, the extremes included;
            nothing is drawn at random.
    """
    found, audited = _localized(results), results.section("outliers")
    limit = audited.threshold if audited else found.outlier_threshold
    states = found.mask.units + 2 * found.outliers
    rest, *sizes = np.bincount(states.ravel(), minlength=len(_GROUPS)).tolist()
    some = f", of which {limits.others} are drawn, evenly over the order of t"
    some *= limits.others < rest
    if max(sizes) > limits.marked:
        some += f"; of selected units and outliers at most {limits.marked} of each kind"
    line = rule("x", limit, strokeDash=style.DASHED)
    return Figure(
        sized(_groups(found, states, limits) + line, 220, f"dashed: {limit:g} × median of layer"),
        audited.table() if audited else Table("outlier dimensions", (), ()),
        {"limit": limit, "rest": rest, "some": some, "both": sizes[2], "units": states.size,
         "selected": found.mask.count, "outliers": sizes[1] + sizes[2]},
    )  # fmt: skip


def matrix(*results: Results) -> Figure:
    """Dice of every pair of masks; of one results folder, or of several."""
    found = [(one, item.folder) for item in results for one in (item.localization, item.nmd) if one]
    if len(found) < 2:
        lacking = LOCALIZATION if results[0].localization is None else NMD
        raise LsnsError(
            f"an overlap matrix needs two masks, and there is no {lacking}; "
            "several results folders can be given"
        )
    names = _name_masks(found)
    masks = {name: one.mask for name, (one, _) in zip(names, found, strict=True)}
    rows = [
        {
            "mask": second,
            "other mask": first,
            "shared units": both.shared,
            "Dice": both.dice,
            "shared by chance": both.expected_by_layer,
            "p": both.p_value,
            "row": names.index(second),
            "column": names.index(first),
        }
        for (first, second), both in overlaps(
            {name: mask.units for name, mask in masks.items()}
        ).items()
    ]
    words = "; ".join(f"{row['mask']} and {row['other mask']}: {row['Dice']:.2f}" for row in rows)
    return Figure(
        _matrix(masks, rows),
        table("Overlap of masks", rows, "mask", "other mask", "shared units", "Dice:.3f",
              "shared by chance:.1f", "p:p"),
        {"masks": len(masks), "words": words},
    )  # fmt: skip


def recurrence(results: Results) -> Figure:
    """Dimensions of the residual stream that are selected in most layers, and in which."""
    found = _localized(results)
    units, groups = found.mask.units, {"selected": found.mask.units, "outlier": found.outliers}
    dimensions = _recurring(units)
    many, chance = int((units.sum(axis=0) > 1).sum()), _expected_recurring(units)
    rows = [
        {
            "dimension": one,
            "layers selected": int(units[:, one].sum()),
            "layers outlier": int(found.outliers[:, one].sum()),
            "selected in layers": _ranges(np.flatnonzero(units[:, one]).tolist()),
        }
        for one in dimensions
    ]
    marks = [
        {"layer": layer, "unit": unit, "state": state, "t": found.t_values[layer, unit]}
        for state, group in groups.items()
        for unit in dimensions
        for layer in np.flatnonzero(group[:, unit]).tolist()
    ]
    top = [f" Dimension {row['dimension']} is selected in {row['layers selected']} layers."
           for row in rows[:1]]  # fmt: skip
    above = f"{many} dimensions in 2+ layers, {chance:.1f} by chance"
    return Figure(
        sized(_recurrence(marks, dimensions, units), max(60, 14 * len(dimensions)), above),
        table("Dimensions selected in many layers", rows, "dimension", "layers selected",
              "layers outlier", "selected in layers"),
        {"dimensions": len(dimensions), "many": many, "chance": chance, "layers": len(units),
         "top": "".join(top)},
    )  # fmt: skip


def _localized(results: Results) -> ScoredUnits:
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


def within(label: str) -> str:
    """Score words inside a sentence: in lower case, but for a name."""
    return label[:1].lower() + label[1:] if label.startswith(("Score", "Difference")) else label


def _name_masks(masks: Sequence[tuple[ScoredUnits, Path | None]]) -> list[str]:
    """Short names that tell masks apart: the model, and of the rest what differs between them.

    Args:
        masks: each with the folder that it is from, which names it if nothing else does.
    """
    described = [_describe(found.mask) for found, _ in masks]
    columns = list(zip(*described, strict=True))
    kept = [place for place, values in enumerate(columns) if place == 0 or len(set(values)) > 1]
    # Where the model is the same, it says nothing, unless it is all there is to say.
    if len(kept) > 1 and len(set(columns[0])) == 1:
        kept = kept[1:]
    names = [" ".join(filter(None, (row[place] for place in kept))) for row in described]
    if len(set(names)) < len(names) or not all(names):
        folders = [folder.resolve().name if folder else "" for _, folder in masks]
        names = [f"{place} {name}".strip() for place, name in enumerate(folders, start=1)]
    return [shorten(name, LONGEST_HOVER) for name in names]


def _describe(mask: UnitMask) -> tuple[str, ...]:
    manifest = mask.manifest
    model, stimuli, protocol, selection = (
        manifest.get(part) or {} for part in ("model", "stimuli", "protocol", "selection")
    )
    share, tokens = selection.get("percentage"), protocol.get("max_tokens")
    place = selection.get("localize_range") or "100-100"
    return (
        str(model.get("label") or model.get("name") or ""),
        "" if model.get("pretrained", True) else "untrained",
        str(stimuli.get("name") or ""),
        METHOD_WORDS.get(selection.get("method", ""), str(selection.get("method", ""))),
        f"{100 * mask.count / mask.units.size:.2g}%" if share is None else f"{share:g}%",
        "" if place == "100-100" else str(place),
        str(protocol.get("pooling") or ""),
        "whole texts" if tokens is None else f"{tokens} tokens",
    )


def _recurring(units: Units, top: int = TOP_DIMENSIONS) -> list[int]:
    """The dimensions selected in most layers, most first; ties by number."""
    counts = units.sum(axis=0)
    ranked = np.argsort(-counts, kind="stable")[:top]
    return [int(dimension) for dimension in ranked if counts[dimension] > 0]


def _expected_recurring(units: Units) -> float:
    """Dimensions selected in two layers or more if each layer's units were drawn at random."""
    shares = units.mean(axis=1)
    others = [np.prod(1 - np.delete(shares, layer)) for layer in range(len(shares))]
    return float(units.shape[1] * (1 - np.prod(1 - shares) - shares @ np.array(others)))


def _over_median(
    magnitudes: Float[Array, "n_layers hidden_size"],
) -> Float[Array, "n_layers hidden_size"]:
    """Magnitudes in medians of their layer; a unit that is always 0 is put at the smallest."""
    median = np.median(magnitudes, axis=1, keepdims=True)
    ratio = magnitudes / np.where(median > 0, median, 1.0)
    smallest = ratio[ratio > 0].min(initial=1.0)
    return np.maximum(ratio, smallest)


def _cell_size(shape: tuple[int, ...], most: int = FINE.cells) -> int:
    """How many neighbours of a layer share a cell of the score map."""
    n_layers, width = shape
    return next(size for size in range(1, width + 1) if n_layers * -(-width // size) <= most)


def _thinned(total: int, most: int) -> Array:
    """At most `most` places out of `total`, evenly, the first and last among them."""
    if total <= most:
        return np.arange(total)
    return np.unique(np.round(np.linspace(0, total - 1, most)).astype(np.int64))


def _per_layer(units: Units, **more: Any) -> Rows:
    counts = {"units": units.sum(axis=1), "% of layer": 100 * units.mean(axis=1)}
    return records({"layer": range(len(units)), **counts, **more})


def _layers(units: Units) -> style.Spec:
    """The encoding of a bar, or a column of marks, for each layer."""
    axis = style.layer_axis(len(units))
    return {"field": "layer", "type": "ordinal", "title": "Layer", "axis": axis}


def _places(names: Sequence[str], width: int, field: str = "place", **scale: Any) -> style.Spec:
    """The encoding of a column, or a row, for each of some names; in lines of that width."""
    axis = style.named_axis({place: lines_of(name, width) for place, name in enumerate(names)})
    scale["domain"] = [*range(len(names))]
    return {"field": field, "type": "ordinal", "title": None, "axis": axis, "scale": scale}


def _unit_rows(found: ScoredUnits, places: Array) -> Rows:
    """What is known of units, in as many digits as are of use.

    Args:
        found: the localization.
        places: layers and dimensions, of shape (2, n_units).
    """
    at = tuple(places)
    states = found.mask.units[at] + 2 * found.outliers[at]
    return records({
        "layer": places[0],
        "unit": places[1],
        "score": _rounded(found.scores[at], 5),
        "t": _rounded(found.t_values[at], 5),
        "adjusted p": _rounded(found.p_values[at], 3),
        "mean |activation|": _rounded(found.magnitudes[at], 4),
        "state": [_STATES[state] for state in states],
    })  # fmt: skip


def _rounded(values: Array, digits: int) -> list[float]:
    return [float(f"{value:.{digits}g}") for value in values.tolist()]


def _strongest(scores: Array, size: int) -> Array:
    """Of each cell, the unit with the largest score by magnitude; the first of equal ones."""
    n_layers, width = scores.shape
    n_cells = -(-width // size)
    padded = np.full((n_layers, n_cells * size), -1.0)
    padded[:, :width] = np.nan_to_num(np.abs(scores), nan=0.0)
    best = padded.reshape(n_layers, n_cells, size).argmax(axis=2)
    return best + size * np.arange(n_cells)


def _cells(found: ScoredUnits, size: int, label: str) -> style.alt.Chart:
    n_layers, width = found.scores.shape
    columns = _strongest(found.scores, size)
    places = np.stack([np.arange(n_layers).repeat(columns.shape[1]), columns.ravel()])
    known = found.scores[np.isfinite(found.scores)]
    top = float(np.percentile(np.abs(known), BRIGHTEST_PERCENTILE)) if known.size else 1.0
    top, signed = top or 1.0, bool((known < 0).any())
    start = f"{size} * floor(datum.unit / {size})"
    chart = (
        style.chart(_unit_rows(found, places))
        .properties(name="cells")
        .transform_calculate(
            left=f"{start} - 0.5",
            right=f"min({width}, {start} + {size}) - 0.5",
            lower="datum.layer - 0.5",
            upper="datum.layer + 0.5",
        )
    )
    scheme = style.DIVERGING if signed else style.SEQUENTIAL
    scale = {"scheme": scheme, "domain": [-top if signed else 0, top], "clamp": True}
    legend = {"title": " ".join(lines_of(label, LONGEST_NAME)), "gradientLength": 110}
    drawn = chart.mark_rect(clip=True).encode(
        **_map_axes("left", "lower", n_layers, width),
        x2="right:Q",
        y2="upper:Q",
        color={"field": "score", "type": "quantitative", "scale": scale, "legend": legend},
        tooltip=tips(*_NUMBERS, "state"),
    )
    return drawn.add_params(style.zoom())


def _circles(found: ScoredUnits, places: Array) -> style.alt.Chart:
    n_layers, width = found.scores.shape
    chart = style.chart(_unit_rows(found, places), **_map_axes("unit", "layer", n_layers, width))
    marks = chart.properties(name="selected").mark_circle(
        color=style.YELLOW, stroke=style.ALWAYS_DARK, strokeWidth=0.8, opacity=1, clip=True,
        size=18 if width > 256 else 45,
    )  # fmt: skip
    return marks.encode(tooltip=tips(*_NUMBERS, "state"))


def _map_axes(x: str, y: str, n_layers: int, width: int) -> dict[str, style.Spec]:
    across, up = ([-0.5, size - 0.5] for size in (width, n_layers))
    title, axis = "Unit (hidden dimension)", {"format": "d"}
    return {
        "x": number(x, title, axis, domain=across, nice=False, zero=False),
        "y": number(y, "Layer", style.layer_axis(n_layers), domain=up, nice=False),
    }


def _groups(found: ScoredUnits, states: Array, limits: Limits) -> style.alt.Chart:
    """The units of each group, a group over those before it."""
    rows: Rows = []
    named: list[Look] = []
    ratio = _over_median(found.magnitudes)
    for state, (look, size) in enumerate(_GROUPS):
        units = np.flatnonzero(states == state)
        named.append(Look(f"{look.words} ({len(units)})", look.colour, look.shape))
        order = np.argsort(found.t_values.ravel()[units], kind="stable")
        kept = order[_thinned(len(order), limits.marked if state else limits.others)]
        places = np.stack(np.unravel_index(np.sort(units[kept]), states.shape))
        same = {"group": named[-1].words, "size": size}
        more = _rounded(ratio[tuple(places)], 5)
        for row, times in zip(_unit_rows(found, places), more, strict=True):
            rows.append(row | same | {"× median": times})
    ticks = style.one_two_five(float(ratio.min()), float(ratio.max())) or [1.0]
    chart = style.chart(rows).properties(name="units")
    drawn = chart.mark_point(filled=True, opacity=1, clip=True).encode(
        x=style.log("× median", "Mean |activation| (× median of layer)", ticks),
        y=number("t", "Welch's t"),
        size={"field": "size", "type": "quantitative", "scale": None, "legend": None},
        tooltip=tips("layer", "unit", "group", *_NUMBERS[3:], "× median:.3g"),
        **style.looks("group", named, "color", "shape"),
    )
    return drawn.add_params(style.zoom())


def _matrix(masks: Mapping[str, UnitMask], rows: Rows) -> Any:
    gaps = {"paddingInner": 0.04, "paddingOuter": 0.02}
    x, y = (_places([*masks], 14, field, **gaps) for field in ("column", "row"))
    own = [
        {"row": place, "column": place, "text": f"{mask.count} units"}
        for place, mask in enumerate(masks.values())
    ]
    pairs, diagonal = (style.chart(part, x=x, y=y) for part in (rows, own))
    scale = {"scheme": style.SEQUENTIAL, "domain": [0, 1]}
    cells = pairs.mark_rect().encode(
        color={"field": "Dice", "type": "quantitative", "scale": scale, "legend": None},
        tooltip=tips("mask", "other mask", "Dice:.3f", "shared units", "shared by chance:.1f"),
    )
    dark = {"test": "datum.Dice > 0.5", "value": style.ALWAYS_DARK}
    texts = pairs.mark_text().encode(
        text={"field": "Dice", "type": "quantitative", "format": ".2f"},
        color={"condition": dark, "value": style.ALWAYS_LIGHT},
    )
    units = diagonal.mark_text(color=style.INK).encode(text="text:N")
    drawn = cells + diagonal.mark_rect(color=style.PALE) + texts + units
    return sized(drawn, 50 + 40 * len(masks), "Dice; on the diagonal, units")


def _recurrence(marks: Rows, dimensions: Sequence[int], units: Units) -> Any:
    found = [Look("selected", style.BLUE, "square"), Look("outlier", style.VERMILLION)]
    n_layers = len(units)
    chart = style.chart(
        marks,
        x=_layers(units) | {"scale": {"domain": [*range(n_layers)]}},
        y={"field": "unit", "type": "ordinal", "title": "Dimension", "sort": dimensions},
        tooltip=tips("layer", "unit", "state", "t:.3f"),
        **style.looks("state", found, "color", "shape"),
    )
    size = max(8, min(40, (240 / n_layers) ** 2))
    squares, rings = (chart.transform_filter(f"datum.state == '{one.words}'") for one in found)
    drawn = squares.mark_point(filled=True, opacity=1, size=size)
    return drawn + rings.mark_point(opacity=1, size=2 * size, strokeWidth=1.4)


def _ranges(layers: Sequence[int]) -> str:
    """Layers in words: those in a row as the first and the last of them, with a dash between."""
    runs = groupby(enumerate(layers), key=lambda item: item[1] - item[0])
    ends = [[layer for _, layer in run] for _, run in runs]
    return ", ".join(f"{run[0]}–{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in ends)
