"""What a study says of a mask: against its own rows, of a real one and of rows made by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lsns import Contrast, Study, UnitMask, evaluate, localize
from lsns.audits.lesions import LesionEvidence, Rival, find_evidence, language_rows
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
        model, [first, second], names, split_outliers=True, seeds=SEEDS, resamples=20,
        modes=("zero", "mean"), output_dir=folder / "study",
    )  # fmt: skip
    return made, first.mask, second.mask, folder / "study"


def test_a_study_and_its_folder_say_the_same(study):
    made, mask, _, folder = study
    for place in (folder, str(folder)):
        assert find_evidence(Study.load(place), mask.digest) == find_evidence(made, mask.digest)


def test_each_part_on_each_benchmark_in_each_mode(study):
    made, mask, _, _ = study
    found = find_evidence(made, mask.digest)
    assert len(found) == 3 * 2 * 2
    assert {(e.part, e.units) for e in found} == {("all", 9), ("outliers", 6), ("rest", 3)}
    assert {e.mode for e in found} == {"zero", "mean"}
    assert {(e.benchmark, e.domain) for e in found} == {
        ("blimp", "language"), ("minimal-pairs", "other")
    }  # fmt: skip


def test_the_other_mask_is_told_apart(study):
    made, mask, other, _ = study
    assert mask.digest != other.digest
    found = find_evidence(made, other.digest)
    assert {e.units for e in found if e.part == "all"} == {4}
    assert find_evidence(made, "of no mask") == []


def test_numbers_are_those_of_the_rows(study):
    made, mask, _, _ = study
    intact = {row.benchmark: row.value for row in made.summary if row.mask == ""}
    label = next(row.target for row in made.summary if row.mask == mask.digest)
    labels = {"all": label, "outliers": f"{label} outliers", "rest": f"{label} rest"}
    for one in find_evidence(made, mask.digest):
        (row,) = [
            row
            for row in made.summary
            if row.condition == "lesion"
            and (row.target, row.benchmark, row.mode) == (labels[one.part], one.benchmark, one.mode)
        ]
        assert (one.intact, one.value) == (intact[one.benchmark], row.value)
        assert one.difference == pytest.approx(one.value - one.intact)
        assert (one.low, one.high) == (row.difference_low, row.difference_high)
        assert (one.units, one.outlier_units) == (row.units, row.outlier_units)
        # The least selective units are one mask: no distribution to rank in.
        controls = [control for control in made.controls_of(row) if control.kind != "least"]
        for rival, control in zip(one.rivals, controls, strict=True):
            assert (rival.kind, rival.n, rival.mean) == (control.kind, control.n, control.mean)
            assert (rival.p_value, rival.outlier_units) == (control.p, control.outliers)
            assert rival.n == SEEDS
            assert not rival.enough


def test_ranks_and_means_are_those_of_the_items(study):
    """From the single answers: accuracy of each control, and how many do as much harm."""
    made, mask, _, _ = study
    found = find_evidence(made, mask.digest)
    one = next(e for e in found if (e.part, e.benchmark, e.mode) == ("all", "blimp", "zero"))
    rows = made.items().to_pylist()
    label = next(row.target for row in made.summary if row.mask == mask.digest)
    of_target = [
        r for r in rows
        if (r["benchmark"], r["target"], r["mode"]) == ("blimp", label, "zero")
    ]  # fmt: skip
    assert one.value == pytest.approx(
        accuracy([r for r in of_target if r["condition"] == "lesion"])
    )
    assert one.intact == pytest.approx(
        accuracy([r for r in rows if r["benchmark"] == "blimp" and r["condition"] == "intact"])
    )
    for rival in one.rivals:
        controls = [r for r in of_target if r["control"] == rival.kind]
        seeds = sorted({r["seed"] for r in controls})
        values = [accuracy([r for r in controls if r["seed"] == seed]) for seed in seeds]
        assert len(values) == SEEDS
        assert rival.mean == pytest.approx(sum(values) / SEEDS)
        as_harmful = sum(value <= one.value + 1e-9 for value in values)
        assert rival.p_value == (1 + as_harmful) / (1 + SEEDS)


def accuracy(rows: list[dict]) -> float:
    """The mean over paradigms of the share that is right."""
    paradigms = sorted({row["paradigm"] for row in rows})
    shares = []
    for paradigm in paradigms:
        right = [row["correct"] for row in rows if row["paradigm"] == paradigm]
        shares.append(sum(right) / len(right))
    return sum(shares) / len(shares)


def test_language_rows_are_those_of_a_part_on_language(study):
    made, mask, _, _ = study
    found = find_evidence(made, mask.digest)
    rest = language_rows(found, "rest")
    assert [(e.part, e.benchmark) for e in rest] == [("rest", "blimp")] * 2
    assert language_rows(found, "nothing") == []


EVIDENCE = LesionEvidence(
    part="all", units=172, mode="zero", benchmark="blimp", domain="language", measure="accuracy",
    intact=0.75, value=0.55, difference=-0.2, low=-0.25, high=-0.15, rivals=(),
)  # fmt: skip


@pytest.mark.parametrize(
    ("measure", "difference", "low", "high", "harm", "harms"),
    [
        ("accuracy", -0.2, -0.25, -0.15, 0.2, True),
        ("accuracy", -0.01, -0.05, 0.03, 0.01, False),
        ("accuracy", 0.2, 0.15, 0.25, -0.2, False),
        # A higher perplexity is worse.
        ("perplexity", 0.2, 0.15, 0.25, 0.2, True),
        ("perplexity", 0.01, -0.03, 0.05, 0.01, False),
        ("perplexity", -0.2, -0.25, -0.15, -0.2, False),
    ],
)
def test_which_way_is_harm(measure, difference, low, high, harm, harms):
    one = replace(EVIDENCE, measure=measure, difference=difference, low=low, high=high)
    assert one.harm == pytest.approx(harm)
    assert one.harms is harms


@pytest.mark.parametrize(("n", "distinct", "enough"), [(20, 20, True), (20, 19, False)])
def test_enough_controls_are_different_ones(n, distinct, enough):
    assert Rival("uniform", n, distinct, 0.7, 0.05).enough is enough


@pytest.mark.parametrize(
    ("own", "others", "alike"),
    [(17, 17.0, True), (10, 8.0, True), (10, 7.9, False), (17, 0.0, False), (0, 0.0, True),
     (None, 3.0, True), (17, None, True)],
)  # fmt: skip
def test_controls_with_four_fifths_of_the_outlier_units_are_alike(own, others, alike):
    one = replace(EVIDENCE, outlier_units=own)
    assert one.is_alike(Rival("uniform", 20, 20, 0.7, 0.05, others)) is alike
