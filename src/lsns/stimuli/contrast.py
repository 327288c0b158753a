"""A contrast: texts in two conditions, and the protocol by which they are read."""

from __future__ import annotations

import hashlib
import json
import reprlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

from lsns.errors import LsnsError
from lsns.terminal import one_line

Pooling = Literal["last-token", "mean", "sum"]
# What belongs to each further condition, by name: pairs rather than a dict, which has no hash.
ByName = tuple[tuple[str, tuple[str, ...]], ...]
# What comes before the name of a further condition.
FURTHER = "further:"
# Of each condition, to be shown to a reader; longer ones are cut.
EXAMPLES, EXAMPLE_CHARACTERS = 2, 120


def parse_pooling(name: str) -> Pooling:
    """The pooling of that name; `last` is another name of `last-token`."""
    known: dict[str, Pooling] = {pooling: pooling for pooling in get_args(Pooling)}
    known["last"] = "last-token"
    if name not in known:
        raise LsnsError(f"no pooling {name!r}; use one of {', '.join(get_args(Pooling))}")
    return known[name]


class StimulusError(LsnsError):
    """Stimuli that a contrast cannot have; whoever knows where they stand adds that.

    Args:
        contrast: its name.
        condition: `positive`, `negative` or `further:NAME`.
        wrong: what is wrong, to follow the text if it is about one.
        place: which text of the condition, from 0; None: all of them.

    Attributes:
        wrong: what is wrong, in words that stand alone.
    """

    def __init__(self, contrast: str, condition: str, wrong: str, place: int | None = None) -> None:
        text = "" if place is None else f"{condition} text {place + 1} "
        super().__init__(f"contrast {contrast!r}: {text}{wrong}")
        self.condition, self.place = condition, place or 0
        self.wrong = wrong if place is None else f"the text {wrong}"


@dataclass(frozen=True)
class Contrast:
    """Texts in two conditions; units that answer to their difference are what is looked for.

    Attributes:
        name: of the network or contrast, e.g. `language`.
        positive: texts of the condition that the units should answer to, at least 2.
        negative: texts of the other condition, at least 2.
        positive_groups: which items belong together (a matched pair, a run of an experiment), one
            label per text, or None. Folds and permutations keep a group together, and as one all
            groups that share a text.
        negative_groups: the same for the negative texts.
        further: more conditions, on which nothing is localized: the units found by the two above
            are measured on them. Pairs of a name and at least 2 texts; a mapping does as well.
        further_groups: the same pairs, with a label of `groups` per text: the item that the text
            was made from, so that it can be measured with units chosen without that item. A
            condition that is not among them has no such items.
        max_tokens: texts are cut to their first tokens, special ones included; None: whole.
        pooling: the protocol's way to make one vector of a text's tokens.
        source: where the texts come from, in words.

    Raises:
        LsnsError: a name that is not one printable line, fewer than 2 texts in a condition, an
            empty text, a text that is both positive and negative, groups that do not fit, a
            further condition without a name of its own.
    """

    name: str
    positive: tuple[str, ...]
    negative: tuple[str, ...]
    positive_groups: tuple[str, ...] | None = None
    negative_groups: tuple[str, ...] | None = None
    max_tokens: int | None = None
    pooling: Pooling = "last-token"
    source: str = "given in Python"
    further: ByName = ()
    further_groups: ByName = ()

    def __repr__(self) -> str:
        """What it holds, and how its texts are read, in one line."""
        further = ", ".join(f"{len(texts)} {name}" for name, texts in self.further)
        cut = "whole texts" if self.max_tokens is None else f"{self.max_tokens} tokens"
        return one_line(
            f"Contrast({self.name}: {len(self.positive)} positive, {len(self.negative)} negative"
            f"{f'; further {further}' if further else ''}; {self.pooling}, {cut}; {self.source})"
        )

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip() or not self.name.isprintable():
            raise LsnsError(f"a contrast's name is one printable line; got {self.name!r}")
        for name in ("positive", "negative", "positive_groups", "negative_groups"):
            value = getattr(self, name)
            if isinstance(value, str):
                raise LsnsError(
                    f"contrast {self.name!r}: {name} is one text; give a sequence of texts"
                )
            if value is not None:
                object.__setattr__(self, name, tuple(value))
        for field in ("further", "further_groups"):
            object.__setattr__(self, field, _by_name(self.name, field, getattr(self, field)))
        self._check_texts("positive", self.positive, self.positive_groups)
        self._check_texts("negative", self.negative, self.negative_groups)
        self._check_apart()
        groups = dict(self.further_groups)
        for name, texts in self.further:
            self._check_texts(f"{FURTHER}{name}", texts, groups.get(name))
        self._check_further_groups()
        if self.max_tokens is not None and self.max_tokens < 1:
            raise LsnsError(f"max-tokens must be at least 1; got {self.max_tokens}")

    def _check_texts(
        self, condition: str, texts: tuple[str, ...], groups: tuple[str, ...] | None
    ) -> None:
        if len(texts) < 2:
            wrong = (
                f"{len(texts)} {condition} texts; a contrast needs at least 2 positive and 2 "
                "negative ones, and as many of every further condition"
            )
            raise StimulusError(self.name, condition, wrong)
        for place, text in enumerate(texts):
            if problem := _text_problem(text):
                raise StimulusError(self.name, condition, problem, place)
        if groups is not None and len(groups) != len(texts):
            wrong = f"{len(groups)} groups for {len(texts)} {condition} texts"
            raise StimulusError(self.name, condition, wrong)

    def _check_apart(self) -> None:
        negative = set(self.negative)
        for place, text in enumerate(self.positive):
            if text in negative:
                wrong = f"{clip(text, 60)!r} is both positive and negative; leave it out of one"
                raise StimulusError(self.name, "positive", wrong, place)

    def _check_further_groups(self) -> None:
        known = set(self.given_groups)
        for name, labels in self.further_groups:
            if name not in self.further_texts:
                wrong = f"groups for {name!r}, which is no further condition"
                raise StimulusError(self.name, f"{FURTHER}{name}", wrong)
            for place, label in enumerate(labels):
                if label not in known:
                    wrong = (
                        f"is of group {clip(str(label), 60)!r}, which no positive or negative text "
                        "is of; give that of the item that it was made from"
                    )
                    raise StimulusError(self.name, f"{FURTHER}{name}", wrong, place)

    @property
    def texts(self) -> tuple[str, ...]:
        """All texts, the positive ones first."""
        return self.positive + self.negative

    @property
    def given_groups(self) -> tuple[str, ...]:
        """One label per text of `texts`, as given; texts without one are groups of their own.

        Their labels are `positive 0`, `positive 1`, ... and `negative 0`, ...
        """
        positive = self.positive_groups or tuple(f"positive {i}" for i in range(len(self.positive)))
        negative = self.negative_groups or tuple(f"negative {i}" for i in range(len(self.negative)))
        return positive + negative

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """One label per text of `texts`: `given_groups`, those that share a text joined to one.

        A text that is there twice must not be on both sides of a split: it would be found again
        whatever the units do.
        """
        return tuple(self._joined[label] for label in self.given_groups)

    @cached_property
    def firsts(self) -> tuple[int, ...]:
        """For each text of `texts` the place of the first one that is the same."""
        places: dict[str, int] = {}
        return tuple(places.setdefault(text, place) for place, text in enumerate(self.texts))

    @property
    def repeated(self) -> int:
        """How many texts repeat an earlier one of their condition."""
        return sum(first != place for place, first in enumerate(self.firsts))

    @cached_property
    def _joined(self) -> dict[str, str]:
        return _join(self.given_groups, self.firsts)

    @property
    def further_texts(self) -> dict[str, tuple[str, ...]]:
        """The texts of each further condition by its name, in order."""
        return dict(self.further)

    @property
    def further_labels(self) -> dict[str, tuple[str, ...] | None]:
        """A label of `groups` per text of each further condition; None where it has no groups."""
        labels = {
            name: tuple(self._joined[label] for label in given)
            for name, given in self.further_groups
        }
        return {name: labels.get(name) for name, _ in self.further}

    @property
    def examples(self) -> dict[str, list[str]]:
        """The first two different texts of every condition by its name, cut to 120 characters."""
        conditions = {"positive": self.positive, "negative": self.negative, **self.further_texts}
        return {
            name: [clip(text, EXAMPLE_CHARACTERS) for text in list(dict.fromkeys(texts))[:EXAMPLES]]
            for name, texts in conditions.items()
        }

    @property
    def digest(self) -> str:
        """SHA-256 of the texts, their conditions and their groups, in order.

        Further conditions are not in it: no unit is chosen by them.
        """
        content = [
            self.positive, self.negative, self.positive_groups, self.negative_groups
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(content, ensure_ascii=True).encode()).hexdigest()


