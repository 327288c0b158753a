"""lm-eval's tasks on the lesioned model; from local files, without the hub."""

from __future__ import annotations

import json
import random
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lsns import LsnsError, UnitMask, evaluate
from lsns.evaluation import harness
from lsns.evaluation.benchmarks import parse_benchmarks

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
        output_dir=tmp_path / "out", limit=6,
    )  # fmt: skip
    assert random.getstate() == before[0]
    assert (np.random.get_state()[1] == before[1]).all()
    assert torch.equal(torch.get_rng_state(), before[2])
    rows = study.items().to_pylist()
    assert len(rows) == 4 * 6
    assert {(r["paradigm"], r["metric"]) for r in rows} == {("tiny_choice", "acc")}
    assert [r["item"] for r in rows[:6]] == [str(i) for i in range(6)]
    assert rows[0]["correct"] == bool(rows[0]["score"])
    assert study.summary[0].domain == "other"
    assert not [m for m in tiny_model.model.modules() if m._forward_hooks]
    answers = expected(tiny_model)
    assert [r["correct"] for r in rows[:6]] == answers


def expected(model):
    """The likeliest choice, one sentence at a time."""
    from tests.evaluation.reference import score_texts

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
        parse_benchmarks("lm-eval:hellaswag")


def test_the_digest_is_of_the_tasks_files(tmp_path, monkeypatch):
    monkeypatch.setattr(harness, "version", lambda name: "0.4.13")
    path = write_task(tmp_path)
    first = parse_benchmarks(f"lm-eval:{path}")[0].digest
    (tmp_path / "items.jsonl").write_text("{}\n")
    assert parse_benchmarks(f"lm-eval:{path}")[0].digest != first
    with pytest.raises(LsnsError, match="no file /nowhere"):
        parse_benchmarks("lm-eval:/nowhere/x.yaml")


def digest(path):
    return parse_benchmarks(f"lm-eval:{path}")[0].digest


@pytest.fixture
def any_version(monkeypatch):
    monkeypatch.setattr(harness, "version", lambda name: "0.4.13")


def test_the_digest_is_of_what_a_task_is_made_of(tmp_path, any_version):
    base = tmp_path / "base"
    base.mkdir()
    (base / "_template").write_text("output_type: multiple_choice\ninclude: other.yaml\n")
    (base / "other.yaml").write_text("process_docs: !function code.utils.clean\n")
    (base / "code").mkdir()
    (base / "code" / "utils.py").write_text("def clean(docs):\n    return docs\n")
    path = tmp_path / "mine.yaml"
    path.write_text(f"task: mine\ninclude: [{base / '_template'}]\n")
    digests = [digest(path)]
    for name in ("_template", "other.yaml", "code/utils.py"):
        with (base / name).open("a") as file:
            file.write("\n# changed\n")
        digests.append(digest(path))
    assert len(set(digests)) == 4


def test_the_digest_does_not_tell_folders_apart(tmp_path, any_version):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.yaml").write_text("task: x\nprocess_docs: !function utils.f\n")
        (tmp_path / name / "utils.py").write_text("def f(docs):\n    return docs\n")
    assert digest(tmp_path / "one" / "x.yaml") == digest(tmp_path / "two" / "x.yaml")
    (tmp_path / "two" / "utils.py").write_text("def f(docs):\n    return docs[:1]\n")
    assert digest(tmp_path / "one" / "x.yaml") != digest(tmp_path / "two" / "x.yaml")


@pytest.mark.parametrize("old", [False, True])
def test_a_task_of_the_same_name_and_version_is_another(tmp_path, any_version, monkeypatch, old):
    for name in "ab":
        (tmp_path / f"{name}.yaml").write_text(f"task: {name}\n")
    (tmp_path / "group.yaml").write_text("group: g\ntask:\n- a\n- group: in\n  task: [b]\n")
    entries = {
        "a": {"yaml_path": tmp_path / "a.yaml", "tags": {"t"}},
        "b": {"yaml_path": tmp_path / "b.yaml", "tags": {"t"}},
        "g": {"yaml_path": tmp_path / "group.yaml", "tags": set()},
        "t": {"yaml_path": None, "tags": {"a", "b"}},
    }
    if old:
        entries["t"] = {"yaml_path": -1, "task": ["a", "b"]}
    index = entries if old else {k: SimpleNamespace(**v) for k, v in entries.items()}
    manager = SimpleNamespace(task_index=index, all_tasks=list(index))
    monkeypatch.setattr(harness, "_shipped_tasks", lambda: manager)
    before = {name: digest(name) for name in index}
    assert len(set(before.values())) == 4
    (tmp_path / "b.yaml").write_text("task: b\nnum_fewshot: 3\n")
    after = {name: digest(name) for name in index}
    assert [name for name in index if before[name] != after[name]] == ["b", "g", "t"]
    with pytest.raises(LsnsError, match="lm-eval has no task 'c'"):
        digest("c")


def test_tasks_of_lm_eval_have_digests_of_their_files():
    pytest.importorskip("lm_eval", reason=INSTALLED)
    tasks = {name: parse_benchmarks(f"lm-eval:{name}")[0] for name in ("cola", "glue", "blimp")}
    files = {name: [file for file, _ in t.description["files"]] for name, t in tasks.items()}
    assert files["cola"] == ["default.yaml"]
    assert len(files["glue"]) > 8
    # 67 paradigms, the group, and what they include.
    assert len(files["blimp"]) == 69
    assert "/" not in str(files)


