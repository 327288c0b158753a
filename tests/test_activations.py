"""Extraction against a plain forward pass, one sentence at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import lsns
from lsns.activations import _pool, read_texts
from tests.tiny import TEXTS, make_model, make_tokenizer

MIXED = [*TEXTS, "the", "a storm", "😀 naïve 漢字", TEXTS[0] * 3]


def plain(model, text: str, pooling: str, max_tokens: int | None = None) -> np.ndarray:
    """What the definition says: run one text, read each block's output, pool."""
    ids = model.tokenizer(text)["input_ids"][:max_tokens]
    seen: list[torch.Tensor] = []

    def read(_module, _inputs, output):
        seen.append((output[0] if isinstance(output, tuple) else output)[0].detach())

    handles = [block.register_forward_hook(read) for block in model.blocks]
    with torch.no_grad():
        model.model(input_ids=torch.tensor([ids]))
    for handle in handles:
        handle.remove()
    stacked = torch.stack(seen).double()
    pooled = {"last-token": stacked[:, -1], "mean": stacked.mean(1), "sum": stacked.sum(1)}
    return pooled[pooling].numpy()


@pytest.mark.parametrize("pooling", ["last-token", "mean", "sum"])
@pytest.mark.parametrize("batch_size", [None, 1, 3])
def test_equals_a_plain_forward_pass(tiny_model, pooling, batch_size):
    found = lsns.extract(tiny_model, MIXED, pooling=pooling, batch_size=batch_size)
    expected = np.stack([plain(tiny_model, text, pooling) for text in MIXED])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pooling", ["last-token", "mean"])
def test_real_model_equals_a_plain_forward_pass(bundled, pooling):
    texts = ["the cat sat on the mat", "zem vepe fistes zi", "a", "漢字 and more words than before"]
    found = lsns.extract(bundled, texts, pooling=pooling, max_tokens=12)
    expected = np.stack([plain(bundled, text, pooling, 12) for text in texts])
    error = np.abs(found - expected).max(axis=(1, 2)) / np.abs(expected).max(axis=(1, 2))
    assert error.max() < 1e-4


@settings(max_examples=15, deadline=None)
@given(
    order=st.permutations(range(len(MIXED))),
    batch_size=st.integers(1, 10),
    pooling=st.sampled_from(["last-token", "mean", "sum"]),
)
def test_neighbours_and_order_do_not_matter(order, batch_size, pooling):
    model = make_model()
    straight = lsns.extract(model, MIXED, pooling=pooling, batch_size=1)
    shuffled = lsns.extract(
        model, [MIXED[i] for i in order], pooling=pooling, batch_size=batch_size
    )
    np.testing.assert_allclose(shuffled, straight[list(order)], rtol=1e-4, atol=1e-6)


def test_padding_is_never_pooled():
    hidden = torch.tensor([[[1.0], [3.0], [1e9]], [[2.0], [4.0], [6.0]]])
    lengths = torch.tensor([2, 3])
    assert _pool(hidden, lengths, "last-token").tolist() == [[3.0], [6.0]]
    assert _pool(hidden, lengths, "mean").tolist() == [[2.0], [4.0]]
    assert _pool(hidden, lengths, "sum").tolist() == [[4.0], [12.0]]


def test_padding_that_is_not_a_number_is_harmless():
    hidden = torch.tensor([[[1.0], [float("nan")]]])
    assert _pool(hidden, torch.tensor([1]), "mean").tolist() == [[1.0]]


@pytest.mark.parametrize("max_tokens", [1, 2, 5, 12, 500])
def test_cut_as_the_tokenizers_own_truncation(tiny_model, max_tokens):
    cut = {"truncation": True, "max_length": max_tokens}
    expected = [tiny_model.tokenizer(text, **cut)["input_ids"] for text in MIXED]
    assert [text.ids for text in read_texts(tiny_model, MIXED, max_tokens)] == expected


def test_special_tokens_survive_the_cut(tiny_model):
    from tokenizers.processors import TemplateProcessing

    tokenizer = tiny_model.tokenizer
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<eos> $A <eos>", special_tokens=[("<eos>", 0)]
    )
    expected = tokenizer(MIXED, truncation=True, max_length=6)["input_ids"]
    assert [text.ids for text in read_texts(tiny_model, MIXED, 6)] == expected
    assert all(ids[0] == 0 and ids[-1] == 0 for ids in expected)


def test_the_tokenizer_is_left_as_it_was(tiny_model):
    tokenizer = tiny_model.tokenizer
    tokenizer.padding_side = "left"
    before = (tokenizer.padding_side, tokenizer.truncation_side, tokenizer.pad_token)
    lsns.extract(tiny_model, MIXED, max_tokens=3)
    assert (tokenizer.padding_side, tokenizer.truncation_side, tokenizer.pad_token) == before


def test_training_mode_and_hooks_are_put_back(tiny_model):
    tiny_model.model.train()
    tiny_model.model.model.layers[1].eval()
    lsns.extract(tiny_model, MIXED)
    assert tiny_model.model.training
    assert not tiny_model.model.model.layers[1].training
    assert not any(module._forward_hooks for module in tiny_model.model.modules())