def clip(text: str, length: int) -> str:
    """The text, cut to that many characters, the last of which is then an ellipsis."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _text_problem(text: object) -> str | None:
    """Why a text cannot be a stimulus; None if it can."""
    if not isinstance(text, str):
        return f"is {reprlib.repr(text)}, not a text"
    if not text.strip():
        return "is empty"
    # Half a surrogate pair, as JSON may escape it: no tokenizer takes it.
    try:
        text.encode()
    except UnicodeEncodeError:
        return "is not valid Unicode (half a surrogate pair)"
    return "holds a NUL character" if "\0" in text else None


def _name_problem(name: object) -> str | None:
    """Why a further condition cannot have this name; None if it can."""
    if not isinstance(name, str) or not name or name != name.strip() or not name.isprintable():
        return "is no name of a condition"
    if name in ("positive", "negative"):
        return "is the name of one of the two conditions that localize"
    return None


def _by_name(contrast: str, field: str, given: object) -> ByName:
    """What was given as pairs of tuples; a mapping and other sequences do as well."""
    pairs: Any = given.items() if isinstance(given, Mapping) else given
    found: Any = None
    with suppress(TypeError, ValueError):
        found = tuple((n, v if isinstance(v, str) else (*v,)) for n, v in pairs)
    if found is None or any(isinstance(values, str) for _, values in found):
        raise LsnsError(
            f"contrast {contrast!r}: {field} must be pairs of a name and a sequence, or a mapping"
        )
    names = [name for name, _ in found]
    for name in names:
        problem = _name_problem(name) or ("is there twice" if names.count(name) > 1 else None)
        if problem is not None:
            raise StimulusError(contrast, f"{FURTHER}{name}", f"{field} {name!r} {problem}")
    return found


def _join(labels: Sequence[str], firsts: Sequence[int]) -> dict[str, str]:
    """For each label that of all groups that share a text with it, directly or by others.

    It is the first of them in alphabetical order, so that the order of the texts does not matter.
    """
    joined = {label: label for label in labels}

    def find(label: str) -> str:
        while joined[label] != label:
            joined[label] = label = joined[joined[label]]
        return label

    for label, first in zip(labels, firsts, strict=True):
        one, other = find(label), find(labels[first])
        joined[max(one, other)] = min(one, other)
    return {label: find(label) for label in joined}
