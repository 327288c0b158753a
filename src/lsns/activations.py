"""Texts to pooled block outputs, batched: the only place that reads hidden states.

Hooks stand at the outputs of the blocks, where a lesion acts as well: the last of a model's own
`hidden_states` is after the final norm, and so is not the residual stream. Pooling happens inside
the hooks, so that no more than one block's hidden states are held at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from lsns.chunks import Chunk, fitting, map_chunks, plan_chunks
from lsns.errors import LsnsError
from lsns.models.base import BaseModel
from lsns.models.factory import check_model
from lsns.models.sites import BLOCK_OUTPUT
from lsns.models.subject import Subject
from lsns.stimuli.contrast import parse_pooling

Array = np.ndarray[Any, Any]
Texts = Sequence[Sequence[int]]
# Padded tokens per batch: large enough for the rate of large matrices, small in memory.
TOKEN_BUDGET = 2048
# The same for sums over tokens, whatever `batch_size` is: small enough for any device.
SUMMED_BUDGET = 256


def extract(
    model: BaseModel,
    texts: Sequence[str],
    *,
    pooling: str = "last-token",
    max_tokens: int | None = None,
    batch_size: int | None = None,
) -> Float[Array, "n_texts n_layers hidden_size"]:
    """The block outputs for every text, pooled over its tokens.

    Args:
        model: from `lsns.load_model`.
        texts: read as they are, with the special tokens that the tokenizer adds by itself.
        pooling: `last-token`, `mean` or `sum`, over the text's own tokens and never over padding.
        max_tokens: cut every text to its first tokens, special ones included.
        batch_size: texts per forward pass; by default as many as fit a fixed number of tokens.
            Another size changes activations in their last digits, by rounding.

    Returns:
        float32, in the order of `texts`.

    Raises:
        LsnsError: a text without tokens, or an activation that is not finite.
    """
    check_model(model)
    tokens = [text.ids for text in read_texts(model, texts, max_tokens)]
    rows = np.empty((len(texts), *model.shape), dtype=np.float32)
    planned = plan_chunks(tokens)
    chunks = [[tokens[index] for index in chunk] for chunk in planned]
    found = Extraction(Subject(model), parse_pooling(pooling), batch_size)(chunks)
    for chunk, values in zip(planned, found, strict=True):
        rows[list(chunk)] = values
    return rows


@dataclass(frozen=True)
class ReadText:
    """What is read of a text.

    Attributes:
        ids: the token ids that the model reads.
        whole: how many tokens the whole text has.
        special: how many of `ids` are special tokens, such as a BOS.
        ends_special: whether the last of `ids` is one.
    """

    ids: list[int]
    whole: int
    special: int
    ends_special: bool


def read_texts(
    model: BaseModel, texts: Sequence[str], max_tokens: int | None = None
) -> list[ReadText]:
    """What a model reads of every text, cut as the tokenizer's own truncation would cut it.

    The tokenizer is left as it is: its padding side and truncation are not touched.

    Args:
        model: reads the texts.
        texts: as they are.
        max_tokens: how many tokens of each, special ones included; None: all.

    Raises:
        LsnsError: a text that has no tokens, that is too long for the model, or with a token that
            the model has no embedding for.
    """
    encoded = model.tokenizer(list(texts), return_special_tokens_mask=True)
    pairs = zip(encoded["input_ids"], encoded["special_tokens_mask"], strict=True)
    read = [_read(list(ids), list(special), max_tokens) for ids, special in pairs]
    for index, text in enumerate(read):
        if not text.ids:
            raise LsnsError(
                f"text {index + 1} of {len(read)} ({texts[index][:40]!r}) has no tokens; remove it"
            )
    model.check_ids([text.ids for text in read])
    limit = model.context_length
    longest = max(range(len(read)), key=lambda index: len(read[index].ids))
    if limit is not None and len(read[longest].ids) > limit:
        raise LsnsError(
            f"text {longest + 1} has {len(read[longest].ids)} tokens, and the model reads at most "
            f"{limit}; use --max-tokens {limit}"
        )
    return read


def _read(ids: list[int], special: list[int], max_tokens: int | None) -> ReadText:
    flags = _cut(special, special, max_tokens)
    return ReadText(
        ids=_cut(ids, special, max_tokens),
        whole=len(ids),
        special=sum(map(bool, flags)),
        ends_special=bool(flags and flags[-1]),
    )


@dataclass(frozen=True)
class Extraction:
    """What becomes of chunks of texts, here or in a worker: a function of `work.run`.

    Attributes:
        subject: the model.
        pooling: `last-token`, `mean` or `sum`.
        batch_size: texts per forward pass; None: as many as fit a fixed number of tokens.
    """

    subject: Subject
    pooling: str
    batch_size: int | None

    def __call__(self, chunks: Sequence[Texts]) -> list[Float[Array, "n_texts n_layers width"]]:
        """The activations of each chunk of token ids."""
        model = self.subject.load()
        tokens = [ids for chunk in chunks for ids in chunk]
        ends = [0, *accumulate(map(len, chunks))]
        places = [tuple(range(start, end)) for start, end in pairwise(ends)]

        def compute(batch: Chunk) -> list[Array]:
            return list(_run_batch(model, [tokens[index] for index in batch], self.pooling))

        def usual(chunk: Chunk) -> int:
            return fitting(chunk, tokens, TOKEN_BUDGET)

        with model.evaluating(), explained_memory():
            found = map_chunks(compute, places, batch_size=self.batch_size, usual=usual)
            return [np.stack(values) for _, values in found]


def _run_batch(model: BaseModel, tokens: Sequence[Sequence[int]], pooling: str) -> Array:
    return _read_blocks(model, tokens, partial(_pool, pooling=pooling))


def _read_blocks(
    model: BaseModel,
    tokens: Texts,
    reduce: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> Array:
    """What becomes of every block's hidden states and the texts' lengths: layers are axis 1."""
    lengths = torch.tensor([len(ids) for ids in tokens], device=model.device)
    # Padding on the right, with any id: no token of a causal model sees what comes after it.
    width = max(map(len, tokens))
    padded = torch.tensor([[*ids, *[0] * (width - len(ids))] for ids in tokens])
    input_ids = padded.to(model.device)
    attention = (torch.arange(width, device=model.device) < lengths[:, None]).long()
    outputs: dict[int, torch.Tensor] = {}

    def take(layer: int, hidden: torch.Tensor) -> None:
        outputs[layer] = reduce(hidden, lengths.to(hidden.device)).cpu()

    with BLOCK_OUTPUT.reading(model.blocks, take):
        model.forward(input_ids, attention)
    values = torch.stack([outputs[index] for index in range(model.num_layers)], dim=1).numpy()
    if not np.isfinite(values).all():
        layer = int(np.argwhere(~np.isfinite(values))[0][1])
        raise LsnsError(
            f"activations of layer {layer} are not finite in {model.precision}; "
            "use --dtype float32 or bfloat16"
        )
    return values


@dataclass(frozen=True)
class TokenSums:
    """Sums over all tokens of chunks of texts, here or in a worker: a function of `work.run`.

    Which texts share a forward pass follows from the chunk alone.

    Attributes:
        subject: the model.
    """

    subject: Subject

    def __call__(self, chunks: Sequence[Texts]) -> list[Float[Array, "5 n_layers width"]]:
        """The sums of each chunk of token ids; `token_sums` says which."""
        model = self.subject.load()
        with model.evaluating(), explained_memory():
            return [self._of_chunk(model, tokens) for tokens in chunks]

    def _of_chunk(self, model: BaseModel, tokens: Texts) -> Array:
        size = fitting(tuple(range(len(tokens))), tokens, SUMMED_BUDGET)
        batches = [tokens[start : start + size] for start in range(0, len(tokens), size)]
        return add_sums([_read_blocks(model, batch, token_sums) for batch in batches])


def token_sums(hidden: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Of each unit over all tokens of all texts, the sums of |x| and of its square and the largest.

    Args:
        hidden: hidden states (batch, tokens, units), padded on the right.
        lengths: tokens of each text.

    Returns:
        (5, units): these three, then the sums of |x| and of its square over first tokens.
    """
    real = torch.arange(hidden.shape[1], device=hidden.device) < lengths[:, None]
    sizes = torch.where(real[:, :, None], hidden.abs(), 0).to(_wide(hidden))
    first = sizes[:, 0]
    sums = (sizes.sum((0, 1)), sizes.square().sum((0, 1)), sizes.amax((0, 1)))
    return torch.stack([*sums, first.sum(0), first.square().sum(0)])


