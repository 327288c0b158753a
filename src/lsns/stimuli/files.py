"""A contrast of one's own, from a CSV, TSV or JSONL file, or from a table in memory.

It has a `text`, a `condition` (`positive` or `negative`) and, if wanted, a `group` per row. Rows of
condition `further:NAME` make a further condition of that name.
"""

from __future__ import annotations

import csv
import io
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from lsns.errors import LsnsError
from lsns.json_text import json_value
from lsns.stimuli.contrast import ByName, Contrast, Pooling, clip, name_problem, text_problem

FORMATS = (".csv", ".tsv", ".jsonl")
FORMAT_HELP = "columns text, condition (positive or negative, or further:NAME) and optionally group"
FURTHER = "further:"
COLUMNS = ("text", "condition", "group")
# Far more than any stimuli: what is larger is another file, and would take the memory.
LARGEST_BYTES = 64 << 20
MOST_LINES = 500_000
_LIMIT = threading.Lock()


@dataclass(frozen=True)
class Row:
    """One stimulus, and where it stands."""

    line: int
    text: str
    condition: str
    group: str | None


def read_contrast(
    path: Path,
    *,
    name: str | None = None,
    max_tokens: int | None = None,
    pooling: Pooling = "last-token",
    source: str | None = None,
) -> Contrast:
    """Read a contrast from a file; by default whole texts, and the last token of each.

    Raises:
        LsnsError: an unknown format, a row that cannot be read (file and line named), a condition
            with fewer than 2 texts, groups on some rows only (positive and negative ones count
            as one here, each further condition for itself), a further text of a strange group.
    """
    return _make_contrast(
        path,
        _rows(path),
        name=name or path.stem,
        max_tokens=max_tokens,
        pooling=pooling,
        source=source or f"file {path.name}",
    )


def is_table(value: object) -> bool:
    """Whether `read_table` takes it: a mapping of columns, or a data frame of any library."""
    return isinstance(value, Mapping) or hasattr(value, "columns")


def read_table(table: Any, *, name: str = "table", **protocol: Any) -> Contrast:
    """The contrast of a table in memory, as `read_contrast` of a file with these rows.

    Args:
        table: a mapping from column names to values, or a data frame of pandas, polars or pyarrow,
            with columns `text`, `condition` and, if wanted, `group`; others are not read.
        name: of the contrast.
        protocol: `max_tokens` and `pooling`, as for `read_contrast`.

    Raises:
        LsnsError: as `read_contrast`, with rows counted from 1.
    """
    where = "the table"
    columns = {column: _values(table, column) for column in COLUMNS}
    texts, conditions, groups = (columns[column] for column in COLUMNS)
    if texts is None or conditions is None:
        raise LsnsError(f"{where} needs {FORMAT_HELP}")
    groups = [None] * len(texts) if groups is None else groups
    if not len(texts) == len(conditions) == len(groups):
        raise LsnsError(f"{where} has columns of different lengths")
    cells = zip(texts, conditions, groups, strict=True)
    rows = (
        _row(where, line, dict(zip(COLUMNS, row, strict=True)))
        for line, row in enumerate(cells, start=1)
    )
    return _make_contrast(where, rows, name=name, source="a table given in Python", **protocol)


def add_further(contrast: Contrast, path: Path) -> Contrast:
    """The contrast with the further conditions of a file that holds nothing else.

    Raises:
        LsnsError: as `read_contrast`; a row of another condition; a condition that the contrast
            has already.
    """
    rows, further = _split(_checked(path, _rows(path)))
    if rows:
        raise LsnsError(
            f"{_at(path, rows[0].line)}: condition {rows[0].condition!r}; expected {FURTHER}NAME"
        )
    return _with_further(contrast, path, further)


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


