"""Figures of units: where they are, what they were selected by, how far masks agree.

Each function takes results and gives a `Figure`; what is missing for it is an `LsnsError`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from lsns.analysis.outliers import THRESHOLD
from lsns.errors import LsnsError
from lsns.overlap import Overlap, overlap
from lsns.overlap import overlaps as all_overlaps
from lsns.report import style
from lsns.report.results import LOCALIZATION, NMD, Results, ScoredUnits
from lsns.report.style import Figure, Look, alt, records, rule, sized, table, tips, values
from lsns.report.visible import LONGEST_HOVER, LONGEST_NAME, shorten

if TYPE_CHECKING:
    from lsns.mask import UnitMask

Array = np.ndarray[Any, Any]
Units = Bool[Array, "n_layers hidden_size"]


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


def layers(results: Results) -> Figure:
    """The share of each layer's units in the mask."""
    units = _localized(results).mask.units
    shares, counts = 100 * units.mean(axis=1), units.sum(axis=1)
    top, mean = int(np.argmax(shares)), 100 * float(units.mean())
    rows = records({"layer": range(len(units)), "units": counts, "% of layer": shares})
    fields = ("layer", "units", "% of layer:.2f")
    bars = alt.Chart(values(rows)).mark_bar(color=style.BLUE)
    bars = bars.encode(
        alt.X("layer:O", title="Layer", axis=style.layer_axis(len(units))),
        alt.Y("% of layer:Q", title="Selected units (% of layer)"),
        tooltip=tips(*fields),
    )
    line = rule(mean, color=style.INK, strokeDash=style.DASHED)
    return Figure(
        sized(bars + line, 150, f"dashed: mean over layers, {mean:.2f}%"),
        table("Selected units per layer", rows, *fields),
        {"layers": len(units), "held": int((counts > 0).sum()), "top": top, "mean": mean,
         "units": int(counts[top]), "share": float(shares[top])},
    )  # fmt: skip


def heatmap(*results: Results) -> Figure:
    """The share of each layer's units, layers x models; of several results folders."""
    found = [_localized(item) for item in results]
    names = _name_masks(found, [item.folder for item in results])
    rows = [row for place, name in enumerate(names) for row in _column(place, name, found[place])]
    relative = len({len(item.mask.units) for item in found}) > 1
    title = "Depth (% of layers)" if relative else "Layer"
    fields = ("model", "layer", "units", "% of layer:.2f")
    scale = alt.Scale(scheme=style.SEQUENTIAL, domainMin=0)
    legend = alt.Legend(title="% of layer selected", gradientLength=110, tickCount=3)
    axis = style.named_axis([style.lines_of(name, 12) for name in names], range(len(names)))
    cells = alt.Chart(values(rows)).mark_rect(strokeWidth=0.3)
    cells = cells.encode(
        style.across("left", [-0.5, len(names) - 0.5], None, axis),
        alt.X2("right:Q"),
        alt.Y("top:Q" if relative else "from:Q", title=title, scale=alt.Scale(nice=False)),
        alt.Y2("bottom:Q" if relative else "to:Q"),
        alt.Color("% of layer:Q", scale=scale, legend=legend),
        # Else the ground shines through between cells.
        alt.Stroke("% of layer:Q", scale=scale, legend=None),
        tooltip=tips(*fields),
    )
    listed = table("Selected units per layer", rows, *fields)
    return Figure(sized(cells, 260), listed, {"masks": len(names)})


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
    places = np.stack(np.nonzero(units))
    ranked = places[:, np.argsort(-np.abs(chosen), kind="stable")]
    merged = "" if size == 1 else (
        f" There are too many units to draw each: a cell is {size} neighbours of a layer and "
        "shows the one with the largest score by magnitude."
    )  # fmt: skip
    listed = f"the {count} selected units"
    if count > limits.marked:
        merged += f" Of the selected units, {limits.marked} are marked, evenly over their order."
        listed = f"the {limits.marked} selected units with the largest scores by magnitude"
    shown = ranked[:, _thinned(count, limits.marked)]
    rows = _unit_rows(found, ranked[:, : limits.marked])
    return Figure(
        sized(
            _cells(found, size, label) + _circles(found, shown),
            max(200, 6 * len(units)),
            f"circles: the {count} selected units",
        ),
        table("Selected units", rows, *_NUMBERS[:4], "adjusted p:p", _NUMBERS[5], "state"),
        {"percentile": BRIGHTEST_PERCENTILE, "merged": merged, "listed": listed,
         "label": within(label), "layers": len(units), "width": units.shape[1], "selected": count,
         "low": chosen.min(initial=np.inf), "high": chosen.max(initial=-np.inf)},
    )  # fmt: skip


