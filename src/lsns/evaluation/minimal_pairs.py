"""Minimal pairs: two sentences that differ in one thing, of which a model should prefer one.

The format is BLiMP's (https://doi.org/10.1162/tacl_a_00321): one JSON
object per line, with `sentence_good` and `sentence_bad`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lsns.errors import LsnsError
from lsns.evaluation.scoring import Prefix, score_texts
from lsns.models.base import BaseModel

if TYPE_CHECKING:
    from lsns.evaluation.cells import PartStore


@dataclass(frozen=True)
class MinimalPair:
    """Two sentences.

    Attributes:
        paradigm: what the pair is about: its `UID`, else the name of its file.
        item: names it within its paradigm: its `pairID`, else the number of its line from 0.
        good: the sentence that should be likelier.
        bad: the other one.
        where: the file and line that it was read from, if it was.
    """

    paradigm: str
    item: str
    good: str
    bad: str
    where: str = field(default="", compare=False)

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.where}{', ' * bool(self.where)}paradigm {self.paradigm}, item {self.item}"


@dataclass(frozen=True)
class PairResult:
    """What a model made of a pair.

    Attributes:
        benchmark: the name of the benchmark.
        paradigm: of the pair.
        item: of the pair.
        logp_good: log-probability of the good sentence, in nats.
        logp_bad: of the bad one.
        correct: whether the good one is strictly likelier; a tie is no preference, and not correct.
    """

    benchmark: str
    paradigm: str
    item: str
    logp_good: float
    logp_bad: float
    correct: bool


def read_pairs(path: str | Path, *, limit: int | None = None) -> list[MinimalPair]:
    """Read a jsonl file, or all of a folder in the order of their names.

    Args:
        path: the file or folder.
        limit: how many pairs of each paradigm at most, the first ones.

    Raises:
        LsnsError: no such path, a line that cannot be read (file and line named), an item that
            is there twice, or no pair at all.
    """
    _check_limit(limit)
    found = read_files(_files(Path(path)), limit=limit)
    if not found:
        raise LsnsError(f"{path} holds no minimal pairs; expected lines of JSON with sentence_good")
    return found


def read_files(files: Sequence[Path], *, limit: int | None = None) -> list[MinimalPair]:
    """Read jsonl files, and Parquet files with the same names of columns (`pair_id` as the hub).

    Args:
        files: in their order.
        limit: see `read_pairs`.

    Raises:
        LsnsError: see `read_pairs`.
    """
    _check_limit(limit)
    pairs: dict[tuple[str, str], MinimalPair] = {}
    taken: dict[str, int] = {}
    for file in files:
        for line, pair in _read_parquet(file) if file.suffix == ".parquet" else _read_file(file):
            if (pair.paradigm, pair.item) in pairs:
                raise LsnsError(
                    f"{file}, line {line}: item {pair.item} of {pair.paradigm} is there twice; "
                    "give each pair a pairID of its own"
                )
            if limit is None or taken.get(pair.paradigm, 0) < limit:
                pairs[pair.paradigm, pair.item] = pair
                taken[pair.paradigm] = taken.get(pair.paradigm, 0) + 1
    return list(pairs.values())


def _check_limit(limit: int | None) -> None:
    if limit is not None and limit < 1:
        raise LsnsError(f"limit must be at least 1; got {limit}")


def score_pairs(
    model: BaseModel,
    pairs: Sequence[MinimalPair],
    *,
    benchmark: str = "minimal-pairs",
    prefix: Prefix | str = "auto",
    batch_size: int | None = None,
    advance: Callable[[int], None] = lambda _: None,
    parts: PartStore | None = None,
) -> list[PairResult]:
    """Score both sentences of every pair, intact or under the lesions that are attached.

    Args:
        model: from `lsns.load_model`.
        pairs: from `read_pairs`.
        benchmark: the name that the results carry.
        prefix: see `scoring.resolve_prefix`; it moves accuracy by points.
        batch_size: see `scoring.score_texts`.
        advance: told of the number of sentences (two per pair) as they are done.
        parts: see `scoring.score_texts`.

    Returns:
        In the order of `pairs`.

    Raises:
        LsnsError: see `scoring.score_texts`; the pair is named.
    """
    texts = [text for pair in pairs for text in (pair.good, pair.bad)]
    keys = ("sentence_good", "sentence_bad")
    names = [f"{pair.name}, {key}" for pair in pairs for key in keys]
    scores = score_texts(
        model, texts, names=names, prefix=prefix, batch_size=batch_size, advance=advance,
        parts=parts,
    )  # fmt: skip
    totals = [score.total for score in scores]
    return [
        PairResult(benchmark, pair.paradigm, pair.item, good, bad, good > bad)
        for pair, good, bad in zip(pairs, totals[::2], totals[1::2], strict=True)
    ]


def accuracy_by_paradigm(results: Sequence[Any]) -> dict[str, float]:
    """Share of correct items in each paradigm, in the order of the results.

    Args:
        results: with `paradigm` and `correct`: `PairResult`, or `syntaxgym.PredictionResult`.
    """
    groups: dict[str, list[bool]] = {}
    for result in results:
        groups.setdefault(result.paradigm, []).append(result.correct)
    return {paradigm: float(np.mean(values)) for paradigm, values in groups.items()}


def accuracy(results: Sequence[Any]) -> float:
    """The mean of the paradigms' accuracies, so that each weighs the same, as BLiMP reports it.

    Raises:
        LsnsError: no results.
    """
    if not results:
        raise LsnsError("no results to take an accuracy of")
    return float(np.mean(list(accuracy_by_paradigm(results).values())))


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise LsnsError(f"no file or folder {path}")
    files = sorted(path.glob("*.jsonl"))
    if not files:
        raise LsnsError(f"{path} holds no .jsonl file; expected minimal pairs, one per line")
    return files


def _read_file(path: Path) -> Iterator[tuple[int, MinimalPair]]:
    """Pairs with the numbers of their lines, from 1; empty lines are skipped."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise LsnsError(f"{path} cannot be read as UTF-8 text ({error})") from None
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield number, _read_line(path, number, line)


