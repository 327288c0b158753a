"""Conditions x benchmarks: what is computed, what is kept, and what is said of it."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

import lsns
from lsns import Contrast, LsnsError, Study, UnitMask, evaluate, lesion, localize
from lsns.evaluation.benchmarks import parse_benchmarks
from lsns.evaluation.cells import COLUMNS
from lsns.models.factory import ModelRequest
from tests.conftest import REPOSITORY
from tests.evaluation.reference import read_pairs, score_pairs
from tests.tiny import TEXTS, make_model

CONTRAST = Contrast(name="tiny", positive=tuple(TEXTS[:2]), negative=tuple(TEXTS[2:]))
VALUES = ["benchmark", "paradigm", "item", "condition", "control", "seed", "mode", "mask"]


def write_pairs(path, paradigms, n_items):
    words = ["cat", "mat", "moon", "storm", "hills", "harvest", "sat", "looked"]
    lines = [
        {
            "UID": paradigm,
            "pairID": str(i),
            "sentence_good": f"the {words[i % 8]} {paradigm} and the {words[(i + 3) % 8]}",
            "sentence_bad": f"the the {words[i % 8]} {paradigm} {words[(i + 3) % 8]}",
        }
        for paradigm in paradigms
        for i in range(n_items)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def write_suite(path):
    items = [
        {
            "item_number": number,
            "conditions": [
                {
                    "condition_name": name,
                    "regions": [
                        {"region_number": 1, "content": "the cat"},
                        {"region_number": 2, "content": word},
                    ],
                }
                for name, word in (("good", "sat"), ("bad", f"moon {number}"))
            ],
        }
        for number in range(1, 4)
    ]
    formulas = ["(2;%good%) < (2;%bad%)", "(*;%good%) > (*;%bad%)"]
    path.write_text(
        json.dumps(
            {
                "meta": {"name": "tiny-suite", "metric": "sum"},
                "items": items,
                "predictions": [{"type": "formula", "formula": text} for text in formulas],
            }
        )
    )
    return path


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture(scope="module")
def found(model, tmp_path_factory):
    return localize(model, CONTRAST, num_units=4, cache_dir=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return write_pairs(tmp_path_factory.mktemp("b") / "pairs.jsonl", ["one", "two"], 4)


@pytest.fixture
def run(model, found, pairs, tmp_path):
    def evaluate_it(masks=None, benchmarks=None, **options):
        options = {"seeds": 2, "output_dir": tmp_path / "out"} | options
        given = options.pop("model", model)
        return evaluate(given, masks or [found], benchmarks or [f"blimp:{pairs}"], **options)

    return evaluate_it


def cells(folder):
    return {path.name: path.stat().st_mtime_ns for path in (folder / "items").glob("*.parquet")}


def values(study):
    return study.items().select([*VALUES, "score", "logp_good", "logp_bad"]).to_pylist()


def test_items_are_what_scoring_says(run, model, found, pairs):
    table = run(controls=[]).items()
    read = read_pairs(pairs)
    with lesion(model, found.mask):
        lesioned = score_pairs(model, read)
    expected = [*score_pairs(model, read), *lesioned]
    for name in ("paradigm", "item", "logp_good", "logp_bad", "correct"):
        assert table.column(name).to_pylist() == [getattr(result, name) for result in expected]
    assert table.column("condition").to_pylist() == ["intact"] * 8 + ["lesion"] * 8
    assert set(table.column("mask").to_pylist()) == {"", found.mask.digest}
    assert not [m for m in model.model.modules() if m._forward_hooks]


def test_summary_is_that_of_the_items(run):
    study = run(controls=["uniform"], seeds=3)
    items = study.items().to_pylist()

    def accuracy(**which):
        rows = [r for r in items if all(r[k] == v for k, v in which.items())]
        return np.mean(
            [np.mean([r["correct"] for r in rows if r["paradigm"] == p]) for p in ("one", "two")]
        )

    intact, lesioned = study.summary[:2]
    controls = [accuracy(condition="control", seed=seed) for seed in (42, 43, 44)]
    assert intact.value == pytest.approx(accuracy(condition="intact"))
    assert lesioned.value == pytest.approx(accuracy(condition="lesion"))
    assert lesioned.difference == pytest.approx(lesioned.value - intact.value)
    (of_kind,) = study.controls_of(lesioned)
    assert of_kind.mean == pytest.approx(np.mean(controls))
    harmful = sum(c <= lesioned.value + 1e-9 for c in controls)
    assert of_kind.p == pytest.approx((1 + harmful) / 4)
    assert (of_kind.kind, of_kind.n) == ("uniform", 3)
    assert "few controls" in of_kind.note
    assert [row.items for row in study.summary] == [8] * 5


def test_all_benchmarks_controls_and_modes(run, tmp_path):
    (tmp_path / "text.txt").write_text(" ".join(TEXTS) * 3)
    other = write_pairs(tmp_path / "sums.jsonl", ["three"], 3)
    suite = write_suite(tmp_path / "suite.json")
    names = [f"blimp:{write_pairs(tmp_path / 'p.jsonl', ['one', 'two'], 3)}", f"syntaxgym:{suite}"]
    names += [f"perplexity:{tmp_path / 'text.txt'}", f"other=minimal-pairs:{other}"]
    study = run(benchmarks=names, modes=["zero", "mean"])
    assert len(study.summary) == 4 * (1 + 2 * 10)
    assert [row.benchmark for row in study.summary[::21]] == [
        "blimp", "syntaxgym", "perplexity", "minimal-pairs",
    ]  # fmt: skip
    gym = study.summary[21]
    # Three items, each with both predictions.
    assert (gym.items, gym.paradigms) == (3, 1)
    ppl, damaged = study.summary[42], study.summary[43]
    assert ppl.value > 1
    assert damaged.difference == pytest.approx(np.log(damaged.value / ppl.value))
    # Random weights guess: there is nothing to lose, and it is said.
    assert study.dissociation == []
    text = study.describe()
    assert text.count("tiny (float32); <eos> in front of each text (--prefix auto)") == 4
    assert "no better than guessing, intact, so that nothing can be lost: blimp, syntax" in text
    assert "perplexity: perplexity" in text
    assert "few controls" in text


@pytest.fixture
def solved(model, tmp_path):
    """A function from a name and texts to pairs of which the model prefers the good ones."""

    def write(name: str, paradigms: list[str], number: int):
        path = write_pairs(tmp_path / f"{name}.jsonl", paradigms, number)
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for line, scored in zip(lines, score_pairs(model, read_pairs(path)), strict=True):
            if not scored.correct:
                good, bad = line["sentence_good"], line["sentence_bad"]
                line["sentence_good"], line["sentence_bad"] = bad, good
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return path

    return write


def test_dissociation_is_in_shares_of_what_is_above_chance(run, solved):
    harm, spare = solved("harm", ["one", "two", "three"], 4), solved("spare", ["four", "five"], 4)
    names = [f"blimp:{harm}", f"minimal-pairs:{spare}"]
    expect = {"harm": ["blimp"]}
    study = run(benchmarks=names, expect=expect, controls=["uniform"], seeds=3)
    (row,) = study.dissociation
    assert (row.harm, row.spare) == ("blimp", "minimal-pairs")
    intact = {r.benchmark: r.value for r in study.summary if r.condition == "intact"}
    assert intact == {"blimp": 1.0, "minimal-pairs": 1.0}
    lost = {r.benchmark: -2 * r.difference for r in study.summary if r.condition == "lesion"}
    assert row.harmed == pytest.approx(lost["blimp"])
    assert row.spared == pytest.approx(lost["minimal-pairs"])
    assert row.gap == pytest.approx(row.harmed - row.spared)
    assert [one.n for one in study.controls_of(row)] == [3]
    assert "should harm: blimp; should spare: minimal-pairs" in study.describe()
    # Of a contrast of one's own, nothing is expected unless it is said.
    assert run(benchmarks=names, controls=["uniform"], seeds=3).dissociation == []


def test_files(run, tmp_path):
    study = run(controls=["uniform"])
    folder = tmp_path / "out"
    with (folder / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(study.summary) == 4
    assert rows[0]["model"] == "tiny"
    assert rows[0]["prefix"] == "<eos>"
    manifest = json.loads((folder / "study.json").read_text())
    assert manifest["options"]["seeds"] == 2
    assert manifest["versions"]["torch"]
    assert {cell["file"].removeprefix("items/") for cell in manifest["cells"]} == set(cells(folder))
    import pyarrow.parquet as parquet

    one = parquet.ParquetFile(folder / manifest["cells"][2]["file"]).read().to_pylist()[0]
    assert (one["condition"], one["control"], one["seed"]) == ("control", "uniform", 42)
    assert set(COLUMNS) <= set(one)


def test_what_is_saved_is_read_back(run, tmp_path, found, solved):
    other, pairs = solved("sums", ["three"], 3), solved("p", ["one", "two"], 3)
    names = [f"blimp:{pairs}", f"minimal-pairs:{other}"]
    study = run(benchmarks=names, expect={"spare": ["minimal-pairs"]})
    again = Study.load(tmp_path / "out")
    assert again == study
    assert again.describe() == study.describe()
    assert again.items().equals(study.items())
    assert again.save(tmp_path / "copy").read_bytes() == (tmp_path / "out/study.json").read_bytes()
    for name in ("summary.csv", "controls.csv"):
        assert (tmp_path / "copy" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()
    assert len(again.dissociation) == 1
    assert [row.measure for row in again.dissociation_controls] == ["gap"] * 5
    frame = again.to_frame()
    assert frame["value"].tolist() == [row.value for row in study.summary]
    assert again._repr_html_().count("<table>") == 3
    with (tmp_path / "out" / "controls.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["benchmark"], row["kind"], row["n"]) for row in rows[4:6]] == [
        ("blimp", "least", "1"), ("minimal-pairs", "uniform", "2"),
    ]  # fmt: skip
    assert [float(row["mean"]) for row in rows] == [row.mean for row in study.controls]


def test_what_an_earlier_version_wrote_is_refused(run, tmp_path):
    run(controls=[])
    path = tmp_path / "out" / "study.json"
    content = json.loads(path.read_text())
    del content["format"]
    path.write_text(json.dumps(content))
    with pytest.raises(LsnsError, match=r"study.json was written by an earlier .*; run again$"):
        Study.load(tmp_path / "out")
    # The same command again writes it anew, from the cells.
    assert run(controls=[]) == Study.load(tmp_path / "out")
    with pytest.raises(LsnsError, match=r"holds no finished study \(study.json\); run lsns"):
        Study.load(tmp_path)


def test_a_second_run_computes_nothing_and_a_seed_more_one(run, tmp_path, monkeypatch):
    first = run(controls=["uniform"])
    before = cells(tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr("lsns.evaluation.logprobs._run_batch", None)
        again = run(controls=["uniform"])
    assert again.summary == first.summary
    assert cells(tmp_path / "out") == before
    run(controls=["uniform"], seeds=3)
    after = cells(tmp_path / "out")
    assert len(after) == len(before) + 1
    assert before.items() <= after.items()


def test_other_content_is_other_cells(run, tmp_path, model):
    run(controls=[])
    count = 2
    for changes in ({"prefix": "none"}, {"limit": 2}, {"model": make_model(seed=1)}):
        run(controls=[], **changes)
        count += 2
        assert len(cells(tmp_path / "out")) == count
    # eos is what auto comes to for this tokenizer.
    run(controls=[], prefix="eos")
    assert len(cells(tmp_path / "out")) == count


def test_identical_masks_are_computed_once(run, tmp_path, found):
    path = UnitMask(found.mask.units).save(tmp_path / "same.npy")
    study = run(masks=[found, path], controls=[])
    assert len(cells(tmp_path / "out")) == 2
    assert [row.target for row in study.summary] == ["", "tiny@4 units", "same"]
    assert study.summary[1].value == study.summary[2].value
    assert set(study.items().column("target").to_pylist()) == {"", "tiny@4 units", "same"}


@pytest.mark.parametrize("harm", ["cut", "byte", "empty", "value"])
def test_a_damaged_file_is_noticed_and_made_again(run, tmp_path, caplog, harm):
    first = values(run(controls=[]))
    path = sorted((tmp_path / "out" / "items").glob("*.parquet"))[0]
    content = bytearray(path.read_bytes())
    if harm == "value":
        import pyarrow as pa
        import pyarrow.parquet as parquet

        table = parquet.ParquetFile(path).read()
        wrong = pa.array([not v for v in table.column("correct").to_pylist()])
        place = table.schema.get_field_index("correct")
        parquet.write_table(table.set_column(place, "correct", wrong), path)
    else:
        content[len(content) // 2] ^= 255
        path.write_bytes({"cut": content[:-50], "byte": content, "empty": b""}[harm])
    damaged = path.read_bytes()
    assert values(run(controls=[])) == first
    # One byte may lie where nothing is stored.
    if path.read_bytes() != damaged:
        assert "is damaged; made again" in caplog.text
    else:
        assert harm == "byte"


def test_any_order_and_batch_size(run, tmp_path, found):
    suite = f"syntaxgym:{write_suite(tmp_path / 's.json')}"
    text = tmp_path / "t.txt"
    text.write_text(" ".join(TEXTS) * 2)
    names = [suite, f"perplexity:{text}"]
    one = run(benchmarks=names, seeds=[42, 43], batch_size=1, output_dir=tmp_path / "a")
    two = run(benchmarks=names[::-1], seeds=[43, 42], output_dir=tmp_path / "b")

    def sort(study):
        return sorted(
            study.items().to_pylist(),
            key=lambda r: [str(r[k]) for k in VALUES] + [r["prediction"] or 0],
        )

    for a, b in zip(sort(one), sort(two), strict=True):
        assert a["correct"] == b["correct"]
        if a["logp"] is not None:
            for row in (a, b):
                row.update(logp=round(row["logp"], 3), score=round(row["score"], 3))
        assert a == b


def test_a_failing_item_stops_the_run_with_its_name(run, tmp_path):
    path = tmp_path / "long.jsonl"
    write_pairs(path, ["one"], 2)
    with path.open("a") as file:
        file.write(json.dumps({"sentence_good": "cat " * 200, "sentence_bad": "mat"}) + "\n")
    with pytest.raises(LsnsError, match=r"^blimp: ") as raised:
        run(benchmarks=[f"blimp:{path}"])
    assert str(raised.value) == (
        f"blimp: {path}, line 3, paradigm long, item 2, sentence_good "
        f"({'cat ' * 10!r}) has 402 tokens, and the model reads at most 128; shorten it"
    )
    assert cells(tmp_path / "out") == {}


def test_a_mask_of_another_models_shape(run, tmp_path):
    path = UnitMask(np.ones((2, 16), dtype=bool)).save(tmp_path / "other.npy")
    with pytest.raises(LsnsError, match="other: the mask is for 2 blocks x 16 units, tiny has 3"):
        run(masks=[path], controls=[])


def test_a_mask_of_another_model_is_said_and_noted(run, tmp_path, found, caplog):
    path = found.mask.save(tmp_path / "transferred.npy")
    of_unknown_origin = UnitMask(~found.mask.units).save(tmp_path / "unknown.npy")
    run(masks=[found, path, of_unknown_origin], controls=[])
    noted = tmp_path / "out" / "study.json"
    assert json.loads(noted.read_text())["transferred"] == []
    assert "another model" not in caplog.text
    run(masks=[found, path, of_unknown_origin], controls=[], model=make_model(seed=1))
    labels = ["tiny@4 units", "transferred"]
    assert json.loads(noted.read_text())["transferred"] == labels
    said = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert said == [
        "masks from another model (tiny) than the one evaluated (tiny), used as they are: "
        "tiny@4 units, transferred"
    ]


def test_the_same_weights_by_name_and_loaded_are_the_same(folder, pairs, tmp_path, caplog):
    loaded = lsns.load_model(str(folder))
    mask = localize(loaded, CONTRAST, num_units=4, cache_dir=tmp_path / "cache").mask
    options = {"controls": [], "output_dir": tmp_path / "out"}
    study = evaluate(str(folder), [mask], [f"blimp:{pairs}"], **options)
    assert study.manifest["transferred"] == []
    # Random weights come from the same files, and are others.
    request = ModelRequest(str(folder), pretrained=False)
    study = evaluate(request, [mask], [f"blimp:{pairs}"], **options)
    assert len(study.manifest["transferred"]) == 1


@pytest.mark.parametrize(
    ("benchmark", "message"),
    [
        ("wrong", "no benchmark 'wrong'; use one of minimal-pairs"),
        ("syntaxgym", "no benchmark 'syntaxgym'"),
        ("blimp:/nowhere", "no file or folder /nowhere"),
        ("syntaxgym:{}", "holds no .json file"),
        ("blimp:{}", "holds no .jsonl file"),
        ("blimp:{}/empty.jsonl", "holds no minimal pairs"),
        ("blimp:{}/bad.jsonl", "bad.jsonl, line 2: not JSON"),
        ("syntaxgym:{}/bad.json", "prediction 1"),
        ("perplexity:{}/nothing.txt", "no file .*nothing.txt; perplexity is of one text"),
    ],
)
def test_benchmarks_that_cannot_be_used(run, tmp_path, benchmark, message):
    folder = tmp_path / "bench"
    if "/" in benchmark:
        folder.mkdir()
        (folder / "empty.jsonl").write_text("\n")
        (folder / "bad.jsonl").write_text('{"sentence_good": "a", "sentence_bad": "b"}\n{"x\n')
        suite = json.loads(write_suite(folder / "bad.json").read_text())
        suite["predictions"] = [{"formula": "(2;%good%) <"}]
        (folder / "bad.json").write_text(json.dumps(suite))
    else:
        folder.mkdir()
    with pytest.raises(LsnsError, match=message):
        run(benchmarks=[benchmark.format(folder)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 0}, "limit must be at least 1; got 0"),
        ({"limit": -5}, "limit must be at least 1; got -5"),
        ({"smallest_effect": 1.0}, "smallest-effect must be above 0 and at most 0.5"),
        ({"expect": {"harms": ["x"]}}, "expect has no 'harms'; use harm and spare"),
        ({"expect": {"harm": ["sums"]}}, "expect: no benchmark 'sums' is run; there are blimp"),
        ({"seeds": 10**9}, "seeds must be at most 10,000; got 1000000000"),
        ({"prefix": "wrong"}, "no token for prefix 'wrong'"),
        ({"seeds": 0}, "seeds must be at least 1; got 0"),
    ],
)
def test_options_that_cannot_be_used(run, options, message):
    with pytest.raises(LsnsError, match=message):
        run(**options)


def test_the_same_benchmark_twice_and_two_of_one_kind(run, tmp_path, pairs):
    with pytest.raises(LsnsError, match="is given twice"):
        run(benchmarks=[f"blimp:{pairs}", f"blimp:{pairs}"])
    other = write_pairs(tmp_path / "o.jsonl", ["three"], 2)
    study = run(benchmarks=[f"blimp:{pairs}", f"blimp:{other}"], controls=[])
    assert {row.benchmark for row in study.summary} == {f"blimp:{pairs}", f"blimp:{other}"}


def test_what_is_one_may_be_given_alone(run, pairs, found):
    study = run(found.mask, f"blimp:{pairs}", controls="uniform", modes="zero", limit=10**30)
    assert study.manifest["options"] | {
        "benchmarks": [f"blimp:{pairs}"], "controls": ["uniform"], "modes": ["zero"],
    } == study.manifest["options"]  # fmt: skip
    assert len(study.manifest["masks"]) == 1
    with pytest.raises(LsnsError, match="no mask 'language'"):
        run("language")
    with pytest.raises(LsnsError, match="no benchmark 'wrong'"):
        run(benchmarks="wrong")


def test_the_name_of_a_benchmark_has_no_colon_without_an_argument(pairs):
    for given in ("minimal-pairs", "minimal-pairs:"):
        made = parse_benchmarks([given, f"minimal-pairs:{pairs}"])
        assert [one.name for one in made] == ["minimal-pairs", f"minimal-pairs:{pairs}"]


def test_without_pyarrow(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(LsnsError, match=r"pip install 'lsns\[evaluation\]'"):
        run()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "model"
    tiny = make_model()
    tiny.model.save_pretrained(path)
    tiny.tokenizer.save_pretrained(path)
    return path


def start(folder, pairs, mask, output, last="") -> subprocess.Popen:
    code = (
        f"import sys, lsns\nlsns.evaluate({str(folder)!r}, [{str(mask)!r}], ['blimp:{pairs}'],"
        f" seeds=6, output_dir={str(output)!r}, batch_size=1)\n{last}"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True,
        # Another number of threads rounds otherwise.
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
    )  # fmt: skip


def test_killed_and_started_again(folder, tmp_path, found):
    pairs = write_pairs(tmp_path / "pairs.jsonl", ["one", "two"], 30)
    mask = found.mask.save(tmp_path / "mask.npy")
    output = tmp_path / "killed"
    process = start(folder, pairs, mask, output)
    while process.poll() is None and not (output / "items").is_dir():
        time.sleep(0.01)
    while process.poll() is None and len(cells(output)) < 3:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = cells(output)
    assert 3 <= len(before) < 14
    last = "print([m for m in ('torch', 'transformers') if m in sys.modules])"
    assert (
        start(folder, pairs, mask, output, last).communicate()[0] == "['torch', 'transformers']\n"
    )
    assert before.items() <= cells(output).items()
    assert len(cells(output)) == 14
    # Finished: no model is needed, and so no torch.
    assert start(folder, pairs, mask, output, last).communicate()[0] == "[]\n"
    whole = tmp_path / "whole"
    evaluate(
        str(folder), [mask], [f"blimp:{pairs}"], seeds=6, output_dir=whole,
        batch_size=1,
    )  # fmt: skip
    assert (output / "summary.csv").read_bytes() == (whole / "summary.csv").read_bytes()
    for name in cells(whole):
        assert (output / "items" / name).read_bytes() == (whole / "items" / name).read_bytes()


def test_a_model_by_name_is_loaded_once(folder, tmp_path, pairs, monkeypatch):
    loads = []
    from lsns.models import factory

    real = factory.load_model
    monkeypatch.setattr(factory, "load_model", lambda **o: loads.append(1) or real(**o))
    evaluate(
        str(folder), ["language@5"], [f"blimp:{pairs}"], controls=["uniform"], seeds=1,
        output_dir=tmp_path, cache_dir=tmp_path / "cache",
    )  # fmt: skip
    assert len(loads) == 1


def test_public_names():
    assert lsns.evaluate is evaluate
    assert lsns.Study.__name__ == "Study"
