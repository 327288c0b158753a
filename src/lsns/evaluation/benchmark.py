"""What a benchmark is: items by their digest, scored into rows. No torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsns.store import digest_of, sha256_file

if TYPE_CHECKING:
    from lsns.evaluation.cells import PartStore
    from lsns.models.base import BaseModel

Row = dict[str, Any]
Advance = Callable[[int], None]
LANGUAGE, OTHER = "language", "other"
DOMAINS = (LANGUAGE, OTHER)


@dataclass(frozen=True)
class Benchmark(ABC):
    """Items that a model is scored on.

    Attributes:
        name: in tables and results.
        argument: what stands after the colon; empty: nothing.
        limit: items per paradigm at most; None: all.
        domain: `language` or `other`, for the double dissociation.
        measure: `accuracy` or `perplexity`.
    """

    name: str
    argument: str = ""
    limit: int | None = None
    domain: str = LANGUAGE
    measure: str = field(default="accuracy", init=False)

    @property
    @abstractmethod
    def paths(self) -> list[Path]:
        """The files that the items are read from."""

    @property
    @abstractmethod
    def size(self) -> int:
        """What a run advances by in all; the items are read for it."""

    @abstractmethod
    def run(
        self,
        model: BaseModel,
        *,
        prefix: str,
        batch_size: int | None,
        advance: Advance,
        parts: PartStore | None = None,
    ) -> list[Row]:
        """Score every item; rows as in `cells.COLUMNS`.

        Args:
            model: the model, lesioned or not.
            prefix: see `scoring.resolve_prefix`.
            batch_size: see `scoring.score_texts`.
            advance: told how much of `size` is done.
            parts: where what is computed is kept, for a run that goes on.

        Raises:
            LsnsError: an item that cannot be scored, with its name.
        """

    @property
    def description(self) -> dict[str, Any]:
        """All that determines the items: the files' names and bytes, and how many are taken."""
        content = {path.name: sha256_file(path) for path in self.paths}
        return {"kind": type(self).__name__, "files": content, "limit": self.limit}

    @property
    def code(self) -> list[str]:
        """What scoring runs that is not installed, each in words; see `lsns.plugins.permit`."""
        return []

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the description."""
        return digest_of(self.description)
