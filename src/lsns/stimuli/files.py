"""A contrast of one's own, from a CSV, TSV or JSONL file.

The file has a `text`, a `condition` (`positive` or `negative`) and, if wanted, a `group` per row.
Rows of condition `further:NAME` make a further condition of that name.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lsns.errors import LsnsError
from lsns.stimuli.contrast import ByName, Contrast, Pooling, name_problem, text_problem

FORMATS = (".csv", ".tsv", ".jsonl")
FORMAT_HELP = "columns text, condition (positive or negative, or further:NAME) and optionally group"
FURTHER = "further:"


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
    found = _checked_rows(path)
    rows, further = _split(found)
    _check_groups(path, rows)
    positive = [row for row in rows if row.condition == "positive"]
    negative = [row for row in rows if row.condition == "negative"]
    for condition, of_it in (("positive", positive), ("negative", negative)):
        if len(of_it) < 2:
            raise LsnsError(
                f"{path} holds {len(of_it)} {condition} texts of {len(found)}; "
                "a contrast needs at least 2 positive and 2 negative ones"
            )
    contrast = Contrast(
        name=name or path.stem,
        positive=tuple(row.text for row in positive),
        negative=tuple(row.text for row in negative),
        positive_groups=_groups(positive),
        negative_groups=_groups(negative),
        max_tokens=max_tokens,
        pooling=pooling,
        source=source or f"file {path.name}",
    )
    return _with_further(contrast, path, further)


def add_further(contrast: Contrast, path: Path) -> Contrast:
    """The contrast with the further conditions of a file that holds nothing else.

    Raises:
        LsnsError: as `read_contrast`; a row of another condition; a condition that the contrast
            has already.
    """
    rows, further = _split(_checked_rows(path))
    if rows:
        raise LsnsError(
            f"{path}, line {rows[0].line}: condition {rows[0].condition!r}; expected {FURTHER}NAME"
        )
    return _with_further(contrast, path, further)


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


def _checked_rows(path: Path) -> list[Row]:
    rows = list(_rows(path))
    if not rows:
        raise LsnsError(f"{path} holds no stimuli; expected rows with {FORMAT_HELP}")
    for row in rows:
        _check_row(path, row)
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


def _with_further(contrast: Contrast, path: Path, rows: dict[str, list[Row]]) -> Contrast:
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


def _check_further(contrast: Contrast, path: Path, name: str, rows: list[Row]) -> None:
    if len(rows) < 2:
        raise LsnsError(
            f"{path}, line {rows[0].line}: the only text of {FURTHER}{name}; "
            "a further condition needs at least 2"
        )
    if name in contrast.further_texts:
        raise LsnsError(f"{path}, line {rows[0].line}: {contrast.name} has {FURTHER}{name} already")
    _check_groups(path, rows)
    known = {*contrast.given_groups, None}
    strange = next((row for row in rows if row.group not in known), None)
    if strange is not None:
        raise LsnsError(
            f"{path}, line {strange.line}: group {strange.group!r} is not that of a positive or "
            "negative text; give the one of the item that the text was made from"
        )


def _check_groups(path: Path, rows: list[Row]) -> None:
    if len({row.group is None for row in rows}) > 1:
        line = next(row.line for row in rows if row.group is None)
        raise LsnsError(f"{path}, line {line}: no group, though other rows have one")


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
    problem = _condition_problem(row.condition)
    if problem is not None:
        raise LsnsError(f"{path}, line {row.line}: condition {row.condition!r} {problem}")
    problem = text_problem(row.text)
    if problem is not None:
        raise LsnsError(f"{path}, line {row.line}: the text {problem}")


def _condition_problem(condition: str) -> str | None:
    if condition in ("positive", "negative"):
        return None
    name = _further_name(condition)
    if name is None:
        return f"is neither positive nor negative nor {FURTHER}NAME"
    problem = name_problem(name)
    return None if problem is None else f"cannot be: {name!r} {problem}"


def _groups(rows: list[Row]) -> tuple[str, ...] | None:
    groups = tuple(row.group for row in rows if row.group is not None)
    return groups or None
