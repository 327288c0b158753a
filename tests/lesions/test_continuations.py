"""Continuations under several conditions, and their lines."""

from __future__ import annotations

import numpy as np
import pytest

import lsns
from lsns.lesions.continuations import continue_under_lesions
from lsns.report.text import describe_continuations
from tests.tiny import TEXTS


@pytest.fixture
def found(tiny_model, tmp_path):
    contrast = lsns.Contrast("own", tuple(TEXTS[:2]), tuple(TEXTS[2:]))
    return lsns.localize(tiny_model, contrast, percentage=20, cache_dir=tmp_path)


def test_each_condition_is_what_it_says(tiny_model, found):
    asked: list[str] = []

    def find(name):
        asked.append(name)
        return found

    got = continue_under_lesions(
        tiny_model, "the cat", ["none", "own", "random"], find=find, control_for="own", seed=1
    )
    assert asked == ["own"]
    intact, lesioned, random = got
    assert intact.mask is None
    assert intact.text == tiny_model.generate("the cat")
    assert np.array_equal(lesioned.mask.units, found.mask.units)
    with lsns.lesion(tiny_model, found.mask):
        assert lesioned.text == tiny_model.generate("the cat")
    assert random.mask.count == found.mask.count
    assert not (random.mask.units & found.mask.units).any()
    assert "uniform, seed 1" in random.condition


@pytest.mark.parametrize("control", ["uniform", "layer", "magnitude", "outliers"])
@pytest.mark.parametrize("exclude", [False, True])
def test_controls_of_a_mask_without_outliers_have_none(tiny_model, tmp_path, control, exclude):
    contrast = lsns.Contrast("own", tuple(TEXTS[:2]), tuple(TEXTS[2:]))
    found = lsns.localize(
        tiny_model, contrast, percentage=20, cache_dir=tmp_path, outlier_threshold=1.2,
        exclude_outliers=exclude,
    )  # fmt: skip
    (got,) = continue_under_lesions(
        tiny_model, "the cat", ["random"], find=lambda _: found, control=control
    )
    assert got.mask.count == 9
    assert found.outlier_units.sum() == 16
    if exclude:
        assert not (got.mask.units & found.outlier_units).any()
    elif control == "outliers":
        assert (got.mask.units & found.outlier_units).sum() == found.outliers.sum() == 6


def test_an_intact_model_needs_no_localization(tiny_model):
    got = continue_under_lesions(tiny_model, "the cat", ["none"], find=lambda _: pytest.fail("ran"))
    assert got[0].condition == "intact"


def test_lines_are_no_wider_than_a_terminal(tiny_model, found):
    got = continue_under_lesions(
        tiny_model, "the cat", ["none", "own", "random", "none"], find=lambda _: found
    )
    text = describe_continuations("the cat", got)
    assert max(map(len, text.splitlines())) <= 96
    assert text.count("intact") == 2


def test_a_localization_in_words(found):
    lines = found.describe().splitlines()
    assert "units     3 blocks x 16 = 48" in lines
    assert any(f"selected  {found.mask.count} units: 20% over all layers" in x for x in lines)
    bars = [line.split() for line in lines[-3:]]
    assert [int(count) for _, count, *_ in bars] == found.mask.per_layer.tolist()
    higher, lower = (
        sum(1 for t, p in zip(found.t_values.flat, found.p_values.flat, strict=True)
            if p < 0.05 and t * sign > 0)
        for sign in (1, -1)
    )  # fmt: skip
    words = f"{higher} units higher in positive items, {lower} lower (adjusted over all units)"
    assert f"p < 0.05  {words}" in lines


def test_the_line_of_outliers(tiny_model, tmp_path):
    contrast = lsns.Contrast("own", tuple(TEXTS[:2]), tuple(TEXTS[2:]))

    def line(**options):
        found = lsns.localize(tiny_model, contrast, percentage=20, cache_dir=tmp_path, **options)
        return next(x for x in found.describe().splitlines() if "outliers " in x)

    over = "the layer's median)"
    assert line() == f"outliers  none selected (mean |activation| over 10 times {over}"
    some = line(outlier_threshold=1.2)
    assert some.startswith("outliers  6 of the selected units (")
    assert " where the localizer reads, " in some
    assert f"(over 1.2 times {over}: a lesion may show these, not a network" in some
    assert line(outlier_threshold=1.2, exclude_outliers=True) == (
        f"outliers  none selected: all 16 are excluded (mean |activation| over 1.2 times {over}"
    )


def test_control_characters_of_a_model_do_not_reach_the_terminal():
    from lsns.lesions.continuations import Continuation

    text = describe_continuations("x", [Continuation("intact", "a\x1b[31m\x07b\nc", None)])
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "b c" in text
