"""The terminal: text that is safe to print, results, tables, progress and notes.

Names, tokens, prompts and keys come out of files and off the hub, and a terminal obeys escape
sequences in what is printed. So whatever is shown passes through `printable` or `one_line`.
Nothing here imports from the package.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import textwrap
import time
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

logger = logging.getLogger("lsns")
# What `str.isprintable` refuses, and no terminal obeys: spaces, and the joiners of some scripts.
KEPT = "\n\u00a0\u202f\u3000\u200c\u200d"
# Of a bar in an encoding that has no block.
PLAIN = str.maketrans({"█": "#"})
LINE_SECONDS = 30.0
BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}]"
NAME_WIDTH = 40
NARROWEST = 40


class OutputError(Exception):
    """A result could not be printed, e.g. for want of space; the message says why."""


def printable(text: str) -> str:
    r"""The text with every character that a terminal could obey written out, as `\x1b`.

    Line breaks stay. Control characters (C0 and C1), marks of writing direction and halves of
    characters in file names do not.
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in KEPT else c.encode("unicode_escape").decode() for c in text
    )


def one_line(text: str) -> str:
    """The printable text as one line, for what must not look like two: a name, an error."""
    return printable(" ".join(text.split()))


def say(text: str, end: str = "\n") -> None:
    """Print a result on standard output, as well as its encoding can.

    On a terminal, long lines break between words. A reader that has gone (`| head`) is no error.

    Raises:
        OutputError: what is printed cannot be written.
    """
    if sys.stdout is None:  # pyright: ignore[reportUnnecessaryComparison]
        return
    lines, columns = printable(text).split("\n"), width()
    shown = "\n".join(part for line in lines for part in folded(line, columns))
    try:
        sys.stdout.write(_encodable(shown + end, sys.stdout.encoding or "utf-8"))
        sys.stdout.flush()
    except BrokenPipeError:
        forget_output()
    except OSError as error:
        raise OutputError(f"the output could not be written ({error.strerror})") from None


def forget_output() -> None:
    """Lead standard output nowhere from here on, also where Python itself flushes it at the end."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def width() -> int | None:
    """Columns of the terminal that results are printed on; None for a file or a pipe."""
    if sys.stdout is None or not sys.stdout.isatty():  # pyright: ignore[reportUnnecessaryComparison]
        return None
    return max(shutil.get_terminal_size().columns, NARROWEST)


def folded(line: str, columns: int | None, *, break_words: bool = False) -> list[str]:
    """The line as lines of at most so many columns, broken between words.

    Args:
        line: a printable text.
        columns: how many; None: any number.
        break_words: break a word that is longer than that, instead of letting it stick out.
    """
    if columns is None or len(line) <= columns:
        return [line]
    return textwrap.wrap(
        line, columns, subsequent_indent="    ", replace_whitespace=False,
        break_long_words=break_words, break_on_hyphens=False,
    )  # fmt: skip


def first_lines(lines: Sequence[str], more: str, limit: int = 10) -> str:
    """At most so many lines; where some are left out, the last one says how many, and `more`."""
    kept = list(lines)
    if len(kept) > limit:
        kept = [*kept[: limit - 1], f"... {len(kept) - limit + 1} more lines: {more}"]
    return "\n".join(kept)


class _Progress:
    """How far a long step is, counted and not shown.

    Attributes:
        n: how many are done.
    """

    def __init__(self, total: int, ready: int, unit: str, words: str) -> None:
        self.total, self.n, self.unit, self.words = total, ready, unit, words

    def update(self, number: int = 1) -> None:
        """So many more are done."""
        self.n += number

    def describe(self, words: str) -> None:
        """What is under way now."""
        self.words = one_line(words)


class _Lines(_Progress):
    """A line at the beginning, and then at most every 30 s: for a file or a pipe."""

    def __init__(self, *about: Any) -> None:
        super().__init__(*about)
        self._print()

    def update(self, number: int = 1) -> None:
        super().update(number)
        if time.monotonic() - self._printed >= LINE_SECONDS:
            self._print()

    def _print(self) -> None:
        self._printed = time.monotonic()
        with suppress(OSError):
            named = self.words or f"{self.unit}s"
            print(f"{named}: {self.n} of {self.total}", file=sys.stderr, flush=True)


class _Bar(_Progress):
    """A bar on a terminal."""

    def __init__(self, total: int, ready: int, unit: str, words: str) -> None:
        from tqdm import tqdm

        super().__init__(total, ready, unit, words)
        self.bar = tqdm(
            total=total, initial=ready, unit=unit, desc=_short(words) or None,
            mininterval=0.5, dynamic_ncols=True, bar_format=BAR,
        )  # fmt: skip

    def update(self, number: int = 1) -> None:
        super().update(number)
        self.bar.update(number)

    def describe(self, words: str) -> None:
        super().describe(words)
        self.bar.set_description(_short(self.words))


@contextmanager
def progress(
    total: int, *, unit: str = "text", words: str = "", ready: int = 0, shown: bool = True
) -> Generator[_Progress]:
    """Show on standard error how far a long step is: as a bar, or as lines where it is no terminal.

    Args:
        total: how many there are.
        unit: of what is counted.
        words: what is under way.
        ready: how many were done before.
        shown: otherwise, as where warnings are not reported (`quieted`), it is only counted.
    """
    about = (total, ready, unit, one_line(words))
    shown = shown and logger.isEnabledFor(logging.WARNING)
    if not shown or sys.stderr is None:  # pyright: ignore[reportUnnecessaryComparison]
        yield _Progress(*about)
    elif not sys.stderr.isatty():
        yield _Lines(*about)
    else:
        bar = _Bar(*about)
        with bar.bar:
            yield bar


@contextmanager
def quieted(quiet: bool = True) -> Generator[None]:
    """Report errors only: no notes, no warnings, no progress."""
    if not quiet:
        yield
        return
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def show_notes() -> None:
    """Show what is logged on standard error: notes of this package, warnings of others."""
    if not logging.root.handlers:
        handler = _Handler()
        handler.setFormatter(_Formatter())
        logging.root.addHandler(handler)
        logging.root.setLevel(logging.WARNING)
    logger.setLevel(logging.INFO)


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return one_line(text) if record.name.startswith("lsns") else printable(text)


class _Handler(logging.StreamHandler[Any]):
    """On standard error, above the progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        bars: Any = sys.modules.get("tqdm")
        if bars is None:
            super().emit(record)
            return
        with bars.tqdm.external_write_mode(file=self.stream):
            super().emit(record)


def _encodable(text: str, encoding: str) -> str:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(PLAIN).encode(encoding, "backslashreplace").decode(encoding)
    return text


def _short(words: str) -> str:
    """A bar needs its place."""
    return words if len(words) <= NAME_WIDTH else f"{words[: NAME_WIDTH - 3]}..."
