"""lm-eval's tasks on the lesioned model; from local files, without the hub."""

from __future__ import annotations

import json
import random
import sys
from importlib.metadata import PackageNotFoundError

import numpy as np
import pytest
import torch

from lsns import LsnsError, UnitMask, evaluate
from lsns.evaluation import harness
from lsns.evaluation.benchmarks import parse_benchmark

INSTALLED = "lm-eval (the extra harness) is not installed"


def write_task(folder, **changes):
    data = folder / "items.jsonl"
    words = ["cat", "mat", "moon", "storm"]
    lines = [
        {"question": f"the {word} sat on the", "choices": ["mat", "moon", "hills"], "answer": i % 3}
        for i, word in enumerate(words * 2)
    ]
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    task = {
        "task": "tiny_choice",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "{{answer}}",
        "metric_list": [{"metric": "acc"}],
    }
    path = folder / "tiny_choice.yaml"
    # JSON is YAML.
    path.write_text(json.dumps(task | changes))
    return path


def a_mask():
    units = np.zeros((3, 16), dtype=bool)
    units[0, :8] = True
    return UnitMask(units)


def test_a_local_task_under_a_lesion(tiny_model, tmp_path, monkeypatch):
    pytest.importorskip("lm_eval", reason=INSTALLED)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    path = write_task(tmp_path)
    random.seed(3), np.random.seed(3), torch.manual_seed(3)
    before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    study = evaluate(
        tiny_model, [a_mask()], [f"lm-eval:{path}"], controls=["uniform"], seeds=2,
        output_dir=tmp_path / "out", resamples=10, limit=6,
    )  # fmt: skip
    assert random.getstate() == before[0]
    assert (np.random.get_state()[1] == before[1]).all()
    assert torch.equal(torch.get_rng_state(), before[2])
    rows = study.items().to_pylist()
    assert len(rows) == 4 * 6
    assert {(r["paradigm"], r["metric"]) for r in rows} == {("tiny_choice", "acc")}
    assert [r["item"] for r in rows[:6]] == [str(i) for i in range(6)]
    assert rows[0]["correct"] == bool(rows[0]["score"])
    assert study.summary[0]["domain"] == "other"
    assert not [m for m in tiny_model.model.modules() if m._forward_hooks]
    answers = expected(tiny_model)
    assert [r["correct"] for r in rows[:6]] == answers


def expected(model):
    """The likeliest choice, one sentence at a time."""
    from lsns.evaluation.scoring import score_texts

    found = []
    for i, word in enumerate(["cat", "mat", "moon", "storm"] * 2):
        question = f"the {word} sat on the"
        texts = [f"{question} {choice}" for choice in ("mat", "moon", "hills")]
        scores = score_texts(model, [*texts, question], prefix="none")
        found.append(int(np.argmax([s.total for s in scores[:3]])) == i % 3)
    return found[:6]


def test_an_unknown_task(tiny_model, tmp_path):
    pytest.importorskip("lm_eval", reason=INSTALLED)
    with pytest.raises(LsnsError, match="no task 'hellaswagg'; did you mean hella"):
        evaluate(tiny_model, [a_mask()], ["lm-eval:hellaswagg"], output_dir=tmp_path)


def test_a_task_without_its_data(tiny_model, tmp_path):
    pytest.importorskip("lm_eval", reason=INSTALLED)
    path = write_task(tmp_path, dataset_kwargs={"data_files": {"test": "/nowhere.jsonl"}})
    with pytest.raises(LsnsError, match="lm-eval task tiny_choice failed"):
        evaluate(tiny_model, [a_mask()], [f"lm-eval:{path}"], output_dir=tmp_path)


def test_without_the_extra(monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(harness, "version", missing)
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(LsnsError, match=r"pip install 'lsns\[harness\]'"):
        parse_benchmark("lm-eval:hellaswag")


def test_the_digest_is_of_the_tasks_files(tmp_path, monkeypatch):
    monkeypatch.setattr(harness, "version", lambda name: "0.4.13")
    path = write_task(tmp_path)
    first = parse_benchmark(f"lm-eval:{path}").digest
    (tmp_path / "items.jsonl").write_text("{}\n")
    assert parse_benchmark(f"lm-eval:{path}").digest != first
    with pytest.raises(LsnsError, match="no file /nowhere"):
        parse_benchmark("lm-eval:/nowhere/x.yaml")


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ({"doc_id": 3, "word_perplexity": 2.0}, "t, item 3: none of acc"),
        ({"doc_id": 3, "acc": float("nan")}, "t, item 3: acc is nan"),
        ({"doc_id": 3, "acc": [1, 2]}, "not a number"),
    ],
)
def test_an_item_without_a_score_is_named(sample, message):
    with pytest.raises(LsnsError, match=message):
        harness._row("b", "t", sample)


@pytest.mark.parametrize(("pair", "correct"), [((1, 1), True), ((1, 0), False)])
def test_an_item_of_a_measure_of_all_is_right_or_wrong(pair, correct):
    row = harness._row("b", "cola", {"doc_id": 1, "mcc": pair})
    assert (row["correct"], row["score"]) == (correct, float(correct))
    assert row["metric"] == "mcc: gold = guess"
