"""Tables of the page: rows of text and numbers, as they are shown and as they are sorted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

NOTHING = "–"


@dataclass(frozen=True)
class Number:
    """A number in a table.

    Attributes:
        value: what the table is sorted by; None where there is nothing to sort.
        text: what is shown.
    """

    value: float | None
    text: str


Cell = Number | str


@dataclass(frozen=True)
class Table:
    """A table of the page; every row has a cell for each column.

    Attributes:
        name: of its own on the page: tables are told apart by it.
        columns: their heads.
        rows: of text and numbers.
    """

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def make_table(name: str, columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Table:
    """A table of any sequences."""
    return Table(name, tuple(columns), tuple(tuple(row) for row in rows))


def number(value: float | None, form: str = ".3f") -> Number:
    """A number by a format; a dash for None and for what is not finite."""
    if value is None or not math.isfinite(value):
        return Number(None, NOTHING)
    return Number(float(value), format(value, form))


def count(value: int | None) -> Number:
    """A whole number."""
    return Number(None, NOTHING) if value is None else Number(float(value), str(int(value)))


def span(low: float | None, high: float | None, form: str = ".3f") -> str:
    """An interval in words: `0.100 to 0.200`."""
    return f"{number(low, form).text} to {number(high, form).text}"


def interval(low: float | None, high: float | None, form: str = ".3f") -> Number:
    """The same in a table, sorted by its lower end."""
    return Number(number(low, form).value, span(low, high, form))


def p_text(value: float | None) -> str:
    """A probability with two digits; one too small for a float is said to be below it."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return "<1e-300" if value < 1e-300 else f"{value:.2g}"


def probability(value: float | None) -> Number:
    """The same in a table."""
    shown = p_text(value)
    return Number(None if shown == NOTHING or value is None else float(value), shown)
