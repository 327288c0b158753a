"""Ctrl-C and SIGTERM: one line on what is kept, from the first moment of a command on.

A command begins by importing this, so it imports only what takes a few milliseconds.
"""

from __future__ import annotations

import os
import signal
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

    Handler = Callable[[int, FrameType | None], object]

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# A second signal within this is the first one, sent on by a parent.
ECHO_SECONDS = 1.0


def leave_at_once() -> None:
    """Until there is something to keep, a signal ends the process with one line."""
    _handle(_leave)


class Interruptible:
    """SIGTERM, as Ctrl-C does, raises KeyboardInterrupt once; a later signal ends the process.

    A signal that the parent had ignored (`nohup`, a job in the background) stays ignored.

    Attributes:
        signal: the signal that came; None if none came.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._since = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interruptible:
        self._before = _handle(self._interrupt)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _interrupt(self, number: int, _: FrameType | None) -> None:
        if self.signal is None:
            self.signal, self._since = number, time.monotonic()
            raise KeyboardInterrupt
        if time.monotonic() - self._since > ECHO_SECONDS:
            _leave(number)


def _handle(handler: Handler) -> dict[int, Any]:
    """Have signals handled that are not ignored; what handled them before."""
    before: dict[int, Any] = {}
    for number in SIGNALS:
        known = signal.getsignal(number)
        # None: set by something that is not Python, which is left alone.
        if known not in (signal.SIG_IGN, None):
            try:
                signal.signal(number, handler)
            except ValueError:
                # Another thread than the main one, which has the signals.
                return before
            before[number] = known
    return before


def _leave(number: int, _: FrameType | None = None) -> None:
    try:
        os.write(2, b"lsns: interrupted\n")
    finally:
        os._exit(128 + number)
