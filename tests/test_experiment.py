"""`lsns run` from end to end: what it leaves, that it goes on, and computes nothing twice."""

from __future__ import annotations

import builtins
import csv
import errno
import fcntl
import io
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
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
from lsns.models.factory import ModelRequest
from lsns.report.results import read_results
from lsns.store import locked
from tests.tiny import write_inputs

UNITS = 9
KEPT = ("config.yaml", "versions.json", "localization.txt", "localization.npz")
OF_ALL = {*KEPT, "localization-nmd.npz", "audit.json", "report.html", "continuations.json"}


def make_config(**changes) -> ExperimentConfig:
    """Everything that a run can do, on a tiny model and few items."""
    evaluation = EvaluationConfig(
        benchmarks=("minimal-pairs:pairs.jsonl", "perplexity:text.txt"),
        doses=(10.0,), seeds=3,
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
    assert found.audit.conclusion == result.audit.conclusion
    assert found.summary == result.study.summary


def test_the_study_has_the_mask_and_the_doses_with_their_controls(here):
    study = run_experiment(make_config()).study
    kinds: dict[str, set[str]] = {}
    for row in study.summary:
        if row.condition == "control":
            kinds.setdefault(row.target, set()).add(row.control)
    assert kinds == {
        "mine@20": {"uniform", "layer", "magnitude", "outliers", "decoy", "least"},
        "mine@10": {"uniform", "magnitude"},
    }
    assert {row.seed for row in study.summary if row.control == "layer"} == {42, 43, 44}
    evidence = json.loads(Path("out/audit.json").read_text())["lesions"]["lesions"]
    assert {one["row"]["benchmark"] for one in evidence} == {"minimal-pairs", "perplexity"}


def test_outliers_are_split_off(here):
    config = make_config()
    low = ExperimentConfig.from_yaml("my.yaml", ["analysis.outlier_threshold=1.2"])
    assert run_experiment(config).found.outliers.sum() == 0
    result = run_experiment(low)
    count = int(result.found.outliers.sum())
    assert 0 < count < UNITS
    rows = {r.target: r for r in result.study.summary if r.condition == "lesion"}
    assert [rows[name].units for name in ("mine@20", "mine@20 outliers", "mine@20 rest")] == [
        UNITS, count, UNITS - count,
    ]  # fmt: skip
    assert {one.row.part for one in result.audit.lesions.lesions} == {"all", "outliers", "rest"}


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
        found.setdefault(row.target, set()).add(row.control)
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
        doses=(10.0,), seeds=4,
    )  # fmt: skip
    run_experiment(make_config(prompts=(), evaluation=more))
    assert {path: path.stat().st_mtime_ns for path in cells} == stamps
    added = set(Path("out/study/items").glob("*.parquet")) - cells
    # Four kinds for the mask and two for the dose, on two benchmarks; draws of few units repeat.
    assert 0 < len(added) <= 12


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
        (
            "evaluation.controls=[random]",
            "each one of uniform, layer, magnitude, outliers, decoy, least",
        ),
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
    from lsns.evaluation import lesion_study

    config = make_config(prompts=())
    score, calls = lesion_study._Scoring.__call__, []

    def interrupted(self, works):
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return score(self, works)

    monkeypatch.setattr(lesion_study._Scoring, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt, match="the same command goes on from there"):
        run_experiment(config)
    kept = len(list(Path("out/study/items").glob("*.parquet")))
    assert kept >= 5
    with caplog.at_level(logging.INFO, logger="lsns"):
        result = run_experiment(config)
    assert any(f"{kept} of " in record.message for record in caplog.records)
    assert result.study is not None


def test_a_request_loads_once(here, loads):
    request = ModelRequest("tiny", device="cpu")
    assert ModelRequest.of(request) is request
    assert request.load() is request.load()
    assert loads == ["tiny"]


def small_config(**changes) -> ExperimentConfig:
    """A run with all parts but the page that takes a moment once its activations are kept."""
    evaluation = EvaluationConfig(
        benchmarks=("minimal-pairs:pairs.jsonl",), controls=("uniform",), seeds=1
    )
    audit = AuditConfig(halves=1, permutations=19)
    given = {"prompts": (), "report": False, "evaluation": evaluation, "audit": audit}
    return make_config(**{**given, **changes})


class KilledError(BaseException):
    """No `except Exception` catches it."""


def killed_at(number: int, folder: Path, monkeypatch) -> list[str]:
    """Stop at the so-manieth file of the folder that is put in place or removed."""
    done: list[str] = []

    def stopping(call):
        def stopped(path, *arguments, **options):
            target = Path(arguments[0] if arguments else path)
            if target.parent in (folder, folder / "study") and not target.name.startswith("."):
                if len(done) == number:
                    raise KilledError
                done.append(target.name)
            return call(path, *arguments, **options)

        return stopped

    for name in ("replace", "unlink"):
        monkeypatch.setattr(Path, name, stopping(getattr(Path, name)))
    return done


def runs_in(folder: Path) -> set[str | None]:
    """The runs that the parts name."""
    found = read_results(folder)
    parts = [found.localization, found.nmd]
    runs = {part.manifest.get("run") for part in parts if part is not None}
    runs |= {found.audit.manifest.get("run")} if found.audit else set()
    return runs


