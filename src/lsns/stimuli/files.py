"""A contrast of one's own, from a CSV, TSV or JSONL file, or from a table in memory.

It has a `text`, a `condition` (`positive` or `negative`) and, if wanted, a `group` per row. Rows of
condition `further:NAME` make a further condition of that name.
"""

from __future__ import annotations

import csv
import io
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from lsns.errors import LsnsError
from lsns.json_text import json_value
from lsns.stimuli.contrast import FURTHER, Contrast, StimulusError, clip

FORMATS = (".csv", ".tsv", ".jsonl")
FORMAT_HELP = "columns text, condition (positive or negative, or further:NAME) and optionally group"
COLUMNS = ("text", "condition", "group")
# Far more than any stimuli: what is larger is another file, and would take the memory.
LARGEST_BYTES = 64 << 20
MOST_LINES = 500_000
_LIMIT = threading.Lock()


@dataclass(frozen=True)
class _Row:
    """One stimulus, and where it stands, such as `file.csv, line 3`."""

    where: str
    text: str
    condition: str
    group: str | None


def read_contrast(given: object, *more: Path, **options: Any) -> Contrast:
    """A contrast from a file, or from a table with the rows of one.

    By default whole texts are read, and the last token of each.

    Args:
        given: a CSV, TSV or JSONL file; or a mapping from column names to values, or a data frame
            of pandas, polars or pyarrow, with columns `text`, `condition` and, if wanted, `group`;
            others are not read.
        more: files with further rows.
        options: `name` and `source`, by default of the file, `max_tokens` and `pooling`.

    Raises:
        LsnsError: neither, an unknown format, a row that cannot be read (file and line named), a
            condition with fewer than 2 texts, groups on some rows only (positive and negative ones
            count as one here, each further condition for itself), a further text of a strange
            group.
    """
    if isinstance(given, Path):
        where, rows = str(given), chain.from_iterable(map(_rows, (given, *more)))
        named = {"name": given.stem, "source": f"file {given.name}"}
    elif isinstance(given, Mapping) or hasattr(given, "columns"):
        where, rows = "the table", _rows_in_memory(given)
        named = {"name": "table", "source": "a table given in Python"}
    else:
        raise LsnsError(
            "a contrast is an lsns.Contrast, a network's name, a folder or file, or a table with "
            f"{FORMAT_HELP}; found {type(given).__name__}"
        )
    return _contrast(where, rows, {**named, **options})


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, with or without a byte order mark, of at most 64 MiB."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_BYTES + 1)
        if len(content) > LARGEST_BYTES:
            raise LsnsError(
                f"{path} has more than {LARGEST_BYTES >> 20} MiB, too much for stimuli; give a "
                "smaller file"
            )
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LsnsError(
            f"{path} is not UTF-8 (byte {error.start}: 0x{error.object[error.start]:02x}); "
            "save it as UTF-8"
        ) from None
    except OSError as error:
        raise LsnsError(f"{path} cannot be read ({error.strerror})") from None


