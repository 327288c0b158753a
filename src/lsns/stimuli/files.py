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
class _Row:
    """One stimulus, and where it stands, such as `file.csv, line 3`."""

    where: str
    text: str
    condition: str
    group: str | None

    @property
    def further(self) -> str | None:
        """The name of its further condition; None for one of the two that localize."""
        if not self.condition.startswith(FURTHER):
            return None
        return self.condition.removeprefix(FURTHER).strip()


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
        _row(f"{where}, row {number}", dict(zip(COLUMNS, row, strict=True)))
        for number, row in enumerate(cells, start=1)
    )
    return _make_contrast(where, rows, name=name, source="a table given in Python", **protocol)


def add_further(contrast: Contrast, path: Path) -> Contrast:
    """The contrast with the further conditions of a file that holds nothing else.

    Raises:
        LsnsError: as `read_contrast`; a row of another condition; a condition that the contrast
            has already.
    """
    rows, further = _split(path, _rows(path))
    if rows:
        raise LsnsError(f"{rows[0].where}: condition {rows[0].condition!r}; expected {FURTHER}NAME")
    return _with_further(contrast, further)


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
def _long_fields() -> Generator[None]:
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
    where: Path | str, given: Iterable[_Row], *, name: str, source: str, **protocol: Any
) -> Contrast:
    rows, further = _split(where, given)
    _check_groups(rows)
    sides = {c: [row for row in rows if row.condition == c] for c in ("positive", "negative")}
    for condition, found in sides.items():
        if len(found) < 2:
            total = len(rows) + sum(map(len, further.values()))
            raise LsnsError(
                f"{where} holds {len(found)} {condition} texts of {total}; "
                "a contrast needs at least 2 positive and 2 negative ones"
            )
    contrast = Contrast(
        name=name,
        positive=_texts(sides["positive"]),
        negative=_texts(sides["negative"]),
        positive_groups=_groups(sides["positive"]),
        negative_groups=_groups(sides["negative"]),
        source=source,
        **protocol,
    )
    return _with_further(contrast, further)


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


def _split(where: Path | str, given: Iterable[_Row]) -> tuple[list[_Row], dict[str, list[_Row]]]:
    """The rows of the two conditions, and those of the further ones by name."""
    main: list[_Row] = []
    further: dict[str, list[_Row]] = {}
    for row in given:
        (main if row.further is None else further.setdefault(row.further, [])).append(row)
    if not main and not further:
        raise LsnsError(f"{where} holds no stimuli; expected rows with {FORMAT_HELP}")
    return main, further


def _with_further(contrast: Contrast, further: Mapping[str, list[_Row]]) -> Contrast:
    for name, rows in further.items():
        _check_further(contrast, name, rows)
    texts: ByName = tuple((name, _texts(rows)) for name, rows in further.items())
    groups = ((name, _groups(rows)) for name, rows in further.items())
    labels: ByName = tuple((name, found) for name, found in groups if found is not None)
    return replace(
        contrast,
        further=contrast.further + texts,
        further_groups=contrast.further_groups + labels,
    )


def _check_further(contrast: Contrast, name: str, rows: list[_Row]) -> None:
    if len(rows) < 2:
        raise LsnsError(
            f"{rows[0].where}: the only text of {FURTHER}{name}; "
            "a further condition needs at least 2"
        )
    if name in contrast.further_texts:
        raise LsnsError(f"{rows[0].where}: {contrast.name} has {FURTHER}{name} already")
    _check_groups(rows)
    known = {*contrast.given_groups, None}
    strange = next((row for row in rows if row.group not in known), None)
    if strange is not None:
        raise LsnsError(
            f"{strange.where}: group {clip(str(strange.group), 60)!r} is not that of a "
            "positive or negative text; give the one of the item that the text was made from"
        )


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
    header, rows = read_cells(path, delimiter=delimiter)
    places = {name: place for place, name in enumerate(header)}
    if not {"text", "condition"} <= set(places):
        found = clip(", ".join(header[:20]), 100)
        raise LsnsError(f"{path} needs {FORMAT_HELP}; found {found or 'nothing'}")
    for line, row in rows:
        if len(row) > len(header):
            raise LsnsError(f"{path}, line {line}: more fields than the header has; quote commas")
        there = {name: places[name] for name in COLUMNS if places.get(name, len(row)) < len(row)}
        yield _row(f"{path}, line {line}", {name: row[place] for name, place in there.items()})


def _json_rows(path: Path) -> Iterator[_Row]:
    for number, line in enumerate(io.StringIO(read_text(path), newline="\n"), start=1):
        _check_size(path, number)
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        record = json_value(line, where)
        if not isinstance(record, dict):
            raise LsnsError(f"{where}: expected an object with {FORMAT_HELP}")
        yield _row(where, record)


def _row(where: str, record: Mapping[str, object]) -> _Row:
    text, condition, group = (record.get(column) for column in COLUMNS)
    if not isinstance(text, str) or not isinstance(condition, str):
        raise LsnsError(f"{where}: no text or no condition; expected {FORMAT_HELP}")
    # Numbers of other libraries are none of Python's; what holds more than a number is no label.
    if isinstance(group, (list, dict)):
        raise LsnsError(f"{where}: the group is neither a text nor a number")
    label = None if group in (None, "") else str(group)
    row = _Row(where, text, condition.strip().lower(), label)
    problem = _condition_problem(row)
    if problem is not None:
        raise LsnsError(f"{where}: condition {clip(row.condition, 60)!r} {problem}")
    problem = text_problem(text)
    if problem is not None:
        raise LsnsError(f"{where}: the text {problem}")
    return row


def _condition_problem(row: _Row) -> str | None:
    if row.condition in ("positive", "negative"):
        return None
    if row.further is None:
        return f"is neither positive nor negative nor {FURTHER}NAME"
    problem = name_problem(row.further)
    return None if problem is None else f"cannot be: {clip(row.further, 60)!r} {problem}"


def _texts(rows: list[_Row]) -> tuple[str, ...]:
    return tuple(row.text for row in rows)


def _groups(rows: list[_Row]) -> tuple[str, ...] | None:
    return tuple(row.group for row in rows if row.group is not None) or None
