"""Continuations under several conditions, and their lines."""

from __future__ import annotations

import numpy as np
import pytest

import lsns
from lsns.experiment import continue_under_lesions
from lsns.report.text import describe_continuations, describe_localization
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
    lines = describe_localization(found).splitlines()
    assert "units     3 blocks x 16 = 48" in lines
    assert any(f"selected  {found.mask.count} units: 20% over all layers" in x for x in lines)
    bars = [line.split() for line in lines[-3:]]
    assert [int(count) for _, count, *_ in bars] == found.mask.per_layer.tolist()
    significant = int((found.p_values < 0.05).sum())
    assert f"p < 0.05  {significant} units (adjusted over all units)" in lines


def test_control_characters_of_a_model_do_not_reach_the_terminal():
    from lsns.experiment import Continuation

    text = describe_continuations("x", [Continuation("intact", "a\x1b[31m\x07b\nc", None)])
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "b c" in text
