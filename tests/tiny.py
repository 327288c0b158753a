"""Tiny models and a tiny tokenizer, made in memory: for tests that need speed, not sense."""

from __future__ import annotations

from pathlib import Path
from typing import Any

TEXTS = [
    "the cat sat on the mat and looked at the moon",
    "a storm came over the hills before the harvest was in",
    "zem vepe fistes zi e mup jum jorrombe plart ir jop zept",
    "uc bramets ig iral fo fealeal jel u aved eg upeg ernel",
]


def make_tokenizer() -> Any:
    """A byte-level BPE tokenizer with 300 tokens; no special token is added to a text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>")


def make_module(seed: int = 0, **changes: Any) -> Any:
    """A random llama of transformers, in float32."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    settings = {
        "vocab_size": 300,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 128,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "pad_token_id": 0,
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LlamaForCausalLM(LlamaConfig(**(settings | changes))).eval()


def make_model(seed: int = 0, **changes: Any) -> Any:
    """The same as a model of this package."""
    from lsns.models.huggingface import HuggingFaceModel

    return HuggingFaceModel.wrap(make_module(seed, **changes), make_tokenizer(), name="tiny")


def write_inputs(folder: Path, n_items: int) -> None:
    """A tiny model's folder, `tiny`, and stimuli of two kinds, `mine.csv`, as a user has them."""
    made = make_model()
    made.model.save_pretrained(folder / "tiny")
    made.tokenizer.save_pretrained(folder / "tiny")
    rows = [f"the cat number {i} sat down,positive\n{i} + {i} =,negative" for i in range(n_items)]
    (folder / "mine.csv").write_text("\n".join(["text,condition", *rows]))
