"""Blocks are found, or named, or refused in one line."""

from __future__ import annotations

import pytest
from torch import nn

from lsns.errors import LsnsError
from lsns.models.blocks import find_blocks
from tests.tiny import make_module


class Config:
    num_hidden_layers = 3

    def get_text_config(self, decoder: bool) -> Config:
        return self


class Model(nn.Module):
    """Lists of modules under the names that are given; no model of transformers."""

    def __init__(self, config: object | None = None, **depths: int) -> None:
        super().__init__()
        self.config = config or Config()
        for name, depth in depths.items():
            setattr(self, name, nn.ModuleList(nn.Identity() for _ in range(depth)))


def refusal(*arguments) -> str:
    with pytest.raises(LsnsError) as raised:
        find_blocks(*arguments)
    line = str(raised.value)
    assert "\n" not in line
    assert "--blocks" in line
    return line


def test_found_by_their_number():
    module = make_module(num_hidden_layers=5)
    names, blocks = find_blocks(module)
    assert names == [f"model.layers.{index}" for index in range(5)]
    assert blocks == list(module.model.layers)


def test_found_among_lists_of_other_lengths_and_outside_transformers():
    assert find_blocks(Model(layers=3, heads=2))[0] == ["layers.0", "layers.1", "layers.2"]


def test_a_list_within_a_block_is_not_taken_for_the_blocks():
    model = Model(layers=3)
    model.layers[0] = Model(experts=3)
    assert find_blocks(model)[0] == ["layers.0", "layers.1", "layers.2"]


def test_several_lists_are_refused_and_named_in_full():
    model = Model(norms=3, layers=3)
    line = refusal(model)
    assert "norms, layers" in line
    outer = Model()
    outer.inner = model
    assert "inner.norms, inner.layers" in refusal(outer)
    assert find_blocks(outer, "inner.layers")[1] == list(model.layers)


def test_no_list_is_refused():
    assert "lists of 3 modules: none" in refusal(Model(layers=2))


def test_a_config_without_a_depth_is_refused():
    class Empty(Config):
        num_hidden_layers = None

    assert "num_hidden_layers" in refusal(Model(Empty(), layers=3))


@pytest.mark.parametrize("path", ["model.layer", "model", "model.layers.0", "lm_head", ""])
def test_a_wrong_path_is_refused_with_the_lists_there_are(path):
    line = refusal(make_module(), path)
    assert repr(path) in line
    assert "model.layers" in line


def test_one_module_in_two_places_is_refused():
    model = Model(layers=3)
    model.layers[2] = model.layers[0]
    assert "twice" in refusal(model)
