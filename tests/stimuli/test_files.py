"""Contrasts from files: three formats, one content; every bad row named by file and line."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsns.errors import LsnsError
from lsns.stimuli.contrast import Contrast
from lsns.stimuli.files import FORMATS, read_contrast, read_text

Record = tuple[str, str, str]
RECORDS: list[Record] = [
    ("the cat, sat", "positive", "1"),
    ('vepe "fistes" zi', "negative", "1"),
    ("a storm\ncame\r\nover", "positive", "2"),
    (" zem\tjum ü 漢 ", "negative", "2"),
]
HEADER = "text,condition\n"
GOOD = "a,positive\nb,positive\nc,negative\nd,negative\n"


def refusal(call: Callable[[], Any]) -> str:
    with pytest.raises(LsnsError) as caught:
        call()
    message = str(caught.value)
    assert message
    assert "\n" not in message
    return message


def write(path: Path, records: Sequence[Record]) -> Path:
    """The records in the format of the file's ending."""
    names = ("text", "condition", "group")
    with path.open("w", encoding="utf-8", newline="") as file:
        if path.suffix == ".jsonl":
            file.writelines(
                json.dumps(dict(zip(names, r, strict=True)), ensure_ascii=False) + "\n"
                for r in records
            )
        else:
            writer = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writerows([names, *records])
    return path


def expect(found: Contrast, records: Sequence[Record]) -> None:
    for condition in ("positive", "negative"):
        ours = [record for record in records if record[1] == condition]
        assert getattr(found, condition) == tuple(text for text, _, _ in ours)
        assert getattr(found, f"{condition}_groups") == tuple(group for _, _, group in ours)


@pytest.mark.parametrize("ending", FORMATS)
def test_a_file_is_read_to_the_letter(tmp_path: Path, ending: str) -> None:
    found = read_contrast(write(tmp_path / f"mine{ending}", RECORDS))
    expect(found, RECORDS)
    assert found.name == "mine"
    assert found.source == f"file mine{ending}"
    assert (found.pooling, found.max_tokens) == ("last-token", None)


printable = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=8)
records = st.tuples(
    printable.filter(str.strip), st.sampled_from(["positive", "negative"]), printable
)


@settings(max_examples=40, deadline=None)
@given(st.lists(records, max_size=4))
def test_all_formats_are_equal(tmp_path_factory: pytest.TempPathFactory, more: list) -> None:
    # Of a text on both sides the first row is kept.
    sides = {text: condition for text, condition, _ in reversed([*RECORDS, *more])}
    rows = [*RECORDS, *(row for row in more if sides[row[0]] == row[1])]
    folder = tmp_path_factory.mktemp("formats")
    found = [read_contrast(write(folder / f"mine{ending}", rows)) for ending in FORMATS]
    assert len({contrast.digest for contrast in found}) == 1
    expect(found[0], rows)


@pytest.mark.parametrize("ending", FORMATS)
def test_a_byte_order_mark_is_no_text(tmp_path: Path, ending: str) -> None:
    plain = write(tmp_path / f"mine{ending}", RECORDS)
    marked = tmp_path / f"marked{ending}"
    marked.write_bytes(b"\xef\xbb\xbf" + plain.read_bytes())
    expect(read_contrast(marked), RECORDS)


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_line_ends_of_both_kinds(tmp_path: Path, ending: str, newline: str) -> None:
    plain = write(tmp_path / f"mine{ending}", [r for r in RECORDS if "\n" not in r[0]] * 2)
    expected = read_contrast(plain)
    lines = plain.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", newline.encode())
    plain.write_bytes(lines)
    assert read_contrast(plain).digest == expected.digest


