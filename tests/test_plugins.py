"""Analysis methods and models of one's own, as the examples have them."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

import lsns
import lsns.config
from lsns.cli import run
from lsns.experiment import run_experiment
from lsns.models.factory import ModelFactory
from lsns.plugins import permit
from tests.conftest import REPOSITORY
from tests.tiny import TEXTS, make_tokenizer, write_inputs

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


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A tiny model, a configuration, and `evil.py`, which leaves a file when it is run."""
    monkeypatch.chdir(tmp_path)
    write_inputs(tmp_path, 6)
    code = (EXAMPLES / "effect_size.py").read_text()
    (tmp_path / "evil.py").write_text(f"{code}\nimport pathlib\npathlib.Path('ran').touch()\n")
    (tmp_path / "my.yaml").write_text(
        "model: {name: tiny, device: cpu}\nstimuli: mine.csv\nreport: false\n"
        "analysis: {percentage: 10}\naudit: {enabled: false}\noutput_dir: out\ncache_dir: kept\n"
    )
    return tmp_path


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("model.plugins", "[evil.py]", "model.plugins: evil.py"),
        ("model.plugins", "[evil]", "model.plugins: evil"),
        ("analysis.method", "evil.py:EffectSizeAnalyzer", None),
        ("analysis.method", "evil:EffectSizeAnalyzer", None),
        ("model.trust_remote_code", "true", "model.trust_remote_code: of tiny"),
    ],
)
def test_code_that_a_configuration_names_needs_permission(here, capsys, caplog, key, value, said):
    section, _, name = key.partition(".")
    text = (
        (here / "my.yaml").read_text().replace(f"{section}: {{", f"{section}: {{{name}: {value}, ")
    )
    (here / "my.yaml").write_text(text)
    said = said or f"{key}: {value}"
    config = lsns.config.ExperimentConfig.from_yaml("my.yaml")
    with pytest.raises(lsns.LsnsError, match="in Python: allow_code=True"):
        run_experiment(config)
    assert run(["run", "my.yaml"]) == 2
    error = capsys.readouterr().err
    assert error == (
        f"lsns: this would run code ({said}); if you trust it, allow it with --allow-code (in "
        "Python: allow_code=True)\n"
    )
    assert not (here / "ran").exists()
    assert not (here / "out").exists()
    sys.modules.pop("evil", None)
    assert run(["run", "my.yaml", "--allow-code"]) == 0
    assert [text for text in caplog.messages if "code" in text] == [
        f"running code, as allowed: {said}"
    ]
    assert (here / "ran").exists() == ("evil" in value)


def test_so_does_that_of_a_mask_given_by_its_name(here, capsys):
    model = ["--model-name", "tiny", "--device", "cpu"]
    mask = "language@10:evil.py:EffectSizeAnalyzer"
    study = ["evaluate", *model, "--mask", mask, "--controls", "none", "--limit", "1"]
    pair = ["compare", "language@10", mask, *model]
    for command in (study, pair):
        assert run(command) == 2
        assert f"would run code (mask {mask})" in capsys.readouterr().err
        assert not (here / "ran").exists()
    with pytest.raises(lsns.LsnsError, match=r"would run code \(mask language"):
        lsns.evaluate("tiny", [mask], output_dir="out")
    assert not (here / "ran").exists()
    for command in (study, pair):
        sys.modules.pop("evil", None)
        assert run([*command, "--allow-code"]) == 0
        (here / "ran").unlink()


def test_what_is_typed_needs_no_permission(here):
    sys.modules.pop("evil", None)
    model = ["--model-name", "tiny", "--device", "cpu"]
    typed = [*model, "--stimuli", "mine.csv", "--percentage", "10"]
    for code in (["--method", "evil.py:EffectSizeAnalyzer"], ["--plugin", "evil.py"]):
        assert run(["localize", *typed, *code]) == 0
        (here / "ran").unlink()
    assert run(["localize", *typed, "--trust-remote-code"]) == 0


def test_many_pieces_of_code_are_one_line():
    with pytest.raises(lsns.LsnsError, match=r"\(0; 1; 2; 3; 4; and 3 more\)"):
        permit([str(i) for i in range(8)], allowed=False)
    permit([], allowed=False)


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

    monkeypatch.setattr("importlib.metadata.entry_points", entry_points)
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
