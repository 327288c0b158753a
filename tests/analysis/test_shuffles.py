"""Shuffled labels keep the design; sums over many sets at once are the moments of each."""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import chisquare

from lsns.analysis.shuffles import Centered, shuffle_labels, shuffled_moments
from lsns.errors import LsnsError
from lsns.moments import Moments

modest = settings(max_examples=60, deadline=None)
FIELDS = ("mean", "m2", "abs_mean", "abs_m2")
# A label and a group for each item.
designs = st.lists(st.tuples(st.booleans(), st.sampled_from("abcdefgh")), min_size=4, max_size=20)


def shuffled(design: list[tuple[bool, str]], count: int = 5, seed: int = 0):
    positive = np.array([label for label, _ in design])
    groups = [group for _, group in design]
    try:
        return positive, groups, shuffle_labels(positive, groups, count, seed=seed)
    except LsnsError:
        # A single group on one side can hardly be shuffled: tested below.
        assume(False)
        raise


@modest
@given(designs, st.integers(0, 2**32 - 1))
def test_a_shuffle_keeps_the_design(design, seed):
    positive, groups, labels = shuffled(design, seed=seed)
    assert labels.shape == (5, len(design))
    for row in labels:
        one_sided, before = [], []
        for group in set(groups):
            inside = [i for i, other in enumerate(groups) if other == group]
            true, new = positive[inside], row[inside]
            if 0 < true.sum() < len(inside):
                # Both conditions in a group: as many of each as there were.
                assert new.sum() == true.sum()
            else:
                # One condition: the group moves as a whole.
                assert len(set(new.tolist())) == 1
                one_sided.append(bool(new[0]))
                before.append(bool(true[0]))
        assert sum(one_sided) == sum(before)
        assert 2 <= row.sum() <= len(row) - 2


@modest
@given(designs)
def test_the_same_seed_gives_the_same_labels_and_leaves_the_true_ones(design):
    positive, groups, labels = shuffled(design)
    untouched = positive.copy()
    again = shuffle_labels(positive, groups, 5, seed=0)
    assert np.array_equal(labels, again)
    assert np.array_equal(positive, untouched)


def test_another_seed_gives_other_labels():
    positive, groups = np.arange(20) < 10, [str(i) for i in range(20)]
    first, second = (shuffle_labels(positive, groups, 3, seed=seed) for seed in (0, 1))
    assert not np.array_equal(first, second)
    assert len({row.tobytes() for row in (*first, *second)}) == 6


def test_items_without_groups_keep_their_numbers():
    positive = np.arange(30) < 11
    labels = shuffle_labels(positive, [str(i) for i in range(30)], 50, seed=0)
    assert (labels.sum(axis=1) == 11).all()


@pytest.mark.parametrize(
    ("positive", "groups", "ways"),
    [
        ([1, 1, 0, 0], "abcd", 6),
        ([1, 0, 1, 0, 1, 0], "aabbcc", 8),
        ([1, 1, 1, 0, 0, 0], "aabbcc", None),
        # Pairs of one condition: three groups of two change sides together, two of four ways.
        ([1, 1, 1, 1, 0, 0, 0, 0], "aabbccdd", 6),
    ],
)
def test_every_way_is_as_likely(positive, groups, ways):
    true = np.array(positive, dtype=bool)
    labels = shuffle_labels(true, list(groups), 3000, seed=0)
    counts = Counter(row.tobytes() for row in labels)
    expected = ways or sum(possible(true, groups, row) for row in product((0, 1), repeat=6))
    assert len(counts) == expected
    assert chisquare(list(counts.values())).pvalue > 1e-3


def possible(true: np.ndarray, groups: str, row: tuple[int, ...]) -> bool:
    """Slow and obvious: whether a row of labels keeps the design."""
    sides = {False: [], True: []}
    for group in sorted(set(groups)):
        before = [int(true[i]) for i, g in enumerate(groups) if g == group]
        after = [row[i] for i, g in enumerate(groups) if g == group]
        if len(set(before)) == 2:
            if sum(after) != sum(before):
                return False
            continue
        if len(set(after)) == 2:
            return False
        sides[False].append(before[0])
        sides[True].append(after[0])
    return sum(sides[False]) == sum(sides[True])


@modest
@given(designs, st.lists(st.integers(1, 3), min_size=20, max_size=20), st.randoms())
def test_copies_of_a_text_move_as_one(design, times, random):
    """In any order of the items; and what is there once moves as it did without copies."""
    positive, groups, plain = shuffled(design)
    numbers = np.repeat(np.arange(len(design)), times[: len(design)])
    random.shuffle(numbers)
    copied = [groups[i] for i in numbers]
    labels = shuffle_labels(positive[numbers], copied, 5, seed=0, texts=numbers)
    for row in labels:
        assert len({(text, side) for text, side in zip(numbers, row, strict=True)}) == len(design)
    once = np.arange(len(design))
    assert np.array_equal(shuffle_labels(positive, groups, 5, seed=0, texts=once), plain)


