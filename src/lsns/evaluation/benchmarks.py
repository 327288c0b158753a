"""What is measured: benchmarks by name, the digest of their items, and rows of results. No torch.

The readers are imported when items are needed: what is finished is found by a benchmark's digest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsns.errors import LsnsError
from lsns.evaluation.benchmark import DOMAINS, OTHER, Advance, Benchmark, Row
from lsns.store import sha256_file

if TYPE_CHECKING:
    from lsns.evaluation.cells import PartStore
    from lsns.models.base import BaseModel

KNOWN = "minimal-pairs, minimal-pairs:PATH, blimp, blimp:FOLDER, syntaxgym:FOLDER, " + (
    "perplexity, perplexity:FILE, lm-eval:TASK"
)


@dataclass(frozen=True)
class MinimalPairs(Benchmark):
    """Pairs of sentences, as BLiMP has them; by default the set that ships with the package."""

    @property
    def paths(self) -> list[Path]:
        """See `Benchmark`."""
        return _files(self.argument or str(_shipped("minimal_pairs.jsonl")), "*.jsonl")

    @cached_property
    def items(self) -> list[Any]:
        """The pairs."""
        from lsns.evaluation.minimal_pairs import read_pairs

        return read_pairs(self.argument or _shipped("minimal_pairs.jsonl"), limit=self.limit)

    @property
    def size(self) -> int:
        """Sentences."""
        return 2 * len(self.items)

    def run(
        self,
        model: BaseModel,
        *,
        prefix: str,
        batch_size: int | None,
        advance: Advance,
        parts: PartStore | None = None,
    ) -> list[Row]:
        """See `Benchmark`."""
        from lsns.evaluation.minimal_pairs import score_pairs

        results = score_pairs(
            model, self.items, benchmark=self.name, prefix=prefix, batch_size=batch_size,
            advance=advance, parts=parts,
        )  # fmt: skip
        return [asdict(result) | {"score": result.score} for result in results]


@dataclass(frozen=True)
class Blimp(MinimalPairs):
    """BLiMP as the hub has it: a Parquet file for each paradigm."""

    @property
    def paths(self) -> list[Path]:
        """See `Benchmark`; downloaded if they are not here."""
        from lsns.evaluation.blimp import blimp_files

        return blimp_files()

    @property
    def description(self) -> dict[str, Any]:
        """See `Benchmark`; the files have one name, in a folder for each paradigm."""
        content = {f"{path.parent.name}/{path.name}": sha256_file(path) for path in self.paths}
        return {"kind": type(self).__name__, "files": content, "limit": self.limit}

    @cached_property
    def items(self) -> list[Any]:
        """The pairs."""
        from lsns.evaluation.minimal_pairs import read_files

        return read_files(self.paths, limit=self.limit)


@dataclass(frozen=True)
class SyntaxGym(Benchmark):
    """SyntaxGym suites; a row is a prediction of an item."""

    @property
    def paths(self) -> list[Path]:
        """See `Benchmark`."""
        return _files(self.argument, "*.json")

    @cached_property
    def items(self) -> list[Any]:
        """The suites."""
        from lsns.evaluation.syntaxgym import read_suites

        return read_suites(self.argument, limit=self.limit)

    @property
    def size(self) -> int:
        """Sentences."""
        return sum(len(suite.sentences) for suite in self.items)

    def run(
        self,
        model: BaseModel,
        *,
        prefix: str,
        batch_size: int | None,
        advance: Advance,
        parts: PartStore | None = None,
    ) -> list[Row]:
        """See `Benchmark`."""
        from lsns.evaluation.syntaxgym import score_suites

        results = score_suites(
            model, self.items, benchmark=self.name, prefix=prefix, batch_size=batch_size,
            advance=advance, parts=parts,
        )  # fmt: skip
        return [asdict(result) | {"score": result.score} for result in results]


@dataclass(frozen=True)
class Perplexity(Benchmark):
    """A text in windows; by default the one that ships with the package."""

    measure: str = field(default="perplexity", init=False)

    @property
    def paths(self) -> list[Path]:
        """See `Benchmark`."""
        path = Path(self.argument) if self.argument else _shipped("text.txt")
        if not path.is_file():
            raise LsnsError(f"no file {path}; perplexity is of one text")
        return [path]

    @property
    def description(self) -> dict[str, Any]:
        """See `Benchmark`; a text is taken whole."""
        return super().description | {"limit": None}

    @cached_property
    def items(self) -> str:
        """The text."""
        from lsns.evaluation.perplexity import read_text

        return read_text(self.paths[0])

    @property
    def size(self) -> int:
        """About the number of sentences that would take as long."""
        return 1 + len(self.items) // 100

    def run(
        self,
        model: BaseModel,
        *,
        prefix: str,
        batch_size: int | None,
        advance: Advance,
        parts: PartStore | None = None,
    ) -> list[Row]:
        """See `Benchmark`; `score` is the surprisal per token, in nats."""
        from lsns.evaluation.perplexity import score_windows

        results = score_windows(
            model, self.items, name=self.paths[0].stem, benchmark=self.name, prefix=prefix,
            batch_size=batch_size, parts=parts,
        )  # fmt: skip
        advance(self.size)
        return [asdict(result) | {"score": -result.logp / result.n_tokens} for result in results]


def parse_benchmark(text: str, *, limit: int | None = None) -> Benchmark:
    """The benchmark of that name.

    Args:
        text: see `KNOWN`; `language=` or `other=` in front says which side of the double
            dissociation it is on. By default all are on the side of language but lm-eval's.
        limit: items per paradigm at most.

    Raises:
        LsnsError: no such benchmark, or a folder or file that is not there or is empty.
    """
    if limit is not None and limit < 1:
        raise LsnsError(f"limit must be at least 1; got {limit}")
    front, mark, rest = text.partition("=")
    asked, spec = (front, rest) if mark and front in DOMAINS else (None, text)
    kind, _, argument = spec.partition(":")
    made = _make(kind, argument, limit, spec)
    made = made if asked is None else replace(made, domain=asked)
    # A file that is not there is told of before anything runs.
    _ = made.digest
    return made


def parse_benchmarks(texts: str | Sequence[str], *, limit: int | None = None) -> list[Benchmark]:
    """All of them, or the one that is given alone, each under a name of its own.

    Raises:
        LsnsError: see `parse_benchmark`; none, or one twice.
    """
    texts = [texts] if isinstance(texts, str) else texts
    if not texts:
        raise LsnsError(f"no benchmark; use one of {KNOWN}")
    made = [parse_benchmark(text, limit=limit) for text in texts]
    digests = [one.digest for one in made]
    twice = next((i for i, digest in enumerate(digests) if digest in digests[:i]), None)
    if twice is not None:
        raise LsnsError(f"benchmark {texts[twice]!r} is given twice; leave one out")
    names = [one.name for one in made]
    return [
        replace(one, name=f"{one.name}:{one.argument}")
        if names.count(one.name) > 1 and one.argument
        else one
        for one in made
    ]


def check_items(benchmarks: Sequence[Benchmark]) -> None:
    """Read the items: one that cannot be read is told of before the model runs.

    Raises:
        LsnsError: items that cannot be read.
    """
    for benchmark in benchmarks:
        _ = benchmark.size


def _make(kind: str, argument: str, limit: int | None, spec: str) -> Benchmark:
    if spec == "blimp":
        return Blimp(kind, argument, limit)
    if kind == "minimal-pairs" or (kind == "blimp" and argument):
        return MinimalPairs(kind, argument, limit)
    if kind == "syntaxgym" and argument:
        return SyntaxGym(kind, argument, limit)
    if kind == "perplexity":
        return Perplexity(kind, argument, limit)
    if kind == "lm-eval" and argument:
        from lsns.evaluation.harness import HarnessTask

        return HarnessTask(argument, argument, limit, OTHER)
    raise LsnsError(f"no benchmark {spec!r}; use one of {KNOWN}")


def _shipped(name: str) -> Path:
    return Path(str(files("lsns.evaluation") / "data" / name))


def _files(argument: str, pattern: str) -> list[Path]:
    path = Path(argument)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise LsnsError(f"no file or folder {path}")
    found = sorted(path.glob(pattern))
    if not found:
        raise LsnsError(f"{path} holds no {pattern.removeprefix('*')} file; it is no benchmark")
    return found
