"""The slow, obvious way to score a text: alone, the whole model, nothing shared."""

from __future__ import annotations

from typing import Any

import torch


def token_logprobs(model: Any, text: str, front: int | None) -> list[float]:
    """Log-probability of each token in nats, one text at a time; of all but the first with None."""
    ids = model.tokenizer(text, add_special_tokens=False)["input_ids"]
    ids = ids if front is None else [front, *ids]
    with torch.no_grad():
        logits = model.model(input_ids=torch.tensor([ids])).logits[0].float()
    table = logits.log_softmax(dim=-1)
    return [float(table[place, token]) for place, token in enumerate(ids[1:])]