def csv_file(folder: Path, content: str, name: str = "mine.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode())
    return path


def test_columns_in_any_order_and_columns_of_ones_own(tmp_path: Path) -> None:
    rows = "1,positive,a\n2,positive,b\n3,negative,c\n4,negative,d\n"
    found = read_contrast(csv_file(tmp_path, "item,condition,text\n" + rows))
    assert found.texts == ("a", "b", "c", "d")
    assert found.positive_groups is None
    assert found.negative_groups is None


def test_conditions_in_any_case_and_empty_lines(tmp_path: Path) -> None:
    rows = "\na, Positive\nb,POSITIVE\n\nc,negative \nd,Negative\n\n"
    found = read_contrast(csv_file(tmp_path, HEADER + rows))
    assert (found.positive, found.negative) == (("a", "b"), ("c", "d"))


def test_json_groups_may_be_numbers(tmp_path: Path) -> None:
    rows = [
        {"text": str(i), "condition": "positive" if i < 2 else "negative", "group": i % 2}
        for i in range(4)
    ]
    path = csv_file(tmp_path, "\n\n".join(map(json.dumps, rows)), "mine.jsonl")
    found = read_contrast(path)
    assert found.groups == ("0", "1", "0", "1")


def test_options_of_the_caller(tmp_path: Path) -> None:
    found = read_contrast(
        csv_file(tmp_path, HEADER + GOOD), name="n", max_tokens=3, pooling="sum", source="s"
    )
    assert (found.name, found.max_tokens, found.pooling, found.source) == ("n", 3, "sum", "s")


# What is refused.


@pytest.mark.parametrize("name", ["mine.txt", "mine", "mine.json", "mine.csv.gz"])
def test_other_formats_are_refused(tmp_path: Path, name: str) -> None:
    path = csv_file(tmp_path, HEADER + GOOD, name)
    message = refusal(lambda: read_contrast(path))
    assert str(path) in message
    assert ".csv, .tsv, .jsonl" in message


@pytest.mark.parametrize(
    ("rows", "condition", "found"),
    [
        ("a,positive\nb,positive\n", "negative", 0),
        ("c,negative\nd,negative\n", "positive", 0),
        ("a,positive\n", "positive", 1),
        ("a,positive\nb,positive\nc,negative\n", "negative", 1),
    ],
)
def test_too_few_of_a_condition_are_refused(
    tmp_path: Path, rows: str, condition: str, found: int
) -> None:
    path = csv_file(tmp_path, HEADER + rows)
    message = refusal(lambda: read_contrast(path))
    assert str(path) in message
    assert f": {found} {condition} texts; a contrast needs" in message
    assert "at least 2" in message


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("mine.csv", "", "found nothing"),
        ("mine.tsv", "", "found nothing"),
        ("mine.jsonl", "", "holds no stimuli"),
        ("mine.jsonl", "\n \n", "holds no stimuli"),
        ("mine.csv", HEADER, "holds no stimuli"),
        ("mine.csv", "\ufeff", "found nothing"),
    ],
)
def test_an_empty_file_is_refused(tmp_path: Path, name: str, content: str, words: str) -> None:
    path = csv_file(tmp_path, content, name)
    message = refusal(lambda: read_contrast(path))
    assert f"{path} " in message
    assert words in message
    assert "positive or negative" in message


@pytest.mark.parametrize("header", ["text,kind", "sentence,condition", "text\tcondition", "a\nb"])
def test_missing_columns_are_refused(tmp_path: Path, header: str) -> None:
    path = csv_file(tmp_path, header + "\na,positive\n")
    message = refusal(lambda: read_contrast(path))
    assert f"{path} needs columns text, condition" in message
    assert header.split("\n")[0].replace(",", ", ").replace("\t", " ") in message