def test_hooks_are_removed_after_an_exception(tiny_model, monkeypatch):
    def fail(*_args, **_kwargs):
        raise RuntimeError("in the middle")

    monkeypatch.setattr(tiny_model.blocks[1], "forward", fail)
    with pytest.raises(RuntimeError, match="in the middle"):
        lsns.extract(tiny_model, MIXED)
    assert not any(module._forward_hooks for module in tiny_model.model.modules())


def test_the_random_generators_are_untouched(tiny_model):
    import random

    before = (torch.random.get_rng_state().clone(), random.getstate(), np.random.get_state()[1][:5])
    lsns.extract(tiny_model, MIXED)
    tiny_model.generate("the cat", temperature=1.0, max_new_tokens=3)
    after = (torch.random.get_rng_state(), random.getstate(), np.random.get_state()[1][:5])
    assert torch.equal(before[0], after[0])
    assert before[1] == after[1]
    assert (before[2] == after[2]).all()


@pytest.mark.parametrize(
    ("size", "passes"), [(7, [7] * 68 + [4]), (96, [96] * 5), (150, [150] * 3 + [30]), (480, [480])]
)
def test_a_batch_size_is_the_rows_of_a_forward_pass(tiny_model, size, passes):
    seen = []
    handle = tiny_model.blocks[0].register_forward_hook(
        lambda _module, _given, output: seen.append(len(output))
    )
    texts = [f"the cat {a} sat on {b}" for a in range(20) for b in range(24)]
    lsns.extract(tiny_model, texts, batch_size=size)
    handle.remove()
    assert seen == passes


@pytest.mark.slow
def test_the_bundled_models_mask_is_the_same_at_any_batch_size(bundled, tmp_path):
    found = {
        size: lsns.localize(
            bundled, "language", percentage=1, batch_size=size, cache_dir=tmp_path / str(size)
        )
        for size in (None, 7, 96, 480)
    }
    expected = found[None]
    for other in found.values():
        assert (other.mask.units == expected.mask.units).all()
        np.testing.assert_allclose(other.scores, expected.scores, rtol=1e-3, atol=1e-3)


def small_context(kind: str, length: int):
    """A model that reads so many tokens, at places that it has learned or by rotation."""
    from transformers import AutoModelForCausalLM, GPT2Config, OPTConfig

    if kind == "llama":
        return make_model(max_position_embeddings=length)
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 300}
    sizes |= {"hidden_size": 16, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    config = {
        "gpt2": lambda: GPT2Config(**sizes, n_positions=length),
        "opt": lambda: OPTConfig(
            **sizes, ffn_dim=16, word_embed_proj_dim=16, max_position_embeddings=length
        ),
    }[kind]()
    module = AutoModelForCausalLM.from_config(config).eval()
    return lsns.HuggingFaceModel.wrap(module, make_tokenizer(), name=kind)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "opt"])
def test_a_model_that_reads_four_tokens(kind, tmp_path):
    model = small_context(kind, 4)
    with pytest.raises(lsns.LsnsError, match="has 12 tokens, and the model reads at most 4"):
        lsns.localize(model, "language", percentage=10, cache_dir=tmp_path)
    found = lsns.localize(model, "language", percentage=10, max_tokens=4, cache_dir=tmp_path)
    assert found.mask.count > 0
    with pytest.raises(lsns.LsnsError, match="more than the model reads, 4; use a shorter prompt"):
        model.generate("the cat", max_new_tokens=5)
    model.generate("the", max_new_tokens=2)


def test_a_tokenizer_that_knows_more_than_the_model(tmp_path):
    model = make_model(vocab_size=270)
    known = "xyz"
    assert max(model.tokenizer(known)["input_ids"]) < 270
    assert lsns.extract(model, [known]).shape == (1, 3, 16)
    assert model.generate(known, max_new_tokens=1) is not None
    message = r"the token 'Ġc' of id 2\d\d, and the model has embeddings for 270 tokens"
    with pytest.raises(lsns.LsnsError, match=f"text 2 has {message}"):
        lsns.extract(model, [known, "the cat"])
    with pytest.raises(lsns.LsnsError, match=f"the prompt has {message}"):
        model.generate("the cat")
    with pytest.raises(lsns.LsnsError, match="has embeddings for 270 tokens"):
        lsns.localize(model, "language", percentage=10, cache_dir=tmp_path)


def test_a_text_without_tokens_is_named(tiny_model):
    with pytest.raises(lsns.LsnsError, match=r"text 2 of 2 \(''\) has no tokens"):
        lsns.extract(tiny_model, ["the cat", ""])


def test_a_text_too_long_for_the_model_is_named(tiny_model):
    with pytest.raises(lsns.LsnsError, match="the model reads at most 128; use --max-tokens 128"):
        lsns.extract(tiny_model, ["the cat", "cat " * 200])


def test_activations_that_are_not_finite_are_refused(tiny_model):
    with torch.no_grad():
        tiny_model.model.model.layers[1].mlp.down_proj.weight.fill_(float("inf"))
    with pytest.raises(lsns.LsnsError, match="layer 1 are not finite in float32"):
        lsns.extract(tiny_model, MIXED)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_batch_size_is_checked(tiny_model, batch_size):
    with pytest.raises(lsns.LsnsError, match="batch-size must be at least 1"):
        lsns.extract(tiny_model, MIXED, batch_size=batch_size)
