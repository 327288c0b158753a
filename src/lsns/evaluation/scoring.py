"""Log-probabilities of texts, token by token, for any causal language model.

What stands in front of a text, which characters a token stands for, and sums over spans. How a
model is run is in `logprobs`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float, Int

from lsns.errors import LsnsError
from lsns.evaluation.logprobs import sequence_logprobs
from lsns.models.base import BaseModel
from lsns.models.loading import quiet_transformers

if TYPE_CHECKING:
    from lsns.evaluation.cells import PartStore

Array = np.ndarray[Any, Any]
Prefix = Literal["auto", "bos", "eos", "none"]


@dataclass(frozen=True)
class Front:
    """What stands in front of every scored text.

    Attributes:
        asked: the option, e.g. `auto`.
        token: the token that it came to; None: nothing.
        token_id: its id; None: nothing.
    """

    asked: str
    token: str | None
    token_id: int | None


@dataclass(frozen=True, eq=False)
class TextTokens:
    """The tokens of a text.

    Attributes:
        ids: token ids.
        offsets: int64 (n_tokens, 2), start and end in characters; None if that is not told.
    """

    ids: list[int]
    offsets: Int[Array, "n_tokens 2"] | None


@dataclass(frozen=True, eq=False)
class TextScore:
    """A text's tokens and how likely each was after all that stands before it.

    Attributes:
        text: the text.
        token_ids: int64 (n_tokens,), without what stands in front.
        logprobs: float64 (n_tokens,), nats; NaN for the first token if nothing stands before it.
        offsets: int64 (n_tokens, 2), the characters of each token, start and end, as the tokenizer
            tells; the tokens of one multi-byte character all name that character. None for a
            tokenizer that cannot tell.
    """

    text: str
    token_ids: Int[Array, " n_tokens"]
    logprobs: Float[Array, " n_tokens"]
    offsets: Int[Array, "n_tokens 2"] | None

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
        if self.offsets is None:
            raise LsnsError(
                "the tokenizer does not tell which characters its tokens stand for; "
                "use a model with a fast tokenizer"
            )
        return np.array([_first_visible(self.text, start) for start in self.offsets[:, 0].tolist()])


def score_texts(
    model: BaseModel,
    texts: Sequence[str],
    *,
    names: Sequence[str] | None = None,
    prefix: Prefix | str = "auto",
    batch_size: int | None = None,
    advance: Callable[[int], None] = lambda _: None,
    parts: PartStore | None = None,
) -> list[TextScore]:
    """Score every text, intact or under the lesions that are attached.

    Which texts share a pass is decided by the texts alone: results are the same bytes in any
    order. Another `batch_size`, or other texts beside a text, change it by rounding alone: less
    than 1e-4 nats for a sentence in float32.

    Args:
        model: from `lsns.load_model`.
        texts: read as they are; special tokens that the tokenizer would add are left out.
        names: what each is called in an error; by default by its number.
        prefix: what stands in front of each text; see `resolve_prefix`. A text that begins with
            that very token keeps the one it has.
        batch_size: texts per forward pass; by default as many as fit a fixed number of tokens. A
            model that gives logits for every token of a pass reads fewer at a time, whatever it is.
        advance: told of the number of texts as they are done.
        parts: where what is computed is kept, for a run that goes on.

    Returns:
        In the order of `texts`.

    Raises:
        LsnsError: a text with nothing to score, too long for the model, or with a token that it has
            no embedding for; a prefix that the tokenizer does not have; a log-probability that is
            not finite.
    """
    front = resolve_prefix(model.tokenizer, prefix)
    tokens = encode(model.tokenizer, texts)
    sequences = [in_front(front, one.ids) for one in tokens]
    called = names or [f"text {number}" for number in range(1, len(texts) + 1)]
    for sequence, text, name in zip(sequences, texts, called, strict=True):
        _check_sequence(model, sequence, f"{name} ({text[:40]!r})")
    scored = sequence_logprobs(
        model, sequences, names=called, batch_size=batch_size, advance=advance, parts=parts
    )
    return [
        TextScore(text, np.array(one.ids), _aligned(values, len(one.ids)), one.offsets)
        for text, one, values in zip(texts, tokens, scored, strict=True)
    ]


def resolve_prefix(tokenizer: Any, prefix: Prefix | str = "auto") -> Front:
    """What `prefix` means for a tokenizer.

    - `auto`: the `bos` token if there is one, else the `eos` token. This is what lm-eval puts in
      front of a text without context (`HFLM.prefix_token_id` of lm-eval 0.4.13).
    - `bos`, `eos`: the token that the tokenizer calls so.
    - `none`: nothing. The first token then has no context and is not scored.
    - a token of the vocabulary, written out, e.g. `<|endoftext|>`: the token that separated
      documents in training is neither `bos` nor `eos` of many chat models. SmolLM2-Instruct has
      `<|im_start|>` for `bos`, `<|im_end|>` for `eos`, and only a token like any other, of id 0,
      in `<|endoftext|>`.

    Raises:
        LsnsError: the tokenizer has no such token.
    """
    if prefix == "none":
        return Front(prefix, None, None)
    special = {"bos": tokenizer.bos_token, "eos": tokenizer.eos_token}
    special["auto"] = special["bos"] or special["eos"]
    token = special.get(prefix, prefix)
    if not token or token not in tokenizer.get_vocab():
        found = ", ".join(f"{k} {special[k]}" for k in ("bos", "eos") if special[k]) or "neither"
        raise LsnsError(
            f"the tokenizer has no token for prefix {prefix!r} (bos and eos: {found}); "
            "use auto, bos, eos, none, or a token of its vocabulary"
        )
    return Front(prefix, token, int(tokenizer.convert_tokens_to_ids(token)))


def span_surprisal(score: TextScore, start: int, end: int, *, name: str = "") -> float:
    """Surprisal of the characters `start` to `end` (exclusive), in bits: the sum over its tokens.

    See `TextScore.anchors` for which tokens these are: the spans of a division of the text add up
    to the whole.

    Args:
        score: from `score_texts`.
        start: first character of the span.
        end: the character after the last.
        name: what the span is called in an error.

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


