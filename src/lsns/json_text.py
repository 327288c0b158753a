"""JSON that somebody else wrote: bounded, of numbers that are numbers and texts that are texts."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from lsns.errors import LsnsError

MOST_CHARACTERS = 1 << 26
MOST_NESTED = 100
# Of what names an item, in tables and results.
MOST_IN_NAME = 200


def json_value(text: str, where: str) -> Any:
    """The value of a JSON text.

    Args:
        text: the JSON text, of a whole file or of one line.
        where: the file, or file and line, that errors name.

    Raises:
        LsnsError: not JSON, or with NaN or an infinity, which JSON has not; longer than 64 million
            characters; values nested more than 100 deep; half a surrogate pair in a text.
    """
    if len(text) > MOST_CHARACTERS:
        raise LsnsError(f"{where}: {len(text):,} characters of JSON; at most {MOST_CHARACTERS:,}")
    try:
        value = _DECODER.decode(text)
    except RecursionError:
        raise _nested(where) from None
    except ValueError as error:
        raise LsnsError(f"{where}: not JSON ({error})") from None
    _check(value, where, halves="\\u" in text)
    return value


def name_of(value: Any, where: str) -> str:
    """What a file calls something: a text or number, as a text.

    Raises:
        LsnsError: another value, or more than 200 characters.
    """
    name = str(value) if isinstance(value, (str, int, float)) else ""
    if not name or len(name) > MOST_IN_NAME:
        raise LsnsError(
            f"{where} must be a name of 1 to {MOST_IN_NAME} characters; found {shown(value)}"
        )
    return name


def shown(value: Any) -> str:
    """A value as an error quotes it."""
    text = repr(value[:61] if isinstance(value, str) else value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _check(value: Any, where: str, *, halves: bool) -> None:
    """Level by level, for what is nested deep cannot be walked by recursion."""
    level: list[Any] = [value]
    for _ in range(MOST_NESTED + 1):
        if halves and any(isinstance(text, str) and not _is_text(text) for text in level):
            raise LsnsError(f"{where}: a text is not valid Unicode (half a surrogate pair)")
        level = [child for one in level for child in _children(one)]
        if not level:
            return
    raise _nested(where)


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return (*value.keys(), *value.values())
    return value if isinstance(value, list) else ()


def _is_text(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _nested(where: str) -> LsnsError:
    return LsnsError(f"{where}: values nested in one another more than {MOST_NESTED} deep")


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse)
