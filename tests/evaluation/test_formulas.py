"""The parser of SyntaxGym's formulas, against expectations and against a second evaluator."""

from __future__ import annotations

import contextlib
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsns import LsnsError
from lsns.evaluation.formulas import Region, evaluate, parse

BITS = {("a", 1): 1.0, ("a", 2): 2.5, ("b", 1): 4.0, ("b", 2): 2.5004, ("no-obj_1", 3): 0.5}
RANK = {"+": 3, "-": 3, "<": 2, ">": 2, "=": 2, "&": 1, "|": 1}


def shunting_yard(text, bits):
    """A second, unlike evaluator: tokens by regular expression, two stacks."""
    found = re.findall(r"\(\s*(?:\d+|\*);%[^%]+%\)|\d+(?:\.\d+)?|[-+<>=&|()\[\]]", text)
    values, signs = [], []

    def apply():
        right, left, sign = values.pop(), values.pop(), signs.pop()
        values.append(
            {
                "+": lambda: left + right,
                "-": lambda: left - right,
                "<": lambda: left < right,
                ">": lambda: left > right,
                "=": lambda: abs(left - right) <= 1e-3 + 1e-5 * abs(right),
                "&": lambda: left and right,
                "|": lambda: left or right,
            }[sign]()
        )

    for token in found:
        if ";%" in token:
            number, condition = re.findall(r"\(\s*(\d+|\*);%([^%]+)%\)", token)[0]
            chosen = [v for (c, n), v in bits.items() if c == condition and number in ("*", str(n))]
            values.append(sum(chosen))
        elif token in "([":
            signs.append(token)
        elif token in ")]":
            while signs[-1] not in "([":
                apply()
            signs.pop()
        elif token in RANK:
            while signs and signs[-1] not in "([" and RANK[signs[-1]] >= RANK[token]:
                apply()
            signs.append(token)
        else:
            values.append(float(token))
    while signs:
        apply()
    return values[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(1;%a%) < (1;%b%)", True),
        ("(1;%a%) > (1;%b%)", False),
        ("((1;%a%)<(1;%b%))&((2;%a%)<(1;%a%))", False),
        ("((1;%a%)<(1;%b%)) | ((2;%a%)<(1;%a%))", True),
        ("(2;%a%) = (2;%b%)", True),  # to 1e-3 bits, as published
        ("(2;%a%) = (1;%a%)", False),
        ("(1;%b%) - (2;%a%) - (1;%a%) = 0.5", True),  # from left to right
        ("(1;%b%) - ((2;%a%) - (1;%a%)) = 2.5", True),
        ("(*;%a%) = 3.5", True),
        ("[(1;%a%) < (1;%b%)] & [(3;%no-obj_1%) < .6]", True),
        ("( (1;%a%) + (2;%a%) ) < ( (1;%b%) + (2;%b%) )", True),
        ("(1;%a%) - (1;%b%) < -2", True),
        ("(1;%a%) > +1e-1", True),
        ("1 < 2 | 1 < 2 & 2 < 1", False),  # & and | alike, from left to right
        ("  ( 1 ;%a%) < ((((1;%b%)))) ", True),
    ],
)
def test_what_holds(text, expected):
    assert evaluate(parse(text), BITS) is expected


def test_the_parts():
    formula = parse("(1;%a%) + 2 < (*;%b%)")
    assert formula == (Region(1, "a"), 2.0, "+", Region(None, "b"), "<")
    assert [part for part in formula if isinstance(part, Region)] == [
        Region(1, "a"),
        Region(None, "b"),
    ]


