"""What workers do in `test_work`: without torch, so that they start at once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lsns.engines import Engine, engine_of
from lsns.errors import LsnsError
from lsns.store import Store
from lsns.work import Chunk, run

N_CHUNKS = 60


@dataclass(frozen=True)
class Draw:
    """Numbers for each seed, and a line in a file for each that was drawn."""

    log: Path
    seconds: float = 0.0

    def __call__(self, seeds: Sequence[int]) -> list[Any]:
        time.sleep(self.seconds)
        with self.log.open("a") as file:
            file.write("".join(f"{seed} {os.getpid()}\n" for seed in seeds))
        return [np.random.RandomState(seed).random_sample(3) for seed in seeds]

    @property
    def drawn(self) -> list[int]:
        """The seeds that were drawn."""
        return [seed for seed, _ in self.lines]

    @property
    def lines(self) -> list[tuple[int, int]]:
        """A seed and the process that drew it."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [(int(line.split()[0]), int(line.split()[1])) for line in lines]


@dataclass(frozen=True)
class Fatal(Draw):
    """Ends its process, once for each seed of some, or always; before or after the work."""

    times: int = 1

    def __call__(self, seeds: Sequence[int]) -> list[Any]:
        seed = seeds[0]
        marks = [self.log.with_name(f"{seed}.{number}") for number in range(self.times)]
        mark = next((mark for mark in marks if not mark.exists()), None)
        if seed % 3 and mark is not None:
            mark.touch()
            values = super().__call__(seeds) if seed % 2 else []
            os.kill(os.getpid(), signal.SIGKILL)
            return values
        return super().__call__(seeds)


def fail(tasks: Sequence[str]) -> list[Any]:
    raise LsnsError(f"no {tasks[0]}") if tasks[0] == "way" else ValueError(tasks[0])


def work(engine: Engine, function: Draw, folder: Path, n: int = N_CHUNKS, **options: Any) -> Any:
    store = Store(folder, {"of": "test"})
    chunks = [Chunk(seed, 2, store, f"{seed}") for seed in range(n)]
    found: dict[int, Any] = {}
    run(engine, function, chunks, found.__setitem__, folder=folder, **options)
    assert sorted(found) == list(range(n))
    return np.stack([found[place] for place in range(n)])


def main(folder: str, workers: str) -> None:
    """What a process of its own does."""
    work(engine_of(int(workers)), Draw(Path(folder) / "log", 0.02), Path(folder))
