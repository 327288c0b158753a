"""Minimal pairs: two sentences that differ in one thing, of which a model should prefer one.

The format is BLiMP's (https://doi.org/10.1162/tacl_a_00321): one JSON
object per line, with `sentence_good` and `sentence_bad`.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lsns.errors import LsnsError
from lsns.evaluation import flaws
from lsns.evaluation.scoring import Prefix, score_texts
from lsns.json_text import json_value, name_of, shown
from lsns.models.base import BaseModel

if TYPE_CHECKING:
    from lsns.evaluation.cells import PartStore


Fields = dict[str, Any]


@dataclass(frozen=True)
class MinimalPair:
    """Two sentences.

    Attributes:
        paradigm: what the pair is about: its `UID`, else the name of its file.
        item: names it within its paradigm: its `pairID`, else the number of its line from 0.
        good: the sentence that should be likelier.
        bad: the other one.
        where: the file and line that it was read from, if it was.
        flaw: what is wrong with it, see `flaws`; None: nothing. It is scored as it is.
    """

    paradigm: str
    item: str
    good: str
    bad: str
    where: str = field(default="", compare=False)
    flaw: str | None = field(default=None, compare=False)

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
        correct: whether the good one is likelier; None: a tie, which is no preference.
        flaw: see `MinimalPair`.
    """

    benchmark: str
    paradigm: str
    item: str
    logp_good: float
    logp_bad: float
    correct: bool | None
    flaw: str | None = None

    @property
    def score(self) -> float:
        """1 where it is correct, 0 where it is not, and 0.5 for a tie."""
        return 0.5 if self.correct is None else float(self.correct)


def read_pairs(path: str | Path, *, limit: int | None = None) -> list[MinimalPair]:
    """Read a jsonl file, or all of a folder in the order of their names.

    Args:
        path: the file or folder.
        limit: how many pairs of each paradigm at most, the first ones.

    Raises:
        LsnsError: no such path, a line that is needed and cannot be read (file and line named), or
            no pair at all. Flaws are no errors: see `MinimalPair`.
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
    most = float("inf") if limit is None else limit
    pairs: list[MinimalPair] = []
    taken: Counter[str] = Counter()
    for file in files:
        here: set[str] = set()
        for number, read in _rows(file):
            try:
                fields = read()
                paradigm = name_of(fields["UID"], f"{file}, line {number}: UID")
            except LsnsError:
                # Of what paradigm it is is not known; none of those of this file needs it.
                if here and all(taken[name] >= most for name in here):
                    continue
                raise
            here.add(paradigm)
            if taken[paradigm] < most:
                taken[paradigm] += 1
                pairs.append(_make_pair(f"{file}, line {number}", paradigm, fields))
    return _told_apart(pairs)


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
        PairResult(
            benchmark, pair.paradigm, pair.item, good, bad, None if good == bad else good > bad,
            pair.flaw,
        )
        for pair, good, bad in zip(pairs, totals[::2], totals[1::2], strict=True)
    ]  # fmt: skip


def accuracy_by_paradigm(results: Sequence[Any]) -> dict[str, float]:
    """Share of correct items in each paradigm, in the order of the results; a tie is half of one.

    Args:
        results: with `paradigm` and `score`: `PairResult`, or `syntaxgym.PredictionResult`.
    """
    groups: dict[str, list[float]] = {}
    for result in results:
        groups.setdefault(result.paradigm, []).append(result.score)
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


def _rows(path: Path) -> Iterator[tuple[int, Callable[[], Fields]]]:
    """Lines by number, from 1, each read when it is asked for; UID and pairID are always there."""
    if path.suffix == ".parquet":
        for number, row in enumerate(_parquet(path), start=1):
            fields = {"UID": path.parent.name, "pairID": row.get("pair_id", number - 1), **row}
            yield number, partial(dict, fields)
        return
    try:
        content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise LsnsError(f"{path} cannot be read ({error.strerror})") from None
    for number, line in enumerate(re.split(rb"\r\n?|\n", content), start=1):
        if line.strip():
            yield number, partial(_read_line, path, number, line)


def _parquet(path: Path) -> list[Fields]:
    from lsns.evaluation.cells import parquet_module

    parquet = parquet_module()
    try:
        return parquet.ParquetFile(path).read().to_pylist()
    except (OSError, ValueError) as error:
        raise LsnsError(f"{path} cannot be read as Parquet ({error})") from None


def _read_line(path: Path, number: int, line: bytes) -> Fields:
    where = f"{path}, line {number}"
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise LsnsError(f"{where} is not UTF-8 ({error.reason}); save it as UTF-8") from None
    fields = json_value(text, where)
    if not isinstance(fields, dict):
        raise LsnsError(f"{where}: a JSON object is needed, found {shown(fields)}")
    given = {key: value for key, value in fields.items() if value is not None}
    return {"UID": path.stem, "pairID": number - 1, **given}


def _make_pair(where: str, paradigm: str, fields: Fields) -> MinimalPair:
    good, bad = (_sentence(where, fields, key) for key in ("sentence_good", "sentence_bad"))
    item = name_of(fields["pairID"], f"{where}: pairID")
    return MinimalPair(paradigm, item, good, bad, where)


def _sentence(where: str, fields: Fields, key: str) -> str:
    text = fields.get(key)
    if not isinstance(text, str) or not text.strip():
        raise LsnsError(f"{where}: {key} must be a sentence, found {shown(text)}")
    return text


def _told_apart(pairs: Sequence[MinimalPair]) -> list[MinimalPair]:
    """The pairs with their flaws, each under a name of its own within its paradigm."""
    names: defaultdict[str, flaws.Names] = defaultdict(flaws.Names)
    sentences: set[tuple[str, str, str]] = set()
    told = []
    for pair in pairs:
        content = (pair.paradigm, pair.good, pair.bad)
        item, again = names[pair.paradigm](pair.item)
        flaw = flaws.joined(
            {
                flaws.EQUAL: pair.good == pair.bad,
                flaws.BLANKS: any(text != text.strip() for text in (pair.good, pair.bad)),
                flaws.SAME: content in sentences,
                flaws.NAMESAKE: again,
            }
        )
        sentences.add(content)
        told.append(replace(pair, item=item, flaw=flaw))
    return told
