"""Tiny models of many architectures, each against plain forward passes and plain hooks."""

from __future__ import annotations

import pytest

from lsns.errors import LsnsError
from lsns.models.huggingface import HuggingFaceModel
from tests.architectures import (
    NAMED_BLOCKS,
    NOT_APPLICABLE,
    check,
    model_types,
    survey,
    tiny_module,
)
from tests.tiny import make_tokenizer

ALWAYS = (
    "bloom falcon gemma gemma2 gemma3_text gpt2 gpt_neox llama mamba mistral mixtral mpt olmo2 opt "
    "phi3 qwen3"
)
# Blocks of other shapes than (batch, tokens, units): refused when the model is loaded.
OTHER_SHAPES = {
    "cpmant": "(2, 35, 32)",  # tokens of its own in front
    "deepseek_v4": "(2, 3, 4, 32)",  # four streams
    "prophetnet": "(2, 9, 32)",  # several predictions per token
    "reformer": "ReformerOutput",  # two streams
    "xlnet": "(3, 2, 32)",  # tokens first
}


@pytest.fixture(autouse=True)
def _one_thread():
    """Threads that wait for each other cost a tiny model a hundred times what they save."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("model_type", ALWAYS.split())
def test_architecture(model_type, tmp_path):
    assert check(model_type, tmp_path).status == "passed"


@pytest.mark.parametrize("model_type", sorted(NAMED_BLOCKS))
def test_named_blocks_make_it_work(model_type, tmp_path):
    assert check(model_type, tmp_path, blocks=NAMED_BLOCKS[model_type]).status == "passed"


@pytest.mark.parametrize(("model_type", "found"), sorted(OTHER_SHAPES.items()))
def test_blocks_of_another_shape_are_refused_when_loaded(model_type, found):
    with pytest.raises(LsnsError) as refusal:
        HuggingFaceModel.wrap(tiny_module(model_type), make_tokenizer())
    line = str(refusal.value)
    assert found in line
    assert "--blocks" in line
    assert "\n" not in line


def test_width_is_that_of_the_blocks_and_not_of_the_config():
    module = tiny_module("qwen4_exp_text")
    model = HuggingFaceModel.wrap(module, make_tokenizer())
    assert module.config.hidden_size == 32
    assert model.hidden_size == 128


def test_depth_is_that_of_the_decoder_where_there_is_an_encoder_as_well():
    module = tiny_module("blenderbot")
    assert module.config.encoder_layers != module.config.decoder_layers
    model = HuggingFaceModel.wrap(module, make_tokenizer())
    assert model.num_layers == module.config.decoder_layers


def test_a_model_that_does_not_run_on_tokens_is_refused_in_one_line(tiny_model, monkeypatch):
    def forward(self, pixels):
        raise AssertionError

    monkeypatch.setattr(type(tiny_model.model.model), "forward", forward)
    with pytest.raises(LsnsError, match="does not run on tokens alone") as refusal:
        HuggingFaceModel.wrap(tiny_model.model, make_tokenizer())
    assert "\n" not in str(refusal.value)
    assert not any(module._forward_hooks for module in tiny_model.model.modules())


def test_loading_leaves_the_random_generator_and_the_mode_alone(tiny_model):
    import torch

    tiny_model.model.train()
    before = torch.get_rng_state()
    HuggingFaceModel.wrap(tiny_model.model, make_tokenizer())
    assert torch.get_rng_state().equal(before)
    assert all(module.training for module in tiny_model.model.modules())


@pytest.mark.slow
def test_every_architecture_of_transformers(tmp_path):
    outcomes = {name: survey(name, tmp_path / name) for name in model_types()}
    by_status: dict[str, dict[str, str]] = {}
    for name, outcome in outcomes.items():
        by_status.setdefault(outcome.status, {})[name] = "; ".join(outcome.remarks)
    assert by_status.get("failed", {}) == {}
    assert all("--blocks" in why and "\n" not in why for why in by_status["refused"].values())
    assert by_status["not applicable"].keys() <= NOT_APPLICABLE.keys()
    assert len(by_status["passed"]) >= 125
