"""The lesion is real while it lasts, and leaves nothing behind."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import lsns
from lsns.mask import UnitMask
from tests.tiny import TEXTS, make_model


def some_mask(shape: tuple[int, int], share: float = 0.2, seed: int = 0) -> UnitMask:
    return UnitMask(np.random.RandomState(seed).rand(*shape) < share)


def one_unit(shape: tuple[int, int], layer: int, unit: int) -> UnitMask:
    units = np.zeros(shape, dtype=bool)
    units[layer, unit] = True
    return UnitMask(units)


def outputs_of_blocks(model, run) -> list[list[torch.Tensor]]:
    """Every output of every block during `run`, read by hooks that stand after the lesion's."""
    seen: list[list[torch.Tensor]] = [[] for _ in model.blocks]
    handles = []
    for index, block in enumerate(model.blocks):

        def read(_module, _inputs, output, index=index):
            hidden = output[0] if isinstance(output, tuple) else output
            seen[index].append(hidden.detach().clone())

        handles.append(block.register_forward_hook(read))
    run()
    for handle in handles:
        handle.remove()
    return seen


def logits(model, text: str = TEXTS[0]) -> torch.Tensor:
    ids = torch.tensor([model.tokenizer(text)["input_ids"]])
    with torch.no_grad():
        return model.model(input_ids=ids).logits


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("mode", ["zero", "mean"])
def test_selected_units_are_replaced_for_every_token(bundled, use_cache, mode):
    mask = some_mask(bundled.shape, share=0.01)
    means = np.random.RandomState(1).randn(*bundled.shape)

    def run():
        bundled.generate("The quick brown fox", max_new_tokens=4, use_cache=use_cache)

    intact = outputs_of_blocks(bundled, run)
    with lsns.lesion(bundled, mask, mode, means=means if mode == "mean" else None) as attached:
        lesioned = outputs_of_blocks(bundled, run)
    for layer, units in enumerate(mask.units):
        if not units.any():
            continue
        wanted = torch.zeros(int(units.sum()))
        if mode == "mean":
            wanted = torch.from_numpy(means[layer][units]).float()
        assert any((out[..., units] != wanted).any() for out in intact[layer])
        assert all((out[..., units] == wanted).all() for out in lesioned[layer])
        # Prompt and generated tokens: with the cache a step is one token, without it all.
        assert len(lesioned[layer]) == 4
        assert attached.fired[layer] == 4


def test_only_the_selected_units_of_the_first_lesioned_block_change(tiny_model):
    mask = one_unit(tiny_model.shape, 1, 5)
    intact = outputs_of_blocks(tiny_model, lambda: logits(tiny_model))
    with lsns.lesion(tiny_model, mask):
        lesioned = outputs_of_blocks(tiny_model, lambda: logits(tiny_model))
    others = np.arange(16) != 5
    assert torch.equal(intact[0][0], lesioned[0][0])
    assert torch.equal(intact[1][0][..., others], lesioned[1][0][..., others])
    assert not torch.equal(intact[2][0], lesioned[2][0])


def test_intact_logits_are_back_bitwise(bundled):
    before = logits(bundled)
    with lsns.lesion(bundled, some_mask(bundled.shape, 0.01)):
        during = logits(bundled)
    assert not torch.equal(before, during)
    assert torch.equal(before, logits(bundled))


def test_intact_after_an_exception(tiny_model):
    before = logits(tiny_model)

    def fail():
        with lsns.lesion(tiny_model, some_mask(tiny_model.shape)):
            logits(tiny_model)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert torch.equal(before, logits(tiny_model))
    assert not any(module._forward_hooks for module in tiny_model.model.modules())
    assert tiny_model.active_lesions == []


def test_an_exception_before_any_forward_pass_is_not_hidden(tiny_model):
    with pytest.raises(ZeroDivisionError), lsns.lesion(tiny_model, some_mask(tiny_model.shape)):
        raise ZeroDivisionError


def test_nested_lesions_add_up_and_leave_in_turn(tiny_model):
    first, second = one_unit(tiny_model.shape, 0, 3), one_unit(tiny_model.shape, 2, 7)
    both = UnitMask(first.units | second.units)
    before = logits(tiny_model)
    with lsns.lesion(tiny_model, both):
        expected = logits(tiny_model)
    with lsns.lesion(tiny_model, first):
        outer = logits(tiny_model)
        with lsns.lesion(tiny_model, second):
            assert torch.equal(logits(tiny_model), expected)
            assert len(tiny_model.active_lesions) == 2
        assert torch.equal(logits(tiny_model), outer)
    assert torch.equal(logits(tiny_model), before)


def test_an_infinite_activation_is_zeroed_too(tiny_model):
    with torch.no_grad():
        tiny_model.model.model.layers[0].mlp.down_proj.weight[4].fill_(float("inf"))
    with lsns.lesion(tiny_model, one_unit(tiny_model.shape, 0, 4)):
        assert torch.isfinite(logits(tiny_model)).all()


def test_a_lesion_that_never_acts_is_an_error(tiny_model):
    with (
        pytest.raises(lsns.LsnsError, match="never acted in 3 of 3 blocks"),
        lsns.lesion(tiny_model, some_mask(tiny_model.shape, 0.5)),
    ):
        pass
    assert not any(module._forward_hooks for module in tiny_model.model.modules())


def test_masks_and_modes_that_do_not_fit_are_refused(tiny_model):
    cases = [
        (some_mask((4, 16)), {}, "4 blocks x 16 units, tiny has 3 x 16"),
        (UnitMask(np.zeros((3, 16), dtype=bool)), {}, "selects no unit"),
        (some_mask((3, 16)), {"mode": "noise"}, "no lesion mode 'noise'"),
        (some_mask((3, 16)), {"mode": "mean"}, "needs means="),
        (some_mask((3, 16)), {"mode": "mean", "means": np.zeros((3, 15))}, "do not fit"),
    ]
    for mask, options, message in cases:
        with pytest.raises(lsns.LsnsError, match=message), lsns.lesion(tiny_model, mask, **options):
            pass
        assert not any(module._forward_hooks for module in tiny_model.model.modules())


def test_low_precision_keeps_its_dtype():
    model = make_model()
    model.model.to(torch.bfloat16)
    with lsns.lesion(model, some_mask(model.shape)):
        assert logits(model).dtype == torch.bfloat16


def test_greedy_generation_is_the_argmax_of_plain_passes(bundled):
    ids = bundled.tokenizer("The capital of France is")["input_ids"]
    mask = some_mask(bundled.shape, share=0.005, seed=3)
    with lsns.lesion(bundled, mask):
        text = bundled.generate("The capital of France is", max_new_tokens=5)
        produced = list(ids)
        for _ in range(5):
            with torch.no_grad():
                step = bundled.model(input_ids=torch.tensor([produced])).logits[0, -1]
            produced.append(int(step.argmax()))
    assert text == bundled.tokenizer.decode(produced[len(ids) :], skip_special_tokens=True)
