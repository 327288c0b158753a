"""Two masks against sets, scipy and numpy, and chance against counting every case."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import hypergeom

from lsns.errors import LsnsError
from lsns.overlap import _hypergeometric, agreement, overlap, overlaps

modest = settings(max_examples=60, deadline=None)
SHAPE = (3, 8)
masks = hnp.arrays(bool, SHAPE)


def mask_of(*units: int) -> np.ndarray:
    flat = np.zeros(24, dtype=bool)
    flat[list(units)] = True
    return flat.reshape(SHAPE)


@pytest.mark.parametrize("sizes", [(10, 3, 4), (10, 8, 7), (5, 5, 5), (17280, 840, 172), (6, 0, 3)])
def test_the_distribution_is_scipys(sizes):
    total, k1, k2 = sizes
    ours = _hypergeometric(total, k1, k2)
    assert ours.shape == (min(k1, k2) + 1,)
    assert ours == pytest.approx(hypergeom.pmf(np.arange(len(ours)), total, k1, k2), rel=1e-8)
    assert ours.sum() == pytest.approx(1)


def rows(layer: str) -> list[bool]:
    return [character == "x" for character in layer]


def test_over_all_units_it_is_scipys_tail():
    rng = np.random.RandomState(0)
    first, second = rng.rand(2, 6, 40) < 0.2
    found = overlap(first, second)
    k1, k2 = first.sum(), second.sum()
    assert found.shared == (first & second).sum()
    assert found.expected == pytest.approx(k1 * k2 / 240)
    assert found.p_value == pytest.approx(hypergeom.sf(found.shared - 1, 240, k1, k2))


def test_by_layer_every_case_counted():
    first = np.array([rows("xx.."), rows("x..."), rows("xxx.")])
    second = np.array([rows("xx.."), rows(".x.."), rows("xx..")])
    shared = []
    sets = [list(combinations(range(4), int(k))) for k in second.sum(axis=1)]
    for case in product(*sets):
        shared.append(sum(first[layer, list(units)].sum() for layer, units in enumerate(case)))
    found = overlap(first, second)
    assert found.shared == 4
    assert found.expected_by_layer == pytest.approx(np.mean(shared))
    assert found.p_value_by_layer == pytest.approx(np.mean(np.array(shared) >= 4))


def test_agreement_on_layers_alone_is_chance_by_layer():
    first, second = np.zeros((2, 8, 50), dtype=bool)
    first[3, :25] = True
    second[3, 12:37] = True
    found = overlap(first, second)
    assert found.shared == 13
    assert found.p_value < 1e-6
    assert found.expected_by_layer == 12.5
    assert found.p_value_by_layer > 0.4


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