def test_a_run_that_is_killed_anywhere_leaves_no_mixture(here, monkeypatch):
    """Whatever is left is refused, or is of one run; and the same command makes it whole."""
    other = small_config(analysis=AnalysisConfig(percentage=30))
    run_experiment(other)
    run_experiment(small_config())
    (earlier,) = runs_in(Path("out"))
    Path("out").rename("before")
    refused = whole = number = 0
    while True:
        shutil.rmtree("out", ignore_errors=True)
        shutil.copytree("before", "out")
        with monkeypatch.context() as patch:
            done = killed_at(number, Path("out"), patch)
            try:
                run_experiment(other)
                break
            except KilledError:
                pass
        assert len(done) == number
        number += 1
        assert ExperimentConfig.from_yaml("out/config.yaml").output_dir == "out"
        try:
            runs = runs_in(Path("out"))
        except lsns.LsnsError as error:
            refused += "different runs" in str(error) or "not a results folder" in str(error)
            continue
        assert len(runs) == 1
        # The config names the run of the parts: it is read with them, and was not refused.
        whole += 1
    assert number > 15
    assert refused + whole == number
    assert refused > 5 < whole
    assert runs_in(Path("out")).isdisjoint({earlier, None})


def test_a_second_run_waits_for_the_first(here):
    config = small_config()
    thread = threading.Thread(target=run_experiment, args=(config,), daemon=True)
    with locked(Path("out/.lock")):
        thread.start()
        thread.join(timeout=2)
        assert thread.is_alive()
        assert [path.name for path in Path("out").iterdir()] == [".lock"]
    thread.join(timeout=60)
    assert not thread.is_alive()
    assert len(runs_in(Path("out"))) == 1
    assert not Path("out/.lock").exists()


def test_two_runs_at_once_leave_one(here):
    small_config()
    options = [[], ["--set", "analysis.percentage=30"]]
    command = [sys.executable, "-m", "lsns", "run", "my.yaml"]
    processes = [subprocess.Popen([*command, *more]) for more in options]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    assert len(runs_in(Path("out"))) == 1


FUNCTIONS = (
    *((os, name) for name in ("open", "replace", "unlink")),
    *((builtins, "open"), (io, "open"), (fcntl, "flock")),
)


def failing_at(number: int, code: int, folder: Path, monkeypatch, *only: str) -> list[str]:
    """Let the so-manieth call of the system below the folder fail; the calls that were made."""
    calls: list[str] = []

    def failing(call, name):
        def failed(*arguments, **options):
            below = name == "flock" or str(arguments[0]).startswith(tuple(map(str, places)))
            if below and (not only or name in only):
                calls.append(name)
                if len(calls) - 1 == number:
                    raise OSError(code, os.strerror(code), str(arguments[0]))
            return call(*arguments, **options)

        return failed

    places = (folder, "out", "kept")
    for module, name in FUNCTIONS:
        monkeypatch.setattr(module, name, failing(getattr(module, name), name))
    return calls


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_a_disk_that_fails_anywhere_is_one_line_and_nothing_is_lost(
    here, monkeypatch, capsys, code
):
    """Of a run whose results are kept: no model is loaded, so all files are ours."""
    small_config()
    assert run(["run", "my.yaml"]) == 0
    kept = {p: p.read_bytes() for p in Path("out/study/items").glob("*.parquet")}
    capsys.readouterr()
    number, calls = 0, 1
    while number < calls:
        with monkeypatch.context() as patch:
            made = failing_at(number, code, here, patch)
            status = run(["run", "my.yaml"])
        calls = len(made) if status == 0 else max(calls, len(made) + 1)
        error = capsys.readouterr().err
        assert status in (0, 2)
        assert "Traceback" not in error
        if status == 2:
            assert error.splitlines()[-1].startswith("lsns: ")
        number += 7
    assert number > 50
    assert run(["run", "my.yaml"]) == 0
    assert {p: p.read_bytes() for p in kept} == kept


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EIO])
def test_where_there_are_no_locks_it_is_said_and_the_run_goes_on(here, monkeypatch, caplog, code):
    config = small_config()
    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", lambda *_: no_lock(code))
        if code == errno.EIO:
            with pytest.raises(lsns.LsnsError, match="could not be locked"):
                run_experiment(config)
            return
        run_experiment(config)
    # The lock of another kind, which filelock has where flock is not there at all, does as well.
    assert "cannot be locked here" in caplog.text or code == errno.ENOSYS
    assert len(runs_in(Path("out"))) == 1


def no_lock(code):
    raise OSError(code, os.strerror(code))


def test_the_summary_says_what_its_rows_are_of_and_holds_no_formula(here):
    Path("=mine.csv").write_bytes(Path("mine.csv").read_bytes())
    config = make_config(
        prompts=(), report=False, stimuli="=mine.csv",
        model=ModelConfig(name="tiny", device="cpu", dtype="bfloat16", pretrained=False, seed=7),
    )  # fmt: skip
    run_experiment(config)
    with Path("out/study/summary.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(r["model"], r["dtype"], r["pretrained"], r["model_seed"]) for r in rows} == {
        ("tiny", "bfloat16", "False", "7")
    }
    lesions = [row for row in rows if row["condition"] != "intact"]
    assert {(r["network"], r["pooling"], r["max_tokens"]) for r in lesions} == {
        ("'=mine", "last-token", "whole")
    }
    for row in rows:
        for name, cell in row.items():
            assert not cell.startswith(("=", "+", "@")), name
            assert not cell.startswith("-") or float(cell) < 0
    assert min(float(row["difference"]) for row in lesions) <= 0
