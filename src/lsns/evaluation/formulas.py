"""The formulas of SyntaxGym predictions: a parser, and what a formula says of an item.

    truth   := side (("&" | "|") side)*              from left to right, both alike
    side    := sum (("<" | ">" | "=") sum)?
    sum     := atom (("+" | "-") atom)*              from left to right
    atom    := number | "(" region ";%" condition "%)" | "(" truth ")" | "[" truth "]"
    region  := digits | "*"

Precedence and the tolerance of `=` are those of the published evaluator (cpllab/syntaxgym-core,
`prediction.py`, and its copy in brain-score/language). It reads a chain `a < b < c` as `a < b`;
here it is an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from lsns.errors import LsnsError

RELATIVE_TOLERANCE = 1e-5
ABSOLUTE_TOLERANCE = 1e-3
MOST_NESTED = 100

_TOKEN = re.compile(
    r"\s*(?:\(\s*(?P<region>\d+|\*)\s*;\s*%(?P<condition>[^%()]+)%\s*\)"
    r"|(?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)"
    r"|(?P<sign>[-+<>=&|()\[\]]))"
)
_CLOSES = {"(": ")", "[": "]"}


@dataclass(frozen=True)
class Number:
    """A number, written out."""

    value: float


@dataclass(frozen=True)
class Region:
    """The surprisal of a region in a condition; `number` None: the sum over all regions."""

    number: int | None
    condition: str


@dataclass(frozen=True)
class Operation:
    """Two parts and what joins them: `+ -` numbers, `< > =` numbers to a truth, `& |` truths."""

    sign: str
    left: Formula
    right: Formula


Formula = Number | Region | Operation


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    place: int
    value: Formula | None = None


def parse(text: str, *, name: str = "formula") -> Formula:
    """Parse a prediction.

    Args:
        text: the formula.
        name: what it is called in an error.

    Raises:
        LsnsError: it does not follow the grammar, with the place, from 1, where it does not.
    """
    return _Parser(text, name).parse()


def evaluate(formula: Formula, surprisals: Mapping[tuple[str, int], float]) -> bool:
    """Whether a prediction holds.

    Args:
        formula: from `parse`.
        surprisals: bits by (condition, region number), of one item.

    Raises:
        KeyError: a region or condition that is not in `surprisals`.
    """
    return bool(_value(formula, surprisals))


def regions_of(formula: Formula) -> Iterator[Region]:
    """The regions that a formula refers to, from left to right."""
    if isinstance(formula, Region):
        yield formula
    elif isinstance(formula, Operation):
        yield from regions_of(formula.left)
        yield from regions_of(formula.right)


def _value(formula: Formula, surprisals: Mapping[tuple[str, int], float]) -> float | bool:
    if isinstance(formula, Number):
        return formula.value
    if isinstance(formula, Region):
        return _region(formula, surprisals)
    left, right = _value(formula.left, surprisals), _value(formula.right, surprisals)
    match formula.sign:
        case "+":
            return left + right
        case "-":
            return left - right
        case "<":
            return left < right
        case ">":
            return left > right
        case "&":
            return bool(left and right)
        case "|":
            return bool(left or right)
        case _:
            return abs(left - right) <= ABSOLUTE_TOLERANCE + RELATIVE_TOLERANCE * abs(right)


def _region(region: Region, surprisals: Mapping[tuple[str, int], float]) -> float:
    if region.number is not None:
        return surprisals[region.condition, region.number]
    values = [value for (name, _), value in surprisals.items() if name == region.condition]
    if not values:
        raise KeyError((region.condition, "*"))
    return sum(values)


class _Parser:
    """Recursive descent: a method per rule of the grammar."""

    def __init__(self, text: str, name: str) -> None:
        self.text, self.name = text, name
        self.tokens = list(self._split())
        self.next, self.depth = 0, 0

    def parse(self) -> Formula:
        formula = self.truth()
        if self.token.kind != "end":
            raise self.error(f"expected an operator, found {self.token.text!r}")
        if not _is_truth(formula):
            self.next = 0
            raise self.error("this is a number; a prediction compares, with <, > or =")
        return formula

    def truth(self) -> Formula:
        left = self.side()
        while (sign := self.token).text in ("&", "|"):
            left = self.join(left, sign, self.side, truths=True)
        return left

    def side(self) -> Formula:
        left = self.sum()
        if (sign := self.token).text in ("<", ">", "="):
            left = self.join(left, sign, self.sum, truths=False)
            if self.token.text in ("<", ">", "="):
                raise self.error("comparisons cannot be chained; join them with &")
        return left

    def sum(self) -> Formula:
        left = self.atom()
        while (sign := self.token).text in ("+", "-"):
            left = self.join(left, sign, self.atom, truths=False)
        return left

    def atom(self) -> Formula:
        token = self.token
        if token.value is not None:
            self.next += 1
            return token.value
        if token.text in _CLOSES:
            return self.enclosed(token)
        if token.text in ("+", "-") and isinstance(self.tokens[self.next + 1].value, Number):
            return self.signed()
        found = repr(token.text) if token.text else "the end"
        raise self.error(f"expected a number, (region;%condition%) or a parenthesis, found {found}")

    def enclosed(self, opening: _Token) -> Formula:
        if self.depth == MOST_NESTED:
            raise self.error(f"more than {MOST_NESTED} parentheses in one another")
        self.next, self.depth = self.next + 1, self.depth + 1
        inside = self.truth()
        if self.token.text != _CLOSES[opening.text]:
            raise self.error(
                f"expected {_CLOSES[opening.text]!r} for the {opening.text!r} "
                f"at {opening.place + 1}"
            )
        self.next, self.depth = self.next + 1, self.depth - 1
        return inside

    def signed(self) -> Formula:
        sign, number = self.tokens[self.next : self.next + 2]
        self.next += 2
        value = number.value.value if isinstance(number.value, Number) else 0.0
        return Number(-value if sign.text == "-" else value)

    def join(
        self, left: Formula, sign: _Token, rule: Callable[[], Formula], *, truths: bool
    ) -> Formula:
        place = self.next
        self.next += 1
        joined = Operation(sign.text, left, rule())
        if _is_truth(joined.left) != truths or _is_truth(joined.right) != truths:
            self.next = place
            kind = "comparisons" if truths else "numbers"
            raise self.error(f"{sign.text!r} needs {kind} on both sides")
        return joined

    @property
    def token(self) -> _Token:
        return self.tokens[self.next]

    def error(self, what: str) -> LsnsError:
        return self.error_at(self.token.place, what)

    def error_at(self, place: int, what: str) -> LsnsError:
        return LsnsError(f"{self.name}, place {place + 1} of {self.text[:120]!r}: {what}")

    def _split(self) -> Iterator[_Token]:
        place, end = 0, len(self.text.rstrip())
        while place < end:
            found = _TOKEN.match(self.text, place)
            start = place + len(self.text[place:]) - len(self.text[place:].lstrip())
            if found is None:
                raise self.error_at(start, f"{self.text[start]!r} is no part of a formula")
            yield _token(found, start)
            place = found.end()
        yield _Token("end", "", end)


def _token(found: re.Match[str], place: int) -> _Token:
    text = found[0].strip()
    if found["region"] is not None:
        number = None if found["region"] == "*" else int(found["region"])
        return _Token("region", text, place, Region(number, found["condition"].strip()))
    if found["number"] is not None:
        return _Token("number", text, place, Number(float(text)))
    return _Token("sign", text, place)


def _is_truth(formula: Formula) -> bool:
    return isinstance(formula, Operation) and formula.sign in "<>=&|"
