"""The demo: its table, its planted units, and the same on a model."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from lsns import UnitMask, demo
from lsns.cli import run
from tests.conftest import REPOSITORY
from tests.test_imports import imported_by
from tests.tiny import make_model


def test_the_guides_table():
    first, second = np.zeros((2, 3, 60), dtype=bool)
    for layer, counts in enumerate([(25, 38), (45, 38), (38, 38)]):
        first[layer, : counts[0]] = True
        second[layer, 60 - counts[1] :] = True
    lines = demo._describe_methods(UnitMask(first), UnitMask(second)).splitlines()
    assert lines[:5] == [
        "Layer  T-test   NMD    Difference",
        "0      25       38     -13",
        "1      45       38     +7",
        "2      38       38     0",
        "Total  108      114    -6",
    ]
    assert "per layer  T-test 25 to 45 units, NMD 38 units" in lines
    assert f"overlap    {3 + 23 + 16} units in both" in lines


@pytest.mark.parametrize("seed", range(5))
def test_planted_units_are_found(seed):
    planted = demo._plant(seed)
    ttest, nmd = demo._select_planted(planted, 5.0)
    assert planted.units.sum() == ttest.count == nmd.count == sum(demo.PLANTED)
    assert (ttest.units & planted.units).sum() >= 0.98 * ttest.count
    # The even budget is full of planted units where there are enough of them.
    reach = np.minimum(planted.units.sum(axis=1), nmd.per_layer)
    assert 0.85 * reach.sum() <= (nmd.units & planted.units).sum() <= reach.sum()
    assert set(nmd.per_layer) == {12}


def test_without_an_effect_nothing_is_found(monkeypatch):
    monkeypatch.setattr(demo, "EFFECT", 0.0)
    planted = demo._plant()
    for mask in demo._select_planted(planted, 5.0):
        assert (mask.units & planted.units).sum() < 20


def test_synthetic_needs_no_model_and_no_torch(tmp_path):
    code = "import lsns.cli; assert lsns.cli.run(['demo', '--synthetic']) == 0"
    assert imported_by(code) == set()
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "demo_nmd_experiment.py"), "--synthetic"],
        cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert lines[0] == "Layer  T-test   NMD    Difference"
    assert "Total  144      144    0" in lines
    start = next(i for i, line in enumerate(lines) if "recall" in line)
    cells = [line.split() for line in lines[start + 1 : start + 3]]
    recall = {name: float(share) for name, _, share, _ in cells}
    assert recall["T-test"] >= 0.98
    assert 0.4 < recall["NMD"] < 0.6
    assert list(tmp_path.iterdir()) == []


def test_on_a_model(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tiny = make_model(hidden_size=32)
    tiny.model.save_pretrained("tiny")
    tiny.tokenizer.save_pretrained("tiny")
    options = ["--model-name", "tiny", "--prompt", "the cat", "--max-new-tokens", "3"]
    assert run(["demo", *options, "--percentage", "10"]) == 0
    out = capsys.readouterr().out
    assert "Total  9        9      0" in out
    for said in ("units in both", "outliers", "prompt: the cat", "intact", "T-test: 9 of 96 units"):
        assert said in out
    assert run(["demo", *options, "--percentage", "1"]) == 2
    assert "less than one unit" in capsys.readouterr().err