@pytest.mark.parametrize("ending", FORMATS)
def test_what_is_not_utf_8_is_refused(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"mine{ending}"
    path.write_bytes((HEADER + GOOD).encode() + "né,positive\n".encode("latin-1"))
    message = refusal(lambda: read_contrast(path))
    at = len(HEADER + GOOD) + 1
    assert f"{path} is not UTF-8 (byte {at}: 0xe9)" in message


def test_a_file_that_is_not_there_or_a_folder(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    for path in (tmp_path / "none.csv", tmp_path / "folder.csv"):
        assert f"{path} cannot be read" in refusal(lambda path=path: read_contrast(path))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("e,neutral", "condition 'neutral' is neither"),
        ("e,", "condition '' is neither"),
        (",positive", "the text is empty"),
        ("  ,positive", "the text is empty"),
        ('" ",positive', "the text is empty"),
        ("e", "no text or no condition"),
        ("e, f,positive", "more fields than the header"),
        ("e,positive,", "more fields than the header"),
        ('"e"f,positive', "not readable as a table"),
        ('"e,positive', "not readable as a table"),
        (f"e,{'positive' * 50_000}", "condition 'positivepositive"),
        ("e\0f,positive", "the text holds a NUL"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, row: str, words: str) -> None:
    path = csv_file(tmp_path, f"{HEADER}{GOOD}{row}\n")
    message = refusal(lambda: read_contrast(path))
    assert f"{path}, line 6: " in message
    assert words in message
    assert len(message) < 300


def test_lines_are_those_of_the_file(tmp_path: Path) -> None:
    path = csv_file(tmp_path, f'{HEADER}"one\ntwo\nthree",positive\n\nb,neutral\n')
    assert f"{path}, line 6: " in refusal(lambda: read_contrast(path))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ('{"text": "e", "condition": "neutral"}', "condition 'neutral' is neither"),
        ('{"text": "", "condition": "positive"}', "the text is empty"),
        ('{"text": "e"}', "no text or no condition"),
        ('{"condition": "positive"}', "no text or no condition"),
        ('{"text": 5, "condition": "positive"}', "no text or no condition"),
        ('{"text": "e", "condition": true}', "no text or no condition"),
        ('{"text": null, "condition": "positive"}', "no text or no condition"),
        ('["e", "positive"]', "expected an object"),
        ('"e"', "expected an object"),
        ("null", "expected an object"),
        ('{"text": "e", ', "not JSON"),
        ("{} {}", "not JSON"),
        ("e,positive", "not JSON"),
        ('{"text": "e\\ud83d", "condition": "positive"}', ""),
    ],
)
def test_a_bad_line_of_json_is_named(tmp_path: Path, row: str, words: str) -> None:
    good = "".join(
        json.dumps({"text": t, "condition": c}) + "\n" for t, c, _ in [*RECORDS, *RECORDS]
    )
    path = csv_file(tmp_path, f"{good}\n{row}\n", "mine.jsonl")
    message = refusal(lambda: read_contrast(path))
    assert f"{path}, line 10: " in message
    assert words in message


@pytest.mark.parametrize("ending", FORMATS)
def test_groups_on_some_rows_only_are_refused(tmp_path: Path, ending: str) -> None:
    rows = [
        (text.strip(), condition, "1") for text, condition in (("a", "positive"), ("b", "negative"))
    ]
    path = write(tmp_path / f"mine{ending}", [*rows, ("c", "positive", ""), *rows])
    line = 3 if ending == ".jsonl" else 4
    message = refusal(lambda: read_contrast(path))
    assert f"{path}, line {line}: no group, though other rows have one" in message


