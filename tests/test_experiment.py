"""`lsns run` from end to end: what it leaves, that it goes on, and computes nothing twice."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest

import lsns
from lsns.cli import run
from lsns.config import (
    AnalysisConfig,
    AuditConfig,
    EvaluationConfig,
    ExperimentConfig,
    LesionConfig,
    ModelConfig,
)
from lsns.experiment import run_experiment
from lsns.models.factory import SharedRequest
from lsns.report.results import read_results
from tests.tiny import write_inputs

UNITS = 9
KEPT = ("config.yaml", "versions.json", "localization.txt", "localization.npz")
OF_ALL = {*KEPT, "localization-nmd.npz", "audit.json", "report.html", "continuations.json"}


def make_config(**changes) -> ExperimentConfig:
    """Everything that a run can do, on a tiny model and few items."""
    evaluation = EvaluationConfig(
        benchmarks=("minimal-pairs:pairs.jsonl", "perplexity:text.txt"),
        doses=(10.0,), seeds=3, resamples=20,
    )  # fmt: skip
    given = {
        "model": ModelConfig(name="tiny", device="cpu"),
        "stimuli": "mine.csv",
        "analysis": AnalysisConfig(percentage=20),
        "prompts": ("the cat",),
        "lesion": LesionConfig(conditions=("none", "network", "uniform", "layer")),
        "evaluation": evaluation,
        "audit": AuditConfig(halves=3, permutations=19),
        "output_dir": "out",
        "cache_dir": "kept",
    }
    config = ExperimentConfig(**{**given, **changes})
    config.to_yaml("my.yaml")
    return config


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_inputs(tmp_path, 12)
    pairs = [
        {"sentence_good": f"the cat {i} sat", "sentence_bad": f"the sat {i} cat"} for i in range(4)
    ]
    Path("pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    Path("text.txt").write_text("the cat sat on the mat and looked at the moon")
    return tmp_path


@pytest.fixture
def loads(monkeypatch) -> list[str]:
    """The names of the models that were loaded."""
    from lsns.models import factory

    names: list[str] = []
    load = factory.load_model

    def count(name, **options):
        names.append(name)
        return load(name, **options)

    monkeypatch.setattr(factory, "load_model", count)
    return names


def test_a_whole_run(here, loads):
    result = run_experiment(make_config())
    assert loads == ["tiny"]
    assert {path.name for path in Path("out").iterdir()} >= OF_ALL
    assert result.paths[-1] == Path("out/report.html")
    assert all(path.is_file() for path in result.paths)
    found = read_results("out")
    assert found.localization is not None
    assert found.localization.mask.count == UNITS
    assert np.array_equal(found.localization.mask.units, result.found.mask.units)
    assert np.array_equal(found.localization.scores, result.found.scores)
    assert np.array_equal(found.localization.magnitudes, result.found.magnitudes)
    assert found.nmd is not None
    assert found.nmd.mask.count == UNITS
    assert found.nmd.manifest["selection"]["method"] == "nmd"
    assert (found.audit or {})["conclusion"] == result.audit.conclusion
    assert found.summary == json.loads(json.dumps(result.study.summary))


def test_the_study_has_the_mask_and_the_doses_with_their_controls(here):
    study = run_experiment(make_config()).study
    kinds: dict[str, set[str]] = {}
    for row in study.summary:
        if row["condition"] == "control":
            kinds.setdefault(row["target"], set()).add(row["control"])
    assert kinds == {
        "mine@20": {"uniform", "layer", "magnitude", "outliers", "least"},
        "mine@10": {"uniform", "magnitude"},
    }
    assert {row["seed"] for row in study.summary if row["control"] == "layer"} == {42, 43, 44}
    evidence = json.loads(Path("out/audit.json").read_text())["lesions"]
    assert {row["benchmark"] for row in evidence} == {"minimal-pairs", "perplexity"}


def test_outliers_are_split_off(here):
    config = make_config()
    low = ExperimentConfig.from_yaml("my.yaml", ["analysis.outlier_threshold=1.2"])
    assert run_experiment(config).found.outliers.sum() == 0
    result = run_experiment(low)
    count = int(result.found.outliers.sum())
    assert 0 < count < UNITS
    rows = {r["target"]: r for r in result.study.summary if r["condition"] == "lesion"}
    assert [rows[name]["units"] for name in ("mine@20", "mine@20 outliers", "mine@20 rest")] == [
        UNITS, count, UNITS - count,
    ]  # fmt: skip
    assert {row["part"] for row in result.audit.to_dict()["lesions"]} == {"all", "outliers", "rest"}


def test_parts_have_their_own_kinds_of_controls(here):
    kinds: dict[str, list[str]] = {
        "controls": ["uniform", "outliers"],
        "part_controls": ["outliers"],
    }
    make_config()
    config = ExperimentConfig.from_yaml(
        "my.yaml",
        ["analysis.outlier_threshold=1.2", *(f"evaluation.{k}={v}" for k, v in kinds.items())],
    )
    found: dict[str, set[str]] = {}
    for row in run_experiment(config).study.summary:
        found.setdefault(row["target"], set()).add(row["control"])
    # Of the rest, a control with as many outliers says nothing: it has none.
    assert found == {
        "": {""},
        "mine@20": {"", "uniform", "outliers"},
        "mine@20 outliers": {"", "outliers"},
        "mine@20 rest": {""},
        "mine@10": {"", "uniform", "outliers"},
    }


def test_the_same_run_again_loads_no_model_and_gives_the_same_bytes(here, loads):
    config = make_config(prompts=())
    run_experiment(config)
    assert loads == ["tiny"]
    before = {p: p.read_bytes() for p in Path("out").rglob("*") if p.is_file()}
    run_experiment(config)
    assert loads == ["tiny"]
    assert {p: p.read_bytes() for p in Path("out").rglob("*") if p.is_file()} == before


def test_a_further_seed_is_the_only_thing_computed(here):
    run_experiment(make_config(prompts=()))
    cells = set(Path("out/study/items").glob("*.parquet"))
    stamps = {path: path.stat().st_mtime_ns for path in cells}
    more = EvaluationConfig(
        benchmarks=("minimal-pairs:pairs.jsonl", "perplexity:text.txt"),
        doses=(10.0,), seeds=4, resamples=20,
    )  # fmt: skip
    run_experiment(make_config(prompts=(), evaluation=more))
    assert {path: path.stat().st_mtime_ns for path in cells} == stamps
    added = set(Path("out/study/items").glob("*.parquet")) - cells
    # Three kinds for the mask and two for the dose, on two benchmarks; draws of few units repeat.
    assert 0 < len(added) <= 10


def test_a_smaller_run_into_the_same_folder_leaves_nothing_of_the_larger_one(here, capsys):
    run_experiment(make_config())
    small = ["--set", "prompts=[]", "--set", "evaluation.benchmarks=[]", "--set", "report=false"]
    assert run(["run", "my.yaml", *small, "--set", "audit.enabled=false"]) == 0
    assert "report.html" not in capsys.readouterr().out
    left = {path.name for path in Path("out").iterdir()}
    assert not left & {"audit.json", "report.html", "continuations.json", "continuations.txt"}
    assert not Path("out/study/study.json").exists()
    found = read_results("out")
    assert (found.audit, found.study, found.continuations) == (None, None, None)


def test_each_control_is_named_by_its_kind(here):
    made = run_experiment(make_config()).continuations["the cat"]
    assert [item.condition.partition(":")[0] for item in made] == [
        "intact", "mine", "random control for mine (uniform, seed 42)",
        "random control for mine (layer, seed 42)",
    ]  # fmt: skip


def test_what_the_command_prints(here, capsys):
    make_config()
    assert run(["run", "my.yaml"]) == 0
    out = capsys.readouterr().out
    assert out.index("selected  9 units") < out.index("prompt: the cat") < out.index("findings (")
    assert "minimal-pairs: accuracy, 4 items" in out
    assert "conclusion: " in out
    assert out.splitlines()[-1] == "wrote out/report.html"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("evaluation.benchmarks=[nothing]", "no benchmark 'nothing'"),
        ("evaluation.benchmarks=['blimp:nowhere']", "no file or folder nowhere"),
        ("evaluation.controls=[random]", "each one of uniform, layer, magnitude, outliers, least"),
        ("evaluation.seeds=0", "a whole number, 1 to 10000"),
        ("evaluation.doses=[0]", "a number above 0 and at most 100"),
        ("evaluation.prefix=<nothing>", "'<nothing>'"),
        ("audit.permutations=5", "a whole number, 19 to 100000"),
        ("audit.alpha=0.01", "alpha 0.01 cannot be reached with 19 permutations"),
    ],
)
def test_what_is_wrong_is_one_line_and_nothing_is_lost(here, capsys, override, message):
    make_config()
    assert run(["run", "my.yaml", "--set", override]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("lsns: ")
    assert message in error


@pytest.mark.parametrize(
    ("package", "message"),
    [("pyarrow", "evaluation.benchmarks need pyarrow"), ("jinja2", "the page needs jinja2")],
)
def test_a_package_that_will_be_needed_is_missed_before_the_model_runs(
    here, loads, monkeypatch, package, message
):
    from importlib.util import find_spec

    monkeypatch.setattr(
        "lsns.experiment.find_spec", lambda name: None if name == package else find_spec(name)
    )
    with pytest.raises(lsns.LsnsError, match=message):
        run_experiment(make_config())
    assert loads == []


def test_a_stopped_run_goes_on(here, monkeypatch, caplog):
    """Ctrl-C in the middle of the study: what was computed is kept, and used next time."""
    from lsns.evaluation.benchmarks import MinimalPairs

    config = make_config(prompts=())
    score, calls = MinimalPairs.run, []

    def interrupted(self, model, **options):
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return score(self, model, **options)

    monkeypatch.setattr(MinimalPairs, "run", interrupted)
    with pytest.raises(KeyboardInterrupt, match="the same command goes on from there"):
        run_experiment(config)
    kept = len(list(Path("out/study/items").glob("*.parquet")))
    assert kept >= 5
    with caplog.at_level(logging.INFO, logger="lsns"):
        result = run_experiment(config)
    assert any(f"{kept} of " in record.message for record in caplog.records)
    assert result.study is not None


def test_a_shared_request_loads_once(here, loads):
    request = SharedRequest("tiny", device="cpu")
    assert SharedRequest.of(request) is request
    assert request.load() is request.load()
    assert loads == ["tiny"]