EVIL = "from pathlib import Path\nPath(__file__).with_name('ran').touch()\n" + (
    "def clean(docs):\n    return docs\n"
)
CODE = {
    "a function": ("process_docs: !function evil.clean", "!function evil.clean in "),
    "a class": ("class: !function evil.clean", "!function evil.clean in "),
    "an include": ("include: base.yml", "!function evil.clean in "),
    "an include of an include": ("include: [more.yml]", "!function evil.clean in "),
    "a key": ("metadata: {? !function evil.clean : 1}", "!function evil.clean in "),
    "overwritten": ("doc_to_text: !function evil.clean\ndoc_to_text: x", "!function evil.clean"),
    "of another name": ("%TAG !e! !func\n---\nx: !e!tion evil.clean", "!function evil.clean"),
    "a script as metric": ("metric_list: [{metric: ./evil.py}]", "metric ./evil.py in "),
    "a metric of the hub": ("metric_list: [{metric: acc, hf_evaluate: true}]", "metric acc in "),
    "code with data": ("dataset_kwargs: {trust_remote_code: true}", "data set with trust_remote"),
    "pickles": ("dataset_path: pandas", "data set pandas in "),
}


@pytest.mark.parametrize(("text", "message"), CODE.values(), ids=list(CODE))
def test_code_of_a_task_needs_permission(tiny_model, tmp_path, text, message):
    pytest.importorskip("lm_eval", reason=INSTALLED)
    (tmp_path / "evil.py").write_text(EVIL)
    (tmp_path / "base.yml").write_text("process_docs: !function evil.clean\n")
    (tmp_path / "more.yml").write_text("include: base.yml\n")
    start = "" if text.startswith("%") else "task: tiny_choice\n"
    (tmp_path / "tiny_choice.yaml").write_text(f"{start}{text}\n")
    with pytest.raises(LsnsError, match=r"would run code \(.*allow it with --allow-code") as caught:
        evaluate(tiny_model, [a_mask()], [f"lm-eval:{tmp_path / 'tiny_choice.yaml'}"])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


@pytest.fixture
def own_tasks(monkeypatch, tmp_path):
    """lm-eval knows no tasks but those of the folder: its own take it many seconds to read."""
    tasks = pytest.importorskip("lm_eval.tasks", reason=INSTALLED)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    monkeypatch.setattr(
        harness, "_tasks_with",
        lambda folder: tasks.TaskManager(include_path=str(folder), include_defaults=False),
    )  # fmt: skip


@pytest.mark.parametrize(
    "members",
    ["[inner]", "[{task: inner}]", "[{group: g, task: [inner]}]", "[{group: outer, task: [x]}]",
     "[t]"],
)  # fmt: skip
def test_so_does_that_of_a_task_that_a_group_lists(tmp_path, own_tasks, members):
    (tmp_path / "inner.yaml").write_text("task: inner\ntag: t\nprocess_docs: !function evil.f\n")
    (tmp_path / "outer.yaml").write_text("group: outer\ntask: [inner]\n")
    (tmp_path / "mine.yaml").write_text(f"group: mine\ntask: {members}\n")
    code = parse_benchmarks(f"lm-eval:{tmp_path / 'mine.yaml'}")[0].code
    assert code == [f"!function evil.f in {tmp_path / 'inner.yaml'}"]


def test_with_permission_it_is_said_and_run(tiny_model, tmp_path, own_tasks, caplog):
    (tmp_path / "evil.py").write_text(EVIL)
    (tmp_path / "base.yml").write_text("process_docs: !function evil.clean\n")
    path = write_task(tmp_path, include="base.yml")
    caplog.set_level("INFO", "lsns")
    evaluate(
        tiny_model, [a_mask()], [f"lm-eval:{path}"], controls=[], output_dir=tmp_path / "out",
        limit=2, allow_code=True,
    )  # fmt: skip
    assert (tmp_path / "ran").exists()
    said = [text for text in caplog.messages if "running code" in text]
    base = (tmp_path / "base.yml").resolve()
    assert said == [f"running code, as allowed: !function evil.clean in {base}"]


def test_a_template_does_not_reach_into_python(tiny_model, tmp_path, own_tasks, monkeypatch):
    import lm_eval.utils

    monkeypatch.chdir(tmp_path)
    before = lm_eval.utils.env
    evil = "{{ cycler.__init__.__globals__.os.mkdir('ran') }}"
    path = write_task(tmp_path, doc_to_text=evil)
    with pytest.raises(LsnsError, match="lm-eval task tiny_choice failed") as caught:
        evaluate(tiny_model, [a_mask()], [f"lm-eval:{path}"], output_dir=tmp_path / "out")
    assert "SecurityError" in str(caught.value)
    assert not (tmp_path / "ran").exists()
    assert lm_eval.utils.env is before


def test_what_is_installed_needs_no_permission():
    pytest.importorskip("lm_eval", reason=INSTALLED)
    hellaswag = parse_benchmarks("lm-eval:hellaswag")[0]
    assert "utils.py" in [path.name for path in hellaswag.paths]
    assert hellaswag.code == []


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "task: [&a [*a]]",
        "x: &a [*a]",
        "dataset_kwargs: 5",
        "include: 5",
        "? !!bool x",
    ],
)
def test_a_hostile_file_is_a_benchmark_or_an_error(tmp_path, any_version, text):
    (tmp_path / "x.yaml").write_text(text)
    with suppress(LsnsError):
        assert parse_benchmarks(f"lm-eval:{tmp_path / 'x.yaml'}")[0].code == []


def test_two_files_of_one_name_in_a_folder(tiny_model, tmp_path):
    pytest.importorskip("lm_eval", reason=INSTALLED)
    path = write_task(tmp_path)
    other = tmp_path / "another.yaml"
    other.write_text(path.read_text())
    with pytest.raises(LsnsError, match=r"another\.yaml is a task of the same name as"):
        evaluate(tiny_model, [a_mask()], [f"lm-eval:{path}"], output_dir=tmp_path / "out")


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
