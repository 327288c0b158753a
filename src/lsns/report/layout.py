"""Columns of text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence


def align_columns(lines: Sequence[Sequence[str]]) -> list[str]:
    """Columns of equal width, the first to the left; short rows end early."""
    widths = [max(len(row[i]) for row in lines if i < len(row)) for i in range(len(lines[0]))]
    return [
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=False))
        ).rstrip()
        for row in lines
    ]
