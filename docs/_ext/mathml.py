"""Equations as MathML, which browsers draw by themselves: no script, no font, no network.

docutils converts them. What it cannot read is a warning, and so an error of the build.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging

# <munderover>, a letter, its index, a bar.
BAR_WITH_INDEX = re.compile(
    r'<munderover>\s*(<(m[in])>[^<]*</\2>)\s*(.+?)\s*(<mo stretchy="false">ˉ</mo>)\s*</munderover>',
    re.S,
)
logger = logging.getLogger(__name__)


def visit_math(translator: Any, node: nodes.Element) -> None:
    """An equation within a line."""
    translator.body.append(_convert(node, block=False))
    raise nodes.SkipNode


def visit_math_block(translator: Any, node: nodes.Element) -> None:
    """An equation of its own; wide ones scroll within their box."""
    translator.body.append(f'<div class="math">{_convert(node, block=True)}</div>\n')
    raise nodes.SkipNode


def _convert(node: nodes.Element, *, block: bool) -> str:
    try:
        return _tidy(tex2mathml(node.astext(), as_block=block))
    except MathError as error:
        logger.warning("equation %r: %s", node.astext(), error, location=node)
        return ""


def _tidy(mathml: str) -> str:
    r"""What docutils gets wrong: the index of \bar{x}_+ below the letter, space after \lvert."""
    mathml = BAR_WITH_INDEX.sub(r'<msub><mover accent="true">\1\4</mover>\3</msub>', mathml)
    return mathml.replace('class="mathopen"', 'form="prefix" lspace="0"')


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer that conf.py names."""
    app.add_html_math_renderer(
        "mathml", inline_renderers=(visit_math, None), block_renderers=(visit_math_block, None)
    )
    return {"parallel_read_safe": True, "parallel_write_safe": True}
