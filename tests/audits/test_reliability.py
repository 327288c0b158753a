"""Would other items give the same units: against scipy on the single items of every half."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
import pytest
from scipy.stats import hypergeom, ttest_ind

from lsns.analysis import METHODS, NMDAnalyzer, TTestAnalyzer
from lsns.audits.items import Items
from lsns.audits.reliability import (
    Reliability,
    _correlate,
    _random_parts,
    _single_folds,
    _spearman_brown,
    measure_reliability,
)
from lsns.errors import LsnsError
from lsns.measurement import fold_of_items
from lsns.moments import Moments
from tests.audits.data import fold_moments, make_items, noise_with

PLANTED = [(0, 3), (1, 7), (1, 8), (2, 0), (2, 49)]
FIVE = TTestAnalyzer({"num_units": 5})


def sides(*counts: tuple[int, int]) -> list[tuple[Moments, Moments]]:
    """Folds with so many positive and negative items."""
    rng = np.random.default_rng(0)
    return [(moments(rng, a), moments(rng, b)) for a, b in counts]


def moments(rng: np.random.Generator, n: int) -> Moments:
    return Moments.of(rng.normal(size=(n, 2, 30)))


def row_of(found: Reliability, split: str, place: int = 0):
    return [row for row in found.rows if row.split == split][place]


def test_halves_are_complementary_and_all_different():
    folds = [(3, 3)] * 10
    halves = _random_parts(folds, 5, 1000, seed=0)
    # 10 over 5, each split once and not twice.
    assert len(halves) == comb(10, 5) / 2 == 126
    assert len({frozenset(half) for half in halves}) == 126
    for one, other in halves:
        assert len(one) == len(other) == 5
        assert sorted(one + other) == list(range(10))


def test_halves_follow_the_seed():
    folds = [(3, 3)] * 10
    first = _random_parts(folds, 5, 20, seed=0)
    assert len(first) == 20
    assert _random_parts(folds, 5, 20, seed=0) == first
    assert _random_parts(folds, 5, 20, seed=1) != first


@pytest.mark.parametrize("used", [2, 3, 5, 9])
def test_halves_of_fewer_folds(used):
    folds = [(4, 4)] * used + [(0, 0)] * (10 - used)
    small = used // 2
    halves = _random_parts(folds, small, 1000, seed=0)
    assert len(halves) == (comb(used, small) if used % 2 else comb(used, small) // 2)
    for one, other in halves:
        assert sorted(one + other) == list(range(used))
        assert abs(len(one) - len(other)) == used % 2


def test_every_half_has_two_items_of_either_condition():
    folds = [(9, 0), (9, 0), (0, 9), (0, 9)]
    halves = _random_parts(folds, 2, 100, seed=0)
    assert {frozenset(half) for half in halves} == {
        frozenset([(0, 2), (1, 3)]),
        frozenset([(0, 3), (1, 2)]),
    }


def test_a_group_is_never_in_both_halves():
    groups = [f"pair {i % 30}" for i in range(60)]
    of_item = np.array(fold_of_items(groups, 10))
    folds = [(3, 3)] * 10
    for one, other in _random_parts(folds, 5, 50, seed=0):
        first = {groups[i] for i in np.flatnonzero(np.isin(of_item, one))}
        second = {groups[i] for i in np.flatnonzero(np.isin(of_item, other))}
        assert not first & second
        assert len(first) + len(second) == 30


def test_each_fold_with_all_others():
    pairs = _single_folds([(2, 2)] * 4)
    assert pairs == [((0,), (1, 2, 3)), ((1,), (0, 2, 3)), ((2,), (0, 1, 3)), ((3,), (0, 1, 2))]


def test_small_folds_are_joined():
    pairs = _single_folds([(1, 1)] * 5 + [(0, 0)])
    assert pairs == [((0, 1), (2, 3, 4)), ((2, 3, 4), (0, 1))]


@pytest.mark.parametrize(
    "counts", [[(1, 1), (1, 1)], [(5, 1)] * 3, [(30, 30)], [(5, 0), (0, 5)], [(9, 1), (9, 0)]]
)
def test_too_few_items_or_groups(counts):
    with pytest.raises(LsnsError, match="cannot be split in halves") as caught:
        measure_reliability(sides(*counts), [FIVE])
    assert "\n" not in str(caught.value)


def test_copies_of_a_text_are_one_text():
    """Thirty items of either condition in each fold, and one text of one condition."""
    folds, texts = sides(*[(30, 30)] * 3), [(1, 0), (0, 1), (1, 1)]
    assert measure_reliability(folds, [FIVE]).rows
    with pytest.raises(LsnsError, match="two different ones"):
        measure_reliability(folds, [FIVE], counts=texts)


def test_halves_without_folds():
    """Groups that each hold one condition: halves there are, but no neighbours to join."""
    counts = [(9, 0), (9, 0), (0, 9), (0, 9)]
    assert _single_folds(counts) == []
    found = measure_reliability(sides(*counts), [FIVE])
    assert {row.split for row in found.rows} == {"halves"}
    assert [row.split for row in found.scores] == ["halves"]


def test_planted_units_are_in_both_halves_of_every_split():
    items = make_items(noise_with(PLANTED, 8), 40)
    found = measure_reliability(fold_moments(items), [FIVE], items=items)
    for split, n in (("halves", 20), ("folds", 10)):
        row = row_of(found, split)
        assert (row.n, row.units, row.chosen) == (n, 5, True)
        assert row.dice == row.dice_low == row.dice_high == row.jaccard == row.phi == 1
        assert row.dice_chance == pytest.approx(5 / 150)
        assert row.dice_shuffled is not None
        assert row.dice_shuffled < 0.25
    halves, folds = found.scores
    assert halves.r_corrected == pytest.approx(2 * halves.r / (1 + halves.r))
    assert folds.r_corrected is None


def test_noise_and_shuffled_labels_agree_by_chance():
    effects = {"noise": 0.0, "effect": 8.0}
    planted = [(0, unit) for unit in range(30)]
    tenth = TTestAnalyzer({"percentage": 10})
    # Of two masks of 60 of 600 units, and of two score maps without anything in common.
    dice, r = hypergeom(600, 60, 60).std() / 60, 600**-0.5
    for name, effect in effects.items():
        items = make_items(noise_with(planted, effect, shape=(3, 200)), 40)
        found = measure_reliability(fold_moments(items), [tenth], items=items)
        for split, score in zip(("halves", "folds"), found.scores, strict=True):
            row = row_of(found, split)
            assert row.dice_chance == pytest.approx(0.1)
            # Every split is shuffled anew: a mean of n independent numbers.
            assert row.dice_shuffled == pytest.approx(0.1, abs=4 * dice / row.n**0.5)
            assert score.r_shuffled == pytest.approx(0, abs=4 * r / score.n**0.5)
            if name == "noise":
                # Splits of the same items are not independent: their mean varies less than one.
                assert row.dice == pytest.approx(0.1, abs=4 * dice)
                assert row.phi == pytest.approx(0, abs=4 * dice / 0.9)
                assert score.r == pytest.approx(0, abs=4 * r)
            else:
                # Half of the units are planted, and in both masks.
                assert row.dice >= 0.5
                assert score.r > 0.3


@pytest.mark.parametrize("split", ["halves", "folds"])
def test_every_number_from_the_single_items(split):
    planted = [(0, unit) for unit in range(12)]
    items = make_items(noise_with(planted, 0.8, shape=(3, 40)), 40, n_folds=6)
    analyzers = [TTestAnalyzer({"num_units": k}) for k in (10, 30)]
    folds = fold_moments(items)
    found = measure_reliability(folds, analyzers, n_halves=7, seed=3)
    counts = [(a.n, b.n) for a, b in folds]
    splits = _random_parts(counts, 3, 7, seed=3) if split == "halves" else _single_folds(counts)
    scores = [[slow_scores(items, part) for part in pair] for pair in splits]
    r = [np.corrcoef(first.ravel(), second.ravel())[0, 1] for first, second in scores]
    maps = next(row for row in found.scores if row.split == split)
    assert maps.r == pytest.approx(np.mean(r), rel=1e-9)
    assert [maps.r_low, maps.r_high] == pytest.approx(np.percentile(r, [2.5, 97.5]), rel=1e-9)
    for place, k in enumerate((10, 30)):
        dice = [len(top(first, k) & top(second, k)) / k for first, second in scores]
        row = row_of(found, split, place)
        assert 0.1 < np.mean(dice) < 0.9
        assert row.dice == pytest.approx(np.mean(dice))
        assert [row.dice_low, row.dice_high] == pytest.approx(np.percentile(dice, [2.5, 97.5]))
        assert row.jaccard == pytest.approx(np.mean([d / (2 - d) for d in dice]))
        share = k / 120
        phi = np.mean([(d - share) / (1 - share) for d in dice])
        assert row.phi == pytest.approx(phi)
        if split == "halves":
            assert maps.r_corrected == pytest.approx(2 * np.mean(r) / (1 + np.mean(r)))


def slow_scores(items: Items, part: tuple[int, ...]) -> np.ndarray:
    inside = np.isin(items.folds, part)
    x = np.abs(np.asarray(items.rows).astype(float))
    first, second = x[inside & items.positive], x[inside & ~items.positive]
    return ttest_ind(first, second, equal_var=False).statistic


def top(scores: np.ndarray, k: int) -> set[int]:
    return set(np.argsort(-scores.ravel())[:k].tolist())


def test_a_row_for_each_amount_the_first_is_the_localizations():
    items = make_items(noise_with(PLANTED, 2), 40)
    analyzers = [
        FIVE,
        TTestAnalyzer({"percentage": 2.0}),
        TTestAnalyzer({"percentage": 10.0, "per_layer": True}),
    ]
    found = measure_reliability(fold_moments(items), analyzers)
    for split in ("halves", "folds"):
        rows = [row for row in found.rows if row.split == split]
        assert [row.chosen for row in rows] == [True, False, False]
        assert [row.percentage for row in rows] == [None, 2.0, 10.0]
        assert [row.units for row in rows] == [5, 3, 15]
    assert all(row.dice_shuffled is row.jaccard_shuffled is None for row in found.rows)
    assert all(row.r_shuffled is None for row in found.scores)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_and_layer_by_layer(method):
    items = make_items(noise_with(PLANTED, 8), 40)
    found = measure_reliability(fold_moments(items), [METHODS[method]({"num_units": 5})])
    row = row_of(found, "halves")
    assert row.units == 5
    # nmd takes 2, 2 and 1 units of the layers, and 1, 2 and 2 are planted: 1 and 2 of them are in
    # every mask, and of the last layer either one.
    assert row.dice >= (3 / 5 if method == "nmd" else 1)


def test_nmd_takes_as_many_of_each_layer():
    items = make_items(noise_with([(0, 3), (1, 7), (2, 0)], 8), 40)
    found = measure_reliability(fold_moments(items), [NMDAnalyzer({"percentage": 2})])
    assert row_of(found, "halves").units == 3
    assert row_of(found, "halves").dice == 1


def test_units_that_cannot_be_selected_are_not():
    items = make_items(noise_with([(0, unit) for unit in range(5)], 8), 40)
    barred = np.zeros((3, 50), dtype=bool)
    barred[0] = True
    found = measure_reliability(fold_moments(items), [FIVE], barred=barred)
    assert row_of(found, "halves").dice < 0.4


def test_labels_that_cannot_be_shuffled_leave_the_rest():
    rows = noise_with(PLANTED, 8, n=200)
    positive = np.arange(400) < 200
    # Two groups of positive items, one in each half, against groups of one.
    groups = [f"run {i % 2}" for i in range(200)] + [str(i) for i in range(200)]
    folds = np.array(fold_of_items(groups, 10))
    items = Items(rows, positive, groups, folds)
    found = measure_reliability(fold_moments(items), [FIVE], items=items)
    assert row_of(found, "halves").dice == 1
    assert row_of(found, "halves").dice_shuffled is None


@pytest.mark.parametrize("size", [1, 2, 4])
def test_parts_of_as_many_folds_share_none(size):
    parts = _random_parts([(3, 3)] * 10, size, 30, seed=0)
    assert len({frozenset(pair) for pair in parts}) == len(parts) == 30
    for one, other in parts:
        assert len(one) == len(other) == size
        assert not set(one) & set(other)
    every = comb(10, size) * comb(10 - size, size) // 2
    assert len(_random_parts([(3, 3)] * 10, size, 10**6, seed=0)) == every


def test_the_curve_over_numbers_of_items():
    """Against scipy on the single items; with more of them the masks are more alike."""
    planted = [(0, unit) for unit in range(12)]
    items = make_items(noise_with(planted, 0.8, n=60, shape=(3, 40)), 60)
    folds = fold_moments(items)
    twelve, other = TTestAnalyzer({"num_units": 12}), TTestAnalyzer({"num_units": 3})
    found = measure_reliability(folds, [twelve, other], items=items, seed=2)
    assert [(row.split, row.items, row.units, row.n) for row in found.curve] == [
        ("parts", 12 * size, 12, 20) for size in (1, 2, 3, 4)
    ]
    dice = [row.dice for row in (*found.curve, row_of(found, "halves"))]
    assert dice == sorted(dice)
    assert dice[0] < 0.4 < 0.6 < dice[-1]
    assert (row_of(found, "halves").items, row_of(found, "folds").items) == (60, 12)
    counts = [(a.n, b.n) for a, b in folds]
    for size, row in enumerate(found.curve, 1):
        pairs = _random_parts(counts, size, 20, seed=2)
        masks = [[top(slow_scores(items, part), 12) for part in pair] for pair in pairs]
        assert row.dice == pytest.approx(np.mean([len(a & b) / 12 for a, b in masks]))
        assert row.dice_shuffled == pytest.approx(0.1, abs=0.12)


def test_a_spread_over_splits_is_called_one():
    items = make_items(noise_with(PLANTED, 2), 40)
    text = measure_reliability(fold_moments(items), [FIVE], items=items).table().text()
    head = text.splitlines()[1]
    assert "range over splits" in head
    assert "95%  " not in head
    assert "phi" in head.split()
    assert sum(line.startswith("parts *") for line in text.splitlines()) == 4


def test_the_same_seed_gives_the_same():
    items = make_items(noise_with(PLANTED, 1), 40)
    first, again, other = (
        measure_reliability(fold_moments(items), [FIVE], items=items, seed=seed)
        for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


def test_shuffled_halves_share_no_item():
    """Units that answer to single items only: masks of halves have nothing in common."""
    n = 24
    rows = np.zeros((2 * n, 1, 2 * n), dtype=np.float32)
    rows[np.arange(2 * n), 0, np.arange(2 * n)] = 1
    rows += np.random.default_rng(0).normal(0, 1e-3, rows.shape).astype(np.float32)
    items = make_items(rows, n, n_folds=6)
    found = measure_reliability(fold_moments(items), [TTestAnalyzer({"num_units": 8})], items=items)
    # Two masks of 8 of 48 units, drawn at random, share 1.33 of them, with standard deviation 0.97.
    assert hypergeom(48, 8, 8).std() / 8 == pytest.approx(0.12, abs=0.005)
    for row in found.rows:
        most = row.dice_chance + 3 * 0.12 / row.n**0.5
        assert row.dice < most < 0.35
        assert row.dice_shuffled is not None
        assert row.dice_shuffled < most


def test_real_data(published):
    measurement = published.measurement
    contrast = measurement.contrast
    rows = measurement.activations()
    items = Items(rows, np.arange(480) < 240, contrast.groups, np.array(measurement.items["fold"]))
    found = measure_reliability(measurement.folds, [published.analyzer], items=items)
    row = row_of(found, "halves")
    assert (row.n, row.units) == (20, 172)
    assert row.dice == pytest.approx(0.656, abs=0.03)
    assert row.dice_shuffled == pytest.approx(0.010, abs=0.01)
    assert row.dice_chance == pytest.approx(172 / 17280)


def test_all_splits_of_folds_are_possible_halves():
    """Counted another way: the halves of six folds are the ways to choose who is with fold 0."""
    halves = _random_parts([(2, 2)] * 6, 3, 1000, seed=0)
    with_first = {frozenset(half) for pair in halves for half in pair if 0 in half}
    assert with_first == {frozenset((0, *others)) for others in combinations(range(1, 6), 2)}


def test_the_correlation_is_numpys():
    rng = np.random.default_rng(0)
    first, second = rng.normal(50, 3, (2, 3, 8))
    expected = np.corrcoef(first.ravel(), second.ravel())[0, 1]
    assert _correlate(first, second) == pytest.approx(expected, abs=1e-12)
    assert _correlate(first, -2 * first + 7) == pytest.approx(-1)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e9 / 3])
def test_a_constant_map_correlates_with_nothing(value):
    constant = np.full((10, 1), value)
    assert _correlate(constant, np.arange(10.0).reshape(10, 1)) == 0
    assert _correlate(constant, constant) == 0


def test_spearman_brown_is_what_all_items_give():
    """Two tests of 2n items correlate as the formula says from the correlation of n with n."""
    rng = np.random.default_rng(0)
    trait = rng.normal(size=200_000)
    quarters = trait + rng.normal(0, 1.5, (4, 200_000))
    halves = np.corrcoef(quarters[0], quarters[1])[0, 1]
    whole = np.corrcoef(quarters[0] + quarters[1], quarters[2] + quarters[3])[0, 1]
    assert _spearman_brown(halves) == pytest.approx(whole, abs=0.01)
    assert whole - halves > 0.1


@pytest.mark.parametrize(("r", "corrected"), [(1, 1), (0.5, 2 / 3), (0, 0), (-0.2, -0.2)])
def test_spearman_brown_by_hand(r, corrected):
    assert _spearman_brown(r) == pytest.approx(corrected)
