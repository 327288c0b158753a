"""SyntaxGym: does surprisal rise and fall where the syntax says it should?

A suite (SyntaxGym, https://doi.org/10.18653/v1/2020.acl-demos.10) has items; an item
has the same sentence in several conditions, cut into regions; predictions compare the regions'
surprisals. Sentences are put together as the published evaluator does it (cpllab/syntaxgym-core
and its copy in brain-score/language): regions joined by one space, empty ones left out, nothing
done about punctuation, so that a comma which is a region has a space in front.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsns.errors import LsnsError
from lsns.evaluation import flaws
from lsns.evaluation.formulas import Formula, Region, evaluate, parse, regions_of
from lsns.evaluation.scoring import Prefix, TextScore, score_texts, span_surprisal
from lsns.json_text import json_value, name_of, shown
from lsns.models.base import BaseModel
from lsns.stimuli.files import read_text

if TYPE_CHECKING:
    from lsns.evaluation.cells import PartStore

# Bits by (condition, region number), of one item.
Surprisals = Mapping[tuple[str, int], float]
_WHOLE = re.compile(r"-?[0-9]{1,9}(\.0)?")


@dataclass(frozen=True)
class Sentence:
    """An item in one condition.

    Attributes:
        item: the item's number.
        condition: the condition's name.
        regions: number and text of each region; the text of an empty one is "".
    """

    item: str
    condition: str
    regions: tuple[tuple[int, str], ...]

    @cached_property
    def text(self) -> str:
        """The regions that are not empty, joined by spaces."""
        return " ".join(text for _, text in self.regions if text)

    @cached_property
    def spans(self) -> dict[int, tuple[int, int]]:
        """First character and the one after the last, of each region that is not empty."""
        spans, start = {}, 0
        for number, text in self.regions:
            if text:
                spans[number] = (start, start + len(text))
                start += len(text) + 1
        return spans


@dataclass(frozen=True)
class Suite:
    """A test suite.

    Attributes:
        name: of the suite.
        items: per item its sentences by condition.
        formulas: the predictions, as they are written.
        predictions: the same, parsed.
        flaws: of the items that have some, by item; see `flaws`.
    """

    name: str
    items: tuple[tuple[str, Mapping[str, Sentence]], ...]
    formulas: tuple[str, ...]
    predictions: tuple[Formula, ...]
    flaws: Mapping[str, str] = field(default_factory=dict)

    @property
    def sentences(self) -> list[Sentence]:
        """All sentences, item by item."""
        return [sentence for _, sentences in self.items for sentence in sentences.values()]


@dataclass(frozen=True)
class PredictionResult:
    """Whether a prediction holds for an item.

    Attributes:
        benchmark: the name of the benchmark.
        paradigm: the name of the suite.
        item: the item's number.
        prediction: the prediction's place in the suite, from 0.
        correct: whether it holds.
        flaw: of the item; see `flaws`.
    """

    benchmark: str
    paradigm: str
    item: str
    prediction: int
    correct: bool
    flaw: str | None = None

    @property
    def score(self) -> float:
        """1 where it holds, else 0."""
        return float(self.correct)


def read_suites(path: str | Path, *, limit: int | None = None) -> list[Suite]:
    """Read a suite from a JSON file, or all of a folder in the order of their names.

    Args:
        path: the file or folder.
        limit: how many items of each suite at most, the first ones.

    Raises:
        LsnsError: see `read_suite`; or no such path, no suite in it, two of the same name.
    """
    path = Path(path)
    if limit is not None and limit < 1:
        raise LsnsError(f"limit must be at least 1; got {limit}")
    if not path.exists():
        raise LsnsError(f"no file or folder {path}")
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    if not files:
        raise LsnsError(f"{path} holds no .json file; expected SyntaxGym suites")
    suites = [read_suite(file, limit=limit) for file in files]
    names = [suite.name for suite in suites]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise LsnsError(f"{path} holds two suites of the name {twice!r}; rename one of them")
    return suites


def read_suite(path: str | Path, *, limit: int | None = None) -> Suite:
    """Read one suite.

    Raises:
        LsnsError: not a suite, a metric other than `sum`, a formula that cannot be parsed (suite,
            prediction and place named), or one that refers to a condition or region which is not
            there.
    """
    path = Path(path)
    content = _load(path)
    name = name_of(content["meta"].get("name") or path.stem, f"{path}: the suite's name")
    metric = content["meta"].get("metric", "sum")
    if metric != "sum":
        raise LsnsError(f"suite {name}: metric {shown(metric)}; only sum is supported")
    items, flawed = _read_items(name, content["items"][:limit])
    formulas = tuple(_formula(name, entry) for entry in content["predictions"])
    predictions = tuple(
        parse(text, name=f"suite {name}, prediction {place}")
        for place, text in enumerate(formulas, start=1)
    )
    for place, prediction in enumerate(predictions, start=1):
        _check_regions(f"suite {name}, prediction {place}", prediction, items)
    return Suite(name, items, formulas, predictions, flawed)


def score_suites(
    model: BaseModel,
    suites: Sequence[Suite],
    *,
    benchmark: str = "syntaxgym",
    prefix: Prefix | str = "auto",
    batch_size: int | None = None,
    advance: Callable[[int], None] = lambda _: None,
    parts: PartStore | None = None,
) -> list[PredictionResult]:
    """Evaluate every prediction for every item, intact or under the lesions that are attached.

    Args:
        model: from `lsns.load_model`.
        suites: from `read_suites`.
        benchmark: the name that the results carry.
        prefix: see `scoring.resolve_prefix`.
        batch_size: see `scoring.score_texts`.
        advance: told of the number of sentences as they are done.
        parts: see `scoring.score_texts`.

    Returns:
        Suite by suite, item by item, prediction by prediction.

    Raises:
        LsnsError: see `scoring.score_texts` and `region_surprisals`.
    """
    named = [(sentence, _name(suite, sentence)) for suite in suites for sentence in suite.sentences]
    scores = score_texts(
        model, [sentence.text for sentence, _ in named], names=[name for _, name in named],
        prefix=prefix, batch_size=batch_size, advance=advance, parts=parts,
    )  # fmt: skip
    rest = iter(scores)
    return [
        result
        for suite in suites
        for item, conditions in suite.items
        for result in _evaluate_item(
            suite, item, item_surprisals(suite, item, conditions, rest), benchmark
        )
    ]


def item_surprisals(
    suite: Suite, item: str, conditions: Mapping[str, Sentence], scores: Iterator[TextScore]
) -> Surprisals:
    """The regions' surprisals of an item in all its conditions, in bits.

    Args:
        suite: the suite.
        item: the item's number.
        conditions: its sentences.
        scores: of these sentences, in their order; only as many are taken.
    """
    return {
        (condition, number): bits
        for condition, sentence in conditions.items()
        for number, bits in region_surprisals(
            sentence, next(scores), name=_name(suite, sentence)
        ).items()
    }


def region_surprisals(
    sentence: Sentence, score: TextScore, *, name: str = "sentence"
) -> dict[int, float]:
    """Surprisal of each region in bits, by sum over its tokens; together they are the sentence's.

    An empty region has none: 0. A region that is only a first token without context, which has no
    surprisal with `--prefix none`, is left out.

    Raises:
        LsnsError: no token belongs to a region, named after `name`.
    """
    empty = {number: 0.0 for number, text in sentence.regions if not text}
    scored = {
        number: span_surprisal(score, start, end, name=f"{name}, region {number}")
        for number, (start, end) in sentence.spans.items()
        if not _is_unscored(score, end)
    }
    return {
        number: (empty | scored)[number]
        for number, _ in sentence.regions
        if number in empty or number in scored
    }


def _is_unscored(score: TextScore, end: int) -> bool:
    """Whether all up to `end` is the one token at the beginning that has no context."""
    first_only = len(score.anchors) < 2 or score.anchors[1] >= end
    return score.n_scored < len(score.token_ids) and bool(first_only)


def _name(suite: Suite, sentence: Sentence) -> str:
    return f"suite {suite.name}, item {sentence.item}, {sentence.condition}"


def _evaluate_item(
    suite: Suite, item: str, surprisals: Surprisals, benchmark: str
) -> Iterator[PredictionResult]:
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
        yield PredictionResult(benchmark, suite.name, item, place, correct, suite.flaws.get(item))


def _load(path: Path) -> dict[str, Any]:
    content = json_value(read_text(path), str(path))
    kinds = {"meta": dict, "items": list, "predictions": list}
    if not isinstance(content, dict) or not all(
        isinstance(content.get(key), kind) and (content[key] or key == "meta")
        for key, kind in kinds.items()
    ):
        raise LsnsError(f"{path} is no SyntaxGym suite; expected meta, items and predictions")
    return content


def _read_items(
    suite: str, given: Sequence[Any]
) -> tuple[tuple[tuple[str, Mapping[str, Sentence]], ...], dict[str, str]]:
    """The items, each under a name of its own, and the flaws of those that have some."""
    names, read, flawed = flaws.Names(), {}, {}
    contents: set[tuple[tuple[str, str], ...]] = set()
    for one in given:
        name, sentences = _read_item(suite, one)
        item, again = names(name)
        read[item] = {s.condition: replace(s, item=item) for s in sentences}
        content = tuple((s.condition, s.text) for s in sentences)
        flaw = flaws.joined(
            {
                flaws.BLANKS: _has_blanks(one),
                flaws.CONDITION: len(read[item]) < len(sentences),
                flaws.SAME: content in contents,
                flaws.NAMESAKE: again,
            }
        )
        contents.add(content)
        flawed |= {item: flaw} if flaw else {}
    return tuple(read.items()), flawed


def _read_item(suite: str, item: Any) -> tuple[str, list[Sentence]]:
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


def _read_sentence(where: str, item: str, condition: Mapping[str, Any]) -> Sentence:
    name = name_of(condition["condition_name"], f"{where}: condition_name")
    regions = tuple(
        (_region_number(where, region["region_number"]), _content(region).strip())
        for region in condition["regions"]
    )
    numbers = [number for number, _ in regions]
    if len(set(numbers)) < len(numbers):
        raise LsnsError(f"{where}, {name}: a region_number is there twice; give each its own")
    return Sentence(item, name, regions)


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


def _formula(suite: str, entry: Any) -> str:
    if not isinstance(entry, dict) or not isinstance(entry.get("formula"), str):
        raise LsnsError(f"suite {suite}: a prediction without a formula: {shown(entry)}")
    return entry["formula"]


def _check_regions(
    name: str, prediction: Formula, items: Sequence[tuple[str, Mapping[str, Sentence]]]
) -> None:
    for region in dict.fromkeys(regions_of(prediction)):
        without = [item for item, sentences in items if not _has(sentences, region)]
        if without:
            what = f"condition {region.condition!r}"
            if region.number is not None:
                what = f"region {region.number} of {what}"
            whose = "no item" if len(without) == len(items) else f"item {without[0]} does not"
            raise LsnsError(f"{name}: {whose} {'has' if whose == 'no item' else 'have'} {what}")


def _has(sentences: Mapping[str, Sentence], region: Region) -> bool:
    sentence = sentences.get(region.condition)
    return sentence is not None and (
        region.number is None or any(number == region.number for number, _ in sentence.regions)
    )