def encode(tokenizer: Any, texts: Sequence[str]) -> list[TextTokens]:
    """Token ids and characters of every text, without the tokens that a tokenizer adds to it."""
    if not texts:
        return []
    tells = bool(getattr(tokenizer, "is_fast", False))
    # Quiet: whether a text is too long for the model is checked where it is scored.
    with quiet_transformers():
        encoded = tokenizer(
            list(texts), add_special_tokens=False, return_offsets_mapping=tells, truncation=False
        )
    if not tells:
        return [TextTokens(list(ids), None) for ids in encoded["input_ids"]]
    pairs = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
    return [
        TextTokens(list(ids), np.array(places, dtype=np.int64).reshape(-1, 2))
        for ids, places in pairs
    ]


def in_front(front: Front, ids: list[int]) -> list[int]:
    """`ids` with the prefix in front, unless they begin with it already."""
    if front.token_id is None or ids[:1] == [front.token_id]:
        return ids
    return [front.token_id, *ids]


def _check_sequence(model: BaseModel, sequence: Sequence[int], name: str) -> None:
    if len(sequence) < 2:
        raise LsnsError(
            f"{name} has no token that could be scored; remove it, or put a prefix in front"
        )
    limit = model.context_length
    if limit is not None and len(sequence) - 1 > limit:
        raise LsnsError(
            f"{name} has {len(sequence)} tokens, and the model reads at most {limit}; shorten it"
        )


def _aligned(values: Array, n_tokens: int) -> Float[Array, " n_tokens"]:
    """One value per token of the text: NaN for a first token without context."""
    return np.concatenate([np.full(n_tokens - len(values), np.nan), values])


def _first_visible(text: str, start: int) -> int:
    rest = text[start:]
    first = start + len(rest) - len(rest.lstrip())
    # White space at the end of a text belongs to what it follows.
    return first if first < len(text) else len(text.rstrip()) - 1
