"""What a benchmark is: texts, and what becomes of their scores. No torch.

A benchmark is data: it names its files, gives the texts that are in them, and turns the scores of
these texts into rows. It is run in one place, `Benchmark.run`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from lsns.errors import LsnsError
from lsns.evaluation.scoring import TextScore, TextTokens, encode_texts, score_tokens
from lsns.store import digest_of, sha256_file

if TYPE_CHECKING:
    from lsns.models.base import BaseModel

Row = dict[str, Any]
# What a benchmark asks for: one of the three networks, or something else.
LANGUAGE, THEORY_OF_MIND, MULTIPLE_DEMAND, OTHER = DOMAINS = (
    "language",
    "theory-of-mind",
    "multiple-demand",
    "other",
)


@dataclass(frozen=True)
class Benchmark(ABC):
    """Texts that a model is scored on. A subclass gives `paths`, `texts` and `rows`.

    Attributes:
        name: what tables and results call the benchmark.
        argument: what stands after the colon of its specification, such as a file; empty: nothing.
        limit: how many items of each paradigm are used at most, the first ones; None: all.
        domain: what it asks for, one of `DOMAINS`: a network, or `other`.
        measure: `accuracy` or `perplexity`.
        whole: whether another program scores all of it in one piece, by `run`.
        context: None: each text is scored whole; else in windows of at most so many tokens.
    """

    name: str
    argument: str = ""
    limit: int | None = None
    domain: str = LANGUAGE
    measure: ClassVar[str] = "accuracy"
    context: ClassVar[int | None] = None
    whole: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise LsnsError(f"limit must be at least 1; got {self.limit}")

    @property
    @abstractmethod
    def paths(self) -> list[Path]:
        """The files that the items are read from."""

    @cached_property
    def texts(self) -> list[tuple[str, str]]:
        """What is scored: each text after the name that errors call it by."""
        raise NotImplementedError

    def rows(self, scores: Sequence[TextScore]) -> list[Row]:
        """Results by item, with the columns of `cells.COLUMNS` but for the benchmark's name.

        Args:
            scores: one for each of `texts`, in their order; of a benchmark with a `context`, one
                for each window.
        """
        raise NotImplementedError

    @property
    def size(self) -> int:
        """What a run advances by in all; the items are read to know it."""
        return len(self.texts)

    def run(self, model: BaseModel, *, prefix: str, batch_size: int | None = None) -> list[Row]:
        """Score every item, in one piece.

        Args:
            model: the model, intact or with lesions attached.
            prefix: what stands in front of each text: `auto`, `bos`, `eos`, `none`, or a token of
                the vocabulary.
            batch_size: texts per forward pass; None: as many as fit a fixed number of tokens.

        Returns:
            Rows with the columns of `cells.COLUMNS` that the benchmark has.

        Raises:
            LsnsError: an item that cannot be scored, with its name.
        """
        tokens = self.tokens(model, prefix)
        return self.named_rows(score_tokens(model, tokens, batch_size=batch_size))

    def tokens(self, model: BaseModel, prefix: str) -> list[TextTokens]:
        """The tokens of `texts`, or of their windows, each after what stands in front of it."""
        names, texts = [name for name, _ in self.texts], [text for _, text in self.texts]
        return encode_texts(model, texts, names=names, prefix=prefix, context=self.context)

    def named_rows(self, scores: Sequence[TextScore]) -> list[Row]:
        """`rows`, with the benchmark's name."""
        return [{"benchmark": self.name, **row} for row in self.rows(scores)]

    @property
    def description(self) -> dict[str, Any]:
        """All that determines the items: the files' names and bytes, and how many are used."""
        content = {path.name: sha256_file(path) for path in self.paths}
        return {"kind": type(self).__name__, "files": content, "limit": self.limit}

    @property
    def code(self) -> list[str]:
        """The code that scoring runs and that is not installed, each piece in words.

        `lsns.plugins.permit` asks for permission to run it.
        """
        return []

    def __getstate__(self) -> dict[str, Any]:
        """Sent to a worker, it reads its items there."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the description."""
        return digest_of(self.description)


def shipped(name: str) -> Path:
    """The path of a data file that ships with the package."""
    return Path(str(files("lsns.evaluation") / "data" / name))


def files_of(path: str | Path, ending: str, expected: str) -> list[Path]:
    """A file alone, or the files of a folder in the order of their names.

    Args:
        path: the file or folder.
        ending: how names of files in a folder end that are taken, such as `.json`.
        expected: what these files should hold; errors say it.

    Raises:
        LsnsError: no such path, or no such file in the folder.
    """
    path = Path(path)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise LsnsError(f"no file or folder {path}")
    found = sorted(path.glob(f"*{ending}"))
    if not found:
        raise LsnsError(f"{path} holds no {ending} file; expected {expected}")
    return found
