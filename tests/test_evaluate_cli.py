"""`lsns evaluate` as its user types it."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest

from lsns import UnitMask
from lsns.cli import run
from tests.evaluation.test_study import write_pairs
from tests.tiny import make_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("models") / "model"
    tiny = make_model()
    tiny.model.save_pretrained(path)
    tiny.tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def lsns(folder, cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_pairs(tmp_path / "pairs.jsonl", ["one", "two"], 3)

    def command(*arguments: str) -> int:
        return run(
            ["evaluate", "--model-name", str(folder), "--cache-dir", str(cache),
             *arguments]
        )  # fmt: skip

    return command


def rows():
    with Path("results/summary.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_dose_sweep_with_controls(lsns, capsys):
    options = "--percentage 5,10 --controls uniform,layer,magnitude,least --seeds 2 --limit 2"
    assert lsns(*options.split(), "--mode", "zero,mean", "--benchmark", "blimp:pairs.jsonl") == 0
    found = rows()
    assert len(found) == 1 + 2 * 2 * 8
    assert {row["target"] for row in found} == {"", "language@5", "language@10"}
    assert {row["items"] for row in found} == {"4"}
    printed = capsys.readouterr().out
    assert "<eos> in front of each text (--prefix auto)" in printed
    assert "wrote results/summary.csv" in printed


def test_a_mask_split_into_its_outliers_and_the_rest(lsns, capsys, caplog):
    options = "--percentage 20 --outlier-threshold 1.1 --split-outliers --seeds 2"
    assert lsns(*options.split(), "--benchmark", "blimp:pairs.jsonl") == 0
    whole = ["language@20", "language@20 outliers", "language@20 rest"]
    lesions = [row for row in rows() if row["condition"] == "lesion"]
    assert [row["target"] for row in lesions] == whole
    sizes = [int(row["outlier_units"]) for row in lesions]
    assert sizes[0] == sizes[1] == int(lesions[1]["units"])
    assert sizes[2] == 0
    assert {row["outlier_units"] for row in rows() if row["target"] == whole[2]} == {"0"}
    assert "as many outliers" in capsys.readouterr().out
    assert lsns(*options.split(), "--exclude-outliers", "--benchmark", "blimp:pairs.jsonl") == 0
    assert {row["target"] for row in rows()} == {"", "language@20 without outliers"}
    assert "is not split: none of its units are outliers" in caplog.text


def test_masks_by_name_and_file(lsns):
    units = np.zeros((3, 16), dtype=bool)
    units[1, 3] = True
    UnitMask(units).save("mine.npy")
    assert lsns(
        "--mask", "mine.npy", "--mask", "language@10:nmd", "--seeds", "1", "--prefix", "none",
        "--benchmark", "other=blimp:pairs.jsonl", "--controls", "none",
    ) == 0  # fmt: skip
    assert [row["target"] for row in rows()] == ["", "mine", "language@10:nmd"]
    assert {(row["prefix"], row["domain"]) for row in rows()} == {("", "other")}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--benchmark wrong", "no benchmark 'wrong'"),
        ("--benchmark blimp:nowhere", "no file or folder nowhere"),
        ("--percentage 5,x", "percentage 'x' is not a number"),
        (
            "--percentage 5 --controls both",
            "--controls wants a list of different values, each one",
        ),
        ("--mask mine.npy --controls decoy", "control 'decoy' needs to know more"),
        (
            "--percentage 5 --mode half",
            "--mode wants a list (at least one) of different",
        ),
        ("--percentage 5 --seeds 0", "--seeds wants a whole number, 1 to 10000; found 0"),
        (
            "--percentage 5 --seeds 1000000000",
            "1 to 10000; found 1000000000",
        ),
        ("--percentage 5 --limit 0", "--limit wants a whole number, 1 to 1000000000; found 0"),
        ("--percentage 5 --limit -5", "--limit wants a whole number, 1 to 1000000000; found -5"),
        ("--percentage 5 --benchmark minimal-pairs::", "no file or folder :"),
        ("--percentage 5 --prefix cls", "no token for prefix 'cls'"),
        ("--mask nothing.npy", "no mask 'nothing.npy'"),
        ("--mask mine.npy --mode mean", "mode mean needs"),
        ("--mask mine.npy --controls least", "control 'least' needs to know more"),
        ("--mask small.npy", "small: the mask is for 2 blocks x 16 units, model has 3 x 16"),
        ("--mask pairs.jsonl", "pairs.jsonl"),
    ],
)
def test_one_line_and_exit_2(lsns, capsys, monkeypatch, arguments, message):
    # A command is a process of its own, in which nothing has imported it yet: where it is there,
    # the command line checks with it and says so in its own words.
    monkeypatch.delitem(sys.modules, "pydantic", raising=False)
    for name, shape in (("mine", (3, 16)), ("small", (2, 16))):
        units = np.zeros(shape, dtype=bool)
        units[0, 0] = True
        UnitMask(units).save(f"{name}.npy")
    given = arguments.split()
    given += [] if "--benchmark" in given else ["--benchmark", "blimp:pairs.jsonl"]
    assert lsns(*given) == 2
    lines = capsys.readouterr().err.replace("\r", "\n").splitlines()
    said = [line for line in lines if line.startswith("lsns: ")]
    assert len(said) == 1
    assert message in said[0]


def test_items_that_cannot_be_read_are_told_of_before_the_model_is_looked_for(lsns, capsys):
    Path("deep.jsonl").write_text("[" * 200_000)
    there = ["--model-name", "./nowhere", "--cache-dir", "other"]
    assert run(["evaluate", *there, "--benchmark", "blimp:deep.jsonl"]) == 2
    assert "deep.jsonl, line 1: values nested" in capsys.readouterr().err
    text = "model: {name: ./nowhere}\nevaluation: {benchmarks: ['blimp:deep.jsonl']}\n"
    Path("run.yaml").write_text(text)
    assert run(["run", "run.yaml"]) == 2
    assert "deep.jsonl, line 1: values nested" in capsys.readouterr().err
