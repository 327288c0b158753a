"""What is kept of a cell that is not finished, and two runs in one folder. Real processes."""

from __future__ import annotations

import itertools
import json
import random
import re
import signal
import sys
import time

import numpy as np
import pytest

from lsns import LsnsError, UnitMask, evaluate
from lsns.evaluation import logprobs
from tests.conftest import REPOSITORY, start_interruptible
from tests.evaluation.reference import read_pairs, score_pairs
from tests.evaluation.test_study import cells, write_suite
from tests.tiny import TEXTS, make_model

# Slow enough to be stopped in the middle; what is computed is counted in a file.
PATCH = """
import logging, sys, time
from pathlib import Path
from lsns.evaluation import logprobs
real = logprobs._run_batch
def slow(way, sequences, *rest):
    time.sleep({seconds})
    values = real(way, sequences, *rest)
    with Path({counter!r}).open("a") as file:
        file.write(f"{{len(sequences)}}\\n")
    return values
logprobs._run_batch = slow
"""
RUN = """
import lsns
logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stdout)
lsns.evaluate({model!r}, [{mask!r}], ['blimp:{pairs}'], controls=["uniform"], seeds=1,
              output_dir={output!r})
"""
COMMAND = """
from lsns.cli import run
sys.exit(run(["evaluate", "--model-name", {model!r}, "--mask", {mask!r}, "--benchmark",
              "blimp:{pairs}", "--controls", "none", "--output", {output!r}]))
"""


def write_many(path, n_items=400):
    """Pairs that take several passes."""
    words = sorted({word for text in TEXTS for word in text.split()})
    triples = random.Random(1).sample(list(itertools.permutations(words, 3)), n_items)
    lines = [
        {
            "UID": f"p{number % 4}",
            "sentence_good": f"the {a} sat on the {b} and the {c}",
            "sentence_bad": f"the sat {a} on the {c} and the {b}",
        }
        for number, (a, b, c) in enumerate(triples)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def a_mask():
    units = np.zeros((3, 16), dtype=bool)
    units[[0, 1, 2], [1, 5, 9]] = True
    return UnitMask(units)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    model = make_model()
    model.model.save_pretrained(folder / "model")
    model.tokenizer.save_pretrained(folder / "model")
    return {
        "model": str(folder / "model"),
        "mask": str(a_mask().save(folder / "mask.npy")),
        "pairs": str(write_many(folder / "pairs.jsonl")),
    }


@pytest.fixture(scope="module")
def whole(inputs, tmp_path_factory):
    """A run of three cells that nobody disturbed, in a process of its own like the others."""
    output = tmp_path_factory.mktemp("whole")
    process = start(RUN, inputs, output / "out", output / "counter", seconds=0)
    printed, errors = process.communicate()
    assert process.returncode == 0, printed + errors
    return output / "out"


@pytest.fixture(scope="module")
def per_cell(whole):
    """Chunks of a cell."""
    return count(whole.parent / "counter") // 3


@pytest.fixture
def chunks(monkeypatch):
    """The chunks that are computed from now on; more than `limit` are interrupted."""
    real = logprobs._run_batch

    class Chunks(list):
        limit = None

    counted = Chunks()

    def count(way, sequences, *rest):
        if len(counted) == counted.limit:
            raise KeyboardInterrupt
        counted.append(sequences)
        return real(way, sequences, *rest)

    monkeypatch.setattr(logprobs, "_run_batch", count)
    return counted


def start(code, inputs, output, counter, seconds=0.05):
    text = PATCH.format(seconds=seconds, counter=str(counter))
    text += code.format(output=str(output), **inputs)
    return start_interruptible([sys.executable, "-c", text], cwd=REPOSITORY)


def wait_for(process, ready):
    """Wait until `ready()`, while the process runs."""
    end = time.monotonic() + 120
    while not ready():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.005)


def parts(output):
    """Of cells that are not finished."""
    found = sorted(output.glob("items/*.parts/*.part"))
    return [path for path in found if not path.parent.with_suffix(".parquet").exists()]


def count(path):
    return len(path.read_text().splitlines()) if path.exists() else 0


def same_results(one, other):
    assert cells(one).keys() == cells(other).keys()
    for name in cells(one):
        assert (one / "items" / name).read_bytes() == (other / "items" / name).read_bytes()
    assert (one / "summary.csv").read_bytes() == (other / "summary.csv").read_bytes()
    assert sorted(p.name for p in (one / "items").iterdir()) == sorted(cells(one))


