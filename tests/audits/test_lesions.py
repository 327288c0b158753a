"""What a study says of a mask: against its own rows, of a real one and of rows made by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from lsns import Contrast, Study, UnitMask, evaluate, localize
from lsns.audits.lesions import find_evidence
from tests.evaluation.test_study import write_pairs
from tests.tiny import TEXTS, make_model

CONTRAST = Contrast(name="tiny", positive=tuple(TEXTS[:2]), negative=tuple(TEXTS[2:]))
SEEDS = 2
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def study(one_thread, tmp_path_factory) -> tuple[Study, UnitMask, UnitMask, Path]:
    """Two masks, the first with outlier units; a benchmark of language, and another one."""
    folder = tmp_path_factory.mktemp("study")
    model = make_model()
    options = {"cache_dir": folder / "cache", "outlier_threshold": 1.2}
    first = localize(model, CONTRAST, num_units=9, **options)
    second = localize(model, CONTRAST, num_units=4, method="mean", **options)
    pairs = write_pairs(folder / "pairs.jsonl", ["one", "two"], 3)
    sums = write_pairs(folder / "sums.jsonl", ["three"], 2)
    names = [f"blimp:{pairs}", f"other=minimal-pairs:{sums}"]
    made = evaluate(
        model, [first, second], names, split_outliers=True, seeds=SEEDS,
        modes=("zero", "mean"), output_dir=folder / "study",
    )  # fmt: skip
    return made, first.mask, second.mask, folder / "study"


def test_a_study_and_its_folder_say_the_same(study):
    made, mask, _, folder = study
    for place in (folder, str(folder)):
        read = Study.load(place)
        assert find_evidence(read, mask.digest, None) == find_evidence(made, mask.digest, None)


def test_each_part_on_each_benchmark_in_each_mode(study):
    made, mask, _, _ = study
    found = find_evidence(made, mask.digest, None).lesions
    assert len(found) == 3 * 2 * 2
    assert {(e.row.part, e.row.units) for e in found} == {("all", 9), ("outliers", 6), ("rest", 3)}
    assert {e.row.mode for e in found} == {"zero", "mean"}
    assert {(e.row.benchmark, e.row.domain) for e in found} == {
        ("blimp", "language"), ("minimal-pairs", "other")
    }  # fmt: skip


def test_the_other_mask_is_told_apart(study):
    made, mask, other, _ = study
    assert mask.digest != other.digest
    found = find_evidence(made, other.digest, None).lesions
    assert {e.row.units for e in found if e.row.part == "all"} == {4}
    assert find_evidence(made, "of no mask", None).lesions == ()


def test_numbers_are_those_of_the_rows(study):
    made, mask, _, _ = study
    intact = {row.benchmark: row.value for row in made.summary if row.mask == ""}
    label = next(row.target for row in made.summary if row.mask == mask.digest)
    labels = {"all": label, "outliers": f"{label} outliers", "rest": f"{label} rest"}
    for one in find_evidence(made, mask.digest, None).lesions:
        (row,) = [
            row
            for row in made.summary
            if row.condition == "lesion"
            and (row.target, row.benchmark) == (labels[one.row.part], one.row.benchmark)
            and row.mode == one.row.mode
        ]
        assert one.row == row
        assert one.intact == intact[row.benchmark]
        assert one.expected == (row.domain == "language")
        assert one.harm == pytest.approx(one.intact - row.value)
        assert one.controls == tuple(made.controls_of(row))
        # The least selective units are one mask: no distribution to rank in.
        for control in one.controls:
            why = "one mask, no draw" if control.kind == "least" else "too few"
            assert one.why_not(control) == why
        assert one.usable == []


def test_ranks_and_means_are_those_of_the_items(study):
    """From the single answers: accuracy of each control, and how many do as much harm."""
    made, mask, _, _ = study
    found = find_evidence(made, mask.digest, None).lesions
    asked = ("all", "blimp", "zero")
    one = next(e for e in found if (e.row.part, e.row.benchmark, e.row.mode) == asked)
    rows = made.items().to_pylist()
    label = next(row.target for row in made.summary if row.mask == mask.digest)
    of_target = [
        r for r in rows
        if (r["benchmark"], r["target"], r["mode"]) == ("blimp", label, "zero")
    ]  # fmt: skip
    assert one.row.value == pytest.approx(
        accuracy([r for r in of_target if r["condition"] == "lesion"])
    )
    assert one.intact == pytest.approx(
        accuracy([r for r in rows if r["benchmark"] == "blimp" and r["condition"] == "intact"])
    )
    for rival in (control for control in one.controls if control.kind != "least"):
        controls = [r for r in of_target if r["control"] == rival.kind]
        seeds = sorted({r["seed"] for r in controls})
        values = [accuracy([r for r in controls if r["seed"] == seed]) for seed in seeds]
        assert len(values) == SEEDS
        assert rival.mean == pytest.approx(sum(values) / SEEDS)
        as_harmful = sum(value <= one.row.value + 1e-9 for value in values)
        assert rival.p == (1 + as_harmful) / (1 + SEEDS)


def accuracy(rows: list[dict]) -> float:
    """The mean over paradigms of the share that is right."""
    paradigms = sorted({row["paradigm"] for row in rows})
    shares = []
    for paradigm in paradigms:
        right = [row["correct"] for row in rows if row["paradigm"] == paradigm]
        shares.append(sum(right) / len(right))
    return sum(shares) / len(shares)
