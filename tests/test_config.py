"""One schema: YAML, `--set`, Python, the commented default and the documentation."""

from __future__ import annotations

import json
import re
import time
import tracemalloc
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lsns import LsnsError, UnitMask, localize
from lsns.cli import run
from lsns.config import (
    OPTIONS,
    AnalysisConfig,
    EvaluationConfig,
    ExperimentConfig,
    GenerationConfig,
    LesionConfig,
    ModelConfig,
    commented_default,
)
from lsns.experiment import code_of, resolve, run_experiment
from lsns.specs import Option
from tests.conftest import REPOSITORY
from tests.test_imports import imported_by
from tests.tiny import write_inputs

DOCS = REPOSITORY / "docs" / "configuration.md"
GUIDES = """\
model:
  name: "gpt2"
  device: "cpu"
  torch_dtype: "float32"

analysis:
  method: "ttest"
  percentage: 5.0
  pooling: "last"
  
output_dir: "my_results"
cache_dir: "my_cache"
"""  # noqa: W293 (as it stands in the guide)


def table_row(option: Option) -> str:
    """A key's row in docs/configuration.md."""
    value = list(option.default) if isinstance(option.default, tuple) else option.default
    default = yaml.safe_dump([value], default_flow_style=True).strip()[1:-1]
    name = f"`{option.key}`" + (" (or `torch_dtype`)" if option.key == "model.dtype" else "")
    return f"| {name} | {option.wants.words} | `{default}` | {option.meaning} |"


@pytest.fixture
def file(tmp_path):
    def write(text: str, *overrides: str) -> ExperimentConfig:
        path = tmp_path / "my.yaml"
        path.write_text(text, encoding="utf-8")
        return ExperimentConfig.from_yaml(path, overrides)

    return write


def test_the_guides_file(file):
    config = file(GUIDES)
    assert config == ExperimentConfig(
        model=ModelConfig(name="gpt2", device="cpu", dtype="float32"),
        analysis=AnalysisConfig(method="ttest", percentage=5.0, pooling="last-token"),
        output_dir="my_results",
        cache_dir="my_cache",
    )
    assert config.model.torch_dtype == config.model.dtype == "float32"


@pytest.mark.parametrize("text", ["", "{}", "# nothing\n", "model:\nanalysis: {}\n", "\ufeff{}"])
def test_what_is_left_out_has_its_default(file, text):
    assert file(text) == ExperimentConfig()


def test_the_commented_default_is_the_default(file, capsys):
    assert run(["config"]) == 0
    printed = capsys.readouterr().out
    assert printed == commented_default()
    assert file(printed) == ExperimentConfig()
    assert max(map(len, printed.splitlines())) <= 100
    for option in OPTIONS:
        assert re.search(rf"^ *{option.name}: ", printed, re.M), option
        assert option.meaning.split()[0] in printed


TEXT = st.text(min_size=1).filter(str.strip)
SEED = st.integers(0, 2**32 - 1)


@settings(deadline=None, max_examples=40)
@example(["a\x85 b\u2028c\ufeff", "no", "1e3", "~"], 5e-324, [0], "0123", None)
@given(
    prompts=st.lists(TEXT, unique=True, max_size=3),
    percentage=st.none() | st.floats(0, 100, exclude_min=True),
    seeds=st.lists(SEED, min_size=1, max_size=3, unique=True),
    revision=st.none() | TEXT,
    temperature=st.none() | st.floats(0, exclude_min=True, allow_infinity=False),
)
def test_to_yaml_and_back(tmp_path_factory, prompts, percentage, seeds, revision, temperature):
    config = ExperimentConfig(
        model=ModelConfig(revision=revision),
        analysis=AnalysisConfig(percentage=percentage, localize_range="80-90", per_layer=True),
        prompts=tuple(prompts),
        lesion=LesionConfig(conditions=("none",), seeds=tuple(seeds)),
        generation=GenerationConfig(temperature=temperature),
    )
    path = tmp_path_factory.getbasetemp() / "round.yaml"
    assert ExperimentConfig.from_yaml(config.to_yaml(path)) == config
    keys = {f"{k}.{i}" if isinstance(v, dict) else k for k, v in config.to_dict().items()
            for i in (v if isinstance(v, dict) else [k])}  # fmt: skip
    assert keys == {option.key for option in OPTIONS}


def test_what_is_written_has_no_aliases(tmp_path):
    same = ("uniform", "layer")
    config = ExperimentConfig(evaluation=EvaluationConfig(controls=same, part_controls=same))
    assert ExperimentConfig.from_yaml(config.to_yaml(tmp_path / "x.yaml")) == config