def test_killed_in_the_middle_of_a_cell(inputs, whole, per_cell, tmp_path):
    output, counter = tmp_path / "out", tmp_path / "counter"
    process = start(RUN, inputs, output, counter)
    # In the second cell: a lesion.
    wait_for(process, lambda: len(cells(output)) == 1 and len(parts(output)) >= 3)
    process.kill()
    process.communicate()
    kept = len(parts(output))
    assert 3 <= kept < per_cell
    again = tmp_path / "again"
    printed, _ = start(RUN, inputs, output, again, seconds=0).communicate()
    assert "1 of 3 cells are there" in printed
    assert " texts are there from an earlier run" in printed
    assert count(again) == 2 * per_cell - kept
    # What was computed in the moment when the process died is lost.
    assert count(counter) - per_cell - kept in (0, 1)
    same_results(output, whole)


def test_two_runs_at_once_compute_everything_once(inputs, whole, per_cell, tmp_path):
    output = tmp_path / "out"
    counters = [tmp_path / "one", tmp_path / "two"]
    first = start(RUN, inputs, output, counters[0], seconds=0.1)
    second = start(RUN, inputs, output, counters[1], seconds=0.1)
    outputs = [first.communicate()[0], second.communicate()[0]]
    assert (first.returncode, second.returncode) == (0, 0)
    waited = [line for text in outputs for line in text.splitlines() if "waiting" in line]
    assert waited
    assert all(line.startswith("another run is at ") for line in waited)
    assert all(f" in {output}; waiting for it (" in line for line in waited)
    assert sum(map(count, counters)) == 3 * per_cell
    same_results(output, whole)


