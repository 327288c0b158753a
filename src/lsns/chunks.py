"""Fixed chunks of work, and the one place that maps a function over them.

What a chunk is never depends on who computes it, nor on the batch size: so results are the same
for any number of workers, and a run that was interrupted goes on with the chunks that are missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

Result = TypeVar("Result")
Chunk = tuple[int, ...]
CHUNK_ITEMS = 96


def plan_chunks(tokens: Sequence[Sequence[int]], *, size: int = CHUNK_ITEMS) -> list[Chunk]:
    """Indexes of texts, longest first, texts of like length together.

    The order depends on the texts alone, not on the order in which they are given.
    """
    order = sorted(range(len(tokens)), key=lambda index: (-len(tokens[index]), tokens[index]))
    return [tuple(order[start : start + size]) for start in range(0, len(order), size)]


def split_batches(
    chunk: Chunk, tokens: Sequence[Sequence[int]], *, batch_size: int | None, budget: int
) -> list[Chunk]:
    """A chunk in batches: of `batch_size`, or of as many texts as fit `budget` padded tokens."""
    size = batch_size or max(1, budget // max(len(tokens[index]) for index in chunk))
    return [chunk[start : start + size] for start in range(0, len(chunk), size)]


def map_chunks(
    function: Callable[[Chunk], Result], chunks: Iterable[Chunk]
) -> Iterator[tuple[Chunk, Result]]:
    """`function` of every chunk, in the order of the chunks. Serial today."""
    for chunk in chunks:
        yield chunk, function(chunk)
