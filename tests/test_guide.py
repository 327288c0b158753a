"""Every shell line and Python block of the guide (../shared/guide.md) runs, and does as it says.

Run in a folder laid out as a checkout. The bundled model stands in for gpt2, tiny local ones for
the others, and what the guide leaves to the reader is filled in by the least that works.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lsns.cli import run as run_in_process
from tests.conftest import REPOSITORY, SHARED
from tests.tiny import make_model

GUIDE = SHARED / "guide.md"
BLOCK = re.compile(r"^```(bash|python|yaml)\n(.*?)^```$", re.M | re.S)
STEP = "python localize.py --model-name gpt2 --percentage 5.0"
# What the checkout has that the guide runs and imports; its models stand beside those of the guide.
LINKED = (
    *("localize.py", "generate_lesion.py", "demo_nmd_experiment.py", "requirements.txt"),
    *("analysis", "config.py", "tests"),
    *("models/__init__.py", "models/base.py", "models/factory.py"),
)
SKIPPED = {
    "git clone <repository-url>": "downloads; this is the clone",
    "cd LSNs": "belongs to the clone",
    "python3 -m venv lsns_env": "makes an environment",
    "source lsns_env/bin/activate  # Linux/Mac": "makes an environment",
    "pip install -r requirements.txt": "makes an environment; tests run in one made so",
}
pytestmark = pytest.mark.skipif(
    not GUIDE.is_file(), reason="the guide is not beside the checkout (../shared)"
)


def text() -> str:
    return GUIDE.read_text(encoding="utf-8") if GUIDE.is_file() else ""


def blocks(kind: str) -> list[str]:
    return [body for found, body in BLOCK.findall(text()) if found == kind]


def lines() -> list[str]:
    found = [line for body in blocks("bash") for line in body.splitlines()]
    return [line for line in found if line and not line.startswith("#")]


def block_with(words: str, kind: str = "python") -> str:
    """The one block of the guide with these words in it."""
    (found,) = [body for body in blocks(kind) if words in body]
    return found


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A folder with what the guide runs, and tiny models under the names that need the hub."""
    folder = tmp_path_factory.mktemp("LSNs")
    (folder / "models").mkdir()
    for name in LINKED:
        (folder / name).symlink_to(REPOSITORY / name)
    tiny = make_model()
    for name in {name for line in lines() for name in re.findall(r"--model-name (\S+)", line)}:
        tiny.model.save_pretrained(folder / "models" / name)
        tiny.tokenizer.save_pretrained(folder / "models" / name)
    return folder


Shell = Callable[[str], subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def shell(checkout) -> Shell:
    """Run a line of the guide as it stands, but for the model; once."""
    done: dict[str, subprocess.CompletedProcess[str]] = {}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "HF_HUB_OFFLINE": "1"}

    def run(line: str) -> subprocess.CompletedProcess[str]:
        if line not in done:
            mine = re.sub(r"--model-name (\S+)", r"--model-name models/\1", line)
            mine = mine.replace("--model-name models/gpt2 ", "--model-name smollm2-135m ")
            done[line] = subprocess.run(
                ["bash", "-c", mine],
                cwd=checkout, capture_output=True, text=True, check=False, env=environment,
            )  # fmt: skip
        return done[line]

    return run


@pytest.mark.parametrize("line", lines())
def test_shell_lines(line, shell):
    if line in SKIPPED:
        pytest.skip(SKIPPED[line])
    done = shell(line)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    script = line.split()[1]
    said = {
        "localize.py": says_what_was_localized,
        "generate_lesion.py": says_what_was_lesioned,
        "demo_nmd_experiment.py": says_how_the_methods_differ,
    }
    said[script](line, done.stdout)


def says_what_was_localized(line: str, out: str) -> None:
    assert "240 positive, 240 negative (built-in language stimuli)" in out
    assert "protocol  last-token" in out
    assert "units: 5% over all layers, highest by ttest" in out
    assert out.count("wrote cache/") == 3


