"""The options of every command, written by the command line itself into a page of the site.

A page gets them in place of `<!-- commands -->`, as Markdown with a heading for each command.
"""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

PLACE = "<!-- commands -->"
# What says nothing: a flag that is off, a list without values.
IDLE = re.compile(r" \*\[default: (False|\(\))\]\*")


def fill(_app: Sphinx, _page: str, source: list[str]) -> None:
    """Put the commands in their place, where a page has one."""
    if PLACE in source[0]:
        source[0] = source[0].replace(PLACE, describe_commands())


def describe_commands() -> str:
    """All commands in the order of the command line, without the index of its own."""
    from lsns.cli import app

    # Where the site is built by `python -m sphinx`, commands are taken for parts of that.
    text = app.generate_docs(output_format="markdown").replace(" -m sphinx", "")
    sections = text.split("\n## ")[1:]
    kept = [section for section in sections if not section.startswith("Table of Contents")]
    # A command of commands comes first by itself, and is needed least.
    kept.sort(key=lambda section: section.startswith("lsns stimuli"))
    return IDLE.sub("", "".join(f"## {section}\n" for section in kept))


def setup(app: Sphinx) -> dict[str, Any]:
    """As pages are read."""
    app.connect("source-read", fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
