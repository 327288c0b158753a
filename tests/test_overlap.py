"""Two masks against sets and numpy, and chance against counting every permutation."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import binom, hypergeom

from lsns.errors import LsnsError
from lsns.overlap import PERMUTATIONS, agreement, overlap, overlaps

modest = settings(max_examples=60, deadline=None)
SHAPE = (3, 8)
masks = hnp.arrays(bool, SHAPE)


def mask_of(*units: int) -> np.ndarray:
    flat = np.zeros(24, dtype=bool)
    flat[list(units)] = True
    return flat.reshape(SHAPE)


def rows(*layers: str) -> np.ndarray:
    return np.array([[character == "x" for character in layer] for layer in layers])


def within(found: float, p: float) -> bool:
    """What all permutations give, but for the draw of some of them."""
    low, high = binom.ppf([0.00005, 0.99995], PERMUTATIONS, p)
    return low <= found * (1 + PERMUTATIONS) - 1 <= high


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (rows("xx...", "x....", "xxx.."), rows("xx...", ".x...", "xx...")),
        # Three dimensions in two layers each, and one or two of them shared.
        (rows("xxx..", "xxx.."), rows("x..xx", "x..xx")),
        (rows("xx...", "xx..."), rows("xxxx.", "xx...")),
        (rows("....."), rows("xxx..")),
        (rows("xxxxx"), rows("xxx..")),
    ],
)
def test_chance_is_every_permutation_of_the_dimensions_counted(first, second):
    shared = np.array([(first & second[:, list(p)]).sum() for p in permutations(range(5))])
    for a, b in ((first, second), (second, first)):
        found = overlap(a, b)
        assert found.shared == (first & second).sum()
        assert found.expected == pytest.approx(first.sum() * second.sum() / first.size)
        assert found.expected_by_layer == pytest.approx(shared.mean())
        assert within(found.p_value, np.mean(shared >= found.shared))


def test_in_one_layer_it_is_the_exact_test_of_a_fourfold_table():
    first, second = np.zeros((2, 1, 400), dtype=bool)
    first[0, :60], second[0, 45:100] = True, True
    assert within(overlap(first, second).p_value, hypergeom.sf(14, 400, 60, 55))


def test_the_smallest_p_is_that_of_the_masks_own_order():
    units = np.random.default_rng(0).random((4, 50)) < 0.2
    assert overlap(units, units).p_value == 1 / (1 + PERMUTATIONS)


def test_agreement_on_layers_alone_is_chance():
    first, second = np.zeros((2, 8, 50), dtype=bool)
    first[3, :25] = True
    second[3, 12:37] = True
    found = overlap(first, second)
    assert (found.shared, found.expected_by_layer) == (13, 12.5)
    assert found.p_value > 0.4


def recurring(rng: np.random.Generator) -> np.ndarray:
    """Dimensions at random, each selected in three to nine layers in a row."""
    units = np.zeros((12, 150), dtype=bool)
    for dimension in rng.permutation(150)[:15]:
        start = rng.integers(0, 10)
        units[start : start + rng.integers(3, 10), dimension] = True
    return units


def test_masks_whose_units_recur_are_alike_by_chance_as_often_as_p_says():
    """Units counted as independent draws are alike three times as often as they may be."""
    rng, n = np.random.default_rng(0), 250
    found = [overlap(recurring(rng), recurring(rng)) for _ in range(n)]
    rejected = sum(one.p_value <= 0.05 for one in found)
    low, high = binom.ppf([0.001, 0.999], n, 0.05)
    assert low <= rejected <= high
    assert np.mean([one.p_value for one in found]) == pytest.approx(0.5, abs=0.07)


def test_masks_of_different_models():
    with pytest.raises(LsnsError, match="different models"):
        overlap(np.zeros((2, 3), dtype=bool), np.zeros((3, 2), dtype=bool))


@modest
@given(masks, masks)
def test_dice_and_jaccard_are_those_of_sets(first, second):
    a, b = set(np.flatnonzero(first).tolist()), set(np.flatnonzero(second).tolist())
    assume(a and b)
    found = overlap(first, second)
    assert found.dice == pytest.approx(2 * len(a & b) / (len(a) + len(b)))
    assert found.jaccard == pytest.approx(len(a & b) / len(a | b))


@modest
@given(masks, masks)
def test_phi_is_the_correlation_of_the_masks(first, second):
    assume(0 < first.sum() < 24 and 0 < second.sum() < 24)
    found = overlap(first, second)
    expected = np.corrcoef(first.ravel().astype(float), second.ravel().astype(float))[0, 1]
    assert found.phi == pytest.approx(expected, abs=1e-12)


@modest
@given(st.permutations(range(24)), st.permutations(range(24)), st.integers(1, 23))
def test_of_masks_of_one_size_phi_is_kappa_and_dice_corrected_for_chance(one, other, k):
    first, second = mask_of(*one[:k]), mask_of(*other[:k])
    found = overlap(first, second)
    share = k / 24
    observed, expected = (first == second).mean(), share**2 + (1 - share) ** 2
    assert found.phi == pytest.approx((observed - expected) / (1 - expected), abs=1e-12)
    chance = found.dice_chance
    assert found.phi == pytest.approx((found.dice - chance) / (1 - chance), abs=1e-12)


def test_chance_is_what_random_masks_give():
    rng = np.random.default_rng(0)
    first = mask_of(0, 1, 2, 3, 4, 5)
    drawn = [overlap(first, mask_of(*rng.permutation(24)[:4])) for _ in range(3000)]
    dice = np.array([one.dice for one in drawn])
    error = dice.std() / np.sqrt(len(dice))
    assert drawn[0].dice_chance == pytest.approx(dice.mean(), abs=4 * error)
    assert 4 * error < 0.02
    # 6 * 4 / 24 units are shared by chance.
    assert drawn[0].jaccard_chance == pytest.approx(1 / (6 + 4 - 1))


def test_the_same_and_disjoint_masks():
    same = overlap(mask_of(1, 2, 3), mask_of(1, 2, 3))
    assert (same.dice, same.jaccard, same.phi) == (1, 1, 1)
    apart = overlap(mask_of(1, 2, 3), mask_of(4, 5))
    assert (apart.dice, apart.jaccard) == (0, 0)
    assert apart.phi < 0


def test_a_mask_of_all_units_agrees_with_itself_alone():
    everything = mask_of(*range(24))
    assert overlap(everything, everything).phi == 1
    assert overlap(everything, mask_of(3)).phi == 0


def test_two_empty_masks_share_nothing():
    found = overlap(mask_of(), mask_of())
    assert (found.shared, found.dice, found.jaccard, found.dice_chance) == (0, 0, 0, 0)


def test_the_agreement_alone_is_that_of_the_overlap():
    first, second = mask_of(1, 2, 3), mask_of(3, 4, 5, 6)
    alone = agreement(first, second)
    assert set(alone) == {"dice", "jaccard", "phi", "dice_chance", "jaccard_chance"}
    assert alone.items() <= vars(overlap(first, second)).items()


def test_every_pair_once_in_order():
    named = {"a": mask_of(1, 2), "b": mask_of(2, 3), "c": mask_of(4)}
    found = overlaps(named)
    assert list(found) == [("a", "b"), ("a", "c"), ("b", "c")]
    assert found["a", "b"] == overlap(named["a"], named["b"])
    with pytest.raises(LsnsError, match="a has 3 x 8 units, d 2 x 9"):
        overlaps(named | {"d": np.zeros((2, 9), dtype=bool)})
