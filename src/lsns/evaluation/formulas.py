"""The formulas of SyntaxGym predictions: a grammar, and what a formula says of an item.

Precedence and the tolerance of `=` are those of the published evaluator (cpllab/syntaxgym-core,
`prediction.py`, and its copy in brain-score/language). It reads a chain `a < b < c` as `a < b`;
here it is an error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from operator import add, and_, gt, lt, or_, sub
from typing import Any

from lsns.errors import LsnsError

_RELATIVE, _ABSOLUTE = 1e-5, 1e-3
# Those of the published suites have at most 200.
_MOST_CHARACTERS = 20_000

# Truths and numbers are told apart by the grammar; chains are read from left to right.
_GRAMMAR = r"""
?truth: side | truth JOIN side               -> operation
?side: sum ORDER sum                         -> operation
     | "(" truth ")" | "[" truth "]"
?sum: atom | sum SUM atom                    -> operation
?atom: NUMBER -> number | SUM NUMBER         -> number
     | REGION                                -> region
     | "(" sum ")" | "[" sum "]"
JOIN: "&" | "|"
ORDER: "<" | ">" | "="
SUM: "+" | "-"
NUMBER: /[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?|\.[0-9]+([eE][+-]?[0-9]+)?/
REGION.2: /\(\s*([0-9]{1,9}|\*)\s*;\s*%[^%()]+%\s*\)/
%ignore /\s+/
"""
_WORDS = {
    "NUMBER": "a number",
    "REGION": "(region;%condition%)",
    "JOIN": "& or |",
    "ORDER": "<, > or =",
    "SUM": "+ or -",
    "LPAR": "(",
    "LSQB": "[",
    "RPAR": ")",
    "RSQB": "]",
    "$END": "the end",
}


def _equal(left: float, right: float) -> bool:
    return abs(left - right) <= _ABSOLUTE + _RELATIVE * abs(right)


_SIGNS = {"+": add, "-": sub, "<": lt, ">": gt, "=": _equal, "&": and_, "|": or_}


@dataclass(frozen=True)
class Region:
    """The surprisal of a region in a condition; `number` None: the sum over all regions."""

    number: int | None
    condition: str


# Numbers and regions, each sign behind what it joins (`1 < 2` is 1, 2, "<"): however long or
# nested a formula is, nothing recurs.
Formula = tuple[float | Region | str, ...]


def parse(text: str, *, name: str = "formula") -> Formula:
    """Parse a prediction.

    Args:
        text: the formula.
        name: what it is called in an error.

    Raises:
        LsnsError: it does not follow the grammar, with the place, from 1, where it does not; or
            it is too long, or a number in it too large.
    """
    if len(text) > _MOST_CHARACTERS:
        raise LsnsError(
            f"{name} has {len(text):,} characters, from {text[:40]!r} on; "
            f"a formula has at most {_MOST_CHARACTERS:,}"
        )
    parser = _parser()
    from lark import UnexpectedInput

    try:
        formula = tuple(parser.parse(text))
    except UnexpectedInput as error:
        raise LsnsError(f"{name}, {_problem(error, text)}") from None
    if not all(math.isfinite(part) for part in formula if isinstance(part, float)):
        raise LsnsError(f"{name}, {text[:120]!r}: a number is too large")
    return formula


def evaluate(formula: Formula, surprisals: Mapping[tuple[str, int], float]) -> bool:
    """Whether a prediction holds.

    Args:
        formula: from `parse`.
        surprisals: bits by (condition, region number), of one item.

    Raises:
        KeyError: a region or condition that is not in `surprisals`.
    """
    values: list[Any] = []
    for part in formula:
        if isinstance(part, str):
            right, left = values.pop(), values.pop()
            values.append(_SIGNS[part](left, right))
        else:
            values.append(_region(part, surprisals) if isinstance(part, Region) else part)
    return bool(values[0])


def _region(region: Region, surprisals: Mapping[tuple[str, int], float]) -> float:
    if region.number is not None:
        return surprisals[region.condition, region.number]
    values = [value for (name, _), value in surprisals.items() if name == region.condition]
    if not values:
        raise KeyError((region.condition, "*"))
    return sum(values)


@cache
def _parser() -> Any:
    """Parser of the grammar, which makes lists of a formula's parts, without recursion."""
    try:
        import lark
    except ImportError:
        raise LsnsError(
            "SyntaxGym's formulas need the parser lark: pip install 'lsns[evaluation]'"
        ) from None

    class Parts(lark.Transformer[Any, Any]):
        """A list for each rule; the left one of an operation is made longer."""

        def number(self, tokens: list[Any]) -> list[Any]:
            return [float("".join(tokens))]

        def region(self, tokens: list[Any]) -> list[Any]:
            number, _, condition = tokens[0][1:-1].partition(";")
            asked = None if number.strip() == "*" else int(number)
            return [Region(asked, condition.strip()[1:-1].strip())]

        def operation(self, parts: list[Any]) -> list[Any]:
            left, sign, right = parts
            left += [*right, str(sign)]
            return left

    return lark.Lark(_GRAMMAR, start="truth", parser="lalr", transformer=Parts())


def _problem(error: Any, text: str) -> str:
    """Where a text is no formula, and what is."""
    found: Any = getattr(error, "token", None)
    end = found is not None and found.type == "$END"
    place = len(text.rstrip()) if end else error.pos_in_stream
    where = f"place {place + 1} of {text[:120]!r}"
    if found is None:
        return f"{where}: {text[place]!r} is no part of a formula"
    expected = [word for name, word in _WORDS.items() if name in error.accepts]
    return (
        f"{where}: expected {', '.join(expected)}; found {'the end' if end else repr(str(found))}"
    )
