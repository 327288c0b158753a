"""Work in chunks: what is there is not computed again, and what is computed is kept at once.

A chunk has a name made of everything that determines its result, within a store that is named by
the rest. So a run that was stopped goes on, and several workers give the bytes of one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lsns.engines import Engine
from lsns.store import Store
from lsns.terminal import progress

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Chunk:
    """A piece of work.

    Attributes:
        task: what the function is given, beside the tasks of other chunks in a list.
        size: by how much progress advances.
        store: where its result is kept; chunks that share a call are of one store.
        name: names its result there; empty: it is not kept, as whoever takes it keeps it.
        words: what progress says is under way.
    """

    task: Any
    size: int
    store: Store
    name: str = ""
    words: str = ""


def run(
    engine: Engine,
    function: Callable[[list[Any]], Sequence[Any]],
    chunks: Sequence[Chunk],
    take: Callable[[int, Any], None] = lambda place, result: None,
    *,
    folder: Path,
    unit: str = "text",
    ready: int = 0,
    at_once: int = 0,
    shown: bool = False,
) -> None:
    """Have every chunk computed that is not there.

    Args:
        engine: computes; it is the one that calls the function.
        function: a list of tasks to a list of results.
        chunks: all of them.
        take: given the place of each chunk and its result, found or computed, as they come.
        folder: where results are kept, to say so.
        unit: what sizes are counted in.
        ready: how much was there before, of which there are no chunks.
        at_once: sizes of chunks that share a call come to this at least, where there are so many.
        shown: whether progress is shown.

    Raises:
        KeyboardInterrupt: after an interruption, with what is kept.
    """
    missing: list[int] = []
    found = 0
    for place, chunk in enumerate(chunks):
        result = chunk.store.part(chunk.name) if chunk.name else None
        if result is None:
            missing.append(place)
        else:
            found += chunk.size
            take(place, result)
    if found:
        logger.info("%d %ss are there from an earlier run", found, unit)
    total = ready + sum(chunk.size for chunk in chunks)
    calls = list(_calls(chunks, missing, at_once))
    words = chunks[missing[0]].words if missing else ""
    bars = progress(total, unit=unit, words=words, ready=ready + found, shown=shown and bool(calls))
    tasks = [[chunks[place].task for place in call] for call in calls]
    results = engine(function, tasks)
    with bars as bar, _told(lambda: (bar.n, total), unit, folder), closing(results):
        for number, values in results:
            for place, result in zip(calls[number], values, strict=True):
                chunk = chunks[place]
                if chunk.name:
                    chunk.store.keep(chunk.name, result)
                take(place, result)
                bar.describe(chunk.words)
                bar.update(chunk.size)


def _calls(chunks: Sequence[Chunk], missing: Sequence[int], at_once: int) -> Iterator[list[int]]:
    """Which chunks share a call: neighbours of one store."""
    call: list[int] = []
    for place in missing:
        full = sum(chunks[other].size for other in call) >= max(at_once, 1)
        if call and (full or chunks[place].store is not chunks[call[0]].store):
            yield call
            call = []
        call.append(place)
    if call:
        yield call


@contextmanager
def _told(done: Callable[[], tuple[int, int]], unit: str, folder: Path) -> Generator[None]:
    try:
        yield
    except KeyboardInterrupt:
        number, total = done()
        raise KeyboardInterrupt(
            f"interrupted: {number} of {total} {unit}s are kept in {folder}; "
            "the same command goes on from there"
        ) from None
