"""Where item-level results live: a Parquet file for each condition and benchmark, a cell.

A file is written in one step, when all its items are scored, and carries the digest of its
content: one that is cut short or changed is noticed.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lsns.errors import LsnsError
from lsns.store import DamagedFileError, atomic, remove

if TYPE_CHECKING:
    import pyarrow as pa

Array = np.ndarray[Any, Any]
logger = logging.getLogger(__name__)
# Column, and its type in Arrow. A benchmark fills those that it has.
COLUMNS = {
    "benchmark": "string",
    "paradigm": "string",
    "item": "string",
    "prediction": "int32",
    "logp_good": "float64",
    "logp_bad": "float64",
    "logp": "float64",
    "n_tokens": "int32",
    "n_characters": "int32",
    "metric": "string",
    "score": "float64",
    # Null: a tie, or what is no question of right or wrong.
    "correct": "bool",
    # What guessing would score; null: nothing is known of it.
    "chance": "float64",
    # What is wrong with the item; see `flaws`.
    "flaw": "string",
}
# What a row says of its condition; see `Condition.columns`.
CONDITION_COLUMNS = {
    "condition": "string",
    "target": "string",
    "percentage": "float64",
    "control": "string",
    "seed": "int64",
    "mode": "string",
    "mask": "string",
    "units": "int64",
}
NOTE = b"lsns"


def read_cell(path: Path) -> pa.Table | None:
    """The rows of a finished cell; None if it is not finished, or damaged, which is said."""
    if not path.exists():
        return None
    try:
        return _read(path)
    except DamagedFileError as error:
        logger.warning("result file %s is damaged; made again", error)
        remove(path)
        return None


def write_cell(
    path: Path,
    description: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    columns: Mapping[str, Any],
    note: Mapping[str, Any],
) -> pa.Table:
    """Write a cell in one step.

    Args:
        path: the file.
        description: everything that determines the content.
        rows: the items' rows, with some of `COLUMNS`.
        columns: what a row says of its condition.
        note: what the cell was computed with; kept in the file.
    """
    table = with_condition(as_table(rows), columns)
    content = {"cell": dict(description), "content": _digest(table), **note}
    text = json.dumps(content, sort_keys=True, default=str)
    with atomic(path) as temporary:
        parquet_module().write_table(table.replace_schema_metadata({NOTE: text}), temporary)
    return table


def as_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows of items as a table with all of `COLUMNS`."""
    import pyarrow as pa

    types = _types(COLUMNS)
    return pa.table(
        {name: pa.array([row.get(name) for row in rows], types[name]) for name in COLUMNS}
    )


def with_condition(table: pa.Table, columns: Mapping[str, Any]) -> pa.Table:
    """The table with the columns of a condition, the same in every row; replaced if they are there.

    A cell that stands for two conditions, of two masks with the same units, is one file.
    """
    import pyarrow as pa

    table = table.select(list(COLUMNS))
    for name, kind in _types(CONDITION_COLUMNS).items():
        value = pa.repeat(pa.scalar(columns[name], kind), table.num_rows)
        table = table.append_column(name, value)
    return table


def parquet_module() -> Any:
    """`pyarrow.parquet`.

    Raises:
        LsnsError: pyarrow is not installed.
    """
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        raise LsnsError(
            "results are written as Parquet, which needs pyarrow: pip install 'lsns[evaluation]'"
        ) from None
    return parquet


def _types(columns: Mapping[str, str]) -> dict[str, Any]:
    import pyarrow as pa

    make = {
        "string": pa.string(),
        "int32": pa.int32(),
        "int64": pa.int64(),
        "float64": pa.float64(),
        "bool": pa.bool_(),
    }
    return {name: make[kind] for name, kind in columns.items()}


def _read(path: Path) -> pa.Table:
    import pyarrow as pa

    try:
        # Without the guess of a dataset from the folder's name.
        table = parquet_module().ParquetFile(path).read()
        note = json.loads(table.schema.metadata[NOTE])
        sound = note["content"] == _digest(table)
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
        raise DamagedFileError(str(path)) from None
    if not sound:
        raise DamagedFileError(str(path))
    return table.replace_schema_metadata(None)


def _digest(table: pa.Table) -> str:
    """Of the values, not of the bytes, which another version of pyarrow may lay out otherwise."""
    digest = hashlib.sha256()
    for name, kind in (COLUMNS | CONDITION_COLUMNS).items():
        digest.update(f"{name}\0".encode())
        values = table.column(name).to_pylist()
        if kind == "string":
            digest.update(json.dumps(values).encode())
        else:
            array = np.array([np.nan if value is None else value for value in values], np.float64)
            digest.update(array.tobytes())
    return digest.hexdigest()
