"""Pages that hold all they need and load nothing: how charts, scripts and texts are put into HTML.

A Content-Security-Policy allows scripts by the hashes of those that are there when the page is
written, and none that would evaluate text. Every text of a model, a file or a user is escaped by
the template, and characters that are not seen are written out.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from lsns.errors import LsnsError
from lsns.report.style import DARK, PAGE, Spec, converter, variables, with_variables
from lsns.report.visible import shorten, visible_text

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

# The text of the page is larger than that of a paper, and its charts are higher.
HIGHER = 1.35
# What has a meaning in an address or in an attribute.
_QUOTED = {ord(character): f"%{ord(character):02X}" for character in '%#&"<>'}
# Letters that are written from right to left, and the spaces between words of them.
_LEFTWARD = "[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefe\U00010800-\U00010fff\U0001e800-\U0001efff]+"
_LEFTWARD_WORDS = re.compile(rf"{_LEFTWARD}(?: +{_LEFTWARD})*")


def render(template: str, charts: Mapping[str, Spec], **texts: Any) -> str:
    """A page of a template, with charts that its script draws.

    Args:
        template: name of a file in `templates`.
        charts: specifications from `page_spec`, by the name in the id of their place.
        texts: whatever else the template shows.

    Raises:
        LsnsError: jinja2 or vl-convert is not installed.
    """
    environment, library, script = _environment(), _library(), asset("page.js")
    from markupsafe import Markup

    packed = {kind: spec | {"datasets": _packed(spec)} for kind, spec in charts.items()}
    style = asset("page.css").replace("--light: 0;", variables((c, c) for c in DARK))
    return environment.get_template(template).render(
        policy=_policy(library, script),
        style=Markup(style.replace("--dark: 0;", variables(DARK.items()))),  # noqa: S704
        library=Markup(library),  # noqa: S704
        script=Markup(script),  # noqa: S704
        data=Markup(_json_in_html({"charts": packed, "config": with_variables(PAGE)})),  # noqa: S704
        **texts,
    )


def figure_page(spec: Spec) -> str:
    """A page with one chart."""
    return render("figure.html", {"chart": page_spec(spec)})


def page_spec(spec: Spec) -> Spec:
    """The specification of a chart as the page draws it: in colours of the theme, and higher."""
    found = with_variables(spec)
    for view in found.get("vconcat", [found]):
        if isinstance(view.get("height"), int | float):
            view["height"] = round(HIGHER * view["height"])
    return found


def _packed(spec: Spec) -> dict[str, Any]:
    """The rows by column, which takes half the bytes; of equal columns one is the other's name."""
    found: dict[str, dict[str, Any]] = {}
    for name, rows in spec.get("datasets", {}).items():
        columns: dict[str, Any] = {}
        for field in rows[0] if rows else ():
            column = [row.get(field) for row in rows]
            same = (other for other, known in columns.items() if known == column)
            columns[field] = next(same, column)
        found[name] = columns
    return found


def _apart(text: str) -> Markup:
    """A sentence with a text of others in it, as markup: words from right to left stay in place.

    >>> _apart("units of a<b" + chr(0x5D0) + " (float32)")
    Markup('units of a&lt;b<bdi>א</bdi> (float32)')
    """
    from markupsafe import Markup, escape

    escaped = str(escape(visible_text(text)))
    return Markup(_LEFTWARD_WORDS.sub(r"<bdi>\g<0></bdi>", escaped))  # noqa: S704


def _json_in_html(content: Any) -> str:
    r"""JSON that can stand in a script element: nothing in it can end the element.

    >>> _json_in_html({"name": "</script>"})
    '{"name":"\\u003c/script\\u003e"}'
    """
    # Null for numbers that JSON does not have.
    finite = json.loads(json.dumps(content), parse_constant=lambda _: None)
    text = json.dumps(finite, allow_nan=False, separators=(",", ":"))
    return text.translate({ord(character): f"\\u{ord(character):04x}" for character in "<>&"})


def json_for_people(content: Any) -> str:
    r"""JSON in lines; what is not seen in a text is written as JSON's own escapes.

    >>> json_for_people({"name": chr(0x202E)})
    '{\n  "name": "\\u202e"\n}'
    """
    text = json.dumps(content, ensure_ascii=False, indent=2)
    hidden = [c for c in set(text) if visible_text(c) != c]
    return text.translate({ord(c): json.dumps(c)[1:-1] for c in hidden})


def _policy(*scripts: str) -> str:
    """Nothing is loaded from anywhere, and no other script than these runs."""
    digests = [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in scripts]
    hashes = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def asset(name: str) -> str:
    """The text of a file in `templates`."""
    text = files("lsns.report").joinpath("templates", name).read_text(encoding="utf-8")
    # As a browser reads it: the hash of a script is of that.
    return text.replace("\r\n", "\n")


def _environment() -> Environment:
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError:
        raise LsnsError("the page needs jinja2: pip install 'lsns[report]'") from None
    environment = Environment(
        loader=PackageLoader("lsns.report"),
        autoescape=True,
        undefined=StrictUndefined,
        # Hidden characters are seen in whatever a template writes. What is markup is ours.
        finalize=lambda value: visible_text(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["apart"] = _apart
    environment.filters["picture"] = _picture
    environment.filters["short"] = lambda text: shorten(str(text))
    return environment


def _picture(svg: str) -> Markup:
    """SVG as the address of an image: nothing in it is part of the page."""
    from markupsafe import Markup

    def rounded(found: re.Match[str]) -> str:
        return re.sub(r"\d+\.\d{2,}", lambda number: f"{float(number[0]):.1f}", found[0])

    plain = svg.replace(' aria-hidden="true"', "")
    shorter = re.sub(r'(?<= )(d|transform)="[^"<]*"', rounded, plain)
    return Markup(f"data:image/svg+xml,{shorter.translate(_QUOTED)}")  # noqa: S704


@cache
def _library() -> str:
    """Vega, Vega-Lite, and the interpreter of expressions: it needs no evaluation of text."""
    found = converter().javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return found.replace("\r\n", "\n")
