"""A contrast: texts in two conditions, and the protocol by which they are read."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Literal, get_args

from lsns.errors import LsnsError

Pooling = Literal["last-token", "mean", "sum"]


def parse_pooling(name: str) -> Pooling:
    """The pooling of that name; `last` is another name of `last-token`."""
    known: dict[str, Pooling] = {pooling: pooling for pooling in get_args(Pooling)}
    known["last"] = "last-token"
    if name not in known:
        raise LsnsError(f"no pooling {name!r}; use one of {', '.join(get_args(Pooling))}")
    return known[name]


@dataclass(frozen=True)
class Contrast:
    """Texts in two conditions; units that answer to their difference are what is looked for.

    Attributes:
        name: of the network or contrast, e.g. `language`.
        positive: texts of the condition that the units should answer to, at least 2.
        negative: texts of the other condition, at least 2.
        positive_groups: which items belong together (a matched pair, a run of an experiment), one
            label per text, or None. Folds and permutations keep a group together.
        negative_groups: the same for the negative texts.
        max_tokens: texts are cut to their first tokens, special ones included; None: whole.
        pooling: the protocol's way to make one vector of a text's tokens.
        source: where the texts come from, in words.

    Raises:
        LsnsError: fewer than 2 texts in a condition, an empty text, groups that do not fit.
    """

    name: str
    positive: tuple[str, ...]
    negative: tuple[str, ...]
    positive_groups: tuple[str, ...] | None = None
    negative_groups: tuple[str, ...] | None = None
    max_tokens: int | None = None
    pooling: Pooling = "last-token"
    source: str = "given in Python"

    def __post_init__(self) -> None:
        for name in ("positive", "negative", "positive_groups", "negative_groups"):
            value = getattr(self, name)
            if isinstance(value, str):
                raise LsnsError(
                    f"contrast {self.name!r}: {name} is one text; give a sequence of texts"
                )
            if value is not None:
                object.__setattr__(self, name, tuple(value))
        for condition, texts, groups in (
            ("positive", self.positive, self.positive_groups),
            ("negative", self.negative, self.negative_groups),
        ):
            _check_condition(self.name, condition, texts, groups)
        if self.max_tokens is not None and self.max_tokens < 1:
            raise LsnsError(f"max-tokens must be at least 1; got {self.max_tokens}")

    @property
    def texts(self) -> tuple[str, ...]:
        """All texts, the positive ones first."""
        return self.positive + self.negative

    @property
    def groups(self) -> tuple[str, ...]:
        """One label per text of `texts`; texts without a group are groups of their own."""
        positive = self.positive_groups or tuple(f"positive {i}" for i in range(len(self.positive)))
        negative = self.negative_groups or tuple(f"negative {i}" for i in range(len(self.negative)))
        return positive + negative

    @property
    def digest(self) -> str:
        """SHA-256 of the texts, their conditions and their groups, in order."""
        content = [
            self.positive, self.negative, self.positive_groups, self.negative_groups
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(content, ensure_ascii=True).encode()).hexdigest()


def text_problem(text: object) -> str | None:
    """Why a text cannot be a stimulus; None if it can."""
    if not isinstance(text, str):
        return f"is {text!r}, not a text"
    if not text.strip():
        return "is empty"
    # Half a surrogate pair, as JSON may escape it: no tokenizer takes it.
    if any("\ud800" <= character <= "\udfff" for character in text):
        return "is not valid Unicode (half a surrogate pair)"
    return None


def _check_condition(
    name: str, condition: str, texts: tuple[str, ...], groups: tuple[str, ...] | None
) -> None:
    if len(texts) < 2:
        raise LsnsError(
            f"contrast {name!r} has {len(texts)} {condition} texts; "
            "a contrast needs at least 2 positive and 2 negative ones"
        )
    for number, text in enumerate(texts, start=1):
        problem = text_problem(text)
        if problem is not None:
            raise LsnsError(f"contrast {name!r}: {condition} text {number} {problem}")
    if groups is not None and len(groups) != len(texts):
        raise LsnsError(
            f"contrast {name!r}: {len(groups)} groups for {len(texts)} {condition} texts"
        )