def test_read_text_leaves_line_ends_and_later_marks(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes("\ufeffa\r\nb\ufeff\n".encode())
    assert read_text(tmp_path / "x") == "a\r\nb\ufeff\n"


# Further conditions.

FURTHER: list[Record] = [
    ("sat cat, the", "further:scrambled", "1"),
    ("cat over", "further:lists", ""),
    ("over came\r\na storm", "further:scrambled", "2"),
    ('storm "sat"', "further:lists", ""),
]


def expect_further(found: Contrast) -> None:
    assert list(found.further_texts) == ["scrambled", "lists"]
    assert found.further_texts["scrambled"] == (FURTHER[0][0], FURTHER[2][0])
    assert found.further_texts["lists"] == (FURTHER[1][0], FURTHER[3][0])
    assert found.further_labels == {"scrambled": ("1", "2"), "lists": None}


@pytest.mark.parametrize("ending", FORMATS)
def test_further_conditions_are_read_from_among_the_others(tmp_path: Path, ending: str) -> None:
    rows = [FURTHER[0], *RECORDS[:2], *FURTHER[1:], *RECORDS[2:]]
    found = read_contrast(write(tmp_path / f"mine{ending}", rows))
    expect(found, RECORDS)
    expect_further(found)
    assert found.digest == read_contrast(write(tmp_path / f"plain{ending}", RECORDS)).digest


@pytest.mark.parametrize("ending", FORMATS)
def test_further_conditions_are_read_from_a_file_of_their_own(tmp_path: Path, ending: str) -> None:
    mine = write(tmp_path / "mine.csv", RECORDS)
    further = write(tmp_path / f"further{ending}", FURTHER)
    found = read_contrast(mine, further, max_tokens=7, pooling="mean")
    expect_further(found)
    assert (found.name, found.max_tokens, found.pooling) == ("mine", 7, "mean")
    assert (found.source, found.digest) == ("file mine.csv", read_contrast(mine).digest)
    bad = write(tmp_path / f"bad{ending}", [("x", "further:x", "3"), ("y", "further:x", "3")])
    assert str(bad) in refusal(lambda: read_contrast(mine, further, bad))


def test_further_names_are_trimmed_and_in_lower_case(tmp_path: Path) -> None:
    rows = "e, Further: Word-Lists\nf,further:word-lists \n"
    found = read_contrast(csv_file(tmp_path, HEADER + GOOD + rows))
    assert found.further == (("word-lists", ("e", "f")),)


def test_further_groups_of_items_without_groups(tmp_path: Path) -> None:
    rows = "e,further:x,positive 1\nf,further:x,negative 0\n"
    good = GOOD.replace("\n", ",\n")
    found = read_contrast(csv_file(tmp_path, "text,condition,group\n" + good + rows))
    assert found.positive_groups is None
    assert found.further_labels == {"x": ("positive 1", "negative 0")}


@pytest.mark.parametrize(
    ("rows", "line", "words"),
    [
        ("e,further:\nf,further:\n", 6, "further '' is no name"),
        ("e,further: \n", 6, "further '' is no name"),
        ("e,further:positive\nf,further:positive\n", 6, "'positive' is the name of one of the"),
        ("e,further\nf,further\n", 6, "condition 'further' is neither positive nor negative"),
        ("e,futher:x\nf,futher:x\n", 6, "condition 'futher:x' is neither positive nor negative"),
        ("e,further x\n", 6, "nor further:NAME"),
        ("e,further:x\nf,further:y\ng,further:y\n", 6, "1 further:x texts; a contrast needs"),
        ("e,further:x\n ,further:x\n", 7, "the text is empty"),
    ],
)
def test_a_bad_further_row_is_named(tmp_path: Path, rows: str, line: int, words: str) -> None:
    path = csv_file(tmp_path, HEADER + GOOD + rows)
    message = refusal(lambda: read_contrast(path))
    assert f"{path}, line {line}: " in message
    assert words in message


@pytest.mark.parametrize(
    ("groups", "line", "words"),
    [
        (("1", ""), 7, "no group, though other rows have one"),
        (("", "1"), 6, "no group, though other rows have one"),
        (("1", "3"), 7, "is of group '3', which no positive or negative text"),
        (("positive 0", "1"), 6, "is of group 'positive 0', which no"),
    ],
)
def test_a_bad_further_group_is_named(
    tmp_path: Path, groups: tuple[str, str], line: int, words: str
) -> None:
    rows = [("a", "positive", "1"), ("b", "negative", "1")] * 2
    path = write(tmp_path / "mine.csv", [*rows, *(("e", "further:x", group) for group in groups)])
    message = refusal(lambda: read_contrast(path))
    assert f"{path}, line {line}: " in message
    assert words in message


def test_a_file_of_further_conditions_alone_is_no_contrast(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.csv", FURTHER)
    assert "0 positive texts; a contrast needs" in refusal(lambda: read_contrast(path))


# What is large, deep or damaged.


@pytest.mark.parametrize("ending", FORMATS)
def test_a_text_of_any_length_is_read_and_csv_is_left_as_it_was(
    tmp_path: Path, ending: str
) -> None:
    long = "a long story " * 20_000
    before = csv.field_size_limit(1000)
    try:
        found = read_contrast(
            write(tmp_path / f"mine{ending}", [(long, "positive", "1"), *RECORDS])
        )
        assert csv.field_size_limit() == 1000
        with pytest.raises(LsnsError):
            read_contrast(csv_file(tmp_path, f'{HEADER}"open'))
        assert csv.field_size_limit() == 1000
    finally:
        csv.field_size_limit(before)
    assert found.positive[0] == long


def test_a_header_of_any_length_and_width_is_named_in_short(tmp_path: Path) -> None:
    path = csv_file(tmp_path, f"{'x' * 200_000},{',y' * 200_000}\n" + "a,positive\n" * 50_000)
    message = refusal(lambda: read_contrast(path))
    assert "found xxxx" in message
    assert len(message) < 400


def test_many_columns_of_ones_own_cost_no_more_than_their_cells(tmp_path: Path) -> None:
    wide = ",".join(map(str, range(100_000)))
    path = csv_file(tmp_path, f"text,condition,{wide}\n" + GOOD * 5_000)
    start = time.process_time()
    assert len(read_contrast(path).positive) == 10_000
    assert time.process_time() - start < 5


DEEP = "[" * 200_000 + "]" * 200_000


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (DEEP, "nested in one another"),
        ('{"text": ' * 200_000, "nested in one another"),
        ('{"text": "a", "condition": "positive", "group": ' + DEEP + "}", "nested in one another"),
        ('{"text": "a", "condition": "positive", "group": ["1"]}', "group is neither"),
        ('{"text": ' + "9" * 400 + ', "condition": "positive"}', "no text or no condition"),
        ('{"text": ' + "9" * 5000 + ', "condition": "positive"}', "not JSON"),
        ('{"text": 1e999, "condition": "positive"}', "no text or no condition"),
        ('{"text": "\\ud800", "condition": "positive"}', "half a surrogate"),
        ('{"text": "a", "condition": "\\ud800"}', "half a surrogate"),
        ('{"text": "a\\u0000b", "condition": "positive"}', "the text holds a NUL"),
        ("\0" * 200_000, "not JSON"),
    ],
)
def test_json_that_is_deep_or_damaged_is_told_in_a_line(
    tmp_path: Path, row: str, words: str
) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(f'{{"text": "a", "condition": "positive"}}\n{row}\n')
    start = time.process_time()
    message = refusal(lambda: read_contrast(path))
    assert time.process_time() - start < 2
    assert f"{path}, line 2: " in message
    assert words in message
    assert len(message) < 400


