"""Agreement of masks and of score maps: against sets, numpy's correlations and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lsns.audits.agreement import compare_masks, correlate, mean_agreement, spearman_brown

modest = settings(max_examples=60, deadline=None)
SHAPE = (3, 8)
masks = hnp.arrays(bool, SHAPE)


def mask_of(*units: int) -> np.ndarray:
    flat = np.zeros(24, dtype=bool)
    flat[list(units)] = True
    return flat.reshape(SHAPE)


@modest
@given(masks, masks)
def test_dice_and_jaccard_are_those_of_sets(first, second):
    a, b = set(np.flatnonzero(first).tolist()), set(np.flatnonzero(second).tolist())
    assume(a and b)
    found = compare_masks(first, second)
    assert found.dice == pytest.approx(2 * len(a & b) / (len(a) + len(b)))
    assert found.jaccard == pytest.approx(len(a & b) / len(a | b))


@modest
@given(masks, masks)
def test_phi_is_the_correlation_of_the_masks(first, second):
    assume(0 < first.sum() < 24 and 0 < second.sum() < 24)
    found = compare_masks(first, second)
    expected = np.corrcoef(first.ravel().astype(float), second.ravel().astype(float))[0, 1]
    assert found.phi == pytest.approx(expected, abs=1e-12)


@modest
@given(st.permutations(range(24)), st.permutations(range(24)), st.integers(1, 23))
def test_of_masks_of_one_size_phi_is_kappa_and_dice_corrected_for_chance(one, other, k):
    first, second = mask_of(*one[:k]), mask_of(*other[:k])
    found = compare_masks(first, second)
    share = k / 24
    observed, expected = (first == second).mean(), share**2 + (1 - share) ** 2
    assert found.phi == pytest.approx((observed - expected) / (1 - expected), abs=1e-12)
    chance = found.dice_chance
    assert found.phi == pytest.approx((found.dice - chance) / (1 - chance), abs=1e-12)


def test_chance_is_what_random_masks_give():
    rng = np.random.default_rng(0)
    first = mask_of(0, 1, 2, 3, 4, 5)
    drawn = [compare_masks(first, mask_of(*rng.permutation(24)[:4])) for _ in range(3000)]
    dice = np.array([one.dice for one in drawn])
    error = dice.std() / np.sqrt(len(dice))
    assert drawn[0].dice_chance == pytest.approx(dice.mean(), abs=4 * error)
    assert 4 * error < 0.02
    # 6 * 4 / 24 units are shared by chance.
    assert drawn[0].jaccard_chance == pytest.approx(1 / (6 + 4 - 1))


def test_the_same_and_disjoint_masks():
    same = compare_masks(mask_of(1, 2, 3), mask_of(1, 2, 3))
    assert (same.dice, same.jaccard, same.phi) == (1, 1, 1)
    apart = compare_masks(mask_of(1, 2, 3), mask_of(4, 5))
    assert (apart.dice, apart.jaccard) == (0, 0)
    assert apart.phi < 0


def test_a_mask_of_all_units_agrees_with_itself_alone():
    everything = mask_of(*range(24))
    assert compare_masks(everything, everything).phi == 1
    assert compare_masks(everything, mask_of(3)).phi == 0


def test_the_mean_is_that_of_each_number():
    parts = [compare_masks(mask_of(0, 1), mask_of(*other)) for other in ((0, 1), (1, 2), (3, 4, 5))]
    found = mean_agreement(parts)
    assert found["dice"] == pytest.approx((1 + 0.5 + 0) / 3)
    assert found["jaccard"] == pytest.approx((1 + 1 / 3 + 0) / 3)
    assert found["dice_chance"] == pytest.approx((2 / 24 + 2 / 24 + 2 * (6 / 24) / 5) / 3)
    assert set(found) == {"dice", "jaccard", "phi", "dice_chance", "jaccard_chance"}


def test_the_correlation_is_numpys():
    rng = np.random.default_rng(0)
    first, second = rng.normal(50, 3, (2, *SHAPE))
    expected = np.corrcoef(first.ravel(), second.ravel())[0, 1]
    assert correlate(first, second) == pytest.approx(expected, abs=1e-12)
    assert correlate(first, -2 * first + 7) == pytest.approx(-1)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e9 / 3])
def test_a_constant_map_correlates_with_nothing(value):
    constant = np.full((10, 1), value)
    assert correlate(constant, np.arange(10.0).reshape(10, 1)) == 0
    assert correlate(constant, constant) == 0


def test_spearman_brown_is_what_all_items_give():
    """Two tests of 2n items correlate as the formula says from the correlation of n with n."""
    rng = np.random.default_rng(0)
    trait = rng.normal(size=200_000)
    quarters = trait + rng.normal(0, 1.5, (4, 200_000))
    halves = np.corrcoef(quarters[0], quarters[1])[0, 1]
    whole = np.corrcoef(quarters[0] + quarters[1], quarters[2] + quarters[3])[0, 1]
    assert spearman_brown(halves) == pytest.approx(whole, abs=0.01)
    assert whole - halves > 0.1


@pytest.mark.parametrize(("r", "corrected"), [(1, 1), (0.5, 2 / 3), (0, 0), (-0.2, -0.2)])
def test_spearman_brown_by_hand(r, corrected):
    assert spearman_brown(r) == pytest.approx(corrected)
