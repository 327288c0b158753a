"""What computes alike shares a key, and nothing else does: whatever was changed, and however."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from types import MethodType

import numpy as np
import pytest
import torch
from tokenizers import normalizers
from torch import nn

import lsns
from lsns.evaluation.lesion_study import evaluate
from lsns.mask import UnitMask
from lsns.models.computation import state_of
from lsns.models.factory import ModelFactory, ModelRequest
from lsns.models.subject import fingerprint
from tests.tiny import TEXTS, make_model, make_module, make_tokenizer

CONTRAST = lsns.Contrast("x", tuple(TEXTS[:2]), tuple(TEXTS[2:]))


class Own(lsns.BaseModel):
    """The guide's model class, with its four methods."""

    def _load_model(self):
        return make_module(num_hidden_layers=4)

    def _setup_tokenizer(self):
        return make_tokenizer()

    def _get_model_info(self):
        return {"num_layers": 2, "hidden_size": 16}

    def get_layer_names(self):
        return ["model.layers.0", "model.layers.1"]


class Later(Own):
    """The same weights, other modules."""

    def get_layer_names(self):
        return ["model.layers.2", "model.layers.3"]


class Adapted(nn.Module):
    """A linear layer and a low-rank one beside it that can be switched off, as LoRA has it."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base, self.enabled = base, True
        self.down = nn.Parameter(torch.ones(2, base.in_features) / 9)
        self.up = nn.Parameter(torch.ones(base.out_features, 2) / 9)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        added = x @ self.down.T @ self.up.T
        return self.base(x) + added if self.enabled else self.base(x)


@pytest.fixture(autouse=True)
def _own_places(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    monkeypatch.setattr(ModelFactory, "_registered", {})


@pytest.fixture
def folder(tmp_path) -> Path:
    tiny = make_model()
    tiny.model.save_pretrained(tmp_path / "tiny")
    tiny.tokenizer.save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def test_a_request_and_what_it_loads_are_one(folder):
    request = ModelRequest(str(folder), device="cpu")
    model = request.load()
    before = fingerprint(request)
    assert before == fingerprint(model)
    lsns.extract(model, TEXTS)
    model.generate("the cat", max_new_tokens=2)
    assert fingerprint(model) == before


def test_models_of_ones_own_that_read_other_modules(tmp_path):
    ModelFactory.register_model("own", Own)
    first = lsns.localize("own", CONTRAST, percentage=20, cache_dir=tmp_path)
    ModelFactory.register_model("own", Later)
    later = lsns.localize("own", CONTRAST, percentage=20, cache_dir=tmp_path)
    np.testing.assert_array_equal(
        later.measurement.activations(), lsns.extract(Later("own"), CONTRAST.texts)
    )
    assert not np.array_equal(later.t_values, first.t_values)
    assert Own("own").identity == Own("own").identity


def test_an_adapter_that_is_switched_off(tmp_path):
    module = make_module()
    module.model.layers[1].mlp.down_proj = adapted = Adapted(module.model.layers[1].mlp.down_proj)
    model = lsns.HuggingFaceModel.wrap(module, make_tokenizer())
    found = []
    for enabled in (True, False, True):
        adapted.enabled = enabled
        rows = lsns.localize(model, CONTRAST, percentage=20, cache_dir=tmp_path).measurement
        np.testing.assert_array_equal(rows.activations(), lsns.extract(model, CONTRAST.texts))
        found.append(rows.store.key)
    assert found[0] == found[2] != found[1]


@contextmanager
def hooked(model, monkeypatch):
    module = model.model.model.layers[1]
    handle = module.register_forward_hook(lambda _module, _inputs, output: output * 1.5)
    yield
    handle.remove()


@contextmanager
def hooked_everywhere(model, monkeypatch):
    def act(module, inputs, output):
        return output * 1.01 if isinstance(module, nn.Linear) else output

    handle = nn.modules.module.register_module_forward_hook(act)
    yield
    handle.remove()


@contextmanager
def patched_instance(model, monkeypatch):
    module = model.model.model.layers[1].mlp
    before = type(module).forward
    module.forward = MethodType(lambda self, x: 2 * before(self, x), module)
    yield
    del module.forward


@contextmanager
def patched_class(model, monkeypatch):
    kind = type(model.model.model.layers[1].mlp)
    before = kind.forward
    with monkeypatch.context() as patch:
        patch.setattr(kind, "forward", lambda self, x: 2 * before(self, x))
        yield


@contextmanager
def patched_model(model, monkeypatch):
    before = model.forward
    model.forward = lambda ids, mask: before(ids.flip(1), mask)
    yield
    del model.forward


@contextmanager
def other_activation(model, monkeypatch):
    mlp = model.model.model.layers[1].mlp
    before, mlp.act_fn = mlp.act_fn, nn.Tanh()
    yield
    mlp.act_fn = before


@contextmanager
def other_scale(model, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(model.model.model.layers[1].self_attn, "scaling", 3.0)
        yield


@contextmanager
def written_behind_autograd(model, monkeypatch):
    weight = model.model.model.layers[1].mlp.down_proj.weight
    before = weight.detach().clone()
    weight.data[0] *= -1
    yield
    weight.data.copy_(before)


@contextmanager
def other_tokenizer(model, monkeypatch):
    with monkeypatch.context() as patch:
        tokenizer = make_tokenizer()
        tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
        patch.setattr(model, "tokenizer", tokenizer)
        yield


CHANGES = [
    hooked, hooked_everywhere, patched_instance, patched_class, patched_model, other_activation,
    other_scale, written_behind_autograd, other_tokenizer,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_change_in_memory_is_another_model_and_undone_the_same(
    folder, monkeypatch, change, wrapped
):
    model = make_model() if wrapped else lsns.load_model(str(folder), device="cpu")
    before = fingerprint(model)
    with change(model, monkeypatch):
        changed = fingerprint(model)
        assert changed["model"] not in (None, before["model"])
        assert fingerprint(model) == changed
    assert fingerprint(model) == before


@pytest.mark.parametrize("change", [hooked_everywhere, patched_class])
def test_by_name_a_patched_library_does_not_get_what_is_cached(
    folder, tmp_path, monkeypatch, change
):
    options = {"percentage": 20, "cache_dir": tmp_path / "cache"}
    plain = lsns.localize(str(folder), CONTRAST, **options)
    with change(make_model(), monkeypatch):
        found = lsns.localize(str(folder), CONTRAST, **options)
    assert not np.array_equal(found.t_values, plain.t_values)
    again = lsns.localize(str(folder), CONTRAST, **options)
    np.testing.assert_array_equal(again.t_values, plain.t_values)


def test_what_is_random_is_never_looked_up(tiny_model, tmp_path):
    noise = torch.Generator().manual_seed(1)

    def act(_module, _inputs, output):
        return output + torch.randn(output.shape, generator=noise)

    handle = tiny_model.model.model.layers[0].register_forward_hook(act)
    found = [lsns.localize(tiny_model, CONTRAST, cache_dir=tmp_path, num_units=2) for _ in "ab"]
    handle.remove()
    assert tiny_model.identity is not None
    assert found[0].manifest["model"]["identity"] is None
    assert not np.array_equal(found[0].t_values, found[1].t_values)


def test_a_lesion_is_known_by_the_module_that_it_is_attached_to(tiny_model, tmp_path):
    """Another wrapper of one module is lesioned with it; being asked for, it counts nothing."""
    other = lsns.HuggingFaceModel.wrap(tiny_model.model, tiny_model.tokenizer)
    units = np.zeros(tiny_model.shape, dtype=bool)
    units[1, 4] = True
    intact = fingerprint(other)
    with lsns.lesion(tiny_model, UnitMask(units)) as attached:
        lesioned = fingerprint(other)
        assert attached.fired == {1: 0}
        lsns.extract(other, TEXTS[:1])
    assert lesioned["model"] == intact["model"]
    assert len(lesioned["lesions"]) == 1
    assert fingerprint(other) == intact


def test_a_hook_before_a_lesion_is_not_one_after_it(tiny_model):
    units = np.ones((3, 16), dtype=bool)
    block, found = tiny_model.model.model.layers[1], []
    for first in (True, False):
        handles = [block.register_forward_hook(lambda *a: a[2] + 1)] if first else []
        with lsns.lesion(tiny_model, UnitMask(units)):
            handles = handles or [block.register_forward_hook(lambda *a: a[2] + 1)]
            found.append(fingerprint(tiny_model))
            lsns.extract(tiny_model, TEXTS[:1])
        handles[0].remove()
    assert found[0] != found[1]


def test_evaluation_tells_the_same_models_apart(tmp_path):
    pytest.importorskip("pyarrow")
    pairs = tmp_path / "pairs.jsonl"
    line = '{{"sentence_good": "the cat sat {0}", "sentence_bad": "cat the {0} sat"}}\n'
    pairs.write_text("".join(line.format(i) for i in range(4)))
    model, mask = make_model(), UnitMask(np.eye(3, 16, dtype=bool))
    options = {"controls": [], "output_dir": tmp_path / "out"}

    def scores():
        table = evaluate(model, [mask], [f"blimp:{pairs}"], **options).items()
        return table.column("logp_good").to_pylist()

    intact = scores()
    with hooked(model, None):
        assert scores() != intact
    assert scores() == intact


def test_an_in_memory_identity_is_that_of_another_process(tmp_path):
    """Byte code and sets of words do not depend on the process."""
    code = "from tests.models.test_identity import Own; print(Own('own').identity)"
    here = Path(__file__).parents[2]
    seeds = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=here,
            env={"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1", "PYTHONPATH": ":".join(sys.path)},
        ).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert seeds[0] == seeds[1]
    assert seeds[0].startswith("computed:")


def test_nothing_of_a_plain_model_is_foreign(tiny_model):
    before = state_of(tiny_model)
    assert before is not None
    lsns.extract(tiny_model, TEXTS)
    assert state_of(tiny_model) == before
