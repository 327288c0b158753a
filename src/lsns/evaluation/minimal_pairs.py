"""Minimal pairs: two sentences that differ in one thing, of which a model should prefer one.

The format is BLiMP's (https://doi.org/10.1162/tacl_a_00321): one JSON
object per line, with `sentence_good` and `sentence_bad`.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from lsns.errors import LsnsError
from lsns.evaluation import flaws
from lsns.evaluation.benchmark import Benchmark, Row, files_of, shipped
from lsns.evaluation.scoring import TextScore
from lsns.json_text import json_value, name_of, shown

_Fields = dict[str, Any]
_GOOD, _BAD = "sentence_good", "sentence_bad"


@dataclass(frozen=True)
class MinimalPair:
    """Two sentences.

    Attributes:
        paradigm: what the pair is about: its `UID`, else the name of its file.
        item: names the pair within its paradigm: its `pairID`, else its line's number, from 0.
        good: the sentence that should be likelier.
        bad: the other sentence.
        where: the file and line that the pair was read from.
        flaw: what is wrong with the pair, in words of `flaws`; None: nothing. It is scored as it
            is.
    """

    paradigm: str
    item: str
    good: str
    bad: str
    where: str = field(default="", compare=False)
    flaw: str | None = field(default=None, compare=False)


@dataclass(frozen=True)
class MinimalPairs(Benchmark):
    """Pairs of sentences, as BLiMP has them; by default the set that ships with the package."""

    @property
    def paths(self) -> list[Path]:
        """The JSON Lines files that the pairs are read from."""
        if not self.argument:
            return [shipped("minimal_pairs.jsonl")]
        return files_of(self.argument, ".jsonl", "minimal pairs, one per line")

    @cached_property
    def items(self) -> list[MinimalPair]:
        """The pairs.

        Raises:
            LsnsError: a line that is needed and cannot be read (file and line named), or no pair
                at all. Flaws of published pairs are no errors.
        """
        pairs = list(_read(self.paths, self.limit))
        if not pairs:
            raise LsnsError(
                f"{self.argument or self.name} holds no minimal pairs; "
                f"expected lines of JSON with {_GOOD}"
            )
        return pairs

    @cached_property
    def texts(self) -> list[tuple[str, str]]:
        """The sentences, the good one of each pair first."""
        return [
            (f"{pair.where}, paradigm {pair.paradigm}, item {pair.item}, {key}", text)
            for pair in self.items
            for key, text in ((_GOOD, pair.good), (_BAD, pair.bad))
        ]

    def rows(self, scores: Sequence[TextScore]) -> list[Row]:
        """A row for each pair: whether the good sentence is likelier; a tie is half correct."""
        totals = [score.total for score in scores]
        return [
            {
                "paradigm": pair.paradigm,
                "item": pair.item,
                "logp_good": good,
                "logp_bad": bad,
                "score": 0.5 if good == bad else float(good > bad),
                "correct": None if good == bad else good > bad,
                "chance": 0.5,
                "flaw": pair.flaw,
            }
            for pair, good, bad in zip(self.items, totals[::2], totals[1::2], strict=True)
        ]


def _read(files: Sequence[Path], limit: int | None) -> Iterator[MinimalPair]:
    """The pairs with their flaws, each under a name of its own within its paradigm."""
    seen: defaultdict[str, flaws.Seen] = defaultdict(flaws.Seen)
    for where, paradigm, fields in _needed(files, limit):
        good, bad = (_sentence(where, fields, key) for key in (_GOOD, _BAD))
        blanks = any(text != text.strip() for text in (good, bad))
        item, flaw = seen[paradigm](
            name_of(fields["pairID"], f"{where}: pairID"),
            (good, bad),
            {flaws.EQUAL: good == bad, flaws.BLANKS: blanks},
        )
        yield MinimalPair(paradigm, item, good, bad, where, flaw)


def _needed(files: Sequence[Path], limit: int | None) -> Iterator[tuple[str, str, _Fields]]:
    """The lines up to the limit: the place, paradigm and fields of each."""
    most = float("inf") if limit is None else limit
    taken: Counter[str] = Counter()
    for file in files:
        here: set[str] = set()
        for where, read in _rows(file):
            try:
                fields = read()
                paradigm = name_of(fields["UID"], f"{where}: UID")
            except LsnsError:
                # Of what paradigm it is is not known; none of those of this file needs it.
                if here and all(taken[name] >= most for name in here):
                    continue
                raise
            here.add(paradigm)
            if taken[paradigm] < most:
                taken[paradigm] += 1
                yield where, paradigm, fields


def _rows(path: Path) -> Iterator[tuple[str, Callable[[], _Fields]]]:
    """Each line's place, and what reads it when it is needed; UID and pairID are always there."""
    if path.suffix == ".parquet":
        for number, row in enumerate(_parquet(path)):
            fields = {"UID": path.parent.name, "pairID": row.get("pair_id", number), **row}
            yield f"{path}, line {number + 1}", partial(dict, fields)
        return
    try:
        content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise LsnsError(f"{path} cannot be read ({error.strerror})") from None
    for number, line in enumerate(re.split(rb"\r\n?|\n", content)):
        if line.strip():
            where = f"{path}, line {number + 1}"
            yield where, partial(_read_line, where, line, {"UID": path.stem, "pairID": number})


def _parquet(path: Path) -> list[_Fields]:
    from lsns.evaluation.cells import parquet_module

    parquet = parquet_module()
    try:
        return parquet.ParquetFile(path).read().to_pylist()
    except (OSError, ValueError) as error:
        raise LsnsError(f"{path} cannot be read as Parquet ({error})") from None


def _read_line(where: str, line: bytes, names: _Fields) -> _Fields:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise LsnsError(f"{where} is not UTF-8 ({error.reason}); save it as UTF-8") from None
    fields = json_value(text, where)
    if not isinstance(fields, dict):
        raise LsnsError(f"{where}: a JSON object is needed, found {shown(fields)}")
    return names | {key: value for key, value in fields.items() if value is not None}


def _sentence(where: str, fields: _Fields, key: str) -> str:
    text = fields.get(key)
    if not isinstance(text, str) or not text.strip():
        raise LsnsError(f"{where}: {key} must be a sentence, found {shown(text)}")
    return text