def test_the_documentation_lists_every_key():
    text = DOCS.read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert rows == [table_row(option) for option in OPTIONS]


def test_the_documentations_example_is_read(file):
    blocks = re.findall(r"^```yaml\n(.*?)^```$", DOCS.read_text(encoding="utf-8"), re.M | re.S)
    assert len(blocks) == 1
    config = file(blocks[0])
    assert config.lesion.control == "magnitude"
    assert config.prompts == ("The quick brown fox",)


BAD = [
    ("model:\n  nmae: x", "line 2: model.nmae is not a key; did you mean model.name?"),
    ("a: 1\n", "line 1: a is not a key; there are model, network, stimuli, analysis"),
    ("\npercentage: 5", "line 2: percentage is not a key; did you mean analysis.percentage?"),
    ("outptu_dir: x", "line 1: outptu_dir is not a key; did you mean output_dir?"),
    ("anaylsis:\n  seed: 1", "line 1: anaylsis is not a key; did you mean analysis?"),
    ("lesion:\n  seed: 1", "did you mean lesion.seeds?"),
    ("model:\n  torch-dtype: x", "did you mean model.torch_dtype?"),
    ("analysis:\n  percentage: ten", "line 2: analysis.percentage wants a number above 0"),
    ("analysis:\n  percentage: 0", "found 0"),
    ("analysis:\n  percentage: 100.5", "found 100.5"),
    ("analysis:\n  percentage: .nan", "found nan"),
    ("analysis:\n  percentage: true", "found true"),
    ("analysis:\n  percentage: [5]", "found [5]"),
    ("analysis:\n  seed: -1", "analysis.seed wants a whole number, 0 to 4294967295; found -1"),
    ("analysis:\n  seed: 1.0", "found 1.0"),
    ("analysis:\n  num_units: 0", "analysis.num_units wants a whole number, 1 to 1000000000"),
    ("analysis:\n  method: ttset", "found the text 'ttset'; did you mean ttest?"),
    ("analysis:\n  pooling: lsat-token", "did you mean last-token?"),
    ("analysis:\n  localize_range: 90-80", "START-END"),
    ("analysis:\n  exclude_outliers: 1", "analysis.exclude_outliers wants true or false; found 1"),
    ("analysis:\n  outlier_threshold: 0", "analysis.outlier_threshold wants a number above 0"),
    ("lesion:\n  control: outlier", "did you mean outliers?"),
    ("analysis:\n  per_layer: 1", "wants true or false, or null; found 1"),
    (
        "analysis:\n  percentage: 5\n  num_units: 3",
        "line 3: analysis.num_units cannot stand beside",
    ),
    ("model:\n  name: 5", "model.name wants a name; found 5; quote it"),
    ("model:\n  name:", "found nothing (null)"),
    ("model:\n  name: '  '", "model.name wants a name"),
    ('model:\n  name: "\\ud800"', "model.name wants a name"),
    ('output_dir: "a\\0b"', "output_dir wants a path"),
    ("model:\n  device: cude", "did you mean cuda?"),
    ("model:\n  dtype: float23", "did you mean float32?"),
    ("model:\n  dtype: auto\n  torch_dtype: auto", "line 3: model.dtype is given twice"),
    ("prompts: []\nprompts: []", "line 2: prompts is given twice; the first is in line 1"),
    ("network: langauge", "did you mean language?"),
    ("lesion:\n  conditions: none", "wants a list"),
    ("lesion:\n  conditions: [none, netwrok]", "did you mean network?"),
    ("lesion:\n  conditions: []", "(at least one)"),
    ("lesion:\n  seeds: [1, 1]", "different"),
    ("prompts: the fox", "line 1: prompts wants a list"),
    ("prompts: [5]", "prompts wants a list of different values, each text; found [5]"),
    ("prompts: &a [*a]", "line 1: not a configuration: an alias (*a); write its value"),
    (
        "prompts: [a]\nanalysis:\n  pooling: sum\nlesion:\n  mode: mean",
        "line 5: lesion.mode cannot",
    ),
    ("model: gpt2", "line 1: model wants keys with values"),
    ("- a", "line 1: the file wants keys with values"),
    ("? [a]\n: b", "line 1: the file: a key is a word"),
    ("model: {\n  name: x", "line 2: not YAML"),
    ("model:\n\tname: x", "line 2: not YAML"),
    ("a: b: c", "line 1: not YAML"),
    ("\n\x01", "line 2: not YAML"),
    ("{}\n---\n{}", "not YAML"),
    ("[" * 5000, "nested too deeply"),
    ("model: !!python/object:os.system {}", "line 1: not a configuration: a tag (!!python/object:"),
    ("model:\n  name: !!python/object:os.system {}", "line 2: not a configuration: a tag"),
    ("report: !!bool foo", "line 1: not a configuration: a tag (!!bool); leave it out, and quote"),
    ("model:\n  revision: !!timestamp x", "line 2: not a configuration: a tag (!!timestamp)"),
    ("analysis:\n  seed: !!int ''", "line 2: not a configuration: a tag (!!int)"),
    ("prompts: [!!binary 'a']", "line 1: not a configuration: a tag (!!binary)"),
    ("? !!bool x\n: 1", "line 1: not a configuration: a tag (!!bool)"),
    ('\nprompts: ["\\UFFFFFFFF"]', "line 2: not YAML: an escape or a number out of range"),
    (f"%YAML {'9' * 5000}.1\n---\n", "line 1: not YAML: an escape or a number out of range"),
    (f"analysis:\n  outlier_threshold: {'9' * 400}", "wants a number above 0; found 999"),
    (f"analysis:\n  seed: 0x{'f' * 398}", "wants a whole number, 0 to 4294967295; found 1"),
    (f"analysis:\n  seed: 0x{'f' * 4000}", "line 2: not a configuration: a number of more than"),
    (f"lesion:\n  seeds: [{'9' * 5000}]", "line 2: not a configuration: a number of more than"),
    ("analysis:\n  percentage: .inf", "found inf"),
    ("evaluation:\n  seeds: 1000000000", "evaluation.seeds wants a whole number, 1 to 10000;"),
    ("evaluation:\n  smallest_effect: 1", "evaluation.smallest_effect wants a number"),
    ("audit: {permutations: 1000000000}", "audit.permutations wants a whole number, 19 to 100000;"),
    ("audit: {halves: 1000000000}", "audit.halves wants a whole number, 1 to 10000;"),
    ("k" * 900 + ": 1", "kkk... is not a key; there are model"),
    ("model:\n  revision: 2001-99-99", "line 2: model.revision: not a plain value"),
    ("model:\n  revision: 2001-01-01", "found 2001-01-01; quote it"),
]


