"""Shared units against chance: against scipy, and against counting every case."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from scipy.stats import hypergeom

from lsns.errors import LsnsError
from lsns.overlap import hypergeometric, overlap


@pytest.mark.parametrize("sizes", [(10, 3, 4), (10, 8, 7), (5, 5, 5), (17280, 840, 172), (6, 0, 3)])
def test_the_distribution_is_scipys(sizes):
    total, k1, k2 = sizes
    ours = hypergeometric(total, k1, k2)
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
