"""Perplexity of a text, by windows over it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lsns.errors import LsnsError
from lsns.evaluation.logprobs import sequence_logprobs
from lsns.evaluation.scoring import Front, Prefix, TextTokens, encode, in_front, resolve_prefix
from lsns.models.base import BaseModel
from lsns.stimuli.files import read_text as read_utf8

if TYPE_CHECKING:
    from lsns.evaluation.cells import PartStore

# A text of a few pages should be several items, also for a model that reads all of it at once.
CONTEXT = 512


@dataclass(frozen=True)
class Window:
    """Tokens of a text that are scored together.

    Attributes:
        begin: the first token that is read.
        first: the first token that is scored; what is before it is only context.
        end: the token after the last.
    """

    begin: int
    first: int
    end: int


@dataclass(frozen=True)
class WindowResult:
    """What a model made of a window.

    Attributes:
        benchmark: the name of the benchmark.
        paradigm: the name of the text.
        item: the window's number, from 0.
        n_tokens: scored tokens.
        n_characters: the characters that these stand for.
        logp: their summed log-probability in nats.
    """

    benchmark: str
    paradigm: str
    item: str
    n_tokens: int
    n_characters: int
    logp: float


def read_text(path: str | Path | None = None) -> str:
    """A text file; by default the text that ships with the package.

    Raises:
        LsnsError: no such file, not UTF-8, or nothing in it.
    """
    if path is None:
        return (files("lsns.evaluation") / "data" / "text.txt").read_text(encoding="utf-8")
    # The ends of lines as on this machine, wherever the file was written.
    text = read_utf8(Path(path)).replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise LsnsError(f"{path} is empty; a text is needed")
    return text


def score_windows(
    model: BaseModel,
    text: str,
    *,
    name: str = "text",
    benchmark: str = "perplexity",
    context: int | None = None,
    stride: int | None = None,
    prefix: Prefix | str = "auto",
    batch_size: int | None = None,
    advance: Callable[[int], None] = lambda _: None,
    parts: PartStore | None = None,
) -> list[WindowResult]:
    """Score a text in windows that overlap; every token is scored once.

    Args:
        model: from `lsns.load_model`; lesions that are attached act.
        text: of any length.
        name: of the text, for the results.
        benchmark: the name that the results carry.
        context: tokens that the model reads at once, the prefix among them; by default 512, or
            what the model can, if that is less.
        stride: tokens by which a window is ahead of the one before; by default half the context.
            A smaller stride gives every token more context and takes longer.
        prefix: stands in front of every window, not only the first; see `scoring.resolve_prefix`.
        batch_size: windows per forward pass; see `scoring.score_texts`.
        advance: told of the number of windows as they are done.
        parts: see `scoring.score_texts`.

    Returns:
        The windows in order.

    Raises:
        LsnsError: context or stride out of bounds, fewer than two tokens, or see
            `scoring.score_texts`.
    """
    front = resolve_prefix(model.tokenizer, prefix)
    tokens = encode(model.tokenizer, [text])[0]
    windows = _plan(model, tokens.ids, front, context, stride)
    sequences = [in_front(front, tokens.ids[w.begin : w.end]) for w in windows]
    names = [f"{name}, window {place}" for place in range(len(windows))]
    scored = sequence_logprobs(
        model, sequences, names=names, batch_size=batch_size, advance=advance, parts=parts
    )
    starts = _starts(tokens, text)
    return [
        WindowResult(
            benchmark,
            name,
            str(place),
            window.end - window.first,
            int(starts[window.end] - starts[window.first]),
            float(values[len(values) - (window.end - window.first) :].sum()),
        )
        for place, (window, values) in enumerate(zip(windows, scored, strict=True))
    ]


def plan_windows(n_tokens: int, *, context: int, stride: int, first: int = 0) -> list[Window]:
    """Windows over `n_tokens` tokens, `stride` apart, of at most `context` tokens each.

    Args:
        n_tokens: of the text.
        context: tokens in a window.
        stride: from one window's end to the next.
        first: the first token that is scored: 1 where nothing stands in front.
    """
    windows = [Window(0, first, min(context, n_tokens))]
    while (last := windows[-1]).end < n_tokens:
        end = min(last.end + stride, n_tokens)
        windows.append(Window(end - context, last.end, end))
    return windows


def perplexity(results: Sequence[WindowResult]) -> float:
    """The exponential of the mean surprisal per token, in nats; not comparable over tokenizers."""
    return float(np.exp(-sum(r.logp for r in results) / sum(r.n_tokens for r in results)))


def bits_per_character(results: Sequence[WindowResult]) -> float:
    """Surprisal per character in bits: comparable over tokenizers."""
    bits = -sum(r.logp for r in results) / np.log(2)
    return float(bits / sum(r.n_characters for r in results))


def _plan(
    model: BaseModel, ids: Sequence[int], front: Front, context: int | None, stride: int | None
) -> list[Window]:
    most = model.context_length
    if most is not None and most < 2:
        raise LsnsError(f"the model reads at most {most} token, and a window has at least 2")
    context = context or min(CONTEXT, most or CONTEXT)
    if context < 2 or (most is not None and context > most):
        raise LsnsError(
            f"context must be from 2 to {most or 'any number of'} tokens; got {context}"
        )
    room = context - (front.token_id is not None)
    stride = max(1, context // 2) if stride is None else stride
    if not 1 <= stride <= room:
        raise LsnsError(f"stride must be from 1 to {room} tokens; got {stride}")
    # Nothing is in front of the first token, or it is itself what would be.
    first = int(front.token_id is None or list(ids[:1]) == [front.token_id])
    if len(ids) <= first:
        raise LsnsError(f"the text has {len(ids)} tokens; nothing can be scored")
    return plan_windows(len(ids), context=room, stride=stride, first=first)


def _starts(tokens: TextTokens, text: str) -> np.ndarray:
    """The character that each token begins at, and the text's end: (n_tokens + 1,).

    What a tokenizer leaves out between two tokens, such as a space, counts with the first.
    """
    if tokens.offsets is None:
        raise LsnsError(
            "the tokenizer does not tell which characters its tokens stand for; "
            "use a model with a fast tokenizer"
        )
    starts = np.append(tokens.offsets[:, 0], len(text))
    starts[0] = 0
    return np.maximum.accumulate(starts)
