"""The figures of the page by their kind; for what results do not hold, the reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lsns.errors import LsnsError
from lsns.report.page_figures_audit import draw_profile, draw_protocols, draw_reliability
from lsns.report.page_figures_study import draw_dose, draw_effects
from lsns.report.page_figures_units import (
    draw_layers,
    draw_methods,
    draw_outliers,
    draw_overlap,
    draw_recurrence,
    draw_scores,
)
from lsns.report.page_spec import Absent, PageFigure
from lsns.report.results import Results

# All that `lsns plot` draws of one folder; `heatmap` is `layers` for several.
FIGURES: Mapping[str, tuple[str, Callable[[Results], PageFigure]]] = {
    "layers": ("Selectivity per layer", draw_layers),
    "scores": ("Score of every unit", draw_scores),
    "recurrence": ("Dimensions selected in many layers", draw_recurrence),
    "outliers": ("Magnitude against t", draw_outliers),
    "reliability": ("Reliability on other items", draw_reliability),
    "profile": ("Response to held-out items", draw_profile),
    "methods": ("T-test against NMD, per layer", draw_methods),
    "overlap": ("Overlap of masks", draw_overlap),
    "protocols": ("The same units by other protocols", draw_protocols),
    "effects": ("Effects of lesions", draw_effects),
    "dose": ("Dose and response", draw_dose),
}


def figures_of(results: Results) -> dict[str, PageFigure | Absent]:
    """Every figure by its kind, drawn or absent."""
    return {kind: draw(kind, results) for kind in FIGURES}


def draw(kind: str, results: Results) -> PageFigure | Absent:
    """A figure, or why these results do not hold it."""
    title, function = FIGURES[kind]
    try:
        return function(results)
    except LsnsError as error:
        return Absent(kind, title, str(error))
