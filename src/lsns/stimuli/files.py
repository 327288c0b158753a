"""A contrast of one's own, from a CSV, TSV or JSONL file.

The file has a `text`, a `condition` (`positive` or `negative`) and, if wanted, a `group` per row.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lsns.errors import LsnsError
from lsns.stimuli.contrast import Contrast, Pooling, text_problem

FORMATS = (".csv", ".tsv", ".jsonl")
FORMAT_HELP = "columns text, condition (positive or negative) and optionally group"


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
            with fewer than 2 texts, groups on some rows only.
    """
    rows = list(_rows(path))
    if not rows:
        raise LsnsError(f"{path} holds no stimuli; expected rows with {FORMAT_HELP}")
    for row in rows:
        _check_row(path, row)
    if len({row.group is None for row in rows}) > 1:
        line = next(row.line for row in rows if row.group is None)
        raise LsnsError(f"{path}, line {line}: no group, though other rows have one")
    positive = [row for row in rows if row.condition == "positive"]
    negative = [row for row in rows if row.condition == "negative"]
    for condition, found in (("positive", positive), ("negative", negative)):
        if len(found) < 2:
            raise LsnsError(
                f"{path} holds {len(found)} {condition} texts of {len(rows)}; "
                "a contrast needs at least 2 positive and 2 negative ones"
            )
    return Contrast(
        name=name or path.stem,
        positive=tuple(row.text for row in positive),
        negative=tuple(row.text for row in negative),
        positive_groups=_groups(positive),
        negative_groups=_groups(negative),
        max_tokens=max_tokens,
        pooling=pooling,
        source=source or f"file {path.name}",
    )


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, with or without a byte order mark."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LsnsError(
            f"{path} is not UTF-8 (byte {error.start}: 0x{error.object[error.start]:02x}); "
            "save it as UTF-8"
        ) from None
    except OSError as error:
        raise LsnsError(f"{path} cannot be read ({error.strerror})") from None


def _rows(path: Path) -> Iterator[Row]:
    if path.suffix == ".jsonl":
        return _json_rows(path)
    if path.suffix in FORMATS:
        return _table_rows(path, "\t" if path.suffix == ".tsv" else ",")
    raise LsnsError(f"{path}: stimuli are read from {', '.join(FORMATS)} files with {FORMAT_HELP}")


def _table_rows(path: Path, delimiter: str) -> Iterator[Row]:
    reader = csv.DictReader(
        io.StringIO(read_text(path), newline=""), delimiter=delimiter, strict=True
    )
    try:
        found = reader.fieldnames or []
        if not {"text", "condition"} <= set(found):
            raise LsnsError(f"{path} needs {FORMAT_HELP}; found {', '.join(found) or 'nothing'}")
        for record in reader:
            yield _row(path, reader.line_num, record)
    except csv.Error as error:
        raise LsnsError(
            f"{path}, line {reader.reader.line_num}: not readable as a table ({error})"
        ) from None


def _json_rows(path: Path) -> Iterator[Row]:
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise LsnsError(f"{path}, line {number}: not JSON ({error})") from None
        if not isinstance(record, dict):
            raise LsnsError(f"{path}, line {number}: expected an object with {FORMAT_HELP}")
        yield _row(path, number, record)


def _row(path: Path, line: int, record: Mapping[Any, object]) -> Row:
    text, condition, group = (record.get(key) for key in ("text", "condition", "group"))
    if None in record:
        raise LsnsError(f"{path}, line {line}: more fields than the header has; quote commas")
    if not isinstance(text, str) or not isinstance(condition, str):
        raise LsnsError(f"{path}, line {line}: no text or no condition; expected {FORMAT_HELP}")
    return Row(line, text, condition.strip().lower(), None if group in (None, "") else str(group))


def _check_row(path: Path, row: Row) -> None:
    if row.condition not in ("positive", "negative"):
        raise LsnsError(
            f"{path}, line {row.line}: condition {row.condition!r} is neither positive nor negative"
        )
    problem = text_problem(row.text)
    if problem is not None:
        raise LsnsError(f"{path}, line {row.line}: the text {problem}")


def _groups(rows: list[Row]) -> tuple[str, ...] | None:
    groups = tuple(row.group for row in rows if row.group is not None)
    return groups or None
