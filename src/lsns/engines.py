"""Who computes: an engine maps a function over tasks, in this process or in several of them.

An engine is a function that gives results as they are ready. Each task is computed in the same way
by all of them: so the results are the same bytes.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import sys
import threading
import traceback
from collections import Counter, deque
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from lsns.errors import LsnsError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

# What computes: given a function and tasks, the place of each task and what the function makes of
# it, as they are ready.
Engine: TypeAlias = Callable[
    [Callable[[Any], Any], Sequence[Any]], Generator[tuple[int, Any], None, None]
]
logger = logging.getLogger(__name__)
# Of processes that had the same task: then it is the task that ends them.
DEATHS = 3


def engine_of(workers: int) -> Engine:
    """The engine for a number of workers: for one, this process, else processes beside it.

    Raises:
        LsnsError: not a number of workers.
    """
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise LsnsError(f"workers must be at least 1; got {workers!r}")
    return _here if workers == 1 else partial(_by_processes, workers)


def _here(
    function: Callable[[Any], Any], tasks: Sequence[Any]
) -> Generator[tuple[int, Any], None, None]:
    """One task after another, in their order."""
    for place, task in enumerate(tasks):
        yield place, function(task)


def _by_processes(
    n: int, function: Callable[[Any], Any], tasks: Sequence[Any]
) -> Generator[tuple[int, Any], None, None]:
    """New processes of this machine, which live as long as there are tasks.

    Each gets the function once, and has as many threads of torch as this process: their number
    changes the last digits of some results. The task of a process that died is done again by
    another.

    Raises:
        LsnsError: the function does, or one task was the end of three processes.
    """
    from multiprocessing.connection import wait

    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else None
    begin = partial(_Worker, pickle.dumps(function), threads)
    waiting, deaths = deque(range(len(tasks))), Counter[int]()
    idle = [begin() for _ in range(min(n, len(tasks)))]
    _warn_if_crowded(len(idle), threads or 1)
    busy: dict[Connection, tuple[_Worker, int]] = {}
    try:
        while waiting or busy:
            while waiting and idle:
                worker, place = idle.pop(), waiting.popleft()
                worker.send(tasks[place])
                busy[worker.connection] = worker, place
            for connection in wait(list(busy)):
                worker, place = busy.pop(connection)  # type: ignore[index]
                if (answer := worker.receive()) is None:
                    deaths[place] += 1
                    if deaths[place] == DEATHS:
                        raise LsnsError(
                            f"{DEATHS} workers ended before they had finished one piece of "
                            "work, for want of memory perhaps; use fewer workers, and in a "
                            "script call from below if __name__ == '__main__'"
                        )
                    waiting.appendleft(place)
                    worker.end()
                    idle.append(begin())
                    continue
                idle.append(worker)
                error, result = answer
                if error is not None:
                    raise error(result)
                yield place, result
    finally:
        for worker in [*idle, *(worker for worker, _ in busy.values())]:
            worker.end()


def _warn_if_crowded(workers: int, threads: int) -> None:
    """They keep their threads all the same: fewer would change the last digits of results."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if cores and workers > 1 and workers * threads > cores:
        logger.warning(
            "more threads than cores (%d workers x %d, on %d): this may be slower than one worker; "
            "use fewer, or set OMP_NUM_THREADS, which changes the last digits of activations",
            workers,
            threads,
            cores,
        )


class _Worker:
    """A process that waits for tasks, and ends with this one."""

    def __init__(self, function: bytes, threads: int | None) -> None:
        from multiprocessing import get_context

        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, threads))
        with _blocked():
            self._process.start()
        theirs.close()
        with suppress(OSError):
            self.connection.send_bytes(function)

    def send(self, task: object) -> None:
        # Of one that has died, it is noticed when its answer is read.
        with suppress(OSError):
            self.connection.send(task)

    def receive(self) -> tuple[type[Exception] | None, Any] | None:
        """The kind of error and its words, or None and the result; None: the process has died."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            return None

    def end(self) -> None:
        # Killed: it has nothing to put in order.
        self._process.kill()
        self._process.join()
        self._process.close()
        self.connection.close()


@contextmanager
def _blocked() -> Generator[None]:
    """A process that is started now never sees Ctrl-C, which this one handles for it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(connection: Connection, threads: int | None) -> None:
    """What a process does: tasks, one after another, until its parent has gone."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    with suppress(EOFError, OSError):
        function = connection.recv()
        while True:
            task = connection.recv()
            try:
                answer = (None, function(task))
            except LsnsError as error:
                answer = (LsnsError, str(error))
            except Exception:
                answer = (RuntimeError, traceback.format_exc())
            connection.send(answer)


def _end_with_parent() -> None:
    from multiprocessing import parent_process

    if (parent := parent_process()) is not None:
        parent.join()
        os._exit(1)
