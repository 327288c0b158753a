"""Ctrl-C and SIGTERM: one line on what is kept, from the first moment of a command on.

A command begins by importing this, so it imports only what takes a few milliseconds.
"""

from __future__ import annotations

import os
import signal
import sys
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
# After which a destructor, which an interruption cannot leave, has ended.
AGAIN_SECONDS = 0.05


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
        self._hook = sys.unraisablehook

    def __enter__(self) -> Interruptible:
        self._before = _handle(self._interrupt)
        self._hook, sys.unraisablehook = sys.unraisablehook, self._dropped
        return self

    def __exit__(self, *_: object) -> None:
        sys.unraisablehook = self._hook
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _interrupt(self, number: int, _: FrameType | None) -> None:
        if self.signal is None:
            self.signal, self._since = number, time.monotonic()
            raise KeyboardInterrupt
        if time.monotonic() - self._since > ECHO_SECONDS:
            _leave(number)

    def _dropped(self, what: Any) -> None:
        """Python drops what is raised in a destructor: an interruption there comes again."""
        if self.signal is None or what.exc_type is not KeyboardInterrupt:
            self._hook(what)
            return
        from _thread import interrupt_main
        from threading import Timer

        number, self.signal = self.signal, None
        Timer(AGAIN_SECONDS, interrupt_main, [number]).start()


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