@pytest.mark.parametrize(("text", "message"), BAD, ids=[repr(text)[:50] for text, _ in BAD])
def test_what_a_user_can_get_wrong_is_one_line(tmp_path, monkeypatch, capsys, text, message):
    monkeypatch.chdir(tmp_path)
    Path("my.yaml").write_text(text)
    assert run(["run", "my.yaml"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("lsns: my.yaml")
    assert message in error
    assert not Path("results").exists()


LEVELS = ["prompts:", "- &a [x, x, x, x, x, x, x, x, x]"] + [
    f"- &{name} [{', '.join([f'*{below}'] * 9)}]"
    for below, name in zip("abcdefgh", "bcdefghi", strict=True)
]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n".join(LEVELS), "line 3: not a configuration: an alias (*a)"),
        (f"prompts: [{'[' * 400_000}", "line 1: not a configuration: nested too deeply"),
        (f"prompts: [{'1, ' * 100_000}]", "line 1: not a configuration: more than 10,000 values"),
        (f"lesion: {{conditions: [{'none, ' * 9_000}]}}", "lesion.conditions wants a list"),
        (f"analysis: {{seed: 1{':1' * 200_000}}}", "a number of more than 400 digits"),
        (f"model: {{dtype: {'x' * 490_000}}}", "model.dtype wants one of float32"),
        ("x" * 10**7, "no configuration: it has more than 500,000 characters"),
    ],
    ids=["aliases", "deep", "many", "long", "sexagesimal", "text", "file"],
)
def test_a_bomb_is_one_line_within_a_second_in_bounded_memory(tmp_path, text, message):
    path = tmp_path / "bomb.yaml"
    path.write_text(text)
    start = time.process_time()
    with pytest.raises(LsnsError, match=re.escape(message)) as caught:
        ExperimentConfig.from_yaml(path)
    assert time.process_time() - start < 1
    assert len(str(caught.value)) < len(str(path)) + 300
    tracemalloc.start()
    with pytest.raises(LsnsError, match=re.escape(message)):
        ExperimentConfig.from_yaml(path)
    assert tracemalloc.get_traced_memory()[1] < 100e6
    tracemalloc.stop()


