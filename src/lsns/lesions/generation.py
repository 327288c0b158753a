"""`generate`: a prompt continued by a model, intact or under the lesions that are attached."""

from __future__ import annotations

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
        prompt: text to continue, read as it is, with the special tokens that the tokenizer adds.
        max_new_tokens: number of new tokens at most.
        temperature: temperature at which tokens are sampled; None: greedy, the likeliest each time.
        seed: random seed for sampled tokens; the global generator is put back as it was.
        use_cache: keep keys and values of earlier tokens; without them the result is equal, and
            slower.

    Raises:
        LsnsError: a prompt without tokens, with half a character, or with a token that the model
            has no embedding for, more tokens than the model reads, or an option out of bounds.
    """
    check_model(model)
    return model.generate(
        prompt,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=seed,
        use_cache=use_cache,
    )
