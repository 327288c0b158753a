"""Masks by name, and the conditions that they are evaluated under."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lsns import Contrast, LsnsError, UnitMask, localize
from lsns.evaluation.conditions import (
    MaskSpec,
    _least_selective,
    make_conditions,
    make_targets,
    parse_spec,
)
from tests.tiny import TEXTS, make_model

CONTRAST = Contrast(name="tiny", positive=tuple(TEXTS[:2]), negative=tuple(TEXTS[2:]))


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return localize(make_model(), CONTRAST, num_units=4, cache_dir=tmp_path_factory.mktemp("c"))


def never(spec):
    raise AssertionError(spec)


def conditions(masks, controls=None, seeds=2, modes=("zero",)):
    return make_conditions(make_targets(masks, never), controls=controls, seeds=seeds, modes=modes)


def a_mask():
    units = np.zeros((3, 16), dtype=bool)
    units[1, [2, 5]] = True
    return UnitMask(units)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("language@1", MaskSpec("language", 1.0, None)),
        ("multiple-demand@0.125", MaskSpec("multiple-demand", 0.125, None)),
        ("language@0.5:nmd", MaskSpec("language", 0.5, "nmd")),
        ("language@1:mine.py:Mine", MaskSpec("language", 1.0, "mine.py:Mine")),
    ],
)
def test_specs(text, expected):
    assert parse_spec(text) == expected


@pytest.mark.parametrize("text", ["language", "nothing.npy", "language@", "language@1.2.3", "@1"])
def test_what_is_no_mask(text):
    with pytest.raises(LsnsError, match="mask"):
        parse_spec(text)


def test_all_conditions(found):
    made = conditions([found], modes=("zero", "mean"))
    assert [c.kind for c in made] == ["intact", *["lesion", *["control"] * 9] * 2]
    kinds = [(c.control, c.seed) for c in made[2:11]]
    drawn = [(k, s) for k in ("uniform", "layer", "magnitude", "decoy") for s in (42, 43)]
    assert kinds == [*drawn, ("least", None)]
    for condition in made[2:]:
        if condition.kind == "control":
            assert condition.mask.count == found.mask.count
            assert condition.match.total > 0
    # From a pool with the mask's own units in it, or their p would be too small.
    shared = [c.control for c in made[2:] if c.mask.units[found.mask.units].any()]
    assert {"uniform", "layer"} & set(shared)
    assert made[1].match is None
    np.testing.assert_allclose(made[1].squares, found.measurement.magnitudes.mean_square)
    assert made[1].means is None
    np.testing.assert_array_equal(made[11].means, found.means)
    assert made[1].content != made[11].content


def test_one_more_seed_adds_one_mask_of_each_kind(found):
    fewer = [c.content for c in conditions([found], seeds=2)]
    more = [c.content for c in conditions([found], seeds=3)]
    assert all(content in more for content in fewer)
    assert len(more) == len(fewer) + 4


def test_least_are_the_lowest_scores(found):
    least = _least_selective(found)
    free = np.sort(found.scores[~found.mask.units])
    np.testing.assert_array_equal(np.sort(found.scores[least.units]), free[: found.mask.count])
    assert least.digest == _least_selective(found).digest
    note = least.manifest["control"]
    assert (note["kind"], note["of"]) == ("least", found.mask.digest)
    squares = found.rms**2
    expected = squares[least.units].sum() / squares[found.mask.units].sum()
    assert note["match"]["total"] == pytest.approx(expected)


def test_least_in_every_layer_for_a_mask_by_layer(tmp_path):
    by_layer = localize(make_model(), CONTRAST, method="nmd", percentage=20, cache_dir=tmp_path)
    np.testing.assert_array_equal(_least_selective(by_layer).per_layer, by_layer.mask.per_layer)


def test_a_mask_twice_is_there_once_and_others_have_names_of_their_own(tmp_path, found):
    path = a_mask().save(tmp_path / "mine.npy")
    targets = make_targets([path, str(path), a_mask(), found, found], never)
    assert [t.label for t in targets] == ["mine", f"mask {a_mask().digest[:8]}", "tiny@4 units"]
    assert targets[0].percentage == pytest.approx(100 * 2 / 48)


def test_a_mask_alone_has_the_controls_that_need_nothing_else():
    assert {c.control for c in conditions([a_mask()])} == {"", "uniform", "layer"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"controls": ["magnitude"]}, "control 'magnitude' needs to know more"),
        ({"controls": ["least"]}, "control 'least' needs to know more"),
        ({"controls": ["wrong"]}, "no control 'wrong'; use one of uniform, layer"),
        ({"modes": ["mean"]}, "mode mean needs the units' mean activations"),
        ({"modes": ["half"]}, "no mode 'half'"),
        ({"modes": []}, "no mode"),
        ({"seeds": 0}, "seeds must be at least 1; got 0"),
        ({"seeds": -3}, "seeds must be at least 1; got -3"),
        ({"seeds": 1_000_000_000}, "seeds must be at most 10,000; got 1000000000"),
        ({"seeds": [1, -1]}, r"a seed must be a whole number below 2\*\*32; got -1"),
        ({"seeds": "12"}, "a seed must be a whole number .* got '1'"),
    ],
)
def test_what_cannot_be_done(changes, message):
    with pytest.raises(LsnsError, match=message):
        conditions([a_mask()], **changes)


def test_no_mask_and_an_empty_one():
    with pytest.raises(LsnsError, match="no mask to evaluate"):
        make_targets([], never)
    with pytest.raises(LsnsError, match="selects no unit"):
        make_targets([UnitMask(np.zeros((3, 16), dtype=bool))], never)


def test_masks_have_the_names_that_they_are_given(found, tmp_path):
    path = a_mask().save(tmp_path / "mine.npy")
    targets = make_targets({"a/../b": a_mask(), "ours": found, "file": str(path)}, never)
    assert [target.label for target in targets] == ["a/../b", "ours", "file"]
    assert targets[1].found is found
    assert targets[1].kinds == make_targets([found], never)[0].kinds
    split = make_targets({"ours": found}, never, split_outliers=True)
    assert split[0].label == "ours"


def test_one_mask_needs_no_list(found):
    for one in (found, a_mask(), make_targets([found], never)[0]):
        assert [t.label for t in make_targets(one, never)] == [
            t.label for t in make_targets([one], never)
        ]
    with pytest.raises(LsnsError, match="no mask 'neither'"):
        make_targets("neither", never)


@pytest.mark.parametrize("name", ["", " ", "a\nb", "\x1b[2J", 7])
def test_a_name_that_is_no_printable_line_is_refused(name):
    with pytest.raises(LsnsError, match="mask") as caught:
        make_targets({name: a_mask()}, never)
    assert "\n" not in str(caught.value)


def test_no_fact_is_in_a_name(found, tmp_path):
    """Names like those that are made here are names; two of one name are told apart."""
    path = a_mask().save(tmp_path / "foo rest.npy")
    names = {"language@1": a_mask(), "a#b": found.mask, "rest": found}
    for target in (*make_targets(names, never), *make_targets([path], never)):
        assert target.label in (*names, "foo rest")
        assert (target.part, target.whole) == ("all", "")
    some = replace(found, outlier_threshold=1.2)
    assert 0 < some.outliers.sum() < some.mask.count
    split = make_targets({"a": some, "a outliers": a_mask()}, never, split_outliers=True)
    assert [(t.label, t.part) for t in split] == [
        ("a", "all"), ("a outliers", "outliers"), ("a rest", "rest"),
        (f"a outliers#{a_mask().digest[:8]}", "all"),
    ]  # fmt: skip
    assert {target.whole for target in split[1:3]} == {found.mask.digest}


@pytest.mark.parametrize("masks", [None, 7, [None], [np.ones((3, 16), dtype=bool)], [[a_mask()]]])
def test_what_is_no_mask_is_told_in_a_line(masks):
    with pytest.raises(LsnsError, match=r"a mask is an lsns\.UnitMask, or what lsns\.localize"):
        make_targets(masks, never)