def says_what_was_lesioned(line: str, out: str) -> None:
    assert out.startswith("prompt: The quick brown fox\n")
    said = {
        "none": "intact",
        "language": "language: 172 of 17280 units zeroed",
        "random": "random control for language (uniform, seed 42): 172 of 17280 units zeroed",
    }
    condition, rule, *continuation = out.splitlines()[2:]
    assert condition == said[line.split("--network ")[1].split()[0]]
    assert set(rule) == {"-"}
    assert " ".join(continuation).strip()


def says_how_the_methods_differ(line: str, out: str) -> None:
    header = block_with_table().splitlines()[0]
    rows = out.splitlines()
    assert rows[0] == header
    table = [row.split() for row in rows[1 : rows.index("")]]
    counts = np.array([[int(cell) for cell in row[1:]] for row in table])
    assert [row[0] for row in table] == [*map(str, range(30)), "Total"]
    assert np.array_equal(counts[:, 0] - counts[:, 1], counts[:, 2])
    assert np.array_equal(counts[:-1].sum(axis=0), counts[-1])
    assert all(row[3][0] in "+-" or row[3] == "0" for row in table)
    # T-test concentrates its selection, NMD distributes it evenly.
    assert len(set(counts[:-1, 1])) == 1
    assert counts[:-1, 0].max() > 2 * counts[0, 1] > 2 * counts[:-1, 0].min()
    for said in ("expected by chance", "intact", "T-test: 840 of 17280", "NMD: 840 of 17280"):
        assert said in out


def block_with_table() -> str:
    (table,) = re.findall(r"^```\n(Layer .*?)^```$", text(), re.M | re.S)
    return table


def test_the_conditions_differ(shell):
    texts = {
        line.split("--network ")[1].split()[0]: shell(line).stdout.split("\n---")[1]
        for line in lines()
        if "generate_lesion.py" in line
    }
    assert len(texts) == len(set(texts.values())) == 3


def files() -> list[str]:
    """The names in the guide's section "Files"."""
    return re.findall(r"^- `(.*\.npy)`$", text().partition("## Files")[2], re.M)


def test_files_are_named_as_the_guide_names_them(shell, checkout):
    (line,) = [line for line in lines() if line.startswith(STEP)]
    assert shell(line).returncode == 0
    mask, p_values = [name.replace("gpt2", "smollm2-135m") for name in files()]
    units = np.load(checkout / "cache" / mask, allow_pickle=False)
    assert units.shape == (30, 576)
    assert units.sum() == 864
    found = np.load(checkout / "cache" / p_values, allow_pickle=False)
    assert found.shape == (30, 576)
    assert ((found >= 0) & (found <= 1)).all()


def test_every_parameter_of_the_guide_is_one_of_the_commands(capsys):
    section = text().partition("## Parameters")[2].partition("\n## ")[0]
    options = re.findall(r"^- `(--[a-z-]+)`", section, re.M)
    assert len(options) == 5
    for command in ("localize", "lesion"):
        assert run_in_process([command, "--help"]) == 0
        out = capsys.readouterr().out
        assert all(option in out for option in options)


def python(code: str, checkout: Path) -> str:
    """Run a program in the checkout, as `python -c` there; what it printed."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=checkout, capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, f"{code}\n{done.stderr}"
    return done.stdout


ACTIVATIONS = """\
import numpy as np
rng = np.random.RandomState(0)
positive_activations, negative_activations = rng.standard_normal((2, 30, 4, 100))
positive_activations += np.arange(400).reshape(4, 100) / 100
pos_data, neg_data = positive_activations, negative_activations
"""


def test_the_analyzers(checkout):
    guides = block_with("from analysis.mean_analyzer import MeanAnalyzer")
    call = "mask, metadata = analyzer.analyze(positive_activations, negative_activations)\n"
    assert guides.count(call) == 3
    code = f"""{ACTIVATIONS}
results = []
{guides.replace(call, call + "results.append((analyzer, mask, metadata))" + chr(10))}
mean, by_ratio, by_percentage = [mask for _, mask, _ in results]
assert [analyzer.get_analyzer_name() for analyzer, _, _ in results] == ["mean", "nmd", "nmd"]
assert mean.sum() == 20 and mean[3].sum() > 10 > mean[0].sum()  # 5%, global
assert by_ratio.sum(axis=1).tolist() == [5, 5, 5, 5]  # 5% per layer
assert np.array_equal(by_ratio, by_percentage)
assert all(len(metadata) > 0 for _, _, metadata in results)
"""
    python(code, checkout)


def test_the_configuration_file(checkout, shell):
    guides = block_with("model:", "yaml")
    (checkout / "my_experiment.yaml").write_text(guides, encoding="utf-8")
    code = f"""{block_with("from config import ExperimentConfig")}
