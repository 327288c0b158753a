"""Log-probabilities of token sequences: how any causal language model is run to get them.

The decoder runs through the model's own blocks, so a lesion that is attached acts. Sequences that
begin alike share the work (see `packing`), the language modelling head is applied only where a
token is predicted, and no more than a slice of its output, which has a column per vocabulary
entry, is held at a time. Both are tried out on a model before they are relied on, and left out
where they would change the result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from lsns.activations import explained_memory
from lsns.chunks import Chunk, fitting, map_chunks, plan_chunks
from lsns.errors import LsnsError
from lsns.evaluation.packing import ROW_NODES, Rows, lay_out, split_rows
from lsns.models.base import BaseModel
from lsns.models.forward import MOST_SHARED, ForwardPass, forward_pass

Array = np.ndarray[Any, Any]
Tokens = tuple[int, ...]

# Nodes of a forward pass: large enough for the rate of large matrices, small enough for caches.
TOKEN_BUDGET = 1024
# Values of the head's output that are held at a time: 64 MB in float32.
LOGIT_VALUES = 1 << 24


def sequence_logprobs(
    model: BaseModel,
    sequences: Sequence[Sequence[int]],
    *,
    names: Sequence[str] | None = None,
    batch_size: int | None = None,
) -> list[Float[Array, " n_predictions"]]:
    """Log-probability of every token of each sequence but its first, after those before it.

    Args:
        model: from `lsns.load_model`.
        sequences: token ids, at least two each.
        names: what errors call each sequence.
        batch_size: sequences per forward pass; None: as many as fit a fixed number of tokens.

    Returns:
        Per sequence float64 (n_tokens - 1,), nats. Computed from float32 logits, whatever the
        dtype of the model.

    Raises:
        LsnsError: a value that is not finite, a token that the model has no embedding for, or an
            impossible `batch_size`.
    """
    model.check_ids(sequences, names)
    keys = [tuple(sequence) for sequence in sequences]
    called = dict(zip(keys, names or [], strict=names is not None))
    chunks = plan_sequences(model, keys)
    scored = chunk_logprobs(model, chunks, names=called, batch_size=batch_size)
    found = {
        sequence: values
        for chunk, scores in zip(chunks, scored, strict=True)
        for sequence, values in zip(chunk, scores, strict=True)
    }
    return [found[key] for key in keys]


def plan_sequences(model: BaseModel, sequences: Sequence[Tokens]) -> list[list[Tokens]]:
    """Chunks of the different ones among sequences; they depend on the sequences alone."""
    unique = sorted(set(sequences))
    return [[unique[i] for i in chunk] for chunk in _plan(forward_pass(model), unique)]


def chunk_logprobs(
    model: BaseModel,
    chunks: Sequence[Sequence[Tokens]],
    *,
    names: Mapping[Tokens, str],
    batch_size: int | None = None,
) -> list[list[Float[Array, " n_predictions"]]]:
    """What `sequence_logprobs` gives, for the sequences of each of some chunks.

    Args:
        model: from `lsns.load_model`.
        chunks: from `plan_sequences`.
        names: what errors call sequences.
        batch_size: sequences per forward pass, which several chunks may share; None: as many as
            fit a fixed number of tokens.

    Raises:
        LsnsError: a value that is not finite, or an impossible `batch_size`.
    """
    sequences = [sequence for chunk in chunks for sequence in chunk]
    ends = [0, *accumulate(map(len, chunks))]
    places = [tuple(range(start, end)) for start, end in pairwise(ends)]
    with model.evaluating(), explained_memory():
        way = forward_pass(model)

        def compute(batch: Chunk) -> list[Array]:
            return _run_batch(way, [sequences[i] for i in batch], names)

        usual = partial(_usual_size, way, sequences)
        found = map_chunks(compute, places, batch_size=batch_size, usual=usual)
        return [values for _, values in found]


def _plan(way: ForwardPass, sequences: Sequence[Tokens]) -> list[Chunk]:
    """Chunks of sequences in sorted order: of short ones a pass each, then the long ones."""
    lengths = [len(sequence) - 1 for sequence in sequences]
    short = [i for i, n in enumerate(lengths) if way.shares and n <= MOST_SHARED]
    long = [i for i, n in enumerate(lengths) if not (way.shares and n <= MOST_SHARED)]
    rows = split_rows([sequences[i] for i in short])
    per_pass = max(1, TOKEN_BUDGET // ROW_NODES)
    groups = [rows[start : start + per_pass] for start in range(0, len(rows), per_pass)]
    chunks = [tuple(short[i] for row in group for i in row) for group in groups]
    planned = plan_chunks([sequences[i] for i in long])
    return chunks + [tuple(long[i] for i in chunk) for chunk in planned]


def _usual_size(way: ForwardPass, sequences: Sequence[Tokens], chunk: Chunk) -> int:
    """Texts per pass without a batch size: all of a chunk that shares rows, else what fits."""
    if _is_shared(way, [sequences[i] for i in chunk]):
        return len(chunk)
    return fitting(chunk, sequences, TOKEN_BUDGET)


def _run_batch(
    way: ForwardPass, sequences: Sequence[Tokens], names: Mapping[Tokens, str]
) -> list[Array]:
    """The values of the sequences of one pass, in their order."""
    values = _run(way, sequences)
    for sequence, found in zip(sequences, values, strict=True):
        if not np.isfinite(found).all():
            raise LsnsError(_not_finite(way.model, sequence, names.get(sequence, "")))
    return values


def _is_shared(way: ForwardPass, sequences: Sequence[Tokens]) -> bool:
    return way.shares and all(len(sequence) - 1 <= MOST_SHARED for sequence in sequences)


def _run(way: ForwardPass, sequences: Sequence[Tokens]) -> list[Array]:
    """One batch of sequences to log-probabilities, in their order."""
    if _is_shared(way, sequences):
        places = split_rows(sequences)
        rows = lay_out([[sequences[i] for i in row] for row in places])
    else:
        rows = lay_out([[sequence] for sequence in sequences], tree=False)
    values = _edge_values(way, rows)
    return [values[path] for path in rows.paths]


def _edge_values(way: ForwardPass, rows: Rows) -> Float[Array, " n_edges"]:
    """The log-probability of every edge."""
    n_rows, width = rows.ids.shape
    # Without the head apart, logits come for every node: then few rows at a time, whatever the
    # batch size.
    step = n_rows if way.head else max(1, 4 * LOGIT_VALUES // (width * way.vocabulary))
    parts = []
    for start in range(0, n_rows, step):
        states = _states(way, rows, slice(start, start + step)).flatten(0, 1)
        low, high = np.searchsorted(rows.parents, [start * width, (start + step) * width])
        parents = rows.parents[low:high] - start * width
        parts.append(_logprobs(way, states, parents, rows.targets[low:high]))
    return np.concatenate(parts)


def _states(way: ForwardPass, rows: Rows, which: slice) -> torch.Tensor:
    visible = None if rows.visible is None else rows.visible[which]
    return way.states(rows.ids[which], rows.lengths[which], visible, rows.depths[which])


def _logprobs(
    way: ForwardPass, states: torch.Tensor, parents: Array, targets: Array
) -> Float[Array, " n_edges"]:
    """Log P(target) at each parent; `parents` ascending. The head runs once per parent."""
    nodes, which = np.unique(parents, return_inverse=True)
    size = max(1, LOGIT_VALUES // way.vocabulary)
    values = np.empty(len(parents))
    for start in range(0, len(nodes), size):
        low, high = np.searchsorted(which, [start, start + size])
        chosen = states[torch.from_numpy(nodes[start : start + size]).to(states.device)]
        logits = way.logits(chosen)
        rows = torch.from_numpy(which[low:high] - start).to(logits.device)
        columns = torch.from_numpy(targets[low:high]).to(logits.device)
        found = logits[rows, columns] - _logsumexp(logits)[rows]
        values[low:high] = found.cpu().numpy()
    return values


def _logsumexp(logits: torch.Tensor) -> torch.Tensor:
    """Log of the summed exponentials of each row; overwrites `logits`.

    `torch.logsumexp` makes copies of what has a column per vocabulary entry: twice the time.
    """
    largest = logits.amax(dim=-1, keepdim=True)
    return logits.sub_(largest).exp_().sum(dim=-1).log_().add_(largest[:, 0])


def _not_finite(model: BaseModel, sequence: Tokens, name: str) -> str:
    text = model.tokenizer.decode(list(sequence[1:]))
    return (
        f"{name}{': ' * bool(name)}the log-probability of {text[:60]!r} is not finite in "
        f"{model.precision}; use --dtype float32 or bfloat16"
    )
