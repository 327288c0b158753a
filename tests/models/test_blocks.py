"""Blocks are found, or named, or refused in one line; what they return is read and replaced."""

from __future__ import annotations

from collections import namedtuple

import pytest
import torch
from torch import nn

from lsns.errors import LsnsError
from lsns.models.blocks import check_outputs, find_blocks, hidden_states, with_hidden_states
from tests.tiny import make_module

STREAM = torch.arange(24.0).reshape(2, 3, 4)
Pair = namedtuple("Pair", ["attention", "hidden"])


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


@pytest.mark.parametrize("rest", [(), ("cache",), ("cache", None)])
@pytest.mark.parametrize("kind", [tuple, list])
def test_first_of_a_tuple_or_list(kind, rest):
    output = kind((STREAM, *rest))
    assert hidden_states(output) is STREAM
    replaced = with_hidden_states(output, STREAM + 1)
    assert type(replaced) is kind
    assert hidden_states(replaced).equal(STREAM + 1)
    assert tuple(replaced[1:]) == rest


def test_tensor():
    assert hidden_states(STREAM) is STREAM
    assert with_hidden_states(STREAM, STREAM + 1).equal(STREAM + 1)


@pytest.mark.parametrize(
    ("output", "found"),
    [
        (STREAM[:, :, None], r"\(2, 3, 1, 4\)"),
        ((STREAM[0],), r"\(3, 4\)"),
        (Pair(STREAM, STREAM), "Pair"),
        ({"hidden": STREAM}, "dict"),
        ((None,), "NoneType"),
    ],
)
def test_what_is_not_one_residual_stream_is_refused(output, found):
    with pytest.raises(LsnsError, match=f"{found}.*--blocks"):
        hidden_states(output)


def test_outputs_of_all_blocks_tell_the_number_of_units():
    assert check_outputs([STREAM, (STREAM, None)], (2, 3)) == 4


@pytest.mark.parametrize(
    ("outputs", "why"),
    [
        ([STREAM, None], "block 1 did not run"),
        ([STREAM, STREAM.transpose(0, 1)], r"\(3, 2, 4\)"),
        ([STREAM, STREAM[..., :2]], r"\(2, 3, 2\)"),
    ],
)
def test_outputs_that_do_not_fit_the_tokens_are_refused(outputs, why):
    with pytest.raises(LsnsError, match=f"{why}.*--blocks"):
        check_outputs(outputs, (2, 3))


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