def methods(results: Results) -> Figure:
    """Units per layer by T-test and by NMD."""
    found = _localized(results)
    if results.nmd is None:
        raise LsnsError(f"there is no {NMD}, the mask to compare with")
    first, second = found.mask.units, results.nmd.mask.units
    both = overlap(first, second)
    columns = {"T-test": first, "NMD": second, "both": first & second}
    counts = {name: mask.sum(axis=1) for name, mask in columns.items()}
    rows = records({"layer": range(len(first)), **counts})
    named = {name: f"{name} ({int(columns[name].sum())} units)" for name in ("T-test", "NMD")}
    folded = [
        row | {"method": words, "units": row[name]} for row in rows for name, words in named.items()
    ]
    words = list(named.values())
    scale = alt.Scale(domain=words, range=[style.BLUE, style.SKY])
    bars = alt.Chart(values(folded)).mark_bar()
    bars = bars.encode(
        alt.X("layer:O", title="Layer", axis=style.layer_axis(len(first))),
        alt.Y("units:Q", title="Selected units"),
        alt.XOffset("method:N", sort=words),
        alt.Color("method:N", scale=scale, title=None),
        tooltip=tips("layer", "method", "units", "both"),
    )
    return Figure(
        sized(bars, 150, f"{both.shared} units in both, {both.expected:.1f} by chance"),
        table("Units per layer by method", rows, "layer", "T-test", "NMD", "both"),
        {"shared": both.shared, "expected": both.expected, "by_layer": both.expected_by_layer,
         "layers": len(first), "first": int(first.sum()), "second": int(second.sum())},
    )  # fmt: skip


def outliers(results: Results, limits: Limits = FINE) -> Figure:
    """Every unit's magnitude against its t.

    Args:
        results: of a localization.
        limits: of more units, some are drawn: evenly over the order of t, the extremes included;
            nothing is drawn at random.
    """
    found, audited = _localized(results), results.section("outliers") or {}
    units, beyond = found.mask.units, found.outliers
    limit = float(audited.get("threshold", THRESHOLD))
    parts = (~units & ~beyond, units & ~beyond, ~units & beyond, units & beyond)
    rest, *sizes = (int(part.sum()) for part in parts)
    some = f", of which {limits.others} are drawn, evenly over the order of t"
    some *= limits.others < rest
    if max(sizes) > limits.marked:
        some += f"; of selected units and outliers at most {limits.marked} of each kind"
    line = rule(limit, vertical=True, strokeDash=style.DASHED)
    return Figure(
        sized(_groups(found, parts, limits) + line, 220, f"dashed: {limit:g} × median of layer"),
        table("Outlier dimensions in the mask", audited.get("dimensions") or [],
              "Dimension = {dimension}", "Layers outlier and selected = {selected_layers}",
              "Layers outlier = {outlier_layers}"),
        {"limit": limit, "rest": rest, "some": some, "both": sizes[2], "units": units.size,
         "selected": found.mask.count, "outliers": int(beyond.sum())},
    )  # fmt: skip


