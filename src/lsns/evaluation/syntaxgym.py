"""SyntaxGym: does surprisal rise and fall where the syntax says it should?

A suite (SyntaxGym, https://doi.org/10.18653/v1/2020.acl-demos.10) has items; an item
has the same sentence in several conditions, cut into regions; predictions compare the regions'
surprisals. Sentences are put together as the published evaluator does it (cpllab/syntaxgym-core
and its copy in brain-score/language): regions joined by one space, empty ones left out, nothing
done about punctuation, so that a comma which is a region has a space in front.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from lsns.errors import LsnsError
from lsns.evaluation import flaws
from lsns.evaluation.benchmark import Benchmark, Row, files_of
from lsns.evaluation.formulas import Formula, Region, evaluate, parse
from lsns.evaluation.scoring import TextScore, span_surprisal
from lsns.json_text import json_value, name_of, shown
from lsns.stimuli.files import read_text

_WHOLE = re.compile(r"-?[0-9]{1,9}(\.0)?")


@dataclass(frozen=True)
class _Sentence:
    """An item in one condition.

    Attributes:
        item: the item's number.
        condition: the condition's name.
        regions: number and text of each region; the text of an empty one is "".
    """

    item: str
    condition: str
    regions: tuple[tuple[int, str], ...]

    @property
    def text(self) -> str:
        """The regions that are not empty, joined by spaces."""
        return " ".join(text for _, text in self.regions if text)


_Items = Mapping[str, Mapping[str, _Sentence]]


@dataclass(frozen=True)
class _Suite:
    """A test suite.

    Attributes:
        name: the suite's name.
        items: sentences by condition, of each item by its number.
        predictions: formulas that should hold for every item, parsed.
        flaws: what is wrong with an item, by its number, in words of `flaws`; of flawed items only.
    """

    name: str
    items: _Items
    predictions: tuple[Formula, ...]
    flaws: Mapping[str, str] = field(default_factory=dict)

    def name_of(self, sentence: _Sentence) -> str:
        """What errors call a sentence."""
        return f"suite {self.name}, item {sentence.item}, {sentence.condition}"


@dataclass(frozen=True)
class SyntaxGym(Benchmark):
    """SyntaxGym suites; a row is a prediction of an item."""

    @property
    def paths(self) -> list[Path]:
        """The suites' JSON files."""
        return files_of(self.argument, ".json", "SyntaxGym suites")

    @cached_property
    def items(self) -> list[_Suite]:
        """The suites.

        Raises:
            LsnsError: a file that is no suite, a metric other than `sum`, a formula that cannot be
                parsed (suite, prediction and place named) or refers to a condition or region which
                is not there, or two suites of one name.
        """
        suites = [_read_suite(path, self.limit) for path in self.paths]
        names = [suite.name for suite in suites]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise LsnsError(
                f"{self.argument} holds two suites of the name {twice!r}; rename one of them"
            )
        return suites

    @cached_property
    def texts(self) -> list[tuple[str, str]]:
        """The sentences of every item in all its conditions."""
        return [
            (suite.name_of(sentence), sentence.text)
            for suite in self.items
            for sentences in suite.items.values()
            for sentence in sentences.values()
        ]

    def rows(self, scores: Sequence[TextScore]) -> list[Row]:
        """A row for each prediction of each item: whether it holds."""
        rest = iter(scores)
        return [
            row for suite in self.items for item in suite.items for row in _rows(suite, item, rest)
        ]


def _rows(suite: _Suite, item: str, scores: Iterator[TextScore]) -> Iterator[Row]:
    """The rows of an item; of the scores, as many are taken as it has sentences."""
    surprisals = {
        (sentence.condition, number): bits
        for sentence in suite.items[item].values()
        for number, bits in _regions(sentence, next(scores), suite.name_of(sentence)).items()
    }
    for place, prediction in enumerate(suite.predictions):
        try:
            correct = evaluate(prediction, surprisals)
        except KeyError as error:
            condition, number = error.args[0]
            raise LsnsError(
                f"suite {suite.name}, prediction {place + 1}, item {item}: region {number} of "
                f"{condition!r} has nothing in front that it could be surprising after; "
                "use another prefix than none"
            ) from None
        yield {
            "paradigm": suite.name,
            "item": item,
            "prediction": place,
            "score": float(correct),
            "correct": correct,
            "chance": 0.5,
            "flaw": suite.flaws.get(item),
        }


def _regions(sentence: _Sentence, score: TextScore, name: str) -> dict[int, float]:
    """Surprisal of each region in bits, by sum over its tokens; together they are the sentence's.

    An empty region has 0. A region that is only a first token without context, which has no
    surprisal with `--prefix none`, is left out.
    """
    found, start = {}, 0
    for number, text in sentence.regions:
        end = start + len(text)
        if not text:
            found[number] = 0.0
            continue
        if not _is_unscored(score, end):
            found[number] = span_surprisal(score, start, end, name=f"{name}, region {number}")
        start = end + 1
    return found


