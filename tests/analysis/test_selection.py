"""Selection: exactly k units, the right ones, the same ones every time."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lsns.analysis.selection import PercentileRange, count_units, select_units
from lsns.errors import LsnsError

modest = settings(max_examples=60, deadline=None)
# Few values, so that most scores are tied.
tied = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 4), st.integers(1, 8)),
    elements=st.sampled_from([-2.0, -0.0, 0.0, 1.0, 1.5]),
)
ranks = st.sampled_from(["100-100", "0-0"])


def refusal(call: Callable[[], Any]) -> str:
    with pytest.raises(LsnsError) as caught:
        call()
    message = str(caught.value)
    assert message
    assert "\n" not in message
    return message


def best(scores: list[float], k: int, *, highest: bool) -> set[int]:
    """Slow and obvious: k times the best of what is left, the first one of those."""
    left = dict(enumerate(scores))
    chosen = set()
    for _ in range(k):
        extreme = max(left.values()) if highest else min(left.values())
        unit = min(index for index, score in left.items() if score == extreme)
        chosen.add(unit)
        del left[unit]
    return chosen


def chosen(mask: np.ndarray) -> set[int]:
    return {int(unit) for unit in np.flatnonzero(mask)}


@modest
@given(tied, ranks, st.data())
def test_the_highest_and_the_lowest_k(scores: np.ndarray, where: str, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, scores.size))
    mask = select_units(scores, k, localize_range=where)
    assert mask.shape == scores.shape
    assert mask.dtype == bool
    assert chosen(mask) == best(scores.ravel().tolist(), k, highest=where == "100-100")


@modest
@given(tied, ranks, st.data())
def test_per_layer_the_first_layers_take_one_more(
    scores: np.ndarray, where: str, data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, scores.size))
    mask = select_units(scores, k, localize_range=where, per_layer=True)
    least, more = divmod(k, len(scores))
    assert mask.sum(axis=1).tolist() == [least + 1] * more + [least] * (len(scores) - more)
    for row, layer in zip(mask, scores, strict=True):
        assert chosen(row) == best(layer.tolist(), int(row.sum()), highest=where == "100-100")


@pytest.mark.parametrize("k", [1, 7, 20])
@pytest.mark.parametrize("where", ["100-100", "0-0"])
def test_of_equal_scores_the_first_units(where: str, k: int) -> None:
    mask = select_units(np.full((4, 5), 0.1), k, localize_range=where)
    assert chosen(mask) == set(range(k))


@modest
@given(tied, st.data())
def test_a_draw_holds_exactly_k_in_the_range(scores: np.ndarray, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, 99))
    end = data.draw(st.integers(start + 1, 100))
    low, high = np.percentile(scores, [start, end])
    k = data.draw(st.integers(1, scores.size))
    inside = int(((scores >= low) & (scores <= high)).sum())
    if k > inside:
        message = refusal(lambda: select_units(scores, k, localize_range=f"{start}-{end}"))
        assert f"{start}-{end} holds {inside} units, {k} were asked for" in message
        return
    mask = select_units(scores, k, localize_range=f"{start}-{end}")
    assert mask.sum() == k
    assert (scores[mask] >= low).all()
    assert (scores[mask] <= high).all()


# 101 distinct scores in a shuffled order: the x-th percentile is x.
SCORES = np.random.default_rng(0).permutation(101).astype(np.float64).reshape(1, 101)


@pytest.mark.parametrize(("where", "low", "high"), [("80-90", 80, 90), ("0-12.5", 0, 12)])
def test_a_draw_lies_between_the_percentiles_ends_included(where: str, low: int, high: int) -> None:
    every = high - low + 1
    mask = select_units(SCORES, every, localize_range=where)
    assert sorted(SCORES[mask]) == list(range(low, high + 1))


@pytest.mark.parametrize("seed", [0, 42, 2**32 - 1])
def test_a_draw_is_the_published_one(seed: int) -> None:
    flat = SCORES.ravel()
    candidates = [unit for unit in range(101) if 20 <= flat[unit] <= 60]
    expected = np.random.RandomState(seed).choice(candidates, 9, replace=False)
    mask = select_units(SCORES, 9, localize_range="20-60", seed=seed)
    assert chosen(mask) == {int(unit) for unit in expected}


def test_the_seed_decides_on_a_draw() -> None:
    draws = [select_units(SCORES, 20, localize_range="0-100", seed=s) for s in (1, 1, 2)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0] != draws[2]).any()


@pytest.mark.parametrize("where", ["100-100", "0-0"])
def test_the_seed_decides_on_nothing_else(where: str) -> None:
    masks = [select_units(SCORES, 20, localize_range=where, seed=seed) for seed in (1, 2)]
    np.testing.assert_array_equal(*masks)


def test_a_draw_per_layer_has_the_shares_of_the_layers() -> None:
    scores = np.tile(SCORES, (3, 1))
    mask = select_units(scores, 11, localize_range="50-60", per_layer=True)
    assert mask.sum(axis=1).tolist() == [4, 4, 3]
    assert set(scores[mask]) <= set(range(50, 61))
    assert not (mask[0] == mask[1]).all()


def test_a_range_with_too_few_units_is_refused() -> None:
    message = refusal(lambda: select_units(SCORES, 4, localize_range="50-52"))
    assert "50-52 holds 3 units, 4 were asked for" in message


@pytest.mark.parametrize("where", ["100-100", "0-0", "10-90"])
@pytest.mark.parametrize("per_layer", [False, True])
def test_global_random_states_are_left_alone(where: str, per_layer: bool) -> None:
    np.random.seed(7)
    random.seed(7)
    expected = np.random.random(), random.random()
    np.random.seed(7)
    random.seed(7)
    select_units(SCORES, 5, localize_range=where, per_layer=per_layer, seed=3)
    assert (np.random.random(), random.random()) == expected


def test_the_scores_are_left_alone() -> None:
    scores = SCORES.copy()
    select_units(scores, 5)
    np.testing.assert_array_equal(scores, SCORES)


@pytest.mark.parametrize("where", ["100-100", "0-0", "10-90"])
def test_units_without_a_score_are_refused(where: str) -> None:
    scores = SCORES.copy()
    scores[0, [3, 5]] = np.nan
    assert "2 units have no score" in refusal(lambda: select_units(scores, 5, localize_range=where))


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_numpy_does_not_take_is_refused(seed: int) -> None:
    message = refusal(lambda: select_units(SCORES, 5, localize_range="10-90", seed=seed))
    assert str(seed) in message


@pytest.mark.parametrize(
    ("text", "start", "end", "draw"),
    [
        ("100-100", 100, 100, False),
        ("0-0", 0, 0, False),
        ("80-90", 80, 90, True),
        ("0-100", 0, 100, True),
        ("99.5-100", 99.5, 100, True),
    ],
)
def test_ranges(text: str, start: float, end: float, draw: bool) -> None:
    where = PercentileRange.parse(text)
    assert (where.start, where.end, where.is_draw) == (start, end, draw)


@pytest.mark.parametrize(
    "text",
    [
        *("90-80", "abc", "50-50", "-1-5", "0-101", "nan-100", "0-nan", "nan-nan", "inf-inf"),
        *("", "-", "100", "80-90-95", "101-101", "0--0.1", "80:90"),
    ],
)
def test_impossible_ranges_are_refused(text: str) -> None:
    for call in (
        lambda: PercentileRange.parse(text),
        lambda: select_units(SCORES, 5, localize_range=text),
    ):
        message = refusal(call)
        assert repr(text) in message
        assert "use 100-100" in message


@pytest.mark.parametrize(
    ("percentage", "total", "k"),
    [
        (0.29, 10_000, 29),
        (0.57, 10_000, 57),
        (1.13, 10_000, 113),
        (1, 17_280, 172),
        (1.0, 17_280, 172),
        (5.0, 9_216, 460),
        (0.07, 10_000, 7),
        (57.0, 100, 57),
        (0.1, 1_000, 1),
        (1e-2, 10_000, 1),
        (99.99, 10_000, 9_999),
        (100, 17_280, 17_280),
    ],
)
def test_a_percentage_is_exact(percentage: float, total: int, k: int) -> None:
    assert count_units(total, percentage=percentage) == k


@settings(max_examples=300, deadline=None)
@given(
    st.integers(1, 10_000),
    st.integers(1, 10**6) | st.integers(1, 100).map(lambda thousands: thousands * 1_000),
)
def test_hundredths_of_a_percent_are_exact(hundredths: int, total: int) -> None:
    k = hundredths * total // 10_000
    percentage = float(f"{hundredths // 100}.{hundredths % 100:02d}")
    if k:
        assert count_units(total, percentage=percentage) == k
    else:
        message = refusal(lambda: count_units(total, percentage=percentage))
        assert f"{percentage}% of {total} units is less than one unit" in message


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int64])
def test_a_percentage_may_be_of_numpy(kind: type) -> None:
    assert count_units(1_000, percentage=kind(5)) == 50


def test_the_percentage_that_a_refusal_proposes_is_enough() -> None:
    message = refusal(lambda: count_units(17_280, percentage=0.005))
    proposed = float(message.split("at least ")[1].split()[0])
    assert count_units(17_280, percentage=proposed) >= 1


@pytest.mark.parametrize("percentage", [0, 0.0, -1, 101, 100.01, np.nan, np.inf, -np.inf])
def test_impossible_percentages_are_refused(percentage: float) -> None:
    message = refusal(lambda: count_units(1_000, percentage=percentage))
    assert "above 0 and at most 100" in message
    assert str(percentage) in message


@pytest.mark.parametrize("num_units", [1, 500, 1_000])
def test_a_number_of_units_is_that_number(num_units: int) -> None:
    assert count_units(1_000, num_units=num_units) == num_units


@pytest.mark.parametrize("num_units", [0, -1, 1_001, 2.5])
def test_impossible_numbers_of_units_are_refused(num_units: float) -> None:
    assert f"got {num_units}" in refusal(lambda: count_units(1_000, num_units=num_units))


def test_both_or_neither_are_refused() -> None:
    for given_ in ({}, {"percentage": 1.0, "num_units": 10}):
        message = refusal(lambda given_=given_: count_units(1_000, **given_))
        assert "either a percentage or a number of units" in message


# Units that are barred.

barred_too = tied.flatmap(lambda s: st.tuples(st.just(s), hnp.arrays(bool, s.shape)))


@modest
@given(barred_too, ranks, st.data())
def test_of_what_is_not_barred_the_best_k(
    both: tuple[np.ndarray, np.ndarray], where: str, data: st.DataObject
) -> None:
    scores, barred = both
    k = data.draw(st.integers(1, scores.size))
    if k > (~barred).sum():
        message = refusal(lambda: select_units(scores, k, localize_range=where, barred=barred))
        assert f"{k} units of the model were asked for and only {(~barred).sum()} may" in message
        assert f"({barred.sum()} are excluded)" in message
        return
    mask = select_units(scores, k, localize_range=where, barred=barred)
    places = np.flatnonzero(~barred)
    left = best(scores.ravel()[places].tolist(), k, highest=where == "100-100")
    assert chosen(mask) == {int(places[place]) for place in left}
    assert mask.sum() == k
    assert not (mask & barred).any()


@modest
@given(barred_too, ranks, st.data())
def test_per_layer_the_shares_stay_and_none_is_barred(
    both: tuple[np.ndarray, np.ndarray], where: str, data: st.DataObject
) -> None:
    scores, barred = both
    k = data.draw(st.integers(1, scores.size))
    least, more = divmod(k, len(scores))
    shares = [least + (layer < more) for layer in range(len(scores))]
    free = (~barred).sum(axis=1).tolist()
    short = [layer for layer, share in enumerate(shares) if share > free[layer]]

    def select() -> np.ndarray:
        return select_units(scores, k, localize_range=where, per_layer=True, barred=barred)

    if short:
        first = short[0]
        assert f"{shares[first]} units of layer {first} were asked for" in refusal(select)
        return
    mask = select()
    assert mask.sum(axis=1).tolist() == shares
    assert not (mask & barred).any()
    for row, layer, out in zip(mask, scores, barred, strict=True):
        places = np.flatnonzero(~out)
        left = best(layer[places].tolist(), int(row.sum()), highest=where == "100-100")
        assert chosen(row) == {int(places[place]) for place in left}


@modest
@given(barred_too, st.data())
def test_a_draw_is_between_the_percentiles_of_what_is_not_barred(
    both: tuple[np.ndarray, np.ndarray], data: st.DataObject
) -> None:
    scores, barred = both
    start = data.draw(st.integers(0, 99))
    end = data.draw(st.integers(start + 1, 100))
    k = data.draw(st.integers(1, scores.size))
    places = np.flatnonzero(~barred)
    inside = places
    if places.size:
        free = scores.ravel()[places]
        low, high = np.percentile(free, [start, end])
        inside = places[(free >= low) & (free <= high)]

    def select() -> np.ndarray:
        return select_units(scores, k, localize_range=f"{start}-{end}", barred=barred)

    if k > inside.size:
        assert "ask for fewer" in refusal(select)
        return
    assert select().sum() == k
    assert chosen(select()) <= set(inside.tolist())


def test_nothing_barred_is_no_barring() -> None:
    nothing = np.zeros(SCORES.shape, dtype=bool)
    for where in ("100-100", "0-0", "20-60"):
        first = select_units(SCORES, 9, localize_range=where)
        np.testing.assert_array_equal(
            first, select_units(SCORES, 9, localize_range=where, barred=nothing)
        )


def test_a_draw_with_units_barred_is_that_of_numpy() -> None:
    barred = SCORES > 90
    # Scores 0 to 90 are left: their upper half is 45 to 90.
    places = [place for place in range(91) if SCORES[~barred][place] >= 45]
    expected = np.random.RandomState(3).choice(places, 9, replace=False)
    mask = select_units(SCORES, 9, localize_range="50-100", seed=3, barred=barred)
    assert chosen(mask) == {int(np.flatnonzero(~barred)[place]) for place in expected}


def test_a_draw_per_layer_with_units_barred() -> None:
    scores = np.tile(SCORES, (3, 1))
    barred = scores > 90
    barred[2] = True
    mask = select_units(scores, 2, localize_range="50-100", per_layer=True, barred=barred)
    assert mask.sum(axis=1).tolist() == [1, 1, 0]
    assert ((scores[mask] >= 45) & (scores[mask] <= 90)).all()
