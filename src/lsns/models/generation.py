"""How transformers is called to continue tokens, whatever a checkpoint's own settings are."""

from __future__ import annotations

from typing import Any

import torch

from lsns.models.loading import quiet_transformers


def continue_tokens(
    module: Any,
    tokenizer: Any,
    tokens: torch.Tensor,
    *,
    max_new_tokens: int,
    temperature: float | None,
    seed: int,
    use_cache: bool,
) -> list[int]:
    """The ids that follow `tokens`, of shape (1, n), on the module's device.

    Args:
        module: a causal language model of transformers.
        tokenizer: its tokenizer, which names the ends of texts.
        tokens: what is continued.
        max_new_tokens: how many ids at most.
        temperature: sample at this temperature; None: greedy.
        seed: random seed of the sampling; the global generator is put back as it was.
        use_cache: keep keys and values of earlier tokens.
    """
    sampled = temperature is not None
    options = _options(module, tokenizer, max_new_tokens, temperature, use_cache)
    with torch.random.fork_rng(enabled=sampled), quiet_transformers():
        if sampled:
            torch.manual_seed(seed)
        produced = module.generate(
            input_ids=tokens, attention_mask=torch.ones_like(tokens), **options
        )
    return produced[0, tokens.shape[1] :].tolist()


def _options(
    module: Any, tokenizer: Any, max_new_tokens: int, temperature: float | None, use_cache: bool
) -> dict[str, Any]:
    """Everything that a checkpoint's own generation settings could change is set here."""
    config: Any = getattr(module, "generation_config", None)
    end = getattr(config, "eos_token_id", None)
    end = tokenizer.eos_token_id if end is None else end
    padding = tokenizer.pad_token_id
    if padding is None:
        padding = end[0] if isinstance(end, (list, tuple)) else end
    sampling = {"temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature else {}
    return {
        "max_new_tokens": max_new_tokens,
        "do_sample": temperature is not None,
        "num_beams": 1,
        "repetition_penalty": 1.0,
        "no_repeat_ngram_size": 0,
        "min_length": 0,
        "min_new_tokens": 0,
        "suppress_tokens": [],
        "begin_suppress_tokens": [],
        "use_cache": use_cache,
        "eos_token_id": end,
        "pad_token_id": padding,
        **sampling,
    }