def _is_unscored(score: TextScore, end: int) -> bool:
    """Whether all up to `end` is the one token at the beginning that has no context."""
    first_only = len(score.anchors) < 2 or score.anchors[1] >= end
    return score.n_scored < len(score.ids) and bool(first_only)


def _read_suite(path: Path, limit: int | None) -> _Suite:
    content = json_value(read_text(path), str(path))
    kinds = {"meta": dict, "items": list, "predictions": list}
    if not isinstance(content, dict) or not all(
        isinstance(content.get(key), kind) and (content[key] or key == "meta")
        for key, kind in kinds.items()
    ):
        raise LsnsError(f"{path} is no SyntaxGym suite; expected meta, items and predictions")
    name = name_of(content["meta"].get("name") or path.stem, f"{path}: the suite's name")
    metric = content["meta"].get("metric", "sum")
    if metric != "sum":
        raise LsnsError(f"suite {name}: metric {shown(metric)}; only sum is supported")
    items, flawed = _read_items(name, content["items"][:limit])
    predictions = []
    for place, entry in enumerate(content["predictions"], start=1):
        if not isinstance(entry, dict) or not isinstance(entry.get("formula"), str):
            raise LsnsError(f"suite {name}: a prediction without a formula: {shown(entry)}")
        called = f"suite {name}, prediction {place}"
        predictions.append(parse(entry["formula"], name=called))
        _check_regions(called, predictions[-1], items)
    return _Suite(name, items, tuple(predictions), flawed)


def _read_items(suite: str, given: Sequence[Any]) -> tuple[_Items, dict[str, str]]:
    """The items, each under a name of its own, and the flaws of those that have some."""
    seen, read, flawed = flaws.Seen(), {}, {}
    for one in given:
        name, sentences = _read_item(suite, one)
        twice = len({s.condition for s in sentences}) < len(sentences)
        item, flaw = seen(
            name,
            tuple((s.condition, s.text) for s in sentences),
            {flaws.BLANKS: _has_blanks(one), flaws.CONDITION: twice},
        )
        read[item] = {s.condition: replace(s, item=item) for s in sentences}
        flawed |= {item: flaw} if flaw else {}
    return read, flawed


def _read_item(suite: str, item: Any) -> tuple[str, list[_Sentence]]:
    given = item.get("item_number", "?") if isinstance(item, dict) else "?"
    number = name_of(given, f"suite {suite}: item_number")
    where = f"suite {suite}, item {number}"
    try:
        sentences = [_read_sentence(where, number, one) for one in item["conditions"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise LsnsError(
            f"{where} cannot be read ({type(error).__name__}: {error}); "
            "expected conditions with a condition_name and regions"
        ) from None
    empty = next((s.condition for s in sentences if not s.text), None)
    if empty is not None or not sentences:
        raise LsnsError(f"{where}: condition {empty!r} has no text")
    return number, sentences


def _read_sentence(where: str, item: str, condition: Mapping[str, Any]) -> _Sentence:
    name = name_of(condition["condition_name"], f"{where}: condition_name")
    regions = tuple(
        (_region_number(where, region["region_number"]), _content(region).strip())
        for region in condition["regions"]
    )
    numbers = [number for number, _ in regions]
    if len(set(numbers)) < len(numbers):
        raise LsnsError(f"{where}, {name}: a region_number is there twice; give each its own")
    return _Sentence(item, name, regions)


def _content(region: Mapping[str, Any]) -> str:
    content = region["content"]
    if isinstance(content, (dict, list)):
        raise TypeError("the content of a region is no text")
    return "" if content is None else str(content)


def _has_blanks(item: Mapping[str, Any]) -> bool:
    texts = (_content(region) for one in item["conditions"] for region in one["regions"])
    return any(text != text.strip() for text in texts)


def _region_number(where: str, value: Any) -> int:
    if _WHOLE.fullmatch(str(value)) is None:
        raise LsnsError(f"{where}: region_number must be a whole number; found {shown(value)}")
    return int(float(value))


def _check_regions(name: str, prediction: Formula, items: _Items) -> None:
    for region in dict.fromkeys(part for part in prediction if isinstance(part, Region)):
        without = [item for item, sentences in items.items() if not _has(sentences, region)]
        if without:
            what = f"condition {region.condition!r}"
            if region.number is not None:
                what = f"region {region.number} of {what}"
            none = len(without) == len(items)
            whose = "no item has" if none else f"item {without[0]} does not have"
            raise LsnsError(f"{name}: {whose} {what}")


def _has(sentences: Mapping[str, _Sentence], region: Region) -> bool:
    sentence = sentences.get(region.condition)
    return sentence is not None and (
        region.number is None or any(number == region.number for number, _ in sentence.regions)
    )
