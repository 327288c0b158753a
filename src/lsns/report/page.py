"""The page of a finished run: one HTML file that holds all it needs and loads nothing.

Nothing can be loaded or run that is not in the file when it is written: a Content-Security-Policy
allows scripts by the hashes of the two that are there. Every text of a model, a file or a user is
escaped by the template, and characters that are not seen are written out.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsns.errors import LsnsError
from lsns.report.page_figures import figures_of
from lsns.report.page_figures_study import dissociation_table, lesion_table
from lsns.report.page_spec import DARK, Absent, PageFigure, shorten, visible_text
from lsns.report.page_tables import Number, Table, interval, make_table, number
from lsns.report.page_text import (
    LEVELS,
    LONGEST_NAME,
    conclusion,
    examples,
    finding,
    findings,
    key_numbers,
    title_of_page,
)
from lsns.report.results import CONFIG, CONTINUATIONS, PAGE, VERSIONS, Results, Row, read_results
from lsns.store import atomic

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

# Characters of a text above which it stands in an area of its own that scrolls.
LONG = 1200
# Letters that are written from right to left, and the spaces between words of them.
_LEFTWARD = "[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefe\U00010800-\U00010fff\U0001e800-\U0001efff]+"
_LEFTWARD_WORDS = re.compile(rf"{_LEFTWARD}(?: +{_LEFTWARD})*")
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
class Block:
    """A section of figures and tables.

    Attributes:
        name: its id.
        title: its heading.
        figures: drawn or absent.
        tables: below them.
    """

    name: str
    title: str
    figures: Sequence[PageFigure | Absent]
    tables: Sequence[Table]


def write_page(folder: str | Path, path: str | Path | None = None) -> Path:
    """Write the page of a results folder, in one step; the same results give the same bytes.

    Args:
        folder: as `lsns run` or `lsns evaluate` writes it.
        path: where to; default: report.html in the folder.

    Raises:
        LsnsError: not a results folder, jinja2 or plotly are not installed, or a place that cannot
            be written to.
    """
    place = Path(folder) / PAGE if path is None else Path(path)
    page = make_page(read_results(folder))
    with atomic(place) as temporary:
        temporary.write_bytes(page.encode("utf-8"))
    return place


def make_page(results: Results) -> str:
    """The page as text.

    Raises:
        LsnsError: jinja2 or plotly are not installed.
    """
    environment, plotly_js = _environment(), _plotly_js()
    from markupsafe import Markup

    figures = figures_of(results)
    drawn = {k: f.spec for k, f in figures.items() if isinstance(f, PageFigure)}
    script = _asset("page.js")
    return environment.get_template("page.html").render(
        title=title_of_page(results),
        policy=_policy(plotly_js, script),
        style=Markup(_asset("page.css")),  # noqa: S704
        plotly_js=Markup(plotly_js),  # noqa: S704
        script=Markup(script),  # noqa: S704
        data=Markup(json_in_html({"figures": drawn, "dark": DARK})),  # noqa: S704
        finding=finding(results),
        conclusion=conclusion(results),
        caveats=findings(results, good=False),
        standing=findings(results, good=True),
        levels=LEVELS,
        missing_audit=results.missing("findings"),
        key_numbers=key_numbers(results),
        examples=examples(results),
        blocks=_blocks(results, figures),
        continuations=results.continuations or (),
        continuations_file=CONTINUATIONS,
        manifests=_manifests(results),
        config=None if results.config is None else visible_text(results.config),
        config_file=CONFIG,
        versions=_versions(results),
        long=LONG,
    )


def apart(text: str) -> Markup:
    """A sentence with a text of others in it, as markup: words from right to left stay in place.

    >>> apart("units of a<b" + chr(0x5D0) + " (float32)")
    Markup('units of a&lt;b<bdi>א</bdi> (float32)')
    """
    from markupsafe import Markup, escape

    escaped = str(escape(visible_text(text)))
    return Markup(_LEFTWARD_WORDS.sub(r"<bdi>\g<0></bdi>", escaped))  # noqa: S704


def json_in_html(content: Any) -> str:
    r"""JSON that can stand in a script element: nothing in it can end the element.

    >>> json_in_html({"name": "</script>"})
    '{"name":"\\u003c/script\\u003e"}'
    """
    text = json.dumps(_finite(content), allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def json_for_people(content: Any) -> str:
    r"""JSON in lines; what is not seen in a text is written as JSON's own escapes.

    >>> json_for_people({"name": chr(0x202E)})
    '{\n  "name": "\\u202e"\n}'
    """
    text = json.dumps(content, ensure_ascii=False, indent=2)
    hidden = [c for c in set(text) if visible_text(c) != c]
    return text.translate({ord(c): json.dumps(c)[1:-1] for c in hidden})


def _finite(content: Any) -> Any:
    """The same with null for numbers that JSON does not have."""
    if isinstance(content, Mapping):
        return {str(key): _finite(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def _blocks(results: Results, figures: Mapping[str, PageFigure | Absent]) -> list[Block]:
    tables = {
        "reliability": _selectivity_tables(results),
        "lesions": _lesion_tables(results),
    }
    return [
        Block(name, title, [figures[kind] for kind in kinds], tables.get(name, []))
        for name, title, kinds in SECTIONS
    ]


def _selectivity_tables(results: Results) -> list[Table]:
    """What no figure shows: the effect on held-out items, calibration, confounds."""
    tables: list[Table] = []
    found, calibration = results.section("selectivity") or {}, results.section("calibration")
    effects = {"held out": found.get("held_out"), "items that chose them": found.get("in_sample")}
    rows = [
        (name, number(e.get("g"), ".2f"), interval(e.get("low"), e.get("high"), ".2f"))
        for name, e in effects.items()
        if e
    ]
    if rows:
        tables.append(make_table("Effect of the contrast", ("Items", "Hedges' g", "95%"), rows))
    if calibration:
        named = [(CALIBRATION.get(key) or key, _plain(value)) for key, value in calibration.items()]
        tables.append(make_table("Calibration against shuffled labels", ("What", "Value"), named))
    confounds: Sequence[Row] = results.section("confounds") or []
    if confounds:
        tables.append(_confound_table(confounds))
    return tables


def _confound_table(rows: Sequence[Row]) -> Table:
    return make_table(
        "What else differs between the conditions",
        ("Measure", "Positive", "Negative", "Hedges' g", "95%"),
        [
            (
                row["measure"],
                number(row["positive"], ".2f"),
                number(row["negative"], ".2f"),
                number(row.get("g"), "+.2f"),
                interval(row.get("low"), row.get("high"), "+.2f"),
            )
            for row in rows
        ],
    )


def _lesion_tables(results: Results) -> list[Table]:
    tables = [dissociation_table(results)]
    if any(row.condition == "lesion" for row in results.summary):
        tables.append(lesion_table("All lesions of the study", results.summary, results.study))
    return [table for table in tables if table is not None]


def _plain(value: Any) -> Number | str:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number(value, ".4g") if is_number else str(value)


def _manifests(results: Results) -> list[tuple[str, str]]:
    """Each manifest that is there, whole, as readable JSON."""
    study = {} if results.study is None else results.study.manifest
    named = {"Localization": results.manifest, "Study": study}
    named["Audit options"] = ((results.audit or {}).get("manifest") or {}).get("audit") or {}
    return [(name, json_for_people(content)) for name, content in named.items() if content]


def _versions(results: Results) -> Table | None:
    if not results.versions:
        return None
    rows = [(str(name), str(version)) for name, version in results.versions.items()]
    return make_table(f"Versions ({VERSIONS})", ("Package", "Version"), rows)


def _policy(*scripts: str) -> str:
    """Nothing is loaded from anywhere, and no other script than these runs."""
    hashes = " ".join(f"'sha256-{_digest(script)}'" for script in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")


def _asset(name: str) -> str:
    text = files("lsns.report").joinpath("templates", name).read_text(encoding="utf-8")
    # As a browser reads it: the hash of a script is of that.
    return text.replace("\r\n", "\n")


def _environment() -> Environment:
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError:
        raise LsnsError("the page needs jinja2; pip install 'lsns[report]'") from None
    environment = Environment(
        loader=PackageLoader("lsns.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["apart"] = apart
    environment.filters["short"] = lambda text: shorten(str(text), LONGEST_NAME)
    return environment


def _finalize(value: Any) -> Any:
    """Whatever the template writes: hidden characters are seen. What is markup is ours."""
    return visible_text(value) if type(value) is str else value


def _plotly_js() -> str:
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise LsnsError("the page needs plotly; pip install 'lsns[report]'") from None
    return get_plotlyjs().replace("\r\n", "\n")