def test_numbers_of_many_digits_in_python():
    for wrong in ({"seed": 10**5000}, {"outlier_threshold": 10**5000}):
        with pytest.raises(LsnsError, match="found a number of too many digits"):
            AnalysisConfig(**wrong)


# What has a meaning in YAML, or is one of its traps.
PIECES = [
    *"{}[],:?-|>&*!%@`'\"#=~\n\t\\ ", "- ", ": ", "<<: ", "&a ", "*a", "!!bool ", "!!int ''",
    "!<x> ", "---\n", "...\n", "%TAG ! x\n", "\\UFFFFFFFF", "\\ud800", ".inf", ".nan", "0b_", "0x_",
    "1:2:3", "1e999", "9" * 300, "2001-99-99", "2001-01-01 00:00:00 +99:99", "\x00", "\x85",
    "\u2028", "\ufeff", "null", "true", "model", "prompts", "x",
]  # fmt: skip
MUTATION = st.tuples(st.integers(0, 6000), st.integers(0, 30), st.lists(st.sampled_from(PIECES)))


@settings(deadline=None, max_examples=100)
@given(
    start=st.sampled_from([commented_default(), GUIDES, "", "prompts: [a]\nmodel: {name: x}\n"]),
    mutations=st.lists(MUTATION, min_size=1, max_size=3),
    override=st.lists(st.sampled_from(PIECES) | st.text(max_size=3)).map("".join),
)
def test_any_text_is_a_configuration_or_a_line(tmp_path_factory, start, mutations, override):
    text = start
    for place, cut, pieces in mutations:
        text = text[:place] + "".join(pieces) + text[place + cut :]
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(text, encoding="utf-8")
    for overrides in ([], [f"prompts={override}"], [override]):
        with suppress(LsnsError):
            assert isinstance(ExperimentConfig.from_yaml(path, overrides), ExperimentConfig)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=5)).map("".join))
