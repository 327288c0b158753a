"""Log-probabilities of texts, token by token, for any causal language model.

What stands in front of a text, which characters a token stands for, windows over a long text, and
sums over spans. How a model is run is in `logprobs`, which is imported when it is: no torch here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from lsns.errors import LsnsError
from lsns.models.prefix import Front, Prefix, resolve_prefix

if TYPE_CHECKING:
    from lsns.models.base import BaseModel

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class TextTokens:
    """The tokens of a text, or of a window over it.

    Attributes:
        name: what errors call the text.
        text: the whole text.
        context: ids of the tokens that the model reads before those that are scored.
        ids: ids of the tokens that are scored; the first is not where `context` is empty.
        offsets: int64 (n_tokens, 2), start and end in characters of `text`, as the tokenizer
            tells; the tokens of one multi-byte character all name that character. None for a
            tokenizer that cannot tell.
    """

    name: str
    text: str
    context: list[int]
    ids: list[int]
    offsets: Int[Array, "n_tokens 2"] | None


@dataclass(frozen=True, eq=False)
class TextScore(TextTokens):
    """The tokens of a text, and how likely each was after all that stands before it.

    Attributes:
        logprobs: float64 (n_tokens,), nats; NaN for the first token if nothing stands before it.
    """

    logprobs: Float[Array, " n_tokens"]

    @property
    def total(self) -> float:
        """Log-probability of the text in nats: the sum over its scored tokens."""
        return float(np.nansum(self.logprobs))

    @property
    def n_scored(self) -> int:
        """Number of tokens that have a log-probability."""
        return int((~np.isnan(self.logprobs)).sum())

    @property
    def surprisals(self) -> Float[Array, " n_tokens"]:
        """Bits per token; NaN where there is no log-probability."""
        return -self.logprobs / math.log(2)

    @property
    def starts(self) -> Int[Array, " n_tokens"]:
        """The character that each token begins at.

        Raises:
            LsnsError: the tokenizer does not tell where its tokens are.
        """
        if self.offsets is None:
            raise LsnsError(
                "the tokenizer does not tell which characters its tokens stand for; "
                "use a model with a fast tokenizer"
            )
        return self.offsets[:, 0]

    @cached_property
    def anchors(self) -> Int[Array, " n_tokens"]:
        """The character that decides on the span that a token belongs to.

        It is the first character from the token's start on that is no white space. So ` cat`
        belongs to the word and not to the gap before it, a token of nothing but white space to
        the word that follows, and one that straddles a boundary to the span that it begins in.
        Every token belongs to one span of a division of the text.

        Raises:
            LsnsError: the tokenizer does not tell where its tokens are.
        """
        return np.array([_first_visible(self.text, start) for start in self.starts.tolist()])


def encode_texts(
    model: BaseModel,
    texts: Sequence[str],
    *,
    names: Sequence[str] | None = None,
    prefix: Prefix | str = "auto",
    context: int | None = None,
) -> list[TextTokens]:
    """The tokens of every text, each after what stands in front of it.

    Args:
        model: from `lsns.load_model`.
        texts: read as they are; special tokens that the tokenizer would add are left out.
        names: what errors call each text; by default its number.
        prefix: what stands in front of each text; `resolve_prefix` says what may be given. A text
            that begins with that very token keeps the one it has.
        context: None: texts whole. Else each is cut into windows of at most so many tokens, the
            prefix among them, or of as many as the model reads. A window is half of that ahead of
            the one before, and every token is scored in one window.

    Returns:
        In the order of `texts`, window by window.

    Raises:
        LsnsError: a prefix that the tokenizer does not have, or a model that reads one token.
    """
    front = resolve_prefix(model.tokenizer, prefix)
    called = names or [f"text {number}" for number in range(1, len(texts) + 1)]
    whole = [
        TextTokens(name, text, front.before(ids), ids, offsets)
        for name, text, (ids, offsets) in zip(
            called, texts, _tokenize(model.tokenizer, texts), strict=True
        )
    ]
    if context is None:
        return whole
    most = model.context_length
    if most is not None and most < 2:
        raise LsnsError(f"the model reads at most {most} token, and a window has at least 2")
    size = min(context, most or context)
    return [window for one in whole for window in _windows(one, front, size)]


def score_tokens(
    model: BaseModel, tokens: Sequence[TextTokens], *, batch_size: int | None = None
) -> list[TextScore]:
    """Score every text, intact or under the lesions that are attached.

    Which texts share a pass is decided by the texts alone: results are the same bytes in any
    order. Another `batch_size`, or other texts beside a text, change it by rounding alone: less
    than 1e-4 nats for a sentence in float32.

    Args:
        model: from `lsns.load_model`.
        tokens: from `encode_texts`.
        batch_size: texts per forward pass; by default as many as fit a fixed number of tokens. A
            model that gives logits for every token of a pass reads fewer at a time, whatever it is.

    Returns:
        In the order of `tokens`.

    Raises:
        LsnsError: a text with nothing to score, too long for the model, or with a token that it has
            no embedding for; a log-probability that is not finite.
    """
    from lsns.evaluation.logprobs import sequence_logprobs

    sequences, names = sequences_of(model, tokens), [one.name for one in tokens]
    values = sequence_logprobs(model, sequences, names=names, batch_size=batch_size)
    return as_scores(tokens, values)


def sequences_of(model: BaseModel, tokens: Sequence[TextTokens]) -> list[tuple[int, ...]]:
    """The token ids that the model reads for each text.

    Raises:
        LsnsError: a text with nothing to score, too long for the model, or with a token that it has
            no embedding for.
    """
    sequences = [(*one.context, *one.ids) for one in tokens]
    for one, sequence in zip(tokens, sequences, strict=True):
        _check_length(model, len(sequence), f"{one.name} ({one.text[:40]!r})")
    model.check_ids(sequences, [one.name for one in tokens])
    return sequences


def as_scores(
    tokens: Sequence[TextTokens], logprobs: Sequence[Float[Array, " n_predictions"]]
) -> list[TextScore]:
    """Texts with the log-probabilities of their sequences."""
    return [
        TextScore(**vars(one), logprobs=_aligned(values, len(one.ids)))
        for one, values in zip(tokens, logprobs, strict=True)
    ]


def span_surprisal(score: TextScore, start: int, end: int, *, name: str = "") -> float:
    """Surprisal of the characters `start` to `end` (exclusive), in bits: the sum over its tokens.

    Which tokens these are is decided by `TextScore.anchors`: the spans of a division of the text
    add up to the whole.

    Args:
        score: from `score_tokens`.
        start: first character of the span.
        end: the character after the last.
        name: what errors call the span.

    Raises:
        LsnsError: no token belongs to the span, or the only one has nothing in front.
    """
    inside = (score.anchors >= start) & (score.anchors < end)
    name = name or f"characters {start} to {end} of {score.text[:40]!r}"
    if not inside.any():
        raise LsnsError(f"{name}: no token belongs to {score.text[start:end]!r}")
    values = score.surprisals[inside]
    if np.isnan(values).all():
        raise LsnsError(
            f"{name}: nothing stands in front of {score.text[start:end]!r}; use another prefix"
        )
    return float(np.nansum(values))


def _tokenize(
    tokenizer: Any, texts: Sequence[str]
) -> Iterator[tuple[list[int], Int[Array, "n_tokens 2"] | None]]:
    """Token ids and their characters, without the tokens that a tokenizer adds to a text."""
    from lsns.models.loading import quiet_transformers

    if not texts:
        return
    tells = bool(getattr(tokenizer, "is_fast", False))
    # Quiet: whether a text is too long for the model is checked where it is scored.
    with quiet_transformers():
        encoded = tokenizer(
            list(texts), add_special_tokens=False, return_offsets_mapping=tells, truncation=False
        )
    for place, ids in enumerate(encoded["input_ids"]):
        offsets = encoded["offset_mapping"][place] if tells else None
        yield list(ids), np.array(offsets, np.int64).reshape(-1, 2) if tells else None


def _windows(whole: TextTokens, front: Front, size: int) -> Iterator[TextTokens]:
    """Windows of at most `size` tokens; what they share with the window before is context."""
    ids, room = whole.ids, size - (front.token_id is not None)
    ends = [*range(room, len(ids), max(1, size // 2)), len(ids)]
    for place, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
        begin = max(0, end - room)
        before = [*front.before(ids[begin:end]), *ids[begin:start]]
        offsets = None if whole.offsets is None else whole.offsets[start:end]
        name = f"{whole.name}, window {place}"
        yield TextTokens(name, whole.text, before, ids[start:end], offsets)


def _check_length(model: BaseModel, length: int, name: str) -> None:
    if length < 2:
        raise LsnsError(
            f"{name} has no token that could be scored; remove it, or put a prefix in front"
        )
    limit = model.context_length
    if limit is not None and length - 1 > limit:
        raise LsnsError(
            f"{name} has {length} tokens, and the model reads at most {limit}; shorten it"
        )


def _aligned(values: Array, n_tokens: int) -> Float[Array, " n_tokens"]:
    """The last values, one per token: NaN for a first token without context."""
    kept = values[-n_tokens:]
    return np.concatenate([np.full(n_tokens - len(kept), np.nan), kept])


def _first_visible(text: str, start: int) -> int:
    rest = text[start:]
    first = start + len(rest) - len(rest.lstrip())
    # White space at the end of a text belongs to what it follows.
    return first if first < len(text) else len(text.rstrip()) - 1
