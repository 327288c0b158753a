"""A model with a forward pass and a way of generating of its own: masked diffusion.

A masked language model sees all tokens at once, and writes by filling masks, the surest first
(as masked diffusion language models do). It is no causal model of transformers, so it says itself
how it is loaded, run and made to write; localizing, lesioning and comparing then work as for any
other model:

    lsns localize --plugin examples/masked_diffusion.py --model-name masked:FOLDER --num-units 50
    lsns lesion --plugin examples/masked_diffusion.py --model-name masked:FOLDER --num-units 50 \
        --prompt "The quick brown" --network none language random

where FOLDER is a hub id or folder of a masked language model, e.g. `masked:bert-base-uncased`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from lsns import BaseModel, ModelFactory
from lsns.models.blocks import find_blocks


class MaskedDiffusionModel(BaseModel):
    """A masked language model that writes by filling masks."""

    def _load_model(self) -> nn.Module:
        from transformers import AutoModelForMaskedLM

        model = AutoModelForMaskedLM.from_pretrained(self.name, dtype=self.dtype)
        return model.to(self.device).eval()

    def _setup_tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self.name)

    def _get_model_info(self) -> Mapping[str, Any]:
        config: Any = self.model.config
        return {"num_layers": config.num_hidden_layers, "hidden_size": config.hidden_size}

    def get_layer_names(self) -> list[str]:
        """Dotted names of the blocks, in order."""
        return find_blocks(self.model)[0]

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> None:
        """Every token sees every other one; padding is hidden from all by the attention mask."""
        self.model(input_ids=input_ids, attention_mask=attention_mask)

    def generate(
        self,
        prompt: str,
        *,
        max_new_tokens: int = 20,
        temperature: float | None = None,
        seed: int = 42,
        use_cache: bool = True,
    ) -> str:
        """Append masks to the prompt, and fill the surest one until none is left.

        Greedy; the other options are those of every model, and make no difference here.
        """
        ids = self.tokenizer(prompt, add_special_tokens=False)["input_ids"]
        mask = self.tokenizer.mask_token_id
        tokens = torch.tensor([[*ids, *[mask] * max_new_tokens]], device=self.device)
        with self.evaluating():
            for _ in range(max_new_tokens):
                logits = self.model(input_ids=tokens).logits[0]
                logits[:, mask] = -torch.inf
                confidence, best = logits.softmax(dim=-1).max(dim=-1)
                confidence[tokens[0] != mask] = -1
                surest = confidence.argmax()
                tokens[0, surest] = best[surest]
        return self.tokenizer.decode(tokens[0, len(ids) :], skip_special_tokens=True)


ModelFactory.register_model("masked", MaskedDiffusionModel)