def test_any_value_is_a_value_or_a_line(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "empty.yaml"
    path.write_text("")
    for key in ("prompts", "model.name", "analysis.percentage", "evaluation.seeds", "report"):
        with suppress(LsnsError):
            ExperimentConfig.from_yaml(path, [f"{key}={value}"])


def test_files_that_cannot_be_read(tmp_path, capsys):
    (tmp_path / "latin.yaml").write_bytes(b"prompts: [caf\xe9]")
    for name, message in (("nowhere.yaml", "cannot be read"), ("latin.yaml", "is not UTF-8")):
        assert run(["run", str(tmp_path / name)]) == 2
        assert message in capsys.readouterr().err
    assert run(["run", str(tmp_path)]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_set_overrides(file):
    config = file(
        GUIDES,
        "analysis.percentage=1",
        "model.torch_dtype=bfloat16",
        "cache_dir=",
        "model.name=a=b",
        "prompts=[one, 'two, three']",
        "analysis.percentage=2",
    )
    assert config.analysis == AnalysisConfig(percentage=2.0, pooling="last-token")
    assert config.model == ModelConfig(name="a=b", device="cpu", dtype="bfloat16")
    assert config.prompts == ("one", "two, three")
    assert config.cache_dir is None
    # What is overridden in the file need not be possible, only the key must be there.
    assert file("analysis:\n  percentage: 500", "analysis.percentage=1").analysis.percentage == 1


BAD_SET = [
    (
        "analysis.percantage=1",
        "--set analysis.percantage: analysis.percantage is not a key; did you",
    ),
    ("analysis.percentage=x", "--set analysis.percentage: analysis.percentage wants a number"),
    ("analysis.percentage=[1", "--set analysis.percentage: '[1' is no YAML value; quote it"),
    ("analysis.num_units=3", "--set analysis.num_units: analysis.num_units cannot stand beside"),
    ("percentage", "--set percentage: wants KEY=VALUE"),
    ("percentage=1", "did you mean analysis.percentage?"),
    ("model=gpt2", "--set model: a section; set one of its keys: model.name"),
    ("model.name=a: b", "found a mapping"),
    ("model.name=!!python/name:os.system", "--set model.name, line 1: not a configuration: a tag"),
    ("prompts=[&a [x], *a]", "--set prompts, line 1: not a configuration: an alias (*a)"),
]


@pytest.mark.parametrize(("override", "message"), BAD_SET)
def test_a_wrong_override_names_the_flag(file, override, message):
    with pytest.raises(LsnsError, match=re.escape(message)):
        file(GUIDES, override)


@pytest.mark.parametrize("path", sorted((REPOSITORY / "examples").glob("*.yaml")))
def test_the_examples_name_no_code_and_run(tmp_path, monkeypatch, path):
    assert code_of(ExperimentConfig.from_yaml(path)) == []
    monkeypatch.chdir(tmp_path)
    write_inputs(tmp_path, 6)
    mine = ("model.name=tiny", "network=", "stimuli=mine.csv", "analysis.percentage=20")
    less = ("evaluation.controls=[uniform]", "evaluation.seeds=2", "audit.permutations=19")
    sets = [word for key in (*mine, *less) for word in ("--set", key)]
    assert run(["run", str(path), *sets]) == 0


def test_in_python_the_same_is_checked():
    with pytest.raises(LsnsError, match=r"analysis\.percentage wants a number.*found 500"):
        AnalysisConfig(percentage=500)
    with pytest.raises(LsnsError, match=r"model wants a ModelConfig"):
        ExperimentConfig(model="gpt2")  # type: ignore[arg-type]
    assert ExperimentConfig(output_dir=Path("x")).output_dir == "x"  # type: ignore[arg-type]
    assert ModelConfig(name="~/model").name == str(Path.home() / "model")


def test_reading_needs_nothing_heavy(tmp_path):
    (tmp_path / "my.yaml").write_text(GUIDES)
    code = f"from lsns.config import ExperimentConfig; ExperimentConfig.from_yaml({str(tmp_path)!r}"
    assert imported_by(f"{code} + '/my.yaml')") == set()


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A tiny model, stimuli and a configuration in the current folder."""
    monkeypatch.chdir(tmp_path)
    write_inputs(tmp_path, 6)
    Path("my.yaml").write_text(
        "model: {name: tiny, device: cpu}\nstimuli: mine.csv\nanalysis: {percentage: 10}\n"
        "output_dir: out\ncache_dir: kept\n"
    )
    return tmp_path


MASK = "tiny_network=mine_pooling=last-token_range=100-100_perc=10.0_nunits=None_pretrained=True"
P_VALUES = "tiny_network=mine_pooling=last-token_pretrained=True_pvalues"
NAMES = {"config.yaml", "versions.json", "localization.txt", "localization.npz", "audit.json"}
BY_TTEST = {"localization-nmd.npz"}
ALWAYS = (
    NAMES
    | BY_TTEST
    | {"report.html"}
    | {f"{stem}.{ending}" for stem in (MASK, P_VALUES) for ending in ("npy", "json")}
    | {f"{MASK}_units.csv"}
)


def test_a_run(here, capsys):
    assert run(["run", "my.yaml"]) == 0
    out = capsys.readouterr().out
    assert {path.name for path in Path("out").iterdir()} == ALWAYS
    assert Path("out/localization.txt").read_text() in out
    # Of the masks and the p-values, the array; its manifest goes without saying.
    assert out.count("wrote out/") == len(ALWAYS) - 2
    assert UnitMask.load(f"out/{MASK}.npy").count == 4
    assert list(Path("kept/activations").iterdir())
    versions = json.loads(Path("out/versions.json").read_text())
    assert versions["numpy"] == np.__version__
    assert set(versions) >= {"python", "lsns", "torch", "transformers"}
    # The resolved configuration has no default left that the run filled in, and is the same run.
    resolved = ExperimentConfig.from_yaml("out/config.yaml")
    assert resolved.analysis == AnalysisConfig(
        percentage=10, per_layer=False, pooling="last-token", max_tokens=0
    )
    before = {path.name: path.read_bytes() for path in Path("out").iterdir()}
    code = "import lsns.cli; assert lsns.cli.run(['run', 'out/config.yaml']) == 0"
    # What draws the page, and nothing that runs a model.
    assert imported_by(code) == {"altair", "vl_convert"}
    assert {path.name: path.read_bytes() for path in Path("out").iterdir()} == before


def test_prompts_are_continued_under_each_condition(here, capsys):
    prompts = ["--set", "prompts=[the cat, a storm]", "--set", "generation.max_new_tokens=3"]
    seeds = ["--set", "lesion.seeds=[1, 2]", "--set", "lesion.control=layer"]
    assert run(["run", "my.yaml", *prompts, *seeds]) == 0
    out = capsys.readouterr().out
    assert {path.name for path in Path("out").iterdir()} - ALWAYS == {
        "continuations.json",
        "continuations.txt",
    }
    assert Path("out/continuations.txt").read_text() in out
    found = json.loads(Path("out/continuations.json").read_text())["prompts"]
    assert [entry["prompt"] for entry in found] == ["the cat", "a storm"]
    intact, network, *controls = found[0]["conditions"]
    assert (intact["condition"], intact["lesion"]) == ("intact", None)
    assert network["condition"] == "mine: 4 of 48 units zeroed"
    assert network["lesion"]["mask"] == UnitMask.load(f"out/{MASK}.npy").digest
    assert [item["lesion"]["control"]["seed"] for item in controls] == [1, 2]
    assert {item["lesion"]["control"]["kind"] for item in controls} == {"layer"}
    # A run without prompts into the same folder does not leave these standing as its own.
    assert run(["run", "my.yaml"]) == 0
    assert {path.name for path in Path("out").iterdir()} == ALWAYS


def test_a_run_without_outliers(here, capsys):
    keys = ["analysis.exclude_outliers=true", "analysis.outlier_threshold=1.2"]
    prompts = ["prompts=[the cat]", "lesion.conditions=[random]", "generation.max_new_tokens=2"]
    overrides = [word for key in (*keys, *prompts) for word in ("--set", key)]
    assert run(["run", "my.yaml", *overrides]) == 0
    assert "outliers  none selected: all " in capsys.readouterr().out
    expected = localize(
        "tiny", "mine.csv", percentage=10, exclude_outliers=True, outlier_threshold=1.2,
        cache_dir="kept",
    )  # fmt: skip
    assert expected.outlier_units.any()
    assert UnitMask.load(f"out/{MASK}_excludeoutliers=1.2.npy").digest == expected.mask.digest
    resolved = ExperimentConfig.from_yaml("out/config.yaml").analysis
    assert (resolved.exclude_outliers, resolved.outlier_threshold) == (True, 1.2)
    (control,) = json.loads(Path("out/continuations.json").read_text())["prompts"][0]["conditions"]
    assert control["lesion"]["control"]["barred"] == expected.outlier_units.sum()


def test_a_run_is_what_localize_finds(here):
    overrides = ["analysis.method=nmd", "analysis.percentage=", "analysis.num_units=7"]
    result = run_experiment(ExperimentConfig.from_yaml("my.yaml", overrides))
    expected = localize("tiny", "mine.csv", method="nmd", num_units=7, cache_dir="other")
    assert np.array_equal(result.found.mask.units, expected.mask.units)
    assert np.array_equal(result.found.p_values, expected.p_values)
    assert result.config.analysis.per_layer is True
    assert result.config.analysis.percentage is None
    assert result.continuations == {}


def test_the_defaults_of_the_method_and_the_protocol_are_filled_in():
    config, contrast = resolve(ExperimentConfig())
    filled = AnalysisConfig(percentage=1, per_layer=False, pooling="last-token", max_tokens=12)
    assert (config.network, config.cache_dir, config.analysis) == ("language", "cache", filled)
    assert contrast.name == "language"
    nmd = ExperimentConfig(
        analysis=AnalysisConfig(method="nmd", max_tokens=0), network="multiple-demand"
    )
    filled = AnalysisConfig(
        method="nmd", percentage=0.5, per_layer=True, pooling="mean", max_tokens=0
    )
    assert resolve(nmd)[0].analysis == filled
    assert resolve(config)[0] == config


def test_a_users_file_is_not_overwritten(here, capsys):
    Path("out").mkdir()
    text = "# mine\n" + Path("my.yaml").read_text()
    Path("out/config.yaml").write_text(text)
    assert run(["run", "out/config.yaml"]) == 2
    assert "would be overwritten" in capsys.readouterr().err
    assert Path("out/config.yaml").read_text() == text
    assert run(["run", "my.yaml"]) == 0


def test_folders_and_stimuli_that_are_not_there(here, capsys):
    for override, message in (
        ("output_dir=mine.csv/x", "output_dir: folder mine.csv/x cannot be written to"),
        ("cache_dir=mine.csv/x", "folder mine.csv/x cannot be written to"),
        ("stimuli=nowhere.csv", "no stimuli 'nowhere.csv'"),
        ("model.name=./nowhere", "no such file or folder"),
        ("analysis.method=nowhere:Class", "could not be imported"),
        ("model.plugins=[nowhere.py]", "no Python file nowhere.py"),
    ):
        assert run(["run", "my.yaml", "--set", override, "--allow-code"]) == 2
        *_, error = capsys.readouterr().err.splitlines()
        assert message in error, error