@pytest.mark.parametrize(
    ("text", "place", "what"),
    [
        ("", 1, "expected a number, .*found the end"),
        ("(1;%a%) <", 10, "expected a number, .*found the end"),
        ("(1;%a%) < (1;%b%", 13, "';' is no part of a formula"),
        ("(1;%a%) (1;%b%)", 9, "expected <, > or =, \\+ or -; found '\\(1;%b%\\)'"),
        ("((1;%a%) < (1;%b%)", 19, "expected .*\\); found the end"),
        ("((1;%a%) < (1;%b%)]", 19, "expected .*\\); found ']'"),
        ("(1;%a%) < (1;%b%))", 18, "found '\\)'"),
        ("(1;%a%) + (1;%b%)", 18, "expected <, > or =, .*found the end"),
        ("(1;%a%) < 2 < 3", 13, "expected & or |, .*the end; found '<'"),
        ("(1;%a%) & (1;%b%)", 9, "expected <, > or =, .*found '&'"),
        ("(1 < 2) + 3 < 4", 9, "expected & or |, the end; found '\\+'"),
        ("1 < (2 < 3)", 8, "found '<'"),
        ("(1;%a%) == 2", 10, "found '='"),
        ("__import__('os')", 1, "is no part of a formula"),
        ("(1;%a%) * 2 < 3", 9, "is no part of a formula"),
        ("(1111111111;%a%) < 2", 12, "';' is no part of a formula"),
    ],
)
def test_what_does_not_parse(text, place, what):
    with pytest.raises(LsnsError, match=what) as raised:
        parse(text, name="suite s, prediction 2")
    assert len(str(raised.value)) < 250
    assert str(raised.value).startswith(f"suite s, prediction 2, place {place} of ")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("(" * 400_000, "400,000 characters, .* at most 20,000"),
        ("(" * 19_000 + "1 < 2", r"place 19006 of .* found the end"),
        ("1 < " + "x" * 2_000_000, "2,000,004 characters"),
        ("1 < 2" + " & 1 < 2" * 2_000 + " 3", "place 16007 of"),
        ("1" * 400 + " < 2", "a number is too large"),
        ("1e999 < 2", "a number is too large"),
    ],
)
def test_what_is_too_much_is_one_short_line_at_once(text, what):
    start = time.process_time()
    with pytest.raises(LsnsError, match=what) as raised:
        parse(text)
    assert time.process_time() - start < 1
    assert len(str(raised.value)) < 300
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.5 < " + " + ".join(["(1;%a%)"] * 1900), True),
        ("1900 = " + " + ".join(["(1;%a%)"] * 1900), True),
        ("(" * 9_000 + "1 < 2" + ")" * 9_000, True),
        (" | ".join(["(2 < 1)"] * 1900), False),
    ],
)
def test_long_and_deep_formulas_need_no_deep_stack(text, expected):
    assert evaluate(parse(text), BITS) is expected


def test_what_is_not_there():
    with pytest.raises(KeyError):
        evaluate(parse("(9;%a%) < 1"), BITS)
    with pytest.raises(KeyError):
        evaluate(parse("(*;%zzz%) < 1"), BITS)


atoms = st.one_of(
    st.sampled_from([f"({number};%{name}%)" for name, number in BITS]),
    st.sampled_from(["(*;%a%)", "(*;%b%)"]),
    st.integers(0, 9).map(str),
    st.sampled_from(["0.5", "2.25"]),
)


def joined(parts, signs, most=3):
    """Chains such as `x + y - z`."""
    rest = st.lists(st.tuples(st.sampled_from(signs), parts), max_size=most - 1)
    return st.builds(
        lambda first, more: first + "".join(f" {sign}{part}" for sign, part in more), parts, rest
    )


def enclosed(parts):
    return st.builds(str.format, st.sampled_from(["({})", "[{} ]"]), parts)


sums = joined(atoms | enclosed(joined(atoms, "+-")), "+-")
sides = st.builds("{}{}{}".format, sums, st.sampled_from("<>="), sums)
truths = joined(sides | enclosed(joined(sides | enclosed(sides), "&|")), "&|")


@settings(max_examples=80, deadline=None)
@given(truths)
def test_equals_a_second_evaluator(text):
    assert evaluate(parse(text), BITS) == shunting_yard(text, BITS)


@given(st.text(alphabet="()[];%ab*12.+-<>=&| é", max_size=30))
def test_any_text_is_a_formula_or_an_error(text):
    with contextlib.suppress(LsnsError):
        assert parse(text)[-1] in ("<", ">", "=", "&", "|")
