"""The page of a finished run: one HTML file with what was found, its figures and tables."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Formatter
from typing import Any

from lsns.audits.confounds import Confound
from lsns.errors import LsnsError
from lsns.report import results as named
from lsns.report import words
from lsns.report.figures import draw_svg, drawing
from lsns.report.figures_units import COARSE
from lsns.report.html import asset, json_for_people, page_spec, render
from lsns.report.results import Results, read_results
from lsns.report.style import Row, Spec, table
from lsns.store import atomic
from lsns.table import Table

# Characters of a text above which it stands in an area of its own that scrolls.
LONG = 1200
# The width of pictures that stand in for charts without JavaScript.
STAND_IN = 560
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
    place = Path(folder) / named.PAGE if path is None else Path(path)
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
        results=results,
        words=words,
        blocks=_blocks(results, shown),
        manifests=_manifests(results),
        versions=_versions(results),
        cells=_cells,
        named=named,
        long=LONG,
    )


def _show(kind: str, results: Results) -> _Shown:
    texts = _texts()[kind]
    try:
        found = drawing(kind)(results)
    except LsnsError as error:
        return _Shown(kind, texts["title"], str(error))
    large = kind in ("scores", "outliers")
    coarse = drawing(kind)(results, COARSE) if large else found
    return _Shown(
        kind,
        **{name: text.format(**found.facts) for name, text in texts.items()},
        table=found.table,
        spec=page_spec(found.chart.to_dict()),
        picture=draw_svg(coarse.chart.to_dict(), STAND_IN),
    )


@cache
def _texts() -> dict[str, dict[str, str]]:
    """Of each kind of figure its title, caption and description, with places for facts."""
    return tomllib.loads(asset("figures.toml"))


def _cells(found: Table) -> Iterator[list[tuple[str, Any, bool]]]:
    """Each row of a table: of every cell the text, what it is sorted by, and whether a number."""
    for row in found.rows:
        fields: Row = row if isinstance(row, Mapping) else vars(row)
        cells: list[tuple[str, Any, bool]] = []
        for column in found.columns:
            form = column.show if isinstance(column.show, str) else ""
            names = [name for _, name, _, _ in Formatter().parse(form) if name]
            value = fields.get(names[0] if names else column.head)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            cells.append((column.cell(row), value if number else None, number))
        yield cells


def _blocks(results: Results, shown: Mapping[str, _Shown]) -> list[dict[str, Any]]:
    audit, study = results.audit, results.study
    confounds = Table("What else differs between the conditions", Confound.columns,
                      audit.confounds if audit else ())  # fmt: skip
    tables = {"reliability": [confounds], "lesions": study.tables() if study else []}
    # What no figure shows: the effect on held-out items, and calibration.
    parts = [results.section(name) for name in ("selectivity", "calibration")]
    lines = {"reliability": [part.table() for part in parts if part]}
    return [
        {
            "name": name,
            "title": title,
            "figures": [shown[kind] for kind in kinds],
            "lines": lines.get(name, []),
            "tables": [table for table in tables.get(name, []) if table.rows],
        }
        for name, title, kinds in SECTIONS
    ]


def _manifests(results: Results) -> list[tuple[str, str]]:
    """Each manifest that is there, whole, as readable JSON."""
    study, audit = results.study, results.audit
    named = {"Localization": results.manifest, "Study": study.manifest if study else {}}
    named["Audit options"] = audit.manifest.get("audit") or {} if audit else {}
    return [(name, json_for_people(content)) for name, content in named.items() if content]


def _versions(results: Results) -> Table | None:
    if not results.versions:
        return None
    rows = [{"package": str(name), "version": str(v)} for name, v in results.versions.items()]
    return table(f"Versions ({named.VERSIONS})", rows, "package", "version")
