"""How a causal language model is run to get logits: found out by trying, once per model.

The decoder runs through the model's own blocks, so a lesion that is attached acts. The language
modelling head is applied apart from it, where that gives the model's own logits, and texts share
rows, where that gives what rows of their own give. Both are tried out before they are relied on.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import nn

from lsns.models.base import BaseModel
from lsns.models.blocks import decoder_of, text_config

Array = np.ndarray[Any, Any]

# Longer texts share little; they have rows of their own, and every mask that the model makes.
MOST_SHARED = 64
WINDOWS = ("sliding_window", "attention_chunk_size", "attention_window", "window_size")


@dataclass(frozen=True)
class ForwardPass:
    """How a model is run.

    Attributes:
        model: the model.
        module: what is called: the decoder, or the whole model.
        head: from the decoder's states to logits; None: the module returns logits.
        shares: whether texts of at most `MOST_SHARED` tokens may share rows.
    """

    model: BaseModel
    module: nn.Module
    head: nn.Module | None
    shares: bool

    @property
    def vocabulary(self) -> int:
        """The number of tokens that logits are computed for."""
        return self.model.n_embeddings or len(self.model.tokenizer)

    def states(
        self,
        ids: Int[Array, "n_rows width"],
        lengths: Int[Array, " n_rows"],
        visible: Bool[Array, "n_rows width width"] | None = None,
        depths: Int[Array, "n_rows width"] | None = None,
    ) -> torch.Tensor:
        """What the module returns: (n_rows, width, hidden units), or logits without a head.

        Args:
            ids: token ids, padded on the right.
            lengths: tokens per row.
            visible: whether a token, the second axis, sees another, the third; None where every
                row is one text, read from left to right.
            depths: the place of each token in its text, where rows are shared.
        """
        device = self.model.device
        mask = (np.arange(ids.shape[1]) < lengths[:, None]).astype(np.int64)
        options: dict[str, Any] = {"attention_mask": torch.from_numpy(mask).to(device)}
        if visible is not None and depths is not None:
            options["attention_mask"] = self._additive(visible).to(device)
            options["position_ids"] = torch.from_numpy(depths).to(device)
        output: Any = run_module(self.module, torch.from_numpy(ids).to(device), **options)
        return output.logits if self.head is None else output.last_hidden_state

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """float32 logits of some states: (..., vocabulary)."""
        return (self.head(states) if self.head else states).float()

    def _additive(self, visible: Array) -> torch.Tensor:
        """(n_rows, 1, width, width): 0 where a token sees, the least number where not."""
        dtype = next(self.model.model.parameters()).dtype
        hidden, least = ~torch.from_numpy(visible), torch.finfo(dtype).min
        return torch.zeros(visible.shape, dtype=dtype).masked_fill_(hidden, least)[:, None]


def forward_pass(model: BaseModel) -> ForwardPass:
    """How to run the model: found out by trying the first time, and remembered.

    What is found under a lesion is not remembered: a lesion may hide that it would not do.
    """
    found = _KNOWN.get(model.model)
    if found is None:
        with model.evaluating():
            splits = _equals_model(model)
            found = splits, _may_share(_forward_pass(model, splits, shares=False))
        if not model.active_lesions:
            _KNOWN[model.model] = found
    return _forward_pass(model, *found)


def run_module(module: nn.Module, input_ids: torch.Tensor, **options: Any) -> Any:
    """What a module of transformers returns for tokens, (batch, tokens), without a KV cache."""
    if "use_cache" in inspect.signature(module.forward).parameters:
        options["use_cache"] = False
    return module(input_ids=input_ids, **options)


_KNOWN: WeakKeyDictionary[nn.Module, tuple[bool, bool]] = WeakKeyDictionary()


def _forward_pass(model: BaseModel, splits: bool, shares: bool) -> ForwardPass:
    """The head is applied apart where it splits; texts share rows where it shares."""
    whole: Any = model.model
    if splits:
        return ForwardPass(model, decoder_of(whole), whole.get_output_embeddings(), shares)
    return ForwardPass(model, whole, None, shares)


def _equals_model(model: BaseModel) -> bool:
    """Whether the head on the decoder's states gives the model's own logits.

    It does not where the model scales or caps its logits.
    """
    module: Any = model.model
    head = module.get_output_embeddings() if hasattr(module, "get_output_embeddings") else None
    if head is None:
        return False
    apart, whole = (_forward_pass(model, splits, shares=False) for splits in (True, False))
    tokens = _trial_tokens(whole, min(24, model.context_length or 24))[None]
    expected = whole.logits(whole.states(tokens, np.array([tokens.size])))
    try:
        found = apart.logits(apart.states(tokens, np.array([tokens.size])))
    except (TypeError, ValueError, RuntimeError, AttributeError):
        return False
    same = found.shape == expected.shape
    return same and bool((found - expected).abs().max() <= 1e-5 * expected.abs().max())


def _may_share(way: ForwardPass) -> bool:
    """Whether two texts in one row give what rows of their own give.

    They do not where positions are not read from `position_ids`, where attention is not all that
    mixes tokens, or where a window limits it. Tried on the longest rows that are ever shared.
    """
    if _has_short_window(way.model):
        return False
    length = min(MOST_SHARED, way.model.context_length or MOST_SHARED)
    half = length // 2
    # The second text has the first half of the first, then tokens of its own.
    row, places = _trial_tokens(way, 2 * length - half), np.arange(2 * length - half)
    paths = np.stack([places[:length], np.r_[places[:half], places[length:]]])
    visible = np.tri(len(row), dtype=bool)
    visible[length:, half:length] = False
    depths = np.r_[:length, half:length]
    try:
        shared = way.states(row[None], np.array([len(row)]), visible[None], depths[None])[0]
    except (TypeError, ValueError, RuntimeError, AttributeError, IndexError):
        return False
    apart = way.states(row[paths], np.array([length, length]))
    dtype = next(way.model.model.parameters()).dtype
    tolerance = 1e-4 if dtype in (torch.float32, torch.float64) else 5e-2
    together = shared[torch.from_numpy(paths).to(shared.device)]
    return all(_difference(*pair) < tolerance for pair in zip(together, apart, strict=True))


def _difference(one: torch.Tensor, other: torch.Tensor) -> float:
    one, other = one.float(), other.float()
    return float((one - other).norm() / other.norm().clamp_min(1e-30))


def _has_short_window(model: BaseModel) -> bool:
    """Whether the configuration tells of attention limited to fewer tokens than may share rows."""
    config = text_config(model.model)
    settings = {} if config is None else config.to_dict()
    return any(isinstance(size := settings.get(n), int) and size < MOST_SHARED for n in WINDOWS)


def _trial_tokens(way: ForwardPass, count: int) -> Int[Array, " count"]:
    return np.random.RandomState(0).randint(way.vocabulary, size=count).astype(np.int64)
