"""Continue a prompt, intact or under a lesion."""

from __future__ import annotations

from typing import Any

import torch

from lsns.activations import check_ids
from lsns.errors import LsnsError
from lsns.models.base import BaseModel
from lsns.models.factory import check_model


def generate(
    model: BaseModel,
    prompt: str,
    *,
    max_new_tokens: int = 20,
    temperature: float | None = None,
    seed: int = 42,
    use_cache: bool = True,
) -> str:
    """The model's continuation of `prompt`, without the prompt.

    Args:
        model: from `load_model`; lesions that are attached act.
        prompt: read as it is, with the special tokens that the tokenizer adds by itself.
        max_new_tokens: how many tokens at most.
        temperature: sample at this temperature; None: greedy, the likeliest token each time.
        seed: of the sampling; the global generator is put back as it was.
        use_cache: keep keys and values of earlier tokens; the result is the same, only slower
            without.

    Raises:
        LsnsError: a prompt without tokens, with half a character, or with a token that the model
            has no embedding for, more tokens than the model reads, or an option out of bounds.
    """
    if max_new_tokens < 1:
        raise LsnsError(f"max-new-tokens must be at least 1; got {max_new_tokens}")
    if temperature is not None and not temperature > 0:
        raise LsnsError(f"temperature must be above 0; got {temperature}; leave it out for greedy")
    check_model(model)
    try:
        prompt.encode()
    except UnicodeEncodeError:
        raise LsnsError(f"the prompt {prompt[:40]!r} is no UTF-8 text; write it as UTF-8") from None
    ids = model.tokenizer(prompt)["input_ids"]
    if not ids:
        raise LsnsError("the prompt has no tokens; give a longer one")
    check_ids(model, [ids], lambda _: "the prompt")
    limit = model.context_length
    if limit is not None and len(ids) + max_new_tokens - 1 > limit:
        raise LsnsError(
            f"a prompt of {len(ids)} tokens and {max_new_tokens} new ones are more than the model "
            f"reads, {limit}; use a shorter prompt or a smaller --max-new-tokens"
        )
    tokens = torch.tensor([ids], device=model.device)
    options = _options(model, max_new_tokens, temperature, use_cache)
    with model.evaluating(), torch.random.fork_rng(enabled=temperature is not None):
        if temperature is not None:
            torch.manual_seed(seed)
        produced = _produce(model, tokens, options)
    return model.tokenizer.decode(produced[0, len(ids) :], skip_special_tokens=True)


def _produce(model: BaseModel, tokens: torch.Tensor, options: dict[str, Any]) -> torch.Tensor:
    from lsns.models.huggingface import quiet_transformers

    module: Any = model.model
    with quiet_transformers():
        return module.generate(input_ids=tokens, attention_mask=torch.ones_like(tokens), **options)


def _options(
    model: BaseModel, max_new_tokens: int, temperature: float | None, use_cache: bool
) -> dict[str, Any]:
    """Everything that a checkpoint's own generation settings could change is set here."""
    config: Any = getattr(model.model, "generation_config", None)
    end = getattr(config, "eos_token_id", None)
    end = model.tokenizer.eos_token_id if end is None else end
    padding = model.tokenizer.pad_token_id
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
