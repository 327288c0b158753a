"""Every figure of a report by its kind: from results folders to a file fit for a paper.

The functions `plot_*` take data and axes and return the axes; they are here for those who compose
figures of their own. `KINDS` names what can be had of a results folder; its functions take
`Results` and return a figure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lsns.errors import LsnsError
from lsns.evaluation.study import SummaryRow
from lsns.report.figures_audit import plot_profile, plot_protocols, plot_reliability
from lsns.report.figures_study import (
    DOSE_MM,
    benchmarks_of,
    dose_rows,
    effect_rows,
    effects_height,
    plot_dose,
    plot_effects,
    rows_of,
)
from lsns.report.figures_style import (
    canvas,
    figure_of,
    file_format,
    new_figure,
    save_figure,
    styled,
)
from lsns.report.figures_units import (
    plot_heatmap,
    plot_layers,
    plot_methods,
    plot_outliers,
    plot_overlap,
    plot_recurrence,
    plot_scores,
)
from lsns.report.results import NMD, Results, ScoredUnits, read_results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lsns.mask import UnitMask

__all__ = [
    "KINDS",
    "SEVERAL",
    "canvas",
    "draw",
    "plot_dose",
    "plot_effects",
    "plot_heatmap",
    "plot_layers",
    "plot_methods",
    "plot_outliers",
    "plot_overlap",
    "plot_profile",
    "plot_protocols",
    "plot_recurrence",
    "plot_reliability",
    "plot_scores",
    "save_figure",
    "write_figure",
]
Row = Mapping[str, Any]
SCORE_WORDS = {
    "ttest": "Welch's t of |activation|",
    "ttest-signed": "Welch's t of activation",
    "mean": "Difference of mean |activation|",
    "nmd": "|Difference of mean activation|",
}


METHOD_WORDS = {"ttest": "T-test", "ttest-signed": "signed T-test", "nmd": "NMD", "mean": "mean"}


class Kind(NamedTuple):
    """A figure that can be had of results.

    Attributes:
        draw: takes `Results` (several, if the kind is in `SEVERAL`), returns a figure; an
            `LsnsError` says what is missing.
        words: what it shows.
    """

    draw: Callable[..., Figure]
    words: str


def write_figure(kind: str, folders: Sequence[str | Path], path: str | Path) -> Path:
    """Draw a figure of results folders and write it.

    Raises:
        LsnsError: see `draw` and `save_figure`; the path is checked first.
    """
    file_format(Path(path))
    check_kind(kind, len(folders))
    return save_figure(draw(kind, *map(read_results, folders)), path)


def draw(kind: str, *results: Results) -> Figure:
    """A figure of that kind.

    Raises:
        LsnsError: no such kind, results that lack what it shows, or too many of them.
    """
    check_kind(kind, len(results))
    return KINDS[kind].draw(*results)


def check_kind(kind: str, count: int) -> None:
    """Raise an `LsnsError` for a kind that is not known, or that does not take `count` results."""
    if kind not in KINDS:
        raise LsnsError(f"no figure {kind!r}; use one of {', '.join(KINDS)}")
    if count < 1 or (count > 1 and kind not in SEVERAL):
        several = f"; several are for {' and '.join(SEVERAL)}" if count else ""
        raise LsnsError(f"figure {kind} is of one results folder, {count} were given{several}")


def name_masks(masks: Sequence[ScoredUnits], folders: Sequence[Path]) -> list[str]:
    """Short names that tell masks apart: the model, and of the rest what differs between them."""
    described = [_describe(found.mask) for found in masks]
    columns = list(zip(*described, strict=True))
    kept = [place for place, values in enumerate(columns) if place == 0 or len(set(values)) > 1]
    # Where the model is the same, it says nothing, unless it is all there is to say.
    if len(kept) > 1 and len(set(columns[0])) == 1:
        kept = kept[1:]
    names = [" ".join(filter(None, (row[place] for place in kept))) for row in described]
    if len(set(names)) == len(names) and all(names):
        return names
    named = [folder.resolve().name for folder in folders]
    return [f"{place} {name}" for place, name in enumerate(named, start=1)]


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


def _layers(results: Results) -> Figure:
    return figure_of(plot_layers(_units(results).mask.units))


def _heatmap(*results: Results) -> Figure:
    found = [_units(item) for item in results]
    names = name_masks(found, [item.folder for item in results])
    masks = {name: item.mask.units for name, item in zip(names, found, strict=True)}
    return figure_of(plot_heatmap(masks))


def _scores(results: Results) -> Figure:
    found = _units(results)
    method = str((found.manifest.get("selection") or {}).get("method", ""))
    label = SCORE_WORDS.get(method, f"Score ({method})" if method else "Score")
    return figure_of(plot_scores(found.scores, found.mask.units, label=label))


def _methods(results: Results) -> Figure:
    found = _units(results)
    if results.nmd is None:
        raise LsnsError(f"{results.folder} has no {NMD}, the mask to compare with")
    return figure_of(plot_methods(found.mask.units, results.nmd.mask.units))


def _outliers(results: Results) -> Figure:
    found, audited = _units(results), results.section("outliers") or {}
    options = {key: audited[key] for key in ("threshold",) if key in audited}
    return figure_of(
        plot_outliers(found.magnitudes, found.t_values, found.mask.units, found.outliers, **options)
    )


def _recurrence(results: Results) -> Figure:
    found = _units(results)
    return figure_of(plot_recurrence(found.mask.units, found.outliers))


def _overlap(*results: Results) -> Figure:
    pairs = [
        (found, item.folder)
        for item in results
        for found in (item.localization, item.nmd)
        if found is not None
    ]
    if len(pairs) < 2:
        raise LsnsError(
            f"an overlap matrix needs two masks; {results[0].folder} has {len(pairs)}; "
            "give several results folders"
        )
    names = name_masks([found for found, _ in pairs], [folder for _, folder in pairs])
    units = (found.mask.units for found, _ in pairs)
    return figure_of(plot_overlap(dict(zip(names, units, strict=True))))


def _effects(results: Results) -> Figure:
    digest = None if results.localization is None else results.localization.mask.digest
    rows = effect_rows(_summary(results), digest)
    parts = [rows_of(rows, name) for name in benchmarks_of(rows)]
    return _panels(plot_effects, parts, [effects_height(part) for part in parts])


def _dose(results: Results) -> Figure:
    rows = dose_rows(_summary(results))
    if not rows:
        raise LsnsError(
            f"the study in {results.folder} has one percentage; a dose-response needs two or "
            "more, as in lsns evaluate --percentage 0.5,1,2"
        )
    parts = [rows_of(rows, name) for name in benchmarks_of(rows)]
    return _panels(plot_dose, parts, [DOSE_MM] * len(parts))


def _reliability(results: Results) -> Figure:
    rows = _rows(results, "reliability", "rows")
    return figure_of(plot_reliability(with_percentages(rows, results.localization)))


def with_percentages(rows: Sequence[Row], found: ScoredUnits | None) -> list[Row]:
    """Rows of reliability; selected by number: what percentage that is, the mask's shape tells."""
    if found is None:
        return list(rows)
    size = found.mask.units.size
    return [
        row | {"percentage": 100 * row["units"] / size} if row["percentage"] is None else row
        for row in map(dict, rows)
    ]


