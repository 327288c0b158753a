"""`Table`: every cell is there once, in any width; text is safe; values come out unrounded."""

from __future__ import annotations

import csv
import io
import re
import subprocess
import sys
from dataclasses import dataclass
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsns.table import Column, Table, Tabled

# To clear the screen and to colour (C0 and C1), to turn the direction round, to begin a line.
HOSTILE = "na\x1b[2Jme\x9b31m\u202e\r\nlsns: forged\x07<script>"


@dataclass(frozen=True)
class Effect:
    name: str
    value: float | None
    low: float = 0.0
    high: float = 1.0


@dataclass(frozen=True)
class Note:
    name: str
    n: int


COLUMNS = (
    Column("name"),
    Column("value", "{value:.2f}", "-"),
    Column("95%", "{low:.1f} to {high:.1f}"),
    Column("n", lambda row: str(getattr(row, "n", ""))),
)
ROWS = (Effect("a", 0.123456), Effect("b", None, -1.0), Note("  of b", 3))
TABLE = Table("effects", COLUMNS, ROWS, lead=["of a model"], notes=["n: how many"])


def test_what_a_table_says():
    assert TABLE.text().split("\n") == [
        "effects", "of a model",
        "name    value          95%  n",
        "a        0.12   0.0 to 1.0",
        "b           -  -1.0 to 1.0",
        "  of b      -               3",
        "n: how many",
    ]  # fmt: skip
    assert repr(TABLE) == "Table(effects: 3 rows)"
    empty = Table("effects", COLUMNS, (), lead=["of a model"], names=["name", "value"])
    assert empty.text() == "effects\nof a model"
    assert empty.csv() == "name,value\n"


def test_values_come_out_unrounded():
    assert TABLE.csv() == (
        "name,value,low,high,n\na,0.123456,0.0,1.0,\nb,,-1.0,1.0,\n  of b,,,,3\n"
    )
    frame = TABLE.to_frame()
    assert list(frame.columns) == ["name", "value", "low", "high", "n"]
    assert frame["value"].tolist()[0] == 0.123456
    arrow = TABLE.to_arrow()
    assert arrow.to_pylist()[2] == {"name": "  of b", "value": None, "low": None, "high": None,
                                    "n": 3}  # fmt: skip
    assert Table("", (), [{"a": 1}, {"b": 2}]).data() == {"a": [1, None], "b": [None, 2]}


@pytest.mark.parametrize(("absent", "made"), [(["pandas"], "pyarrow"), (["pandas", "pyarrow"], "")])
def test_a_frame_needs_one_of_two_packages(tmp_path, absent, made):
    """In a Python of its own, that lacks them."""
    for name in absent:
        (tmp_path / f"{name}.py").write_text("raise ModuleNotFoundError(__name__)")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from lsns.errors import LsnsError\nfrom lsns.table import Table\n"
        "try: print(type(Table('', (), [{'a': 1}]).to_frame()).__module__)\n"
        "except LsnsError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    words = "a data frame needs pandas or pyarrow: pip install 'lsns[evaluation]'"
    assert done.stdout.strip().startswith(made or words)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1"])
def test_no_text_is_a_formula_and_numbers_stay(text):
    written = Table("", (), [{"a": text, "b": -1.5}], names=("a", "b", "c")).csv()
    (row,) = csv.DictReader(io.StringIO(written, newline=""))
    assert row == {"a": "'" + text.replace("\r", "\n"), "b": "-1.5", "c": ""}


words = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12)
grids = st.integers(1, 8).flatmap(
    lambda n: st.lists(st.lists(words, min_size=n, max_size=n), min_size=1, max_size=5)
)


@given(grids, st.integers(40, 120))
def test_every_cell_is_there_once_and_the_width_is_kept(grid, width):
    heads = [Column(f"h{i}", f"{{c{i}}}") for i in range(len(grid[0]))]
    marked = [
        {f"c{i}": f"{n}.{i}.{cell}" for i, cell in enumerate(row)} for n, row in enumerate(grid)
    ]
    lines = Table("", heads, marked).text(width).split("\n")
    assert max(map(len, lines)) <= width
    shown = [cell for line in lines for cell in line.split()]
    parts = lines.count("") + 1
    for row in marked:
        first, *others = row.values()
        assert shown.count(first) == parts
        assert all(shown.count(cell) == 1 for cell in others)
    assert shown.count("h0") == parts


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_text_is_safe(name, title):
    table = Table(title + HOSTILE, [Column("name")], [Effect(name + HOSTILE, 1.0)], notes=[name])
    text = table.text(60)
    assert all(c.isprintable() or c in "\n\u00a0\u202f\u3000\u200c\u200d" for c in text)
    assert not any(line.startswith("lsns: forged") for line in text.split("\n"))
    seen: list[str] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: seen.append(tag)
    parser.feed(table._repr_html_())
    kinds = {"table", "caption", "br", "thead", "tbody", "tr", "th", "td", "p"}
    assert set(seen) <= kinds
    assert seen.count("td") == seen.count("th") == 1


def test_a_notebook_shows_the_cells():
    html = TABLE._repr_html_()
    assert re.findall("<th>(.*?)</th>", html) == ["name", "value", "95%", "n"]
    assert re.findall("<td>(.*?)</td>", html)[:4] == ["a", "0.12", "0.0 to 1.0", ""]
    assert "<caption>effects<br>of a model</caption>" in html
    assert html.rstrip().endswith("<p>n: how many</p>")


def test_a_result_with_tables():
    class Result(Tabled):
        def tables(self):
            return [TABLE, Table("other", COLUMNS, ROWS[:1])]

    assert len(Result().to_frame()) == 3
    assert Result()._repr_html_().count("<caption>") == 2


def test_tables_fit():
    columns = [Column("condition"), *map(Column, "abcdef")]
    rows = [{"condition": f"{HOSTILE} {i}", **dict.fromkeys("abcdef", "0.1234 to 0.5678")}
            for i in range(2)]  # fmt: skip
    table = Table("", columns, [*rows, {"condition": "  control", "a": "x"}])
    assert max(map(len, table.text().split("\n"))) > 120
    for width in (40, 80, 100):
        lines = table.text(width).split("\n")
        assert max(map(len, lines)) <= width
        assert " ".join(lines).count("0.1234 to 0.5678") == 12
        assert sum(line.startswith("  control") for line in lines) == lines.count("") + 1
    heads = ("mask", "value", "95%", "gap", "95%")
    named = Table("", [Column(head, str(n) * 9) for n, head in enumerate(heads)], [{}])
    assert [line.split() for line in named.text(42).split("\n")[::3]] == [
        ["mask", "value", "95%"], ["mask", "gap", "95%"],
    ]  # fmt: skip
