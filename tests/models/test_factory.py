"""Models of one's own, by name, by checkpoint, by model type; never by a part of a name."""

from __future__ import annotations

from typing import ClassVar

import pytest

import lsns
from lsns.models.factory import ModelFactory, ModelRequest
from lsns.models.source import ALIASES, resolve_model
from tests.tiny import TEXTS, make_model, make_module, make_tokenizer


class Own(lsns.BaseModel):
    """The guide's model class, with its four methods."""

    seen: ClassVar[list[str]] = []

    def _load_model(self):
        self.seen.append(self.name)
        return make_module()

    def _setup_tokenizer(self):
        return make_tokenizer()

    def _get_model_info(self):
        return {"num_layers": 3, "hidden_size": 16}

    def get_layer_names(self):
        return [f"model.layers.{i}" for i in range(3)]


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    Own.seen.clear()
    monkeypatch.setattr(ModelFactory, "_registered", {})


def test_a_registered_model_does_all_that_another_does(tmp_path):
    ModelFactory.register_model("own", Own)
    model = ModelFactory.create_model("own")
    contrast = lsns.Contrast("x", tuple(TEXTS[:2]), tuple(TEXTS[2:]))
    found = lsns.localize(model, contrast, percentage=20, cache_dir=tmp_path)
    again = lsns.localize(ModelRequest("own"), contrast, percentage=20, cache_dir=tmp_path)
    assert (found.mask.units == again.mask.units).all()
    with lsns.lesion(model, found.mask):
        lesioned = model.generate("the cat")
    assert lesioned != model.generate("the cat")
    assert found.save(tmp_path)[0].name.startswith("own_network=x_")


def test_a_checkpoint_follows_the_colon():
    ModelFactory.register_model("own", Own)
    model = lsns.load_model("own:some/checkpoint")
    assert Own.seen == ["some/checkpoint"]
    assert model.label == "checkpoint"


def test_a_name_never_matches_in_part(tmp_path):
    ModelFactory.register_model("own", Own)
    for name in ("owner", "my-own", "someone/own"):
        with pytest.raises(lsns.LsnsError):
            ModelFactory.create_model(name)
    assert Own.seen == []


def test_a_name_matches_the_model_type_of_a_configuration(tmp_path):
    folder = tmp_path / "anything"
    tiny = make_model()
    tiny.model.save_pretrained(folder)
    tiny.tokenizer.save_pretrained(folder)
    assert type(lsns.load_model(str(folder), device="cpu")).__name__ == "HuggingFaceModel"
    ModelFactory.register_model("llama", Own)
    assert isinstance(lsns.load_model(str(folder), device="cpu"), Own)
    assert Own.seen == [str(folder)]


@pytest.mark.parametrize(("name", "made"), [("x", object), ("x", "text"), ("a:b", Own), ("", Own)])
def test_what_cannot_be_registered(name, made):
    with pytest.raises(lsns.LsnsError):
        ModelFactory.register_model(name, made)


def test_the_guides_short_names_are_said_when_used(caplog, monkeypatch, tmp_path):
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    caplog.set_level("INFO", logger="lsns")
    for name, meant in ALIASES.items():
        source = resolve_model(name)
        assert source.location == meant
        assert f"{name} stands for {meant}" in caplog.text
