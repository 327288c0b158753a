"""Loading: placement, precision, quantization, untrained weights."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

import lsns
from lsns.mask import UnitMask
from tests.tiny import TEXTS, make_model, make_module, make_tokenizer


@pytest.fixture
def folder(tmp_path) -> Path:
    path = tmp_path / "tiny"
    tiny = make_model()
    tiny.model.save_pretrained(path)
    tiny.tokenizer.save_pretrained(path)
    return path


def test_a_model_partly_on_disk_is_read_and_lesioned_like_one_in_memory(folder, tmp_path):
    """Two places that can be had here: memory and disk, between which accelerate moves weights."""
    whole = lsns.load_model(str(folder), device="cpu")
    places = {
        "model.embed_tokens": "cpu",
        "model.layers.0": "cpu",
        "model.layers.1": "disk",
        "model.layers.2": "disk",
        "model.norm": "cpu",
        "model.rotary_emb": "cpu",
        "lm_head": "cpu",
    }
    spread = lsns.load_model(str(folder), device_map=places)
    assert {p.device.type for p in spread.model.parameters()} == {"cpu", "meta"}
    np.testing.assert_allclose(
        lsns.extract(spread, TEXTS), lsns.extract(whole, TEXTS), rtol=1e-5, atol=1e-6
    )
    units = np.zeros((3, 16), dtype=bool)
    units[1, 4] = units[2, 7] = True
    texts = []
    for model in (whole, spread):
        with lsns.lesion(model, UnitMask(units)):
            texts.append(model.generate("the cat", max_new_tokens=6))
            assert (lsns.extract(model, TEXTS)[:, units] == 0).all()
    assert texts[0] == texts[1]
    assert whole.identity == spread.identity


def test_what_accelerate_offloaded_is_wrapped(folder, tmp_path):
    from accelerate import cpu_offload, disk_offload

    whole = make_model()
    identities = set()
    for offload in (cpu_offload, lambda module: disk_offload(module, str(tmp_path / "disk"))):
        module = make_module()
        offload(module)
        assert all(p.is_meta for p in module.parameters())
        model = lsns.HuggingFaceModel.wrap(module, make_tokenizer())
        np.testing.assert_array_equal(lsns.extract(model, TEXTS), lsns.extract(whole, TEXTS))
        assert (model.device.type, model.dtype_name) == ("cpu", "float32")
        identities.add(model.identity)
    assert None not in identities


def test_weights_that_are_nowhere_are_refused_in_one_line():
    with pytest.raises(lsns.LsnsError, match=r"is on no device \(meta\).*load the weights"):
        lsns.HuggingFaceModel.wrap(make_module().to("meta"), make_tokenizer())


@pytest.mark.filterwarnings("ignore")
def test_quantized_weights_in_memory(tmp_path):
    quantize = torch.ao.quantization.quantize_dynamic
    identities = []
    for seed in (0, 0, 1):
        module = quantize(make_module(seed), {torch.nn.Linear}, dtype=torch.qint8)
        model = lsns.HuggingFaceModel.wrap(module, make_tokenizer())
        identities.append(model.identity)
        contrast = lsns.Contrast("x", tuple(TEXTS[:2]), tuple(TEXTS[2:]))
        found = lsns.localize(model, contrast, num_units=2, cache_dir=tmp_path)
        np.testing.assert_array_equal(
            found.measurement.activations(), lsns.extract(model, contrast.texts)
        )
    assert identities[0] == identities[1] != identities[2]
    assert None not in identities


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_the_precision_of_a_wrapped_model_is_in_the_manifest(tmp_path, dtype):
    module = make_module().to(getattr(torch, dtype))
    model = lsns.HuggingFaceModel.wrap(module, make_tokenizer())
    contrast = lsns.Contrast("x", tuple(TEXTS[:2]), tuple(TEXTS[2:]))
    found = lsns.localize(model, contrast, num_units=2, cache_dir=tmp_path)
    assert found.manifest["model"]["dtype"] == dtype


def test_a_model_of_torch_is_refused_at_every_door(tmp_path):
    """Wherever a model is wanted, by one line that says how to wrap it."""
    module = make_module()
    contrast = lsns.Contrast("x", tuple(TEXTS[:2]), tuple(TEXTS[2:]))
    found = lsns.localize(make_model(), contrast, cache_dir=tmp_path, num_units=2)
    doors = [
        lambda model: lsns.localize(model, "language"),
        lambda model: lsns.extract(model, TEXTS),
        lambda model: lsns.lesion(model, found.mask).__enter__(),
        lambda model: lsns.evaluate(model, [found.mask]),
        lambda model: lsns.audit(found, model=model),
        lambda model: lsns.generate(model, "the cat"),
    ]
    for door in doors:
        with pytest.raises(
            lsns.LsnsError, match=r"LlamaForCausalLM is a torch module; .*wrap"
        ) as e:
            door(module)
        assert "\n" not in str(e.value)
        with pytest.raises(lsns.LsnsError, match=r"is no model; use one from lsns\.load_model"):
            door(7)
    with pytest.raises(lsns.LsnsError, match="a torch module and its tokenizer; got str"):
        lsns.HuggingFaceModel.wrap("gpt2", make_tokenizer())


def test_device_map_auto(folder):
    model = lsns.load_model(str(folder), device_map="auto")
    assert model.device.type in ("cpu", "cuda", "mps")
    assert lsns.extract(model, TEXTS).shape == (4, 3, 16)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "auto"])
def test_precision(folder, dtype):
    model = lsns.load_model(str(folder), device="cpu", dtype=dtype)
    expected = torch.float32 if dtype == "auto" else getattr(torch, dtype)
    assert next(model.model.parameters()).dtype == expected
    rows = lsns.extract(model, TEXTS)
    assert rows.dtype == np.float32
    exact = lsns.extract(lsns.load_model(str(folder), device="cpu"), TEXTS)
    np.testing.assert_allclose(rows, exact, rtol=0.1, atol=0.05)


@pytest.mark.skipif(find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
@pytest.mark.parametrize("quantization", ["8bit", "4bit"])
def test_quantization_without_its_extra(folder, quantization):
    with pytest.raises(lsns.LsnsError, match=r"needs bitsandbytes: pip install"):
        lsns.load_model(str(folder), quantization=quantization)


@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="the extra `quantization` is missing")
@pytest.mark.parametrize("quantization", ["8bit", "4bit"])
def test_quantized_weights_are_lesioned_exactly(folder, quantization):
    model = lsns.load_model(str(folder), quantization=quantization, dtype="bfloat16")
    units = np.zeros((3, 16), dtype=bool)
    units[1, 4] = True
    with lsns.lesion(model, UnitMask(units)):
        assert (lsns.extract(model, TEXTS)[:, units] == 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quantization": "2bit"}, "no quantization '2bit'"),
        ({"device_map": "auto", "pretrained": False}, "--untrained goes with neither"),
        ({"dtype": "float8"}, "no dtype 'float8'"),
        ({"device": "cuda:77"}, "device 'cuda:77' is not there"),
    ],
)
def test_what_cannot_be_loaded(folder, options, message):
    with pytest.raises(lsns.LsnsError, match=message):
        lsns.load_model(str(folder), **options)


def test_code_of_the_model_runs_only_if_asked_for(folder):
    config = folder / "config.json"
    marker = folder / "ran"
    (folder / "configuration_own.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    text = config.read_text().replace('"model_type": "llama"', '"model_type": "own"')
    auto = '{"auto_map": {"AutoConfig": "configuration_own.OwnConfig"},'
    config.write_text(text.replace("{", auto, 1))
    with pytest.raises(lsns.LsnsError, match="allow it with --trust-remote-code"):
        lsns.load_model(str(folder), device="cpu")
    assert not marker.exists()


class Running:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_could_run_code_is_not_read(folder, zipped):
    marker, weights = folder / "ran", folder / "pytorch_model.bin"
    state = dict(make_model().model.state_dict())
    (folder / "model.safetensors").unlink()
    torch.save(state, weights, _use_new_zipfile_serialization=zipped)
    assert lsns.load_model(str(folder), device="cpu").num_layers == 3
    torch.save(state | {"more": Running(marker)}, weights, _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        lsns.LsnsError, match=r"more in it than tensors \(found: posix.mkdir"
    ) as caught:
        lsns.load_model(str(folder), device="cpu")
    assert "as safetensors" in str(caught.value)
    assert "weights_only" not in str(caught.value)
    assert not marker.exists()


def test_settings_of_transformers_are_put_back(folder):
    from transformers.utils import logging

    logging.set_verbosity_info()
    try:
        lsns.load_model(str(folder), device="cpu").generate("the cat", max_new_tokens=1)
        assert logging.get_verbosity() == logging.INFO
        assert logging.is_progress_bar_enabled()
    finally:
        logging.set_verbosity_warning()
