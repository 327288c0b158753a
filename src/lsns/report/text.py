"""Continuations as lines for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

from lsns.terminal import one_line

if TYPE_CHECKING:
    from lsns.lesions.continuations import Continuation

LINE_WIDTH = 96
COLUMNS = 3


def describe_continuations(
    prompt: str, continuations: Sequence[Continuation], columns: int | None = None
) -> str:
    """The prompt, and the continuations side by side, three to a row.

    Args:
        prompt: text that was continued.
        continuations: one for each condition.
        columns: width of the terminal, if it is less than the usual 96.
    """
    width = min(columns or LINE_WIDTH, LINE_WIDTH)
    parts = [f"prompt: {one_line(prompt)}"]
    for start in range(0, len(continuations), COLUMNS):
        parts.append(_side_by_side(continuations[start : start + COLUMNS], width))
    return "\n\n".join(parts)


def _side_by_side(continuations: Sequence[Continuation], line_width: int) -> str:
    width = (line_width - 3 * (len(continuations) - 1)) // len(continuations)
    heads = [textwrap.wrap(one_line(item.condition), width) for item in continuations]
    # A lesioned model may write any character.
    texts = [
        textwrap.wrap(one_line(item.text) or "(nothing: the text ends here)", width)
        for item in continuations
    ]
    rule = "-+-".join("-" * width for _ in continuations)
    return "\n".join([*_rows(heads, width), rule, *_rows(texts, width)])


def _rows(columns: Sequence[Sequence[str]], width: int) -> list[str]:
    return [
        " | ".join(f"{cell:<{width}}" for cell in row).rstrip()
        for row in zip_longest(*columns, fillvalue="")
    ]