def _profile(results: Results) -> Figure:
    return figure_of(plot_profile(_rows(results, "selectivity", "profile")))


def _protocols(results: Results) -> Figure:
    return figure_of(plot_protocols(_rows(results, "overlaps")))


def _panels(
    plot: Callable[[Sequence[Any], Axes], Axes],
    parts: Iterable[Sequence[Any]],
    heights: list[float],
) -> Figure:
    """One panel below the other, each as high as it needs."""
    with styled():
        figure = new_figure(sum(heights))
        column = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
        for ax, rows in zip(column, parts, strict=True):
            plot(rows, ax)
    return figure


def _units(results: Results) -> ScoredUnits:
    if results.localization is None:
        raise LsnsError(f"{results.folder} has no localization.npz, of which the figure is drawn")
    return results.localization


def _summary(results: Results) -> Sequence[SummaryRow]:
    if not any(row.condition == "lesion" for row in results.summary):
        raise LsnsError(f"{results.folder} has no study of a lesion; lsns evaluate makes one")
    return results.summary


def _rows(results: Results, section: str, key: str | None = None) -> Sequence[Row]:
    found = results.section(section)
    rows = found.get(key) if found and key else found
    if not rows:
        reason = results.missing(section) or f"{section} is empty"
        raise LsnsError(f"{results.folder} has nothing to draw for this figure: {reason}")
    return rows


KINDS: dict[str, Kind] = {
    "layers": Kind(_layers, "share of each layer's units in the mask"),
    "heatmap": Kind(_heatmap, "share of each layer's units, layers x models"),
    "scores": Kind(_scores, "score of every unit, layers x units, selected ones marked"),
    "methods": Kind(_methods, "units per layer by T-test and by NMD"),
    "dose": Kind(_dose, "what lesions of more and more units take away, beside controls"),
    "effects": Kind(_effects, "what lesions take away on each benchmark, every control a dot"),
    "reliability": Kind(_reliability, "agreement of masks from two splits, by percentage"),
    "outliers": Kind(_outliers, "magnitude against t, selected units and outliers marked"),
    "overlap": Kind(_overlap, "Dice of every pair of masks"),
    "protocols": Kind(_protocols, "units shared with masks made in other ways, beside chance"),
    "profile": Kind(_profile, "response of the units to held-out items of each condition"),
    "recurrence": Kind(_recurrence, "dimensions that are selected in many layers"),
}
# Kinds that take several results folders.
SEVERAL = ("heatmap", "overlap")