def add_sums(parts: Sequence[Array]) -> Float[Array, "5 n_layers width"]:
    """What `token_sums` says of several sets of texts together."""
    joined = np.stack(parts)
    total = joined.sum(axis=0)
    total[2] = joined[:, 2].max(axis=0)
    return total


def _pool(hidden: torch.Tensor, lengths: torch.Tensor, pooling: str) -> torch.Tensor:
    """One float32 vector per text from hidden states (batch, tokens, units), padded on the right.

    Sums are taken in float64 where the device has it, so that neighbours in the batch, which
    decide on the padding, do not change the result.
    """
    if pooling == "last-token":
        rows = torch.arange(len(hidden), device=hidden.device)
        return hidden[rows, lengths - 1].float()
    real = torch.arange(hidden.shape[1], device=hidden.device) < lengths[:, None]
    total = torch.where(real[:, :, None], hidden, 0).sum(dim=1, dtype=_wide(hidden))
    return (total if pooling == "sum" else total / lengths[:, None]).float()


def _wide(hidden: torch.Tensor) -> torch.dtype:
    """The most precise floats that the device has."""
    return torch.float32 if hidden.device.type == "mps" else torch.float64


def _cut(ids: list[int], special: list[int], max_tokens: int | None) -> list[int]:
    """Cut the text and keep the special tokens around it, as truncation does."""
    if max_tokens is None or len(ids) <= max_tokens:
        return ids
    tail = next((i for i, flag in enumerate(reversed(special)) if not flag), len(ids))
    return ids[: max(max_tokens - tail, 0)] + ids[len(ids) - tail :][:max_tokens]


@contextmanager
def explained_memory() -> Generator[None]:
    """Turn running out of memory on a device into one line."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise LsnsError(
            "the device ran out of memory; use a smaller --batch-size (what was computed is kept)"
        ) from None