@pytest.mark.parametrize("ending", FORMATS)
def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"mine{ending}"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    assert "more than 64 MiB" in refusal(lambda: read_contrast(path))


@pytest.mark.parametrize("name", ["mine.csv", "mine.jsonl"])
@pytest.mark.parametrize("line", ["a,positive\n", "\n"])
def test_a_file_of_too_many_lines_is_refused(tmp_path: Path, name: str, line: str) -> None:
    path = tmp_path / name
    path.write_text((HEADER + line * 500_001) if name == "mine.csv" else "\n" * 500_001)
    assert "more than 500000 lines" in refusal(lambda: read_contrast(path))


# Tables in memory.

COLUMNS = {
    name: [record[place] for record in RECORDS]
    for place, name in enumerate(("text", "condition", "group"))
}


def frame(kind: str, columns: dict[str, list[Any]]) -> Any:
    if kind == "mapping":
        return columns
    library = pytest.importorskip(kind)
    return library.table(columns) if kind == "pyarrow" else library.DataFrame(columns)


@pytest.mark.parametrize("kind", ["mapping", "pyarrow", "pandas", "polars"])
def test_a_table_is_read_as_a_file_with_its_rows(tmp_path: Path, kind: str) -> None:
    found = read_contrast(frame(kind, {"mine": [1, 2, 3, 4], **COLUMNS}), name="mine")
    assert found.digest == read_contrast(write(tmp_path / "mine.csv", RECORDS)).digest
    assert (found.name, found.source) == ("mine", "a table given in Python")
    expect(read_contrast(frame(kind, COLUMNS)), RECORDS)
    bare = {name: COLUMNS[name] for name in ("text", "condition")}
    assert read_contrast(frame(kind, bare)).positive_groups is None
    assert read_contrast(frame(kind, {**bare, "group": [None] * 4})).positive_groups is None
    assert read_contrast(frame(kind, {**bare, "group": [1, 1, 2, 2]})).positive_groups == ("1", "2")


class Foreign:
    """A data frame of no library in particular, with marks of its own for what is missing."""

    columns = ("condition", "text", "group")

    def __getitem__(self, name: str) -> Any:
        nan = float("nan")
        return {**COLUMNS, "group": [nan, "1", "2", "2"]}[name]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({}, "the table needs columns text, condition"),
        ({"text": ["a"]}, "the table needs columns text, condition"),
        ({"text": 5, "condition": ["positive"]}, "column 'text' is no sequence"),
        ({"text": ["a"], "condition": ["positive"] * 2}, "columns of different lengths"),
        ({"text": [], "condition": []}, "the table holds no stimuli"),
        ({"text": ["a", 7], "condition": ["positive"] * 2}, "the table, row 2: no text"),
        ({"text": ["a"], "condition": ["neutral"]}, "the table, row 1: condition 'neutral'"),
        (Foreign(), "the table, row 1: no group"),
    ],
)
def test_a_table_that_is_no_contrast_is_refused(table: Any, words: str) -> None:
    assert words in refusal(lambda: read_contrast(table))