def read_cells(
    path: Path, *, delimiter: str = ",", strict: bool = True
) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header of a CSV file, and its rows that are not empty, each with its line; unchecked.

    Fields may have any length.

    Args:
        path: the file.
        delimiter: between fields.
        strict: refuse quotes that are out of place.

    Raises:
        LsnsError: not UTF-8, not readable as a table (line named), too large.
    """
    text = io.StringIO(read_text(path), newline="")
    reader = csv.reader(text, delimiter=delimiter, strict=strict)
    try:
        with _long_fields():
            header = next(reader, [])
            rows = [(reader.line_num, row) for row in islice(reader, MOST_LINES + 1)]
    except csv.Error as error:
        raise LsnsError(
            f"{path}, line {reader.line_num}: not readable as a table ({error})"
        ) from None
    _check_size(path, len(rows))
    return header, [(line, row) for line, row in rows if row]


@contextmanager
def _long_fields() -> Iterator[None]:
    """Let csv read fields of any length; its limit, which is that of all threads, is put back."""
    with _LIMIT:
        before = csv.field_size_limit(LARGEST_BYTES)
        try:
            yield
        finally:
            csv.field_size_limit(before)


def _check_size(path: Path, lines: int) -> None:
    if lines > MOST_LINES:
        raise LsnsError(
            f"{path} has more than {MOST_LINES} lines, too many for stimuli; give a smaller file"
        )


def _make_contrast(
    where: Path | str, given: Iterable[Row], *, name: str, source: str, **protocol: Any
) -> Contrast:
    found = _checked(where, given)
    rows, further = _split(found)
    _check_groups(where, rows)
    positive = [row for row in rows if row.condition == "positive"]
    negative = [row for row in rows if row.condition == "negative"]
    for condition, of_it in (("positive", positive), ("negative", negative)):
        if len(of_it) < 2:
            raise LsnsError(
                f"{where} holds {len(of_it)} {condition} texts of {len(found)}; "
                "a contrast needs at least 2 positive and 2 negative ones"
            )
    contrast = Contrast(
        name=name,
        positive=tuple(row.text for row in positive),
        negative=tuple(row.text for row in negative),
        positive_groups=_groups(positive),
        negative_groups=_groups(negative),
        source=source,
        **protocol,
    )
    return _with_further(contrast, where, further)


def _at(where: Path | str, number: int) -> str:
    """For messages: a line of a file, or a row of what is none."""
    return f"{where}, {'line' if isinstance(where, Path) else 'row'} {number}"


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


def _checked(where: Path | str, given: Iterable[Row]) -> list[Row]:
    rows = list(given)
    if not rows:
        raise LsnsError(f"{where} holds no stimuli; expected rows with {FORMAT_HELP}")
    for row in rows:
        _check_row(where, row)
    return rows


def _split(rows: list[Row]) -> tuple[list[Row], dict[str, list[Row]]]:
    """The rows of the two conditions, and those of the further ones by name."""
    main: list[Row] = []
    further: dict[str, list[Row]] = {}
    for row in rows:
        name = _further_name(row.condition)
        (main if name is None else further.setdefault(name, [])).append(row)
    return main, further


def _further_name(condition: str) -> str | None:
    if not condition.startswith(FURTHER):
        return None
    return condition.removeprefix(FURTHER).strip()


def _with_further(contrast: Contrast, path: Path | str, rows: dict[str, list[Row]]) -> Contrast:
    for name, found in rows.items():
        _check_further(contrast, path, name, found)
    texts: ByName = tuple((name, tuple(row.text for row in found)) for name, found in rows.items())
    groups = [(name, _groups(found)) for name, found in rows.items()]
    return replace(
        contrast,
        further=contrast.further + texts,
        further_groups=contrast.further_groups
        + tuple((name, labels) for name, labels in groups if labels is not None),
    )


def _check_further(contrast: Contrast, path: Path | str, name: str, rows: list[Row]) -> None:
    if len(rows) < 2:
        raise LsnsError(
            f"{_at(path, rows[0].line)}: the only text of {FURTHER}{name}; "
            "a further condition needs at least 2"
        )
    if name in contrast.further_texts:
        raise LsnsError(f"{_at(path, rows[0].line)}: {contrast.name} has {FURTHER}{name} already")
    _check_groups(path, rows)
    known = {*contrast.given_groups, None}
    strange = next((row for row in rows if row.group not in known), None)
    if strange is not None:
        raise LsnsError(
            f"{_at(path, strange.line)}: group {clip(str(strange.group), 60)!r} is not that of a "
            "positive or negative text; give the one of the item that the text was made from"
        )


def _check_groups(path: Path | str, rows: list[Row]) -> None:
    if len({row.group is None for row in rows}) > 1:
        line = next(row.line for row in rows if row.group is None)
        raise LsnsError(f"{_at(path, line)}: no group, though other rows have one")


def _rows(path: Path) -> Iterator[Row]:
    if path.suffix == ".jsonl":
        return _json_rows(path)
    if path.suffix in FORMATS:
        return _table_rows(path, "\t" if path.suffix == ".tsv" else ",")
    raise LsnsError(f"{path}: stimuli are read from {', '.join(FORMATS)} files with {FORMAT_HELP}")


def _table_rows(path: Path, delimiter: str) -> Iterator[Row]:
    header, rows = read_cells(path, delimiter=delimiter)
    places = {name: place for place, name in enumerate(header)}
    if not {"text", "condition"} <= set(places):
        found = clip(", ".join(header[:20]), 100)
        raise LsnsError(f"{path} needs {FORMAT_HELP}; found {found or 'nothing'}")
    for line, row in rows:
        if len(row) > len(header):
            raise LsnsError(f"{path}, line {line}: more fields than the header has; quote commas")
        there = {name: places[name] for name in COLUMNS if places.get(name, len(row)) < len(row)}
        yield _row(path, line, {name: row[place] for name, place in there.items()})


def _json_rows(path: Path) -> Iterator[Row]:
    for number, line in enumerate(io.StringIO(read_text(path), newline="\n"), start=1):
        _check_size(path, number)
        if not line.strip():
            continue
        record = json_value(line, f"{path}, line {number}")
        if not isinstance(record, dict):
            raise LsnsError(f"{path}, line {number}: expected an object with {FORMAT_HELP}")
        yield _row(path, number, record)


def _row(where: Path | str, line: int, record: Mapping[str, object]) -> Row:
    text, condition, group = (record.get(column) for column in COLUMNS)
    if not isinstance(text, str) or not isinstance(condition, str):
        raise LsnsError(f"{_at(where, line)}: no text or no condition; expected {FORMAT_HELP}")
    # Numbers of other libraries are none of Python's; what holds more than a number is no label.
    if isinstance(group, (list, dict)):
        raise LsnsError(f"{_at(where, line)}: the group is neither a text nor a number")
    return Row(line, text, condition.strip().lower(), None if group in (None, "") else str(group))


def _check_row(where: Path | str, row: Row) -> None:
    problem = _condition_problem(row.condition)
    if problem is not None:
        raise LsnsError(f"{_at(where, row.line)}: condition {clip(row.condition, 60)!r} {problem}")
    problem = text_problem(row.text)
    if problem is not None:
        raise LsnsError(f"{_at(where, row.line)}: the text {problem}")


def _condition_problem(condition: str) -> str | None:
    if condition in ("positive", "negative"):
        return None
    name = _further_name(condition)
    if name is None:
        return f"is neither positive nor negative nor {FURTHER}NAME"
    problem = name_problem(name)
    return None if problem is None else f"cannot be: {clip(name, 60)!r} {problem}"


def _groups(rows: list[Row]) -> tuple[str, ...] | None:
    groups = tuple(row.group for row in rows if row.group is not None)
    return groups or None
