"""JSON that is read back becomes what it was written from: a class of the package, or one error.

A file may be changed by hand, cut short or of another version. It is checked where it is read, so
that nothing behind needs to doubt it. A class names what is used of a file; there may be more.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from lsns.errors import LsnsError
from lsns.store import parse_object, read_bytes

T = TypeVar("T")
_LONGEST_MESSAGE = 200


def read_object(path: Path, form: int | None = None) -> dict[str, Any] | None:
    """A JSON object; None if there is no file. Unlike a cache's, a damaged one is an error.

    Args:
        path: the file.
        form: the version of its format that is understood, its "format"; None: it has none.

    Raises:
        LsnsError: the file is damaged, or of another version.
    """
    content = read_bytes(path)
    if content is None:
        return None
    try:
        found = parse_object(content)
    except UnicodeDecodeError:
        raise LsnsError(f"{path} is damaged: not UTF-8") from None
    except json.JSONDecodeError as error:
        raise LsnsError(f"{path} is damaged: not JSON ({error})") from None
    except ValueError as error:
        raise LsnsError(f"{path} is damaged: {error}") from None
    if form is not None and found.get("format") != form:
        raise LsnsError(f"{path} was written by an earlier version of lsns; run again")
    return found


def as_typed(path: str | Path, content: Any, kind: type[T]) -> T:
    """What was read from a file as a dataclass or a `TypedDict`; what these do not name is left.

    Args:
        path: the file, for an error.
        content: of JSON.
        kind: the class; a list stands for any sequence of it.

    Raises:
        LsnsError: where in the file something else was found than belongs there.
    """
    from pydantic import ValidationError

    try:
        # As JSON: there a list is what tuples are written as, and else nothing is converted.
        return _adapter(kind).validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        words = _problem(first["loc"], first["type"], first["input"])
        raise LsnsError(f"{path} is damaged: {words}"[:_LONGEST_MESSAGE]) from None


@cache
def _adapter(kind: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _problem(place: Sequence[str | int], kind: str, found: object) -> str:
    """`'overlaps', row 0, has no 'units'`, or of another kind, in words."""
    names = [str(part) for part in place]
    number = next((n for n, part in enumerate(place) if isinstance(part, int)), None)
    if number is None:
        where, last = "", ".".join(names)
    else:
        where = f"{'.'.join(names[:number])!r}, row {names[number]}"
        last = ".".join(names[number + 1 :])
    if kind == "missing":
        return f"{where}, has no {last!r}" if where else f"it has no {last!r}"
    start = f"{where}: " if where else ""
    if kind in ("list_type", "tuple_type"):
        return f"{start}{last!r} is not a list of objects"
    if kind in ("dict_type", "mapping_type", "dataclass_type"):
        return f"{start}{last!r} is not an object"
    return f"{start}{last} is {found!r}"