model = config.model
assert (model.name, model.device, model.torch_dtype) == ("gpt2", "cpu", "float32")
assert (config.analysis.method, config.analysis.percentage) == ("ttest", 5.0)
assert config.analysis.pooling == "last-token"
assert (config.output_dir, config.cache_dir) == ("my_results", "my_cache")
config.to_yaml("again.yaml")
assert ExperimentConfig.from_yaml("again.yaml") == config
"""
    python(code, checkout)
    done = shell("lsns run my_experiment.yaml --set model.name=models/gpt2")
    assert done.returncode == 0, done.stderr
    assert (checkout / "my_results" / files()[0]).is_file()
    assert (checkout / "my_results" / "config.yaml").is_file()
    assert (checkout / "my_cache" / "activations").is_dir()


# What "# implement" of the guide's MyModel stands for, in a tiny model.
BODIES = {
    "_load_model": "from tests.tiny import make_module; return make_module(len(self.name))",
    "_setup_tokenizer": "from tests.tiny import make_tokenizer; return make_tokenizer()",
    "_get_model_info": "return {'num_layers': 3, 'hidden_size': 16}",
    "get_layer_names": "return [f'model.layers.{layer}' for layer in range(3)]",
}


def test_a_model_of_ones_own(checkout):
    stub = block_with("class MyModel(BaseModel)")
    filled, number = re.subn(
        r"def (\w+)\(self\): # implement *$",
        lambda match: f"def {match[1]}(self): {BODIES[match[1]]}", stub, flags=re.M,
    )  # fmt: skip
    assert number == len(BODIES)
    code = f"""{filled}
{block_with("ModelFactory.register_model")}
import lsns, lsns.cli
model = ModelFactory.create_model("mymodel", device="cpu")
assert isinstance(model, MyModel) and (model.name, model.shape) == ("mymodel", (3, 16))
assert ModelFactory.create_model("mymodel:checkpoint").name == "checkpoint"
for name in ("mymodel", "mymodel:checkpoint"):
    options = ["--model-name", name, "--percentage", "10"]
    assert lsns.cli.run(["localize", *options]) == 0
    assert lsns.cli.run(["lesion", *options, "--prompt", "the"]) == 0
"""
    out = python(code, checkout)
    assert "3 blocks x 16 = 48" in out
    assert "language: 4 of 48 units zeroed" in out
    assert list((checkout / "cache").glob("checkpoint_network=language_*perc=10.0*.npy"))


# What "# implement analysis logic" stands for.
LOGIC = """\
score = positive_activations.mean(axis=0) - negative_activations.mean(axis=0)
        mask = score >= np.percentile(score, 100 - self.config["percentage"])
        metadata = {"threshold": score[mask].min()}"""


def test_an_analysis_method_of_ones_own(checkout):
    stub = block_with("class MyAnalyzer(BaseAnalyzer)")
    assert stub.count("# implement analysis logic") == 1
    code = f"""{ACTIVATIONS}
{stub.replace("# implement analysis logic", LOGIC)}
{block_with("analyzer = MyAnalyzer(")}
assert mask.shape == (4, 100) and mask.sum() == 20
assert metadata["threshold"] > 1
assert analyzer.get_analyzer_name() == "my_method"
"""
    python(code, checkout)


def test_no_block_of_the_guide_is_left_out():
    used = (
        "from analysis.mean_analyzer import MeanAnalyzer",
        "from config import ExperimentConfig",
        "class MyModel(BaseModel)",
        "ModelFactory.register_model",
        "class MyAnalyzer(BaseAnalyzer)",
        "analyzer = MyAnalyzer(",
    )
    assert {block_with(words) for words in used} == set(blocks("python"))
    assert len(blocks("yaml")) == 1
    assert set(SKIPPED) <= set(lines())
    assert len(lines()) == 5 + 4 + 4 + 1
