"""Docstrings as they are written here, made fit for Sphinx.

Names in backticks become links where the name is documented, else code: docstrings name functions
as a reader of the source would (`select_units`, `lsns.localize`), and also options, files and
values, which have no page. |x| is a magnitude, and a colon within a sentence is a colon.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode

# An attribute such as `mean` is too common a word to be looked for everywhere.
LINKED = {"function", "class", "exception", "module"}
MODULE = re.compile(r"(?<![\w.~])((?:\w+\.)+\w+)")
# What has no name to be written with: made anew each time, or an object that stands for nothing.
NAMELESS = re.compile(r"<[^<>]+>")
CODE_OR_BAR = re.compile(r"(`[^`]*`)|\|")


def resolve(
    app: Sphinx, env: BuildEnvironment, node: nodes.Element, content: nodes.TextElement
) -> nodes.Node | None:
    """What stands for a name that Sphinx has not found by itself."""
    if node.get("reftype") != "obj":
        return None
    domain: Any = env.get_domain("py")
    word = node["reftarget"].rpartition(".")[2]
    found = {
        (entry.docname, entry.node_id)
        for name, entry in domain.objects.items()
        if name.rpartition(".")[2] == word and entry.objtype in LINKED
    }
    if len(found) != 1:
        return content
    page, anchor = found.pop()
    return make_refnode(app.builder, node["refdoc"], page, anchor, content)


def shield(
    _app: Sphinx, what: str, _name: str, _object: Any, _options: Any, lines: list[str]
) -> None:
    """Keep napoleon from taking "The shape: (3, 16)" for a type and a text."""
    if what in ("property", "attribute"):
        # It looks at the first line only: an empty comment.
        lines[:0] = ["..", ""]
    if "Returns:" in lines:
        place = lines.index("Returns:")
        lines[place : place + 2] = [f":returns: {lines[place + 1].strip()}"]


def escape(
    _app: Sphinx, _what: str, _name: str, _object: Any, _options: Any, lines: list[str]
) -> None:
    """A bar outside code is a bar; types of attributes are shown without their modules."""
    for place, line in enumerate(lines):
        text = CODE_OR_BAR.sub(_written, line)
        lines[place] = MODULE.sub(r"~\1", line) if line.startswith(":vartype") else text


def _written(found: re.Match[str]) -> str:
    # Sphinx would take `.npz` for a name in any module, and show it without its dot.
    code = found[1]
    return r"\|" if code is None else f"`{code}`" if code.startswith("`.") else code


def simplify(
    _app: Sphinx, _what: str, _name: str, _object: Any, _options: Any, signature: str | None,
    returned: str | None,
) -> tuple[str | None, str | None]:  # fmt: skip
    """A default that cannot be written down is dots: Sphinx cannot read what Python says of it."""
    return signature and NAMELESS.sub("...", signature), returned


def dash(_app: Sphinx, page: nodes.document) -> None:
    """Between a parameter and its meaning Sphinx writes two hyphens: a dash."""
    for text in list(page.findall(nodes.Text)):
        if text == " -- ":
            text.parent.replace(text, nodes.Text(" – "))


def setup(app: Sphinx) -> dict[str, Any]:
    """Around napoleon, which has the usual priority, 500, and where a name was not found."""
    app.connect("autodoc-process-docstring", shield, priority=400)
    app.connect("autodoc-process-docstring", escape, priority=600)
    app.connect("autodoc-process-signature", simplify)
    app.connect("doctree-read", dash)
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