def test_ctrl_c_says_what_is_kept(inputs, tmp_path):
    output, counter = tmp_path / "out", tmp_path / "counter"
    process = start(COMMAND, inputs, output, counter)
    wait_for(process, lambda: len(cells(output)) == 1 and len(parts(output)) >= 2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert re.fullmatch(
        rf"lsns: interrupted: \d+ of 1600 texts are kept in {output / 'items'}; "
        "the same command goes on from there",
        errors.splitlines()[-1],
    )
    assert "Traceback" not in errors
    assert not list(output.rglob(".*")), "nothing half-written"


def run(inputs, output, benchmark=None, **options):
    return evaluate(
        make_model(), [inputs["mask"]], [benchmark or f"blimp:{inputs['pairs']}"], controls=[],
        output_dir=output, **options,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["syntaxgym", "perplexity"])
def test_every_benchmark_goes_on(inputs, tmp_path, chunks, kind, monkeypatch):
    # A pass for each text, so that few items make several.
    monkeypatch.setattr(logprobs, "split_rows", one_by_one)
    monkeypatch.setattr(logprobs, "plan_chunks", one_by_one)
    monkeypatch.setattr(logprobs, "TOKEN_BUDGET", 1)
    (tmp_path / "text.txt").write_text(" ".join(TEXTS) * 6)
    name = {
        "syntaxgym": f"syntaxgym:{write_suite(tmp_path / 'suite.json')}",
        "perplexity": f"perplexity:{tmp_path / 'text.txt'}",
    }[kind]
    expected = run(inputs, tmp_path / "whole", name)
    total = len(chunks)
    assert total >= 8
    chunks.clear()
    chunks.limit = total // 2 + 2
    with pytest.raises(KeyboardInterrupt, match="texts are kept"):
        run(inputs, tmp_path / "out", name)
    chunks.limit = None
    found = run(inputs, tmp_path / "out", name)
    assert len(chunks) == total
    assert not parts(tmp_path / "out")
    assert found.items().equals(expected.items())


def one_by_one(sequences):
    return [[index] for index in range(len(sequences))]


def test_what_a_run_left_that_was_killed_after_writing_a_cell(inputs, tmp_path):
    run(inputs, tmp_path)
    path = next(tmp_path.glob("items/*.parquet"))
    path.with_suffix(".parts").mkdir()
    (path.with_suffix(".parts") / "0.part").write_bytes(b"")
    run(inputs, tmp_path)
    assert sorted(p.name for p in (tmp_path / "items").iterdir()) == sorted(cells(tmp_path))


def test_a_lesion_whose_cell_lacks_only_the_last_part(inputs, tmp_path, chunks):
    run(inputs, tmp_path / "whole")
    total = len(chunks)
    chunks.clear()
    chunks.limit = total - 1
    with pytest.raises(KeyboardInterrupt, match="texts are kept"):
        run(inputs, tmp_path / "out")
    chunks.limit = None
    # A lesion that never acts is an error: it acts, for one part is computed.
    run(inputs, tmp_path / "out")
    assert len(chunks) == total
    same_results(tmp_path / "out", tmp_path / "whole")


@pytest.mark.parametrize("harm", ["bytes", "digest", "cut", "longer", "empty", "gone"])
def test_a_damaged_part_is_made_again(inputs, tmp_path, chunks, caplog, harm):
    run(inputs, tmp_path / "whole")
    total = len(chunks)
    chunks.clear()
    chunks.limit = 4
    with pytest.raises(KeyboardInterrupt, match="texts are kept"):
        run(inputs, tmp_path / "out")
    path = parts(tmp_path / "out")[1]
    damage(path, harm)
    chunks.limit = None
    run(inputs, tmp_path / "out")
    assert len(chunks) == total + 1
    assert ("of a result is damaged; made again" in caplog.text) == (harm != "gone")
    same_results(tmp_path / "out", tmp_path / "whole")


def damage(path, harm):
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    if harm == "bytes":
        content[middle : middle + 5] = bytes(byte ^ 255 for byte in content[middle : middle + 5])
    elif harm == "digest":
        content[0] ^= 255
    sizes = {"cut": content[:-8], "longer": content + b"12345678", "empty": b""}
    path.unlink() if harm == "gone" else path.write_bytes(sizes.get(harm, content))


@pytest.mark.parametrize("harm", ["bytes", "cut", "empty"])
def test_a_damaged_cell_is_made_again(inputs, tmp_path, chunks, caplog, harm):
    run(inputs, tmp_path / "out")
    total = len(chunks)
    path = sorted((tmp_path / "out" / "items").glob("*.parquet"))[0]
    before = path.read_bytes()
    # The values are in front, and the names of the columns at the end.
    content = bytearray(before)
    content[200:230] = bytes(byte ^ 255 for byte in content[200:230])
    path.write_bytes({"bytes": content, "cut": before[:-50], "empty": b""}[harm])
    run(inputs, tmp_path / "out")
    assert len(chunks) == total + total // 2
    assert caplog.text.count("is damaged; made again") == 1
    assert path.read_bytes() == before


@pytest.mark.parametrize("sizes", [(None, 480), (480, None)])
def test_a_run_goes_on_with_another_batch_size(inputs, tmp_path, chunks, sizes):
    run(inputs, tmp_path / "whole")
    total = sum(map(len, chunks))
    chunks.clear()
    chunks.limit = 3
    with pytest.raises(KeyboardInterrupt):
        run(inputs, tmp_path / "out", batch_size=sizes[0])
    chunks.limit = None
    before = sum(map(len, chunks))
    found = run(inputs, tmp_path / "out", batch_size=sizes[1]).items()
    # What is kept is not computed again.
    assert sum(map(len, chunks)) < total + before
    expected = run(inputs, tmp_path / "whole").items()
    for one, other in zip(found.to_pylist(), expected.to_pylist(), strict=True):
        assert one["logp_good"] == pytest.approx(other["logp_good"], abs=1e-4)


def test_parts_change_no_byte(inputs, tmp_path):
    model, pairs = make_model(), read_pairs(inputs["pairs"])
    rows = {(row.paradigm, row.item): row for row in score_pairs(model, pairs)}
    table = run(inputs, tmp_path).items().to_pylist()
    intact = [row for row in table if row["condition"] == "intact"]
    assert len(intact) == len(rows)
    for row in intact:
        expected = rows[row["paradigm"], row["item"]]
        assert (row["logp_good"], row["logp_bad"]) == (expected.logp_good, expected.logp_bad)


def test_workers_change_no_byte(inputs, tmp_path):
    for workers in (1, 2):
        evaluate(
            inputs["model"], [inputs["mask"]], [f"blimp:{inputs['pairs']}", "perplexity"],
            controls=["uniform"], seeds=1, output_dir=tmp_path / str(workers),
            workers=workers,
        )  # fmt: skip
    same_results(tmp_path / "1", tmp_path / "2")


def test_workers_load_the_model_themselves(inputs, tmp_path):
    with pytest.raises(LsnsError, match="each of 2 workers loads the model itself; give its name"):
        run(inputs, tmp_path, workers=2)
