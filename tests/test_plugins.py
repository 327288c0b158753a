"""Analysis methods and models of one's own, as the examples have them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import lsns
from lsns.cli import run
from lsns.models.factory import ModelFactory
from tests.conftest import REPOSITORY
from tests.tiny import TEXTS, make_tokenizer

EXAMPLES = REPOSITORY / "examples"
EFFECT_SIZE = f"{EXAMPLES / 'effect_size.py'}:EffectSizeAnalyzer"
CONTRAST = lsns.Contrast("x", tuple(TEXTS[:2]), tuple(TEXTS[2:]))


def test_the_example_analyzer_selects_by_cohens_d(tiny_model, tmp_path):
    found = lsns.localize(
        tiny_model, CONTRAST, method=EFFECT_SIZE, percentage=20, cache_dir=tmp_path
    )
    rows = np.abs(lsns.extract(tiny_model, CONTRAST.texts).astype(float))
    d = (rows[:2].mean(0) - rows[2:].mean(0)) / np.sqrt(
        (rows[:2].var(0, ddof=1) + rows[2:].var(0, ddof=1)) / 2
    )
    assert set(np.flatnonzero(found.mask.units)) == set(np.argsort(-d.ravel())[:9])
    np.testing.assert_allclose(found.scores, d, rtol=1e-6)
    assert "_method=effect-size" in found.save(tmp_path)[0].name


def test_a_method_of_ones_own_cannot_be_kept_from_outliers(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(tiny_model, "forward", lambda *_: pytest.fail("the model ran"))
    with pytest.raises(lsns.LsnsError, match="'effect-size' selects its units itself") as caught:
        lsns.localize(
            tiny_model, CONTRAST, method=EFFECT_SIZE, percentage=20, cache_dir=tmp_path,
            exclude_outliers=True,
        )  # fmt: skip
    assert "\n" not in str(caught.value)


def test_a_module_of_the_current_folder(tiny_model, tmp_path, monkeypatch):
    (tmp_path / "my_methods.py").write_text(
        "from lsns import BaseAnalyzer\n"
        "class MyAnalyzer(BaseAnalyzer):\n"
        "    def analyze(self, positive, negative):\n"
        "        mask = (abs(positive).mean(0) > abs(negative).mean(0)).astype(int)\n"
        "        return mask, {'note': 'no scores'}\n"
        "    def get_analyzer_name(self):\n"
        "        return 'my_method'\n"
    )
    monkeypatch.chdir(tmp_path)
    found = lsns.localize(tiny_model, CONTRAST, method="my_methods:MyAnalyzer", cache_dir="cache")
    assert found.manifest["selection"]["method"] == "my_method"
    assert 0 < found.mask.count < 48


def test_an_entry_point(tiny_model, tmp_path, monkeypatch):
    import lsns.plugins

    class Entry:
        def load(self):
            return lsns.plugins.load_attribute(EFFECT_SIZE)

    def entry_points(*, group, name):
        return [Entry()] if (group, name) == ("lsns.analyzers", "cohen") else []

    monkeypatch.setattr(lsns.plugins, "entry_points", entry_points)
    found = lsns.localize(tiny_model, CONTRAST, method="cohen", percentage=20, cache_dir=tmp_path)
    assert found.mask.count == 9


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("nothing", "no method 'nothing'"),
        ("no_such_module:X", "could not be imported"),
        ("nowhere.py:X", "no Python file nowhere.py"),
        (f"{EXAMPLES / 'effect_size.py'}:Nothing", "has no 'Nothing'"),
        ("json:dumps", "not a subclass of lsns.BaseAnalyzer"),
        ("broken.py:X", "SyntaxError"),
        ("bad.py:Wrong", r"mask of shape \(2, 2\)"),
        ("bad.py:Empty", "with 0 units"),
    ],
)
def test_methods_that_do_not_work(tiny_model, tmp_path, monkeypatch, method, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.py").write_text("def")
    (tmp_path / "bad.py").write_text(
        "import numpy as np\nfrom lsns import BaseAnalyzer\n"
        "class Wrong(BaseAnalyzer):\n"
        "    def analyze(self, p, n): return np.ones((2, 2)), {}\n"
        "    def get_analyzer_name(self): return 'wrong'\n"
        "class Empty(Wrong):\n"
        "    def analyze(self, p, n): return np.zeros(p.shape[1:]), {}\n"
    )
    with pytest.raises(lsns.LsnsError, match=message) as caught:
        lsns.localize(tiny_model, CONTRAST, method=method, cache_dir="cache")
    assert "\n" not in str(caught.value)


def test_moments_are_not_enough_for_a_method_of_ones_own(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr("lsns.measurement.ACTIVATIONS_LIMIT_BYTES", 1)
    with pytest.raises(lsns.LsnsError, match="needs single activations"):
        lsns.localize(tiny_model, CONTRAST, method=EFFECT_SIZE, percentage=20, cache_dir=tmp_path)


@pytest.fixture
def masked(tmp_path, monkeypatch):
    """A tiny masked language model as a folder, and no registered model."""
    from transformers import BertConfig, BertForMaskedLM

    monkeypatch.setattr(ModelFactory, "_registered", {})
    settings = BertConfig(
        vocab_size=301, hidden_size=16, num_hidden_layers=3, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=128,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertForMaskedLM(settings).save_pretrained(tmp_path / "bert")
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"mask_token": "<mask>"})
    tokenizer.save_pretrained(tmp_path / "bert")
    return tmp_path / "bert"


def test_the_example_model_writes_by_filling_masks(masked, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plugin = ["--plugin", str(EXAMPLES / "masked_diffusion.py"), "--num-units", "9"]
    model = ["--model-name", f"masked:{masked}", *plugin]
    assert run(["localize", *model]) == 0
    assert "9 units" in capsys.readouterr().out
    lesion = ["lesion", *model, "--prompt", "the cat", "--max-new-tokens", "6"]
    assert run([*lesion, "--network", "none", "language"]) == 0
    assert "9 of 48 units zeroed" in capsys.readouterr().out


def test_the_example_model_is_lesioned_exactly(masked):
    from lsns.plugins import load_module

    load_module(str(EXAMPLES / "masked_diffusion.py"))
    model = lsns.load_model(f"masked:{masked}", device="cpu")
    units = np.zeros(model.shape, dtype=bool)
    units[0, :12] = units[2, :12] = True
    intact = model.generate("the cat", max_new_tokens=6)
    with lsns.lesion(model, lsns.UnitMask(units)) as attached:
        lesioned = model.generate("the cat", max_new_tokens=6)
        assert (lsns.extract(model, TEXTS)[:, units] == 0).all()
    assert attached.fired[0] == 6 + 1
    assert lesioned != intact
    assert model.generate("the cat", max_new_tokens=6) == intact
    # Bidirectional, and still not read across padding.
    np.testing.assert_allclose(
        lsns.extract(model, TEXTS, batch_size=1), lsns.extract(model, TEXTS), rtol=1e-4, atol=1e-5
    )