@pytest.mark.parametrize(("groups", "ways"), [("abcdef", 20), ("abcabc", 8)])
def test_copies_of_texts_can_be_shuffled_in_as_many_ways_as_the_texts(groups, ways):
    positive, texts = np.tile([True] * 3 + [False] * 3, 4), np.tile(np.arange(6), 4)
    labels = shuffle_labels(positive, list(groups) * 4, 3000, seed=0, texts=texts)
    counts = Counter(row.tobytes() for row in labels)
    assert len(counts) == ways
    assert chisquare(list(counts.values())).pvalue > 1e-3


def test_uneven_groups_leave_two_items_on_either_side():
    positive = np.array([True] * 8 + [False] * 20)
    groups = ["run"] * 6 + ["b", "c"] + [f"n{i}" for i in range(20)]
    labels = shuffle_labels(positive, groups, 200, seed=0)
    assert labels.sum(axis=1).min() >= 2
    assert len(np.unique(labels.sum(axis=1))) > 1


def test_one_group_against_many_items_cannot_be_shuffled():
    positive = np.array([True] * 5 + [False] * 500)
    groups = ["run"] * 5 + [f"n{i}" for i in range(500)]
    with pytest.raises(LsnsError, match="too few or too uneven"):
        shuffle_labels(positive, groups, 100, seed=0)


def of_items(rows: np.ndarray) -> Moments:
    return Moments.of(rows[:, None, :])


def assert_moments(found: tuple[np.ndarray, ...], place: int, rows: np.ndarray, scale=0.0) -> None:
    expected = of_items(rows)
    for name, array in zip(FIELDS, found, strict=True):
        np.testing.assert_allclose(
            array[place], getattr(expected, name)[0], rtol=1e-9, atol=scale, err_msg=name
        )


def test_sums_over_sets_are_the_moments_of_their_items():
    rng = np.random.default_rng(0)
    rows = rng.normal(0, 1, (40, 6)).astype(np.float32)
    rows[:, 1] = 0.1  # constant
    rows[:, 2] = rows[:, 2] + 1e6  # a huge offset
    rows[:, 3] *= 1e-6
    rows[:, 4] *= 1e12
    rows[:, 5] = -300 + np.abs(rows[:, 5])
    sets = rng.random((25, 40)) < 0.5
    sets[0] = True
    sets[1] = np.arange(40) < 2
    found = Centered(rows).moments(sets)
    assert (found[1][:, 1] == 0).all()
    assert (found[3][:, 1] == 0).all()
    for place, chosen in enumerate(sets):
        assert_moments(found, place, rows[chosen])


@modest
@given(
    hnp.arrays(np.float32, (8, 3), elements=st.floats(-1e4, 1e4, width=32)),
    hnp.arrays(bool, (4, 8)),
)
def test_sums_over_any_sets(rows, sets):
    sets = sets[sets.any(axis=1)]
    found = Centered(rows).moments(sets)
    spread = np.square(rows.astype(float) - rows[0].astype(float)).sum()
    for place, chosen in enumerate(sets):
        assert_moments(found, place, rows[chosen], scale=1e-9 * (spread + 1e-6))
        assert all((found[k][place] >= 0).all() for k in (1, 3))


def test_a_unit_that_is_constant_within_a_set_has_no_variance_there():
    rows = np.array([[0.1], [0.1], [0.1], [7.3], [7.3]], dtype=np.float32)
    first, both = np.array([True] * 3 + [False] * 2), np.array([True] * 5)
    found = Centered(rows).moments(np.stack([first, ~first, both]))
    assert found[1][:2].tolist() == [[0.0], [0.0]]
    assert found[1][2, 0] == pytest.approx(np.var(rows[:, 0].astype(float)) * 5)


def test_moments_under_each_shuffle():
    rng = np.random.default_rng(0)
    rows = rng.normal(2, 3, (12, 4)).astype(np.float32)
    labels = rng.random((9, 12)) < 0.5
    labels[:, :2], labels[:, 2:4] = True, False
    seen = []
    for which, positive, negative in shuffled_moments(Centered(rows), labels):
        for place, shuffle in enumerate(which.tolist()):
            seen.append(shuffle)
            for part, chosen in ((positive, labels[shuffle]), (negative, ~labels[shuffle])):
                assert part.n == chosen.sum()
                assert_moments(tuple(getattr(part, f) for f in FIELDS), place, rows[chosen])
    assert sorted(seen) == list(range(9))
