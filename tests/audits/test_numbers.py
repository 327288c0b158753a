"""Agreement, shuffles, calibration and selectivity against plain loops, formulas and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lsns import LsnsError
from lsns.analysis import METHODS
from lsns.audits.agreement import compare_masks, spearman_brown
from lsns.audits.calibration import largest_scores, permutation_test
from lsns.audits.reliability import Items, measure_reliability, random_halves, single_folds
from lsns.audits.selectivity import hedges_g, measure_selectivity
from lsns.audits.shuffles import Centered, shuffle_labels, shuffled_moments
from lsns.moments import Moments

N_FOLDS = 10


def make_items(rows, n_positive, folds=None):
    positive = np.arange(len(rows)) < n_positive
    groups = [str(i) for i in range(len(rows))]
    folds = np.arange(len(rows)) % N_FOLDS if folds is None else folds
    return Items(rows, positive, groups, folds)


def fold_moments(items):
    rows = items.rows
    return [
        tuple(Moments.of(rows[(items.folds == f) & (items.positive == c)]) for c in (True, False))
        for f in range(N_FOLDS)
    ]


def ttest(**options):
    return METHODS["ttest"](options)


def test_agreement_is_that_of_the_formulas():
    rng = np.random.default_rng(0)
    first, second = rng.random((2, 6, 40)) < 0.2
    found = compare_masks(first, second)
    shared = (first & second).sum()
    assert found.dice == pytest.approx(2 * shared / (first.sum() + second.sum()))
    assert found.jaccard == pytest.approx(shared / (first | second).sum())
    assert found.phi == pytest.approx(np.corrcoef(first.ravel(), second.ravel())[0, 1])
    drawn = []
    for _ in range(2000):
        other = rng.permutation(second.ravel()).reshape(second.shape)
        drawn.append(2 * (first & other).sum() / (first.sum() + second.sum()))
    assert found.dice_chance == pytest.approx(np.mean(drawn), abs=0.005)
    assert spearman_brown(0.5) == pytest.approx(2 / 3)


def test_shuffles_keep_counts_within_mixed_groups_and_move_one_sided_ones_whole():
    positive = np.array([True, False] * 4 + [True, True, False, False])
    groups = ["a", "a", "b", "b", "c", "c", "d", "d", "e", "e", "f", "f"]
    labels = shuffle_labels(positive, groups, 200, seed=1)
    for start in (0, 2, 4, 6):
        assert (labels[:, start : start + 2].sum(axis=1) == 1).all()
    assert (labels[:, 8] == labels[:, 9]).all()
    assert (labels[:, 10] == labels[:, 11]).all()
    assert (labels[:, 8] != labels[:, 10]).all()
    assert 60 < labels[:, 0].sum() < 140
    assert 60 < labels[:, 8].sum() < 140
    assert (labels == shuffle_labels(positive, groups, 200, seed=1)).all()


def test_moments_of_shuffles_are_those_of_the_items():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(20, 30)).astype(np.float32)
    rows[:, 0] = 3.7
    rows[:, 1] = rows[:, 1] + 1e6
    labels = shuffle_labels(np.arange(20) < 8, [str(i) for i in range(20)], 5, seed=0)
    for which, *sides in shuffled_moments(Centered(rows), labels):
        for place, shuffle in enumerate(which):
            for side, found in zip((labels[shuffle], ~labels[shuffle]), sides, strict=True):
                expected = Moments.of(rows[side][:, None, :])
                assert found.n == expected.n
                for name in ("mean", "m2", "abs_mean", "abs_m2"):
                    np.testing.assert_allclose(
                        getattr(found, name)[place],
                        getattr(expected, name)[0],
                        rtol=1e-9,
                        atol=1e-9,
                    )


@pytest.mark.parametrize("method", METHODS)
def test_largest_scores_are_those_of_a_plain_loop(method):
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(16, 3, 7)).astype(np.float32)
    labels = shuffle_labels(np.arange(16) < 8, [str(i) for i in range(16)], 6, seed=0)
    free = np.ones((3, 7), dtype=bool)
    free[1, 2] = False
    analyzer = METHODS[method]({"num_units": 3})
    expected = [
        analyzer.score(Moments.of(rows[label]), Moments.of(rows[~label]))[free].max()
        for label in labels
    ]
    np.testing.assert_allclose(largest_scores(rows, labels, analyzer, free), expected, rtol=1e-9)


@pytest.mark.parametrize("paired", [False, True])
def test_under_the_null_five_percent_exceed_the_threshold(paired):
    """500 nulls of correlated, skewed units: the rate is within its binomial interval."""
    rng = np.random.default_rng(3)
    positive = np.arange(24) < 12
    groups = [str(i % 12) if paired else str(i) for i in range(24)]
    analyzer, mask = ttest(num_units=1), np.zeros((2, 10), dtype=bool)
    mask[0, 0] = True
    exceeded = rejected = 0
    for seed in range(500):
        shared = rng.exponential(size=(24, 1, 1))
        if paired:
            shared[12:] = shared[:12]
        rows = shared + rng.standard_t(4, size=(24, 2, 10))
        scores = analyzer.score(Moments.of(rows[positive]), Moments.of(rows[~positive]))
        found = permutation_test(
            rows, positive, groups, scores, mask, analyzer, permutations=99, seed=seed
        )
        exceeded += found.units_above > 0
        rejected += found.p_value <= 0.05
    low, high = stats.binom.interval(0.99, 500, 0.05)
    assert low <= exceeded <= high
    assert low <= rejected <= high


def test_halves_are_complementary_and_different():
    rows = np.random.default_rng(0).normal(size=(80, 2, 5))
    folds = fold_moments(make_items(rows, 40))
    halves = random_halves(folds, 20, seed=0)
    assert len({frozenset(pair) for pair in halves}) == 20
    assert all(sorted(a + b) == list(range(N_FOLDS)) for a, b in halves)
    assert halves == random_halves(folds, 20, seed=0)
    assert len(random_halves(folds, 1000, seed=0)) == 126
    assert len(single_folds(folds)) == N_FOLDS


def test_reliability_of_a_signal_and_of_noise():
    rng = np.random.default_rng(0)
    rows = np.abs(rng.normal(size=(120, 4, 50))) + 10
    rows[:60, 1, :10] += 20
    items = make_items(rows, 60)
    found = measure_reliability(
        fold_moments(items), [ttest(num_units=10), ttest(percentage=20)], items=items
    )
    chosen, noise = found.rows[0], found.rows[1]
    assert (chosen.dice, chosen.phi_corrected, chosen.chosen) == (1.0, 1.0, True)
    assert chosen.dice_shuffled == pytest.approx(chosen.dice_chance, abs=0.06)
    # 10 of these 40 units are planted; of the other 30, halves share what chance gives.
    assert noise.dice == pytest.approx((10 + 30 * 30 / 190) / 40, abs=0.05)


def test_too_few_items_for_halves():
    items = make_items(np.random.default_rng(0).normal(size=(4, 1, 5)), 2)
    with pytest.raises(LsnsError, match="cannot be split"):
        measure_reliability(fold_moments(items), [ttest(num_units=1)], items=items)


def test_hedges_g_covers_the_true_difference():
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(1000):
        effect = hedges_g(rng.normal(0.8, 1, 20), rng.normal(0, 1, 30))
        inside += effect.low <= 0.8 <= effect.high
    assert stats.binom.interval(0.999, 1000, 0.95)[0] <= inside
    a, b = rng.normal(1, 1, 9), rng.normal(0, 2, 7)
    pooled = np.sqrt((8 * a.var(ddof=1) + 6 * b.var(ddof=1)) / 14)
    expected = (a.mean() - b.mean()) / pooled * (1 - 3 / (4 * 14 - 1))
    assert hedges_g(a, b).g == pytest.approx(expected)


def simulate(rng, d, n=40):
    """More units planted than are selected, all with the same effect, and noise that they share.

    The response is the mean over k units of equal weight: its variance within a condition is that
    of the shared noise plus 1/k, and its standardised difference d / sqrt(shared**2 + 1/k).
    """
    shared, k = 1.0, 10
    rows = rng.normal(size=(2 * n, 1, 300)) + shared * rng.normal(size=(2 * n, 1, 1)) + 30
    rows[:n, 0, :100] += d
    items = make_items(rows, n, folds=np.arange(2 * n) % n % N_FOLDS)
    found = measure_selectivity(fold_moments(items), items, ttest(num_units=k))
    return found, d / np.sqrt(shared**2 + 1 / k)


def test_held_out_effects_cover_the_planted_one():
    """In at least the share of simulations that the interval promises."""
    rng = np.random.default_rng(1)
    found, planted = zip(*(simulate(rng, 2.0) for _ in range(200)), strict=True)
    effects = [one.held_out for one in found]
    inside = sum(e.low <= true <= e.high for e, true in zip(effects, planted, strict=True))
    assert inside >= stats.binom.interval(0.998, 200, 0.95)[0]
    assert np.mean([e.g for e in effects]) == pytest.approx(planted[0], abs=0.1)


def test_in_sample_effects_are_biased_where_there_is_none():
    rng = np.random.default_rng(2)
    found = [simulate(rng, 0.0)[0] for _ in range(100)]
    assert np.mean([f.in_sample.g for f in found]) > 0.3
    assert np.mean([f.held_out.g for f in found]) == pytest.approx(0, abs=0.1)
