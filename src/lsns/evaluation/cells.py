"""Where item-level results live: a Parquet file for each condition and benchmark, a cell.

A file is written in one step, when all its items are scored, and carries the digest of its
content: one that is cut short or changed is noticed. Until then what was computed is kept in
parts, which are removed with the last.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lsns.errors import LsnsError
from lsns.store import DamagedFileError, atomic, digest_of, locked, prepare_folder

if TYPE_CHECKING:
    import pyarrow as pa

Array = np.ndarray[Any, Any]
Tokens = Sequence[int]
logger = logging.getLogger(__name__)
# Raised when scoring changes what it computes.
EVALUATION = 2
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
DIGEST_BYTES = 32


class CellStore:
    """The finished cells in a folder.

    Args:
        folder: made if it is not there.

    Raises:
        LsnsError: it cannot be written to, or pyarrow is not installed.
    """

    def __init__(self, folder: Path) -> None:
        parquet_module()
        self.folder = _prepared(folder / "items")
        self._damaged: set[Path] = set()

    def path(self, description: Mapping[str, Any]) -> Path:
        """The file of a cell, named by all that determines its content."""
        return self.folder / f"{digest_of({'evaluation': EVALUATION, **description})[:32]}.parquet"

    def load(self, description: Mapping[str, Any]) -> pa.Table | None:
        """The rows of a finished cell; None if it is not finished, or damaged, which is said."""
        path = self.path(description)
        if not path.exists():
            return None
        try:
            table = _read(path)
        except DamagedFileError as error:
            if path not in self._damaged:
                logger.warning("result file %s is damaged; made again", error)
            self._damaged.add(path)
            return None
        # A run that was killed right after writing the cell left them.
        self.parts(description).remove()
        _remove(path.with_suffix(".lock"))
        return table

    def save(
        self,
        description: Mapping[str, Any],
        rows: Sequence[Mapping[str, Any]],
        columns: Mapping[str, Any],
        note: Mapping[str, Any],
    ) -> pa.Table:
        """Write a cell in one step; its parts are not needed any more.

        Args:
            description: all that determines the content.
            rows: of items.
            columns: the condition's.
            note: what it was computed with; kept in the file.
        """
        parquet = parquet_module()
        table = with_condition(as_table(rows), columns)
        content = {"cell": dict(description), "content": _digest(table), **note}
        text = json.dumps(content, sort_keys=True, default=str)
        with atomic(self.path(description)) as temporary:
            parquet.write_table(table.replace_schema_metadata({NOTE: text}), temporary)
        self.parts(description).remove()
        return table

    def parts(self, description: Mapping[str, Any]) -> PartStore:
        """What there is of a cell that is not finished."""
        return PartStore(self.path(description).with_suffix(".parts"))

    @contextmanager
    def alone(self, name: str, what: str) -> Iterator[None]:
        """Keep other runs in the same folder from doing the same; wait for one that does.

        Args:
            name: of the lock: a cell's, or another.
            what: is done, to say what is waited for.
        """
        path = self.folder / f"{name}.lock"
        with locked(path, what):
            try:
                yield
            finally:
                # While it is held: whoever waits finds the file gone, and makes another.
                _remove(path)


class PartStore:
    """Parts of a cell: what was found for some token sequences, in a file each.

    A part is written in one step, under a name made of its sequences, and carries the digest of
    its values.

    Args:
        folder: of this cell alone; made when there is something to keep.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def count(self) -> int:
        """Parts that are there."""
        return len(list(self.folder.glob("*.part")))

    def load(self, sequences: Sequence[Tokens]) -> list[Array] | None:
        """What is kept for some sequences of at least two token ids; None: nothing, or damaged."""
        return _read_part(self._path(sequences), [len(sequence) - 1 for sequence in sequences])

    def keep(self, sequences: Sequence[Tokens], values: Sequence[Array]) -> None:
        """Keep float64 (n_tokens - 1,) for each of some sequences."""
        _write_part(self._path(sequences), values)

    def _path(self, sequences: Sequence[Tokens]) -> Path:
        name = digest_of({"sequences": [list(sequence) for sequence in sequences]})
        return self.folder / f"{name[:32]}.part"

    def remove(self) -> None:
        """Remove all of them."""
        shutil.rmtree(self.folder, ignore_errors=True)


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


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()


def _write_part(path: Path, values: Sequence[Array]) -> None:
    content = np.concatenate(values).astype("<f8").tobytes()
    with atomic(path) as temporary:
        temporary.write_bytes(hashlib.sha256(content).digest() + content)


def _read_part(path: Path, lengths: Sequence[int]) -> list[Array] | None:
    """The values of sequences with so many each; None if there are none, or they are damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, values = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
    if len(values) != 8 * sum(lengths) or hashlib.sha256(values).digest() != digest:
        logger.warning("part %s of a result is damaged; made again", path)
        return None
    # A copy, for what is read from bytes cannot be written to.
    array = np.frombuffer(values, "<f8").astype(np.float64)
    return np.split(array, np.cumsum(lengths)[:-1])


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


def _prepared(folder: Path) -> Path:
    try:
        return prepare_folder(folder)
    except LsnsError as error:
        raise LsnsError(f"output: {str(error).partition(';')[0]}; choose another") from None
