"""A mask lesioned three times: all of it, its outlier units, the rest; controls like for like."""

from __future__ import annotations

import csv
import json
import logging

import numpy as np
import pytest

from lsns import Contrast, LsnsError, UnitMask, evaluate, localize
from lsns.evaluation.conditions import CONTROLS, make_conditions, make_targets
from tests.evaluation.test_study import write_pairs
from tests.tiny import TEXTS, make_model

CONTRAST = Contrast(name="tiny", positive=tuple(TEXTS[:2]), negative=tuple(TEXTS[2:]))
THRESHOLD = 1.2
USUAL = ["uniform", "layer", "magnitude", "decoy", "least"]


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture(scope="module")
def find(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")

    def localize_it(**options):
        options = {"num_units": 9, "outlier_threshold": THRESHOLD} | options
        return localize(model, CONTRAST, cache_dir=folder, **options)

    return localize_it


@pytest.fixture(scope="module")
def outliers(find):
    """By the rule itself: 4, 5 and 7 of the three layers."""
    rows = np.abs(np.asarray(find().measurement.activations()).astype(float)).mean(axis=0)
    units = rows > THRESHOLD * np.median(rows, axis=1, keepdims=True)
    assert units.sum(axis=1).tolist() == [4, 5, 7]
    return units


def never(spec):
    raise AssertionError(spec)


def conditions(masks, controls=None, split=True, seeds=3):
    targets = make_targets(masks, never, split_outliers=split)
    return make_conditions(targets, controls=controls, seeds=seeds, modes=("zero",))


def by_label(made):
    """Of each target its lesion, and its controls by their kind."""
    found = {}
    for condition in made[1:]:
        lesion, controls = found.setdefault(condition.label, ([], {}))
        if condition.kind == "lesion":
            lesion.append(condition)
        else:
            controls.setdefault(condition.control, []).append(condition)
    return {label: (lesion[0], controls) for label, (lesion, controls) in found.items()}


def test_three_masks_and_their_kinds_of_controls(find, outliers):
    found = find()
    made = by_label(conditions([found]))
    name = "tiny@9 units"
    assert list(made) == [name, f"{name} outliers", f"{name} rest"]
    parts = [made[label][0].mask.units for label in made]
    np.testing.assert_array_equal(parts[0], found.mask.units)
    np.testing.assert_array_equal(parts[1], found.mask.units & outliers)
    np.testing.assert_array_equal(parts[2], found.mask.units & ~outliers)
    assert [part.sum() for part in parts] == [9, 6, 3]
    kinds = [list(made[label][1]) for label in made]
    assert kinds == [[*USUAL, "outliers"], ["uniform", "layer", "magnitude", "outliers"], USUAL]


def test_every_control_has_as_many_units_and_counts_its_outliers(find, outliers):
    found = find()
    for lesion, controls in by_label(conditions([found])).values():
        for kind, drawn in controls.items():
            assert len(drawn) == (1 if kind == "least" else 3)
            for condition in drawn:
                units = condition.mask.units
                assert units.sum() == lesion.mask.count
                assert kind != "least" or not (units & lesion.mask.units).any()
                assert condition.outlier_units == (units & outliers).sum()
                if kind == "outliers":
                    assert condition.outlier_units == lesion.outlier_units
                if kind in ("layer", "magnitude"):
                    assert condition.mask.per_layer.tolist() == lesion.mask.per_layer.tolist()
        assert lesion.outlier_units == (lesion.mask.units & outliers).sum()


def test_controls_of_the_rest_and_of_a_mask_without_outliers_have_none(find):
    (_, of_rest), without = (
        by_label(conditions([find()]))["tiny@9 units rest"],
        by_label(conditions([find(exclude_outliers=True)], split=False)),
    )
    assert list(without) == ["tiny@9 units without outliers"]
    lesion, of_without = without["tiny@9 units without outliers"]
    assert lesion.outlier_units == 0
    assert list(of_without) == USUAL
    for controls in (of_rest, of_without):
        assert {c.outlier_units for drawn in controls.values() for c in drawn} == {0}


def test_least_of_the_rest_are_the_lowest_scores_that_may_be_taken(find, outliers):
    found = find()
    _, controls = by_label(conditions([found]))["tiny@9 units rest"]
    taken = found.mask.units | outliers
    np.testing.assert_array_equal(
        np.sort(found.scores[controls["least"][0].mask.units]), np.sort(found.scores[~taken])[:3]
    )


def test_a_part_says_what_it_is_part_of(find):
    found = find()
    made = by_label(conditions([found]))
    for name in ("outliers", "rest"):
        lesion, controls = made[f"tiny@9 units {name}"]
        note = {"units": name, "of": found.mask.digest, "outlier_threshold": THRESHOLD}
        assert lesion.mask.manifest["part"] == note
        assert controls["uniform"][0].mask.manifest["part"] == note
    assert "part" not in made["tiny@9 units"][0].mask.manifest


def test_without_splitting_nothing_changes(find):
    made = by_label(conditions([find()], split=False))
    assert list(made) == ["tiny@9 units"]
    assert list(made["tiny@9 units"][1]) == USUAL
    assert conditions([find()])[1].content == conditions([find()], split=False)[1].content


def test_kinds_that_are_asked_for_are_those_of_all_parts(find):
    made = by_label(conditions([find()], controls=["outliers", "layer"]))
    assert {tuple(controls) for _, controls in made.values()} == {("outliers", "layer")}
    unsplit = by_label(conditions([find()], controls=["outliers"], split=False))
    lesion, controls = unsplit["tiny@9 units"]
    assert {c.outlier_units for c in controls["outliers"]} == {lesion.outlier_units}
    assert set(CONTROLS) == {*USUAL, "outliers"}


def test_a_kind_that_cannot_be_drawn_is_left_out_and_said(find, caplog):
    """Of all units there is one mask, and of all outlier units as well."""
    made = by_label(conditions([find(num_units=48)]))
    assert list(made["tiny@48 units"][1]) == ["decoy"]
    assert list(made["tiny@48 units outliers"][1]) == ["uniform", "layer", "magnitude"]
    said = [r.getMessage() for r in caplog.records if "own may be drawn" in r.message]
    assert {line.split(" has no")[0] for line in said} == {
        "tiny@48 units", "tiny@48 units outliers", "tiny@48 units rest",
    }  # fmt: skip
    assert any("outliers has no controls of kind outliers: no unit but" in line for line in said)


def test_a_kind_that_was_asked_for_and_cannot_be_drawn_is_refused(find):
    with pytest.raises(LsnsError, match=r"^tiny@48 units: control 'outliers': no unit but the"):
        conditions([find(num_units=48)], controls=["outliers"])


def test_a_seed_that_cannot_be_is_not_left_out(find):
    with pytest.raises(LsnsError, match="seed must be a whole number below"):
        make_conditions(make_targets([find()], never), controls=None, seeds=[-1], modes=("zero",))


@pytest.mark.parametrize(
    ("options", "said", "kinds"),
    [
        ({"outlier_threshold": 100}, "none of its units are outliers", [*USUAL, "outliers"]),
        ({"exclude_outliers": True}, "none of its units are outliers", USUAL),
        ({"outlier_threshold": 1e-9, "num_units": 5}, "all of its units are outliers", None),
    ],
)
def test_a_mask_that_cannot_be_split_is_one_target_and_said(find, caplog, options, said, kinds):
    made = by_label(conditions([find(**options)]))
    assert len(made) == 1
    lines = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert [line for line in lines if "is not split" in line] == [
        f"{next(iter(made))} is not split: {said}"
    ]
    if kinds is not None:
        assert list(next(iter(made.values()))[1]) == kinds


def test_a_mask_alone_is_not_split(caplog):
    units = np.zeros((3, 16), dtype=bool)
    units[1, [2, 5]] = True
    made = by_label(conditions([UnitMask(units)]))
    assert [list(controls) for _, controls in made.values()] == [["uniform", "layer"]]
    assert "is not split: a mask alone does not say" in caplog.text
    assert {condition.outlier_units for condition, _ in made.values()} == {None}
    with pytest.raises(LsnsError, match="control 'outliers' needs to know more"):
        conditions([UnitMask(units)], controls=["outliers"])


def test_a_file_of_a_mask_without_outliers_is_warned_of(find, tmp_path, caplog):
    path = find(exclude_outliers=True).mask.save(tmp_path / "mine.npy")
    make_targets([path], never)
    assert "mine was selected without outlier units, and its controls may have" in caplog.text


def test_the_same_mask_twice_is_split_once(find, caplog):
    assert len(make_targets([find(), find()], never, split_outliers=True)) == 3


@pytest.fixture(scope="module")
def study(model, find, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    pairs = write_pairs(folder / "pairs.jsonl", ["one", "two"], 4)
    other = write_pairs(folder / "sums.jsonl", ["three"], 3)
    names = [f"blimp:{pairs}", f"other=minimal-pairs:{other}"]
    return evaluate(
        model, [find()], names, split_outliers=True, seeds=2, output_dir=folder / "o"
    ), folder / "o"


def test_the_study_has_a_row_for_each(study):
    made, folder = study
    rows = [row for row in made.summary if row.benchmark == "blimp"]
    lesions = [row for row in rows if row.condition == "lesion"]
    assert [(row.target, row.units, row.outlier_units) for row in lesions] == [
        ("tiny@9 units", 9, 6), ("tiny@9 units outliers", 6, 6), ("tiny@9 units rest", 3, 0),
    ]  # fmt: skip
    kinds = [{one.kind: one for one in made.controls_of(row)} for row in lesions]
    assert [(one["outliers"].n, one["outliers"].outliers) for one in kinds[:2]] == [(2, 6)] * 2
    assert "outliers" not in kinds[2]
    assert kinds[2]["uniform"].outliers == 0
    assert [row.part for row in lesions] == ["all", "outliers", "rest"]
    assert {row.whole for row in rows} == {"", lesions[0].mask}
    assert [row.series for row in lesions] == ["tiny", "tiny outliers", "tiny rest"]
    with (folder / "summary.csv").open() as file:
        written = list(csv.DictReader(file))
    assert [row["outlier_units"] for row in written[:2]] == ["", "6"]
    assert {row["control"] for row in written} == {"", *CONTROLS}
    assert json.loads((folder / "study.json").read_text())["options"]["split_outliers"] is True


def test_the_tables_show_how_many_outliers_each_has(study):
    lines = study[0].describe().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("condition  "))
    assert lines[start].split()[:3] == ["condition", "outliers", "value"]
    assert lines[start + 1].split()[0] == "intact"
    assert lines[start + 2].startswith("tiny@9 units zero (9 units) ")
    assert lines[start + 2].split()[5] == "6"
    table = lines[start : lines.index("", start)]
    firsts = [line[:24].strip() for line in table]
    assert firsts.count("as many outliers") == 2
    assert firsts.count("uniform controls") == 3
    matched = next(line for line in table if line.startswith("  as many outliers"))
    assert matched.split()[3] == "6.0"
    assert any(line.startswith("outliers: units of the mask whose") for line in lines)
    # Random weights guess: there is no gap between what is lost on either side.
    assert any(line.startswith("no better than guessing, intact") for line in lines)


def test_a_mask_alone_has_no_column_of_outliers(model, tmp_path):
    pairs = write_pairs(tmp_path / "pairs.jsonl", ["one"], 2)
    units = np.eye(3, 16, dtype=bool)
    made = evaluate(model, [UnitMask(units)], [f"blimp:{pairs}"], seeds=1, output_dir=tmp_path)
    assert "outliers" not in str(made)


def test_controls_of_a_mask_alone_are_matched_by_what_the_model_makes_of_the_built_in_texts(
    model, tmp_path
):
    pairs = write_pairs(tmp_path / "pairs.jsonl", ["one"], 2)
    mask = UnitMask(np.eye(3, 16, dtype=bool))
    options = {"controls": ["magnitude", "outliers", "layer"], "seeds": 2}
    options |= {"output_dir": tmp_path / "o", "cache_dir": tmp_path / "cache"}
    made = evaluate(model, [mask], [f"blimp:{pairs}"], **options)
    assert {row.control for row in made.summary} == {"", "magnitude", "outliers", "layer"}
    assert all(row.outlier_units is not None for row in made.summary if row.control)
    (folder,) = [path for path in (tmp_path / "cache" / "magnitudes").iterdir() if path.is_dir()]
    note = json.loads((folder / "manifest.json").read_text())["run"]
    assert (note["texts"], note["of"]) == (128, 480)


def test_of_a_mask_alone_they_are_not_measured_unless_they_are_asked_for():
    targets = make_targets([UnitMask(np.eye(3, 16, dtype=bool))], never)
    options = {"seeds": 1, "modes": ("zero",), "measure": lambda: pytest.fail("measured")}
    made = make_conditions(targets, controls=None, **options)
    assert [c.control for c in made] == ["", "", "uniform", "layer"]
    with pytest.raises(LsnsError, match="control 'decoy' needs to know more"):
        make_conditions(targets, controls=["decoy"], **options)
