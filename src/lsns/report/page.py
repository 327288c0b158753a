"""The page of a finished run: one HTML file with what was found, its figures and tables."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Formatter
from typing import Any

from lsns.errors import LsnsError
from lsns.report.figures import draw_svg, drawing
from lsns.report.figures_study import dissociation_table, lesion_table, lesions_of
from lsns.report.figures_units import COARSE
from lsns.report.html import asset, json_for_people, page_spec, render
from lsns.report.results import CONFIG, CONTINUATIONS, PAGE, VERSIONS, Results, Row, read_results
from lsns.report.style import PAPER, Spec, table
from lsns.report.visible import visible_text
from lsns.report.words import (
    LEVELS,
    conclusion,
    examples,
    finding,
    findings,
    key_numbers,
    title_of_page,
)
from lsns.store import atomic
from lsns.table import Column, Table

# Characters of a text above which it stands in an area of its own that scrolls.
LONG = 1200
# The width of pictures that stand in for charts without JavaScript.
STAND_IN = 560
CALIBRATION = {
    "permutations": "shuffles of the labels",
    "alpha": "family-wise error rate",
    "threshold": "score that chance reaches anywhere at that rate",
    "largest": "largest score",
    "weakest": "smallest selected score",
    "selected": "selected units",
    "above": "selected units above the threshold",
    "units_above": "units above the threshold",
    "p_value": "p of the largest score",
    "statistic": "method",
}
SECTIONS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("units", "Where the units are", ("layers", "recurrence", "scores")),
    ("outliers", "Outlier dimensions", ("outliers",)),
    ("reliability", "Do they stand on other items?", ("reliability", "profile")),
    ("methods", "Other methods, other protocols", ("methods", "overlap", "protocols")),
    ("lesions", "What a lesion takes away", ("effects", "dose")),
)


@dataclass(frozen=True)
class _Shown:
    """A figure on the page, or why it is not there.

    Attributes:
        kind: as in `lsns plot KIND`.
        title: what it is called.
        reason: why these results do not hold it; empty if they do.
        caption: how to read it.
        description: what it shows, for those who do not see it.
        table: the rows to read.
        spec: the chart for the page's script.
        picture: SVG that stands in without it.
    """

    kind: str
    title: str
    reason: str = ""
    caption: str = ""
    description: str = ""
    table: Table | None = None
    spec: Spec | None = None
    picture: str = ""

    @property
    def zooms(self) -> bool:
        """Whether the chart can be zoomed."""
        return "params" in (self.spec or {})


def write_page(folder: str | Path, path: str | Path | None = None) -> Path:
    """Write the page of a results folder, in one step; the same results give the same bytes.

    Args:
        folder: results folder, as `lsns run` or `lsns evaluate` writes it.
        path: file to write; default: report.html in the folder.

    Raises:
        LsnsError: not a results folder, a package of the extra `report` is not installed, or a
            place that cannot be written to.
    """
    place = Path(folder) / PAGE if path is None else Path(path)
    page = make_page(read_results(folder))
    with atomic(place) as temporary:
        temporary.write_bytes(page.encode("utf-8"))
    return place


def make_page(results: Results) -> str:
    """The page as text.

    Raises:
        LsnsError: a package of the extra `report` is not installed.
    """
    shown = {kind: _show(kind, results) for _, _, kinds in SECTIONS for kind in kinds}
    return render(
        "page.html",
        {kind: one.spec for kind, one in shown.items() if one.spec is not None},
        title=title_of_page(results),
        finding=finding(results),
        conclusion=conclusion(results),
        caveats=findings(results, good=False),
        standing=findings(results, good=True),
        levels=LEVELS,
        missing_audit=results.missing("findings"),
        key_numbers=key_numbers(results),
        examples=examples(results),
        blocks=_blocks(results, shown),
        continuations=results.continuations or (),
        continuations_file=CONTINUATIONS,
        manifests=_manifests(results),
        config=None if results.config is None else visible_text(results.config),
        config_file=CONFIG,
        versions=_versions(results),
        long=LONG,
        cells=_cells,
    )


def _show(kind: str, results: Results) -> _Shown:
    words = _words()[kind]
    try:
        found = drawing(kind)(results)
    except LsnsError as error:
        return _Shown(kind, words["title"], str(error))
    large = kind in ("scores", "outliers")
    coarse = drawing(kind)(results, COARSE) if large else found
    return _Shown(
        kind,
        **{name: text.format(**found.facts) for name, text in words.items()},
        table=found.table,
        spec=page_spec(found.chart.to_dict()),
        picture=draw_svg(coarse.chart.to_dict(), PAPER, STAND_IN),
    )


@cache
def _words() -> dict[str, dict[str, str]]:
    """Of each kind of figure its title, caption and description, with places for facts."""
    return tomllib.loads(asset("figures.toml"))


def _cells(found: Table) -> Iterator[list[tuple[str, Any, bool]]]:
    """Each row of a table: of every cell the text, what it is sorted by, and whether a number."""
    for row in found.rows:
        cells: list[tuple[str, Any, bool]] = []
        for column in found.columns:
            form = column.show if isinstance(column.show, str) else ""
            names = [name for _, name, _, _ in Formatter().parse(form) if name]
            head = column.head[:1].lower() + column.head[1:]
            value = row.get(names[0]) if names else row.get(head, row.get(column.head))
            number = isinstance(value, int | float) and not isinstance(value, bool)
            cells.append((column.cell(row), value if number else None, number))
        yield cells


def _blocks(results: Results, shown: Mapping[str, _Shown]) -> list[dict[str, Any]]:
    tables = {
        "reliability": _selectivity_tables(results),
        "lesions": _lesion_tables(results),
    }
    return [
        {
            **{"name": name, "title": title, "tables": tables.get(name, [])},
            "figures": [shown[kind] for kind in kinds],
        }
        for name, title, kinds in SECTIONS
    ]


def _selectivity_tables(results: Results) -> list[Table]:
    """What no figure shows: the effect on held-out items, calibration, confounds."""
    found, calibration = results.section("selectivity") or {}, results.section("calibration")
    effects = {"held out": found.get("held_out"), "items that chose them": found.get("in_sample")}
    rows = [{"items": name, **_effect(effect)} for name, effect in effects.items() if effect]
    named = [
        {"what": CALIBRATION.get(key) or key, "value": value}
        for key, value in (calibration or {}).items()
    ]
    confounds: Sequence[Row] = results.section("confounds") or []
    others = [
        {"measure": row["measure"], "positive": row["positive"], "negative": row["negative"]}
        | _effect(row)
        for row in confounds
    ]
    tables = (
        table("Effect of the contrast", rows, "items", "Hedges' g:.2f",
              "95% = {low:.2f} to {high:.2f}"),
        Table("Calibration against shuffled labels", _CALIBRATED, named),
        table("What else differs between the conditions", others, "measure", "positive:.2f",
              "negative:.2f", "Hedges' g:+.2f", "95% = {low:+.2f} to {high:+.2f}"),
    )  # fmt: skip
    return [one for one in tables if one.rows]


def _effect(found: Row) -> dict[str, Any]:
    return {"Hedges' g": found.get("g"), "low": found.get("low"), "high": found.get("high")}


def _plain(row: Row) -> str:
    value = row["value"]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value:.4g}" if is_number else str(value)


_CALIBRATED = (Column("What", "{what}"), Column("Value", _plain))


def _lesion_tables(results: Results) -> list[Table]:
    found = dissociation_table(results)
    try:
        lesions = [lesion_table("All lesions of the study", lesions_of(results))]
    except LsnsError:
        lesions = []
    return [found, *lesions] if found else lesions


def _manifests(results: Results) -> list[tuple[str, str]]:
    """Each manifest that is there, whole, as readable JSON."""
    study = {} if results.study is None else results.study.manifest
    named = {"Localization": results.manifest, "Study": study}
    named["Audit options"] = ((results.audit or {}).get("manifest") or {}).get("audit") or {}
    return [(name, json_for_people(content)) for name, content in named.items() if content]


def _versions(results: Results) -> Table | None:
    if not results.versions:
        return None
    rows = [{"package": str(name), "version": str(v)} for name, v in results.versions.items()]
    return table(f"Versions ({VERSIONS})", rows, "package", "version")
