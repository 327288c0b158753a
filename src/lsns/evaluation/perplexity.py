"""Perplexity of a text, by windows over it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from lsns.errors import LsnsError
from lsns.evaluation.benchmark import Benchmark, Row, shipped
from lsns.evaluation.scoring import TextScore
from lsns.stimuli.files import read_text


@dataclass(frozen=True)
class Perplexity(Benchmark):
    """A text in windows; by default the text that ships with the package. It is used whole."""

    measure: ClassVar[str] = "perplexity"
    # A text of a few pages is several items, also for a model that reads all of it at once.
    context: ClassVar[int | None] = 512

    @property
    def paths(self) -> list[Path]:
        """The text's file."""
        path = Path(self.argument) if self.argument else shipped("text.txt")
        if not path.is_file():
            raise LsnsError(f"no file {path}; perplexity is of one text")
        return [path]

    @property
    def description(self) -> dict[str, Any]:
        """All that determines the items, which is no limit."""
        return super().description | {"limit": None}

    @cached_property
    def texts(self) -> list[tuple[str, str]]:
        """The text, under the name of its file.

        Raises:
            LsnsError: not UTF-8, or nothing in it.
        """
        path = self.paths[0]
        # The ends of lines as on this machine, wherever the file was written.
        text = read_text(path).replace("\r\n", "\n").replace("\r", "\n")
        if not text.strip():
            raise LsnsError(f"{path} is empty; a text is needed")
        return [(path.stem, text)]

    @property
    def size(self) -> int:
        """About the number of sentences that would take as long."""
        return 1 + len(self.texts[0][1]) // 100

    def rows(self, scores: Sequence[TextScore]) -> list[Row]:
        """A row for each window; `score` is the surprisal per token, in nats."""
        [(name, text)] = self.texts
        starts = np.append(np.concatenate([score.starts for score in scores]), len(text))
        starts[0] = 0
        # What a tokenizer leaves out between two tokens, such as a space, counts with the first.
        starts = np.maximum.accumulate(starts)
        rows, end = [], 0
        for place, score in enumerate(scores):
            n_tokens, end = score.n_scored, end + len(score.ids)
            logp = float(score.logprobs[-n_tokens:].sum())
            rows.append(
                {
                    "paradigm": name,
                    "item": str(place),
                    "n_tokens": n_tokens,
                    "n_characters": int(starts[end] - starts[end - n_tokens]),
                    "logp": logp,
                    "score": -logp / n_tokens,
                }
            )
        return rows
