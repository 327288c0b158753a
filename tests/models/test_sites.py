"""Units are read and replaced where a site says, and nothing is left behind."""

from __future__ import annotations

from collections import namedtuple

import pytest
import torch
from torch import nn

from lsns.errors import LsnsError
from lsns.measurement import SITE
from lsns.models.sites import BLOCK_OUTPUT, Site, lesion_hooks, without_lesions
from tests.tiny import TEXTS

STREAM = torch.arange(24.0).reshape(2, 3, 4)
Pair = namedtuple("Pair", ["attention", "hidden"])
MLP_NEURON = Site("MLP neuron", lambda block: block.mlp.down_proj, of_input=True)


class Returns(nn.Module):
    """A block that returns what it is given, once it is called."""

    def __init__(self, output: object) -> None:
        super().__init__()
        self.output = output

    def forward(self) -> object:
        return self.output


def width(outputs: list[object]) -> int:
    blocks = [Returns(output) for output in outputs]
    called = [block for block in blocks if block.output is not None]
    return BLOCK_OUTPUT.width(blocks, (2, 3), lambda: [block() for block in called] and None)


def logits(model) -> torch.Tensor:
    ids = torch.tensor([model.tokenizer(TEXTS[0])["input_ids"]])
    with torch.no_grad():
        return model.model(input_ids=ids).logits


@pytest.mark.parametrize("rest", [(), ("cache",), ("cache", None)])
@pytest.mark.parametrize("kind", [tuple, list])
def test_first_of_a_tuple_or_list(kind, rest):
    output = kind((STREAM, *rest))
    assert BLOCK_OUTPUT.read(output) is STREAM
    replaced = BLOCK_OUTPUT.write(output, STREAM + 1)
    assert type(replaced) is kind
    assert BLOCK_OUTPUT.read(replaced).equal(STREAM + 1)
    assert tuple(replaced[1:]) == rest


def test_tensor():
    assert BLOCK_OUTPUT.read(STREAM) is STREAM
    assert BLOCK_OUTPUT.write(STREAM, STREAM + 1).equal(STREAM + 1)


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
        BLOCK_OUTPUT.read(output)


def test_outputs_of_all_blocks_tell_the_number_of_units():
    assert width([STREAM, (STREAM, None)]) == 4


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
        width(outputs)


def test_another_site_is_another_value(tiny_model):
    """MLP neurons, which no module returns: read and replaced in what the next one takes."""
    seen: dict[int, torch.Tensor] = {}
    with MLP_NEURON.reading(tiny_model.blocks, seen.__setitem__):
        before = logits(tiny_model)
    assert {hidden.shape[-1] for hidden in seen.values()} == {32}
    block = tiny_model.blocks[1]
    expected = block.mlp.down_proj.weight.detach().clone()
    with MLP_NEURON.writing(tiny_model.blocks, {1: lambda hidden: hidden * 0}, lesion="none"):
        assert [hook.lesion for hook in lesion_hooks(tiny_model.model)] == ["none"]
        replaced = logits(tiny_model)
        with without_lesions(tiny_model.model):
            assert torch.equal(logits(tiny_model), before)
        assert torch.equal(logits(tiny_model), replaced)
    with torch.no_grad():
        block.mlp.down_proj.weight.zero_()
        assert torch.equal(logits(tiny_model), replaced)
        block.mlp.down_proj.weight.copy_(expected)
    assert torch.equal(logits(tiny_model), before)
    assert not torch.equal(replaced, before)


def test_nothing_is_left_behind(tiny_model):
    def fail(*_):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), BLOCK_OUTPUT.reading(tiny_model.blocks, fail):
        logits(tiny_model)
    assert not any(module._forward_hooks for module in tiny_model.model.modules())


def test_the_name_in_manifests():
    assert BLOCK_OUTPUT.name == SITE
