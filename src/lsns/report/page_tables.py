"""Tables of the page: rows of text and numbers, as they are shown and as they are sorted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

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
    found = _finite(value)
    return Number(found, NOTHING if found is None else format(found, form))


def count(value: int | None) -> Number:
    """A whole number."""
    found = _finite(value)
    return Number(found, NOTHING if found is None else str(int(found)))


def _finite(value: Any) -> float | None:
    """The value as a float; None for what is no number, or none that a float can hold."""
    try:
        found = float(value) if isinstance(value, Real) else math.nan
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def span(low: float | None, high: float | None, form: str = ".3f") -> str:
    """An interval in words: `0.100 to 0.200`."""
    return f"{number(low, form).text} to {number(high, form).text}"


def interval(low: float | None, high: float | None, form: str = ".3f") -> Number:
    """The same in a table, sorted by its lower end."""
    return Number(number(low, form).value, span(low, high, form))


def p_text(value: float | None) -> str:
    """A probability with two digits; one too small for a float is said to be below it."""
    found = _finite(value)
    if found is None:
        return NOTHING
    return "<1e-300" if found < 1e-300 else f"{found:.2g}"


def probability(value: float | None) -> Number:
    """The same in a table."""
    return Number(_finite(value), p_text(value))
