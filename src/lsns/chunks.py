"""Fixed chunks of work, and the one place that maps a function over them, batch by batch.

What a chunk is never depends on who computes it, nor on the batch size: so results are the same
for any number of workers, and a run that was interrupted goes on with the chunks that are missing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import TypeVar

from lsns.errors import LsnsError

Result = TypeVar("Result")
Chunk = tuple[int, ...]
CHUNK_ITEMS = 96


def plan_chunks(tokens: Sequence[Sequence[int]], *, size: int = CHUNK_ITEMS) -> list[Chunk]:
    """Indexes of texts, longest first, texts of like length together.

    The order depends on the texts alone, not on the order in which they are given.
    """
    order = sorted(range(len(tokens)), key=lambda index: (-len(tokens[index]), tokens[index]))
    return [tuple(order[start : start + size]) for start in range(0, len(order), size)]


def fitting(chunk: Chunk, tokens: Sequence[Sequence[int]], budget: int) -> int:
    """How many texts of a chunk fit a number of padded tokens; at least one."""
    return max(1, budget // max(len(tokens[index]) for index in chunk))


def map_chunks(
    function: Callable[[Chunk], Sequence[Result]],
    chunks: Sequence[Chunk],
    *,
    batch_size: int | None,
    usual: Callable[[Chunk], int],
) -> Iterator[tuple[Chunk, list[Result]]]:
    """Chunk by chunk, in their order, what a function finds for the texts. Serial today.

    A chunk is what is kept, a batch what is computed at once: several chunks may share a batch.

    Args:
        function: a result for each text of a batch.
        chunks: indexes of texts, none empty.
        batch_size: texts per batch; None: batches within a chunk, of the usual size.
        usual: that size for a chunk.

    Raises:
        LsnsError: an impossible batch size.
    """
    if batch_size is not None and batch_size < 1:
        raise LsnsError(f"batch-size must be at least 1; got {batch_size}")
    found: dict[int, Result] = {}
    waiting = deque(chunks)
    for batch in _batches(chunks, batch_size, usual):
        found.update(zip(batch, function(batch), strict=True))
        while waiting and waiting[0][-1] in found:
            chunk = waiting.popleft()
            yield chunk, [found.pop(index) for index in chunk]


def _batches(
    chunks: Sequence[Chunk], batch_size: int | None, usual: Callable[[Chunk], int]
) -> Iterator[Chunk]:
    for group in chunks if batch_size is None else [tuple(chain.from_iterable(chunks))]:
        size = batch_size or usual(group)
        yield from (group[start : start + size] for start in range(0, len(group), size))