def _read_parquet(path: Path) -> Iterator[tuple[int, MinimalPair]]:
    """Pairs with the numbers of their rows, from 1; named by the folder, as the hub has it."""
    from lsns.evaluation.cells import parquet_module

    parquet = parquet_module()
    try:
        rows = parquet.ParquetFile(path).read().to_pylist()
    except (OSError, ValueError) as error:
        raise LsnsError(f"{path} cannot be read as Parquet ({error})") from None
    for number, row in enumerate(rows, start=1):
        fields = {"UID": path.parent.name, "pairID": row.get("pair_id", number - 1), **row}
        yield number, _make_pair(path, number, fields)


def _read_line(path: Path, number: int, line: str) -> MinimalPair:
    where = f"{path}, line {number}"
    try:
        fields = json.loads(line)
    except ValueError as error:
        raise LsnsError(f"{where}: not JSON ({error})") from None
    if not isinstance(fields, dict):
        raise LsnsError(f"{where}: a JSON object is needed, found {line[:40]!r}")
    return _make_pair(path, number, fields)


def _make_pair(path: Path, number: int, fields: dict[str, Any]) -> MinimalPair:
    where = f"{path}, line {number}"
    good, bad = (_sentence(where, fields, key) for key in ("sentence_good", "sentence_bad"))
    if good == bad:
        raise LsnsError(f"{where}: both sentences are {good[:60]!r}; a pair must differ")
    paradigm, item = fields.get("UID", path.stem), fields.get("pairID", number - 1)
    return MinimalPair(str(paradigm), str(item), good, bad, where)


def _sentence(where: str, fields: dict[str, Any], key: str) -> str:
    text = fields.get(key)
    if not isinstance(text, str) or not text.strip():
        raise LsnsError(f"{where}: {key} must be a sentence, found {text!r}")
    return text