def read_cells(path: Path, **dialect: Any) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header of a CSV file, and its rows that are not empty, each with its line; unchecked.

    Fields may have any length.

    Args:
        path: the file.
        dialect: of the file, as for `csv.reader`.

    Raises:
        LsnsError: not UTF-8, not readable as a table (line named), too large.
    """
    reader = csv.reader(io.StringIO(_read_lines(path), newline=""), **dialect)
    try:
        with _long_fields():
            header = next(reader, [])
            return header, [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise LsnsError(
            f"{path}, line {reader.line_num}: not readable as a table ({error})"
        ) from None


@contextmanager
def _long_fields() -> Generator[None]:
    """Let csv read fields of any length; its limit, which is that of all threads, is put back."""
    with _LIMIT:
        before = csv.field_size_limit(LARGEST_BYTES)
        try:
            yield
        finally:
            csv.field_size_limit(before)


def _read_lines(path: Path) -> str:
    text = read_text(path)
    if text.count("\n") > MOST_LINES:
        raise LsnsError(
            f"{path} has more than {MOST_LINES} lines, too many for stimuli; give a smaller file"
        )
    return text


def _contrast(where: str, given: Iterable[_Row], options: Mapping[str, Any]) -> Contrast:
    rows: dict[str, list[_Row]] = {"positive": [], "negative": []}
    for row in given:
        rows.setdefault(row.condition, []).append(row)
    positive, negative, *others = rows.values()
    if not positive and not negative and not others:
        raise LsnsError(f"{where} holds no stimuli; expected rows with {FORMAT_HELP}")
    for together in (positive + negative, *others):
        _check_groups(together)
    further = {found[0].condition.removeprefix(FURTHER): found for found in others}
    labels = {name: _groups(found) for name, found in further.items()}
    try:
        return Contrast(
            positive=_texts(positive),
            negative=_texts(negative),
            positive_groups=_groups(positive),
            negative_groups=_groups(negative),
            further=tuple((name, _texts(found)) for name, found in further.items()),
            further_groups=tuple((name, found) for name, found in labels.items() if found),
            **options,
        )
    except StimulusError as error:
        there = [row.where for row in rows[error.condition]]
        raise LsnsError(f"{there[error.place] if there else where}: {error.wrong}") from None


def _rows_in_memory(table: Any) -> list[_Row]:
    texts, conditions, groups = (_values(table, column) for column in COLUMNS)
    if texts is None or conditions is None:
        raise LsnsError(f"the table needs {FORMAT_HELP}")
    groups = [None] * len(texts) if groups is None else groups
    if not len(texts) == len(conditions) == len(groups):
        raise LsnsError("the table has columns of different lengths")
    cells = enumerate(zip(texts, conditions, groups, strict=True), start=1)
    return [_row(f"the table, row {number}", *row) for number, row in cells]


def _values(table: Any, column: str) -> list[Any] | None:
    """A column's values, what is missing as None; None if there is no such column."""
    names = getattr(table, "column_names", None) or getattr(table, "columns", table)
    if column not in list(names):
        return None
    try:
        values = table[column]
        values = values.to_pylist() if hasattr(values, "to_pylist") else list(values)
    except TypeError:
        raise LsnsError(f"the table's column {column!r} is no sequence") from None
    return [None if _is_missing(value) else value for value in values]


def _is_missing(value: object) -> bool:
    """Whether it is a data frame's mark of a missing value: NaN, or that of pandas."""
    return not isinstance(value, str) and str(value) in ("nan", "<NA>")


def _check_groups(rows: list[_Row]) -> None:
    without = [row for row in rows if row.group is None]
    if 0 < len(without) < len(rows):
        raise LsnsError(f"{without[0].where}: no group, though other rows have one")


def _rows(path: Path) -> Iterator[_Row]:
    if path.suffix == ".jsonl":
        return _json_rows(path)
    if path.suffix in FORMATS:
        return _table_rows(path, "\t" if path.suffix == ".tsv" else ",")
    raise LsnsError(f"{path}: stimuli are read from {', '.join(FORMATS)} files with {FORMAT_HELP}")


def _table_rows(path: Path, delimiter: str) -> Iterator[_Row]:
    header, rows = read_cells(path, delimiter=delimiter, strict=True)
    if not {"text", "condition"} <= {*header}:
        found = clip(", ".join(header[:20]), 100)
        raise LsnsError(f"{path} needs {FORMAT_HELP}; found {found or 'nothing'}")
    for line, row in rows:
        if len(row) > len(header):
            raise LsnsError(f"{path}, line {line}: more fields than the header has; quote commas")
        cells = dict(zip(header, row, strict=False))
        yield _row(f"{path}, line {line}", *map(cells.get, COLUMNS))


def _json_rows(path: Path) -> Iterator[_Row]:
    for number, line in enumerate(io.StringIO(_read_lines(path), newline="\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        record = json_value(line, where)
        if not isinstance(record, dict):
            raise LsnsError(f"{where}: expected an object with {FORMAT_HELP}")
        yield _row(where, *map(record.get, COLUMNS))


def _row(where: str, text: object, given: object, group: object) -> _Row:
    if not isinstance(text, str) or not isinstance(given, str):
        raise LsnsError(f"{where}: no text or no condition; expected {FORMAT_HELP}")
    # Numbers of other libraries are none of Python's; what holds more than a number is no label.
    if isinstance(group, (list, dict)):
        raise LsnsError(f"{where}: the group is neither a text nor a number")
    condition, further, name = given.strip().lower().partition(FURTHER)
    if further and not condition:
        condition = f"{FURTHER}{name.strip()}"
    elif further or condition not in ("positive", "negative"):
        shown = clip(f"{condition}{further}{name}", 60)
        raise LsnsError(
            f"{where}: condition {shown!r} is neither positive nor negative nor {FURTHER}NAME"
        )
    return _Row(where, text, condition, None if group in (None, "") else str(group))


def _texts(rows: list[_Row]) -> tuple[str, ...]:
    return tuple(row.text for row in rows)


def _groups(rows: list[_Row]) -> tuple[str, ...] | None:
    return tuple(row.group for row in rows if row.group is not None) or None
