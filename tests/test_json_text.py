"""JSON of others: what a hostile text makes is one short line, at once."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsns import LsnsError
from lsns.json_text import json_value, name_of

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)  # fmt: skip


@given(values)
def test_what_json_writes_is_read(value):
    assert json_value(json.dumps(value), "x") == value
    assert json_value(json.dumps(value, ensure_ascii=False), "x") == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("[" * 200_000, "nested in one another more than 100 deep"),
        ("[" * 200_000 + "]" * 200_000, "more than 100 deep"),
        ('{"a":' * 200_000, "more than 100 deep"),
        ("[" * 102 + "]" * 102, "more than 100 deep"),
        ('{"a": NaN}', "NaN is no number"),
        ("[-Infinity]", "-Infinity is no number"),
        ("1" * 5000, "not JSON .*4300"),
        ('{"a": ["\\ud800"]}', "half a surrogate pair"),
        ('{"\\uDFFF": 1}', "half a surrogate pair"),
        ('"' + "x" * 100_000, "not JSON .*Unterminated"),
        (" " * (1 << 26) + "1", "67,108,865 characters of JSON; at most"),
    ],
)
def test_what_is_refused(text, message):
    start = time.process_time()
    with pytest.raises(LsnsError, match=f"^file, line 3: .*{message}") as raised:
        json_value(text, "file, line 3")
    assert time.process_time() - start < 1
    assert len(str(raised.value)) < 300
    assert "\n" not in str(raised.value)


def test_what_is_not_refused():
    assert json_value("[" * 100 + "]" * 100, "x")
    assert json_value('"\\ud83d\\ude42 \\\\ud800"', "x") == "🙂 \\ud800"
    assert json_value("1" * 400, "x") == int("1" * 400)


@pytest.mark.parametrize("value", ["", "x" * 201, [1], {}, None, int("1" * 400), ["x" * 10_000]])
def test_what_is_no_name(value):
    with pytest.raises(LsnsError, match="x: UID must be a name of 1 to 200 characters") as raised:
        name_of(value, "x: UID")
    assert len(str(raised.value)) < 150


@pytest.mark.parametrize(("value", "name"), [("a b", "a b"), (7, "7"), (1.5, "1.5")])
def test_names(value, name):
    assert name_of(value, "x") == name