def overlaps(*results: Results) -> Figure:
    """Dice of every pair of masks; of one results folder, or of several."""
    pairs = [
        (found, item.folder)
        for item in results
        for found in (item.localization, item.nmd)
        if found is not None
    ]
    if len(pairs) < 2:
        lacking = LOCALIZATION if results[0].localization is None else NMD
        raise LsnsError(
            f"an overlap matrix needs two masks, and there is no {lacking}; "
            "several results folders can be given"
        )
    names = _name_masks([found for found, _ in pairs], [folder for _, folder in pairs])
    masks = {name: found.mask.units for name, (found, _) in zip(names, pairs, strict=True)}
    rows = [
        _pair(names.index(first), names.index(second), both) | {"mask": second, "other mask": first}
        for (first, second), both in all_overlaps(masks).items()
    ]
    words = "; ".join(f"{row['mask']} and {row['other mask']}: {row['Dice']:.2f}" for row in rows)
    return Figure(
        _matrix(names, [int(units.sum()) for units in masks.values()], rows),
        table("Overlap of masks", rows, "mask", "other mask", "shared units", "Dice:.3f",
              "shared by chance:.1f", "p:p"),
        {"masks": len(names), "words": words},
    )  # fmt: skip


def recurrence(results: Results) -> Figure:
    """Dimensions of the residual stream that are selected in most layers, and in which."""
    found = _localized(results)
    units, beyond = found.mask.units, found.outliers
    dimensions = _recurring(units)
    many, chance = int((units.sum(axis=0) > 1).sum()), _expected_recurring(units)
    counts = {"layers selected": units, "layers outlier": beyond}
    counts = {name: mask.sum(axis=0)[dimensions] for name, mask in counts.items()}
    runs = [_ranges(np.flatnonzero(units[:, one]).tolist()) for one in dimensions]
    rows = records({"dimension": dimensions, **counts, "selected in layers": runs})
    marks = [
        {"layer": layer, "unit": unit, "state": state, "t": found.t_values[layer, unit]}
        for state, group in (("selected", units), ("outlier", beyond))
        for unit in dimensions
        for layer in np.flatnonzero(group[:, unit]).tolist()
    ]
    top = [f" Dimension {row['dimension']} is selected in {row['layers selected']} layers."
           for row in rows[:1]]  # fmt: skip
    chart = _recurrence(marks, dimensions, len(units))
    above = f"{many} dimensions in 2+ layers, {chance:.1f} by chance"
    return Figure(
        sized(chart, max(60, 14 * len(dimensions)), above),
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


def _name_masks(masks: Sequence[ScoredUnits], folders: Sequence[Path]) -> list[str]:
    """Short names that tell masks apart: the model, and of the rest what differs between them."""
    described = [_describe(found.mask) for found in masks]
    columns = list(zip(*described, strict=True))
    kept = [place for place, values in enumerate(columns) if place == 0 or len(set(values)) > 1]
    # Where the model is the same, it says nothing, unless it is all there is to say.
    if len(kept) > 1 and len(set(columns[0])) == 1:
        kept = kept[1:]
    names = [" ".join(filter(None, (row[place] for place in kept))) for row in described]
    if len(set(names)) < len(names) or not all(names):
        named = [folder.resolve().name for folder in folders]
        names = [f"{place} {name}" for place, name in enumerate(named, start=1)]
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


def _column(place: int, name: str, found: ScoredUnits) -> list[dict[str, Any]]:
    """The layers of a mask: their places by number, and by depth in percent."""
    units = found.mask.units
    layers = np.arange(len(units))
    ends = {"from": layers - 0.5, "to": layers + 0.5}
    ends |= {"top": 100 * layers / len(units), "bottom": 100 * (layers + 1) / len(units)}
    counts = {"units": units.sum(axis=1), "% of layer": 100 * units.mean(axis=1)}
    same = {"model": name, "left": place - 0.5, "right": place + 0.5}
    return [same | row for row in records({"layer": layers, **counts, **ends})]


def _unit_rows(found: ScoredUnits, places: Array) -> list[dict[str, Any]]:
    """What is known of units, in as many digits as are of use.

    Args:
        found: the localization.
        places: layers and dimensions, of shape (2, n_units).
    """
    at = tuple(places)
    chosen, beyond = found.mask.units[at], found.outliers[at]
    columns = {
        "score": (found.scores, 5), "t": (found.t_values, 5),
        "adjusted p": (found.p_values, 3), "mean |activation|": (found.magnitudes, 4),
    }  # fmt: skip
    numbers = {
        name: [float(f"{value:.{digits}g}") for value in part[at].tolist()]
        for name, (part, digits) in columns.items()
    }
    return records(
        {
            **{"layer": places[0], "unit": places[1], **numbers},
            "state": [_STATES[place] for place in chosen + 2 * beyond],
        }
    )


def _strongest(scores: Array, size: int) -> Array:
    """Of each cell, the unit with the largest score by magnitude; the first of equal ones."""
    n_layers, width = scores.shape
    n_cells = -(-width // size)
    padded = np.full((n_layers, n_cells * size), -1.0)
    padded[:, :width] = np.nan_to_num(np.abs(scores), nan=0.0)
    best = padded.reshape(n_layers, n_cells, size).argmax(axis=2)
    return best + size * np.arange(n_cells)


def _cells(found: ScoredUnits, size: int, label: str) -> alt.Chart:
    shape = found.scores.shape
    columns = _strongest(found.scores, size)
    places = np.stack([np.arange(shape[0]).repeat(columns.shape[1]), columns.ravel()])
    known = found.scores[np.isfinite(found.scores)]
    top = float(np.percentile(np.abs(known), BRIGHTEST_PERCENTILE)) if known.size else 1.0
    top, signed = top or 1.0, bool((known < 0).any())
    scheme = style.DIVERGING if signed else style.SEQUENTIAL
    scale = alt.Scale(scheme=scheme, domain=[-top if signed else 0, top], clamp=True)
    title = " ".join(style.lines_of(label, LONGEST_NAME))
    start = f"{size} * floor(datum.unit / {size})"
    chart = alt.Chart(values(_unit_rows(found, places)), name="cells").transform_calculate(
        left=f"{start} - 0.5",
        right=f"min({shape[1]}, {start} + {size}) - 0.5",
        lower="datum.layer - 0.5",
        upper="datum.layer + 0.5",
    )
    drawn = chart.mark_rect(clip=True).encode(
        *_axes("left", "lower", shape),
        alt.X2("right:Q"),
        alt.Y2("upper:Q"),
        alt.Color("score:Q", scale=scale, legend=alt.Legend(title=title, gradientLength=110)),
        tooltip=tips(*_NUMBERS, "state"),
    )
    return drawn.add_params(style.zoom())


def _circles(found: ScoredUnits, places: Array) -> alt.Chart:
    chart = alt.Chart(values(_unit_rows(found, places)), name="selected")
    shape = found.scores.shape
    marks = chart.mark_circle(
        color=style.YELLOW, stroke=style.ALWAYS_DARK, strokeWidth=0.8, opacity=1, clip=True,
        size=18 if shape[1] > 256 else 45,
    )  # fmt: skip
    return marks.encode(*_axes("unit", "layer", shape), tooltip=tips(*_NUMBERS, "state"))


def _axes(x: str, y: str, shape: tuple[int, ...]) -> tuple[alt.X, alt.Y]:
    n_layers, width = shape
    scale = alt.Scale(domain=[-0.5, n_layers - 0.5], nice=False)
    axis = style.layer_axis(n_layers)
    return (
        style.across(x, [-0.5, width - 0.5], "Unit (hidden dimension)", alt.Axis(format="d")),
        alt.Y(field=y, type="quantitative", title="Layer", axis=axis, scale=scale),
    )


def _groups(found: ScoredUnits, parts: Sequence[Array], limits: Limits) -> alt.Chart:
    """The units of each group, a group over those before it."""
    rows: list[dict[str, Any]] = []
    named: list[Look] = []
    ratio = _over_median(found.magnitudes)
    for (look, size), part in zip(_GROUPS, parts, strict=True):
        limit = limits.marked if named else limits.others
        words = f"{look.words} ({int(part.sum())})"
        named.append(Look(words, look.colour, look.shape))
        places = np.stack(np.nonzero(part))
        order = np.argsort(found.t_values[tuple(places)], kind="stable")
        kept = places[:, np.sort(order[_thinned(len(order), limit)])]
        more = [
            {"group": words, "size": size, "× median": float(f"{value:.5g}")}
            for value in ratio[tuple(kept)].tolist()
        ]
        rows += map(dict.__or__, _unit_rows(found, kept), more)
    ticks = style.one_two_five(float(ratio.min()), float(ratio.max())) or [1.0]
    chart = alt.Chart(values(rows), name="units").mark_point(filled=True, opacity=1, clip=True)
    drawn = chart.encode(
        style.log_x("× median", "Mean |activation| (× median of layer)", ticks),
        alt.Y("t:Q", title="Welch's t"),
        size=alt.Size("size:Q", scale=None, legend=None),
        tooltip=tips("layer", "unit", "group", *_NUMBERS[3:], "× median:.3g"),
        **style.looks("group", named, "color", "shape"),
    )
    return drawn.add_params(style.zoom())


def _pair(column: int, row: int, both: Overlap) -> dict[str, Any]:
    return {
        **{
            "shared units": both.shared,
            "Dice": both.dice,
            "shared by chance": both.expected_by_layer,
        },
        **{"p": both.p_value, "row": row, "column": column},
    }


def _matrix(names: Sequence[str], counts: Sequence[int], rows: Sequence[style.Row]) -> Any:
    axis = style.named_axis([style.lines_of(name, 14) for name in names], range(len(names)))
    ends = (-0.5, len(names) - 0.5)
    own = [{"row": i, "column": i, "text": f"{n} units"} for i, n in enumerate(counts)]
    sides = {"left": "datum.column - 0.48", "right": "datum.column + 0.48"}
    sides |= {"top": "datum.row - 0.48", "bottom": "datum.row + 0.48"}
    x, y = style.across("left", ends, None, axis), style.down("top", *ends, axis)
    scale = alt.Scale(scheme=style.SEQUENTIAL, domain=[0, 1])
    dice: dict[str, Any] = {
        "color": alt.Color("Dice:Q", scale=scale, legend=None),
        "tooltip": tips("mask", "other mask", "Dice:.3f", "shared units", "shared by chance:.1f"),
    }
    ink = alt.when("datum.Dice > 0.5").then(alt.value(style.ALWAYS_DARK))
    places = {"x": "column:Q", "y": "row:Q"}
    chart, diagonal = (alt.Chart(values(part)).transform_calculate(**sides) for part in (rows, own))
    cells = chart.mark_rect().encode(x, alt.X2("right:Q"), y, alt.Y2("bottom:Q"), **dice)
    pale = diagonal.mark_rect(color=style.PALE)
    pale = pale.encode(x, alt.X2("right:Q"), y, alt.Y2("bottom:Q"))
    texts = chart.mark_text().encode(
        text=alt.Text("Dice:Q", format=".2f"),
        color=ink.otherwise(alt.value(style.ALWAYS_LIGHT)),
        **places,
    )
    units = diagonal.mark_text(color=style.INK).encode(text="text:N", **places)
    drawn = cells + pale + texts + units
    return sized(drawn, 50 + 40 * len(names), "Dice; on the diagonal, units")


def _recurrence(marks: Sequence[style.Row], dimensions: Sequence[int], n_layers: int) -> Any:
    found = [Look("selected", style.BLUE, "square"), Look("outlier", style.VERMILLION)]
    scale = alt.Scale(domain=list(range(n_layers)))
    chart = alt.Chart(values(marks)).encode(
        alt.X("layer:O", title="Layer", axis=style.layer_axis(n_layers), scale=scale),
        alt.Y("unit:O", title="Dimension", sort=list(dimensions)),
        tooltip=tips("layer", "unit", "state", "t:.3f"),
        **style.looks("state", found, "color", "shape"),
    )
    squares = chart.transform_filter("datum.state == 'selected'")
    rings = chart.transform_filter("datum.state == 'outlier'")
    size = max(8, min(40, (240 / n_layers) ** 2))
    drawn = squares.mark_point(filled=True, opacity=1, size=size)
    return drawn + rings.mark_point(opacity=1, size=2 * size, strokeWidth=1.4)


def _ranges(layers: Sequence[int]) -> str:
    """Layers in words: those in a row as the first and the last of them, with a dash between."""
    found: list[list[int]] = []
    for layer in layers:
        if found and layer == found[-1][-1] + 1:
            found[-1].append(layer)
        else:
            found.append([layer])
    return ", ".join(f"{run[0]}–{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in found)
