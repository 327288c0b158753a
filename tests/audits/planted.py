"""A network with known selective units, and texts that they answer to.

A random llama reads words of two vocabularies, which have the same embeddings word for word: it
cannot tell one condition from the other. Every block's output is the block's own update, and
around 10, with a standard deviation of 1 over texts, noise that follows from the words alone. To
that, the planted units add `effect` where the word is of the positive vocabulary. So each planted
unit differs by `effect` standard deviations between the conditions, no other unit differs, and
with an effect of 0 nothing in the network depends on the condition or on which units are planted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from lsns import Contrast
from lsns.models.huggingface import HuggingFaceModel
from tests.tiny import make_module

SHAPE = (3, 32)
PER_LAYER = 2
VOCABULARY, LENGTH = 60, 12
CENTER = 10.0


@dataclass(frozen=True, eq=False)
class Network:
    """The model, and what is known of it.

    Attributes:
        model: as the package wraps any model.
        units: the planted ones, as many in each layer.
        effect: in standard deviations of each unit's noise.
        noise: of every unit for every word, shape (words, layers, units), in each unit with mean
            0 and standard deviation 1 over words.
    """

    model: HuggingFaceModel
    units: np.ndarray
    effect: float
    noise: np.ndarray

    @property
    def response_effect(self) -> float:
        """The standardised difference of the planted units' mean response."""
        # The noise of a text is a sum over words drawn alike: variances are those over words.
        return self.effect / float(self.noise[:, self.units].mean(axis=1).std())


def make_network(effect: float, seed: int = 0) -> Network:
    """Planted units, noise and llama follow from the seed alone, whatever the effect."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(VOCABULARY, *SHAPE))
    noise = (noise - noise.mean(axis=0)) / noise.std(axis=0)
    units = np.zeros(SHAPE, dtype=bool)
    for row in units:
        row[rng.permutation(SHAPE[1])[:PER_LAYER]] = True
    module = make_module(
        seed, num_hidden_layers=SHAPE[0], hidden_size=SHAPE[1], vocab_size=2 * VOCABULARY
    )
    _plant(module.model, noise, units, effect)
    return Network(
        HuggingFaceModel.wrap(module, _make_tokenizer(), name="planted"), units, effect, noise
    )


def make_texts(n: int, seed: int = 0) -> Contrast:
    """Texts of words drawn at random, `n` of each vocabulary."""
    words = np.random.default_rng(seed).integers(0, VOCABULARY, (2 * n, LENGTH))
    return Contrast(
        name="planted",
        positive=tuple(write("p", text) for text in words[:n]),
        negative=tuple(write("n", text) for text in words[n:]),
    )


def write(vocabulary: str, words: Any) -> str:
    """A text of the words with these numbers, of the vocabulary `p` or `n`."""
    return " ".join(f"{vocabulary}{word}" for word in words)


class _Reading(nn.Module):
    """Embeddings that remember which words were read."""

    def __init__(self, embeddings: nn.Module) -> None:
        super().__init__()
        self.embeddings = embeddings
        self.words = torch.zeros(1, 1, dtype=torch.long)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        self.words = words
        return self.embeddings(words)


class _PlantedBlock(nn.Module):
    """A block, with a residual stream of its own."""

    def __init__(
        self, block: nn.Module, reading: _Reading, noise: np.ndarray, effect: np.ndarray
    ) -> None:
        super().__init__()
        self.block = block
        self.reading = reading
        # Buffers: a network with another effect has other weights for the cache.
        self.register_buffer("noise", torch.from_numpy(np.tile(noise, (2, 1))).float())
        added = np.repeat([effect, np.zeros_like(effect)], VOCABULARY, axis=0)
        self.register_buffer("added", torch.from_numpy(added).float())

    def forward(self, hidden: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
        update = self.block(hidden, *args, **options) - hidden
        words: Any = self.reading.words
        # Of words up to each place alone, as in any causal model, and of the same size at each.
        summed = self.noise[words].cumsum(dim=1)
        places = torch.arange(1, words.shape[1] + 1, device=words.device)
        return CENTER + summed / places.sqrt()[:, None] + self.added[words] + update


def _plant(decoder: Any, noise: np.ndarray, units: np.ndarray, effect: float) -> None:
    with torch.no_grad():
        weight = decoder.embed_tokens.weight
        weight[VOCABULARY:] = weight[:VOCABULARY]
    decoder.embed_tokens = _Reading(decoder.embed_tokens)
    for layer, block in enumerate(decoder.layers):
        decoder.layers[layer] = _PlantedBlock(
            block, decoder.embed_tokens, noise[:, layer], effect * units[layer]
        )


def _make_tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = [f"{vocabulary}{i}" for vocabulary in "pn" for i in range(VOCABULARY)]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, "p0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)
