"""`Table`: the rows of a result, and how they are shown; what is printed and written comes of it.

A row is a value with named fields: a frozen dataclass, or a mapping. A data frame and CSV have a
column for each field, unrounded. A terminal, a page and a notebook show each row as texts, which
may put several fields into one cell: `0.712 to 0.768`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from importlib import import_module
from string import Formatter
from typing import Any

from lsns.errors import LsnsError
from lsns.terminal import folded, one_line

FRAMES = (("pandas", "DataFrame"), ("pyarrow", "table"))
# A cell that begins so is a formula to a spreadsheet.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Column:
    """A column as it is shown.

    Attributes:
        head: its name at the top.
        show: a format string over the fields of a row, such as `{low:.3f} to {high:.3f}`, or a
            function from a row to a text; default: the field that is called like the head.
        missing: what stands in a row that lacks one of these fields, or has None in it.
    """

    head: str
    show: str | Callable[[Any], str] = ""
    missing: str = ""

    def cell(self, row: Any) -> str:
        """What it shows of a row."""
        if callable(self.show):
            return self.show(row)
        form = self.show or f"{{{self.head}}}"
        names = [name for _, name, _, _ in Formatter().parse(form) if name is not None]
        values = {name: _value(row, name) for name in names}
        if any(value is None for value in values.values()):
            return self.missing
        return form.format_map(values)


@dataclass(frozen=True, repr=False)
class Table:
    """Rows of one result, to print, to write, and to go on computing with.

    Attributes:
        title: what it is a table of.
        columns: as they are shown; the first one names the row.
        rows: dataclass instances or mappings, of one or several kinds.
        lead: lines between the title and the head.
        notes: lines below.
        names: the fields that a data frame and CSV have; default: all of the rows', in their order.
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[Any]
    lead: Sequence[str] = ()
    notes: Sequence[str] = ()
    names: Sequence[str] = ()

    def __repr__(self) -> str:
        """What it is of, and how long, in one line."""
        return one_line(f"Table({self.title}: {len(self.rows)} rows)")

    def cells(self) -> list[list[str]]:
        """The head and each row, as they are shown: texts on one line, safe to print."""
        rows = [[column.head for column in self.columns]]
        rows += [[column.cell(row) for column in self.columns] for row in self.rows]
        return [[_indent(cell) + one_line(cell) for cell in row] for row in rows]

    def text(self, width: int | None = None) -> str:
        """The table for a terminal; without rows, only what stands above and below.

        Args:
            width: columns of the terminal. A wider table goes on below, each part with the first
                column again, and columns of one name with those that they belong to; None: as
                wide as it is.
        """
        above = [one_line(line) for line in (self.title, *self.lead) if line]
        aligned = _aligned(self.cells(), width) if self.rows else []
        return "\n".join([*above, *aligned, *(one_line(line) for line in self.notes)])

    def data(self) -> dict[str, list[Any]]:
        """The values of every field, by its name; None where a row has no such field."""
        names = self.names or dict.fromkeys(name for row in self.rows for name in _names(row))
        return {name: [_value(row, name) for row in self.rows] for name in names}

    def csv(self) -> str:
        """The fields as CSV; a text that a spreadsheet would compute gets a `'` in front."""
        data, text = self.data(), io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(data)
        writer.writerows(
            [_guarded(value) for value in row] for row in zip(*data.values(), strict=True)
        )
        return text.getvalue()

    def to_frame(self) -> Any:
        """The fields as a data frame: of pandas, or of pyarrow where there is no pandas.

        Raises:
            LsnsError: neither of them is installed.
        """
        return make_frame(self.data())

    def to_arrow(self) -> Any:
        """The fields as a table of pyarrow.

        Raises:
            LsnsError: it is not installed.
        """
        return make_frame(self.data(), FRAMES[1:])

    def html(self) -> str:
        """The table as it is shown, as HTML; its texts are escaped."""
        # Imported where a page or a notebook is made.
        from html import escape

        head, *rows = ([escape(cell) for cell in row] for row in self.cells())
        body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>\n" for row in rows)
        above = "<br>".join(escape(one_line(line)) for line in (self.title, *self.lead) if line)
        below = "".join(f"<p>{escape(one_line(line))}</p>\n" for line in self.notes)
        heads = "".join(f"<th>{cell}</th>" for cell in head)
        return (
            f"<table>\n<caption>{above}</caption>\n<thead><tr>{heads}</tr></thead>\n"
            f"<tbody>\n{body}</tbody>\n</table>\n{below}"
        )

    def _repr_html_(self) -> str:
        return self.html()


class Tabled:
    """A result that knows its tables: what a notebook shows of it, and a data frame."""

    def tables(self) -> Sequence[Table]:
        """All that it says in tables."""
        raise NotImplementedError

    def to_frame(self) -> Any:
        """The first of its tables as a data frame, unrounded: of pandas, else of pyarrow."""
        return self.tables()[0].to_frame()

    def _repr_html_(self) -> str:
        return "\n".join(table.html() for table in self.tables())


def make_frame(data: Mapping[str, Any], kinds: Sequence[tuple[str, str]] = FRAMES) -> Any:
    """A data frame of pandas, or of pyarrow where there is no pandas.

    Args:
        data: the values of each column, a sequence or an array, by its name.
        kinds: packages and what of them makes a data frame, the first one that is there.

    Raises:
        LsnsError: neither of them is installed.
    """
    for package, name in kinds:
        with suppress(ImportError):
            return getattr(import_module(package), name)(dict(data))
    raise LsnsError("a data frame needs pandas or pyarrow: pip install 'lsns[evaluation]'")


def _aligned(rows: Sequence[Sequence[str]], columns: int | None) -> list[str]:
    """Columns of equal width, the first to the left; the first row is the head."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    if columns is not None:
        widths[0] = min(widths[0], columns // 2)
    return [
        line
        for number, part in enumerate(_parts(rows[0], widths, columns))
        for line in [*[""] * (number > 0), *_part(rows, widths, part)]
    ]


def _names(row: Any) -> Sequence[str]:
    return list(row) if isinstance(row, Mapping) else [field.name for field in fields(row)]


def _value(row: Any, name: str) -> Any:
    return row.get(name) if isinstance(row, Mapping) else getattr(row, name, None)


def _guarded(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    shown = f"'{value}" if value.startswith(_FORMULA) else value
    # A lone carriage return would end the row for some readers; a line feed in a cell is quoted.
    return shown.replace("\r", "\n")


def _indent(cell: str) -> str:
    return " " * (len(cell) - len(cell.lstrip(" ")))


def _parts(head: Sequence[str], widths: Sequence[int], columns: int | None) -> list[list[int]]:
    """Which columns, but for the first, stand side by side."""
    parts: list[list[int]] = [[]]
    for place in range(1, len(widths)):
        needed = sum(widths[i] + 2 for i in (0, *parts[-1], place)) - 2
        if columns is not None and needed > columns and parts[-1]:
            # A second "95%" or "p" says something of the column before it.
            belongs = head[place] in head[:place] and len(parts[-1]) > 1
            parts.append([parts[-1].pop()] if belongs else [])
        parts[-1].append(place)
    return parts


def _part(
    rows: Sequence[Sequence[str]], widths: Sequence[int], part: Sequence[int]
) -> Iterator[str]:
    for row in rows:
        names = folded(row[0], widths[0], break_words=True)
        cells = [row[i].rjust(widths[i]) for i in part]
        yield "  ".join([names[0].ljust(widths[0]), *cells]).rstrip()
        yield from names[1:]
