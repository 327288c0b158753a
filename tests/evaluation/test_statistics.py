"""Intervals against scipy, their coverage from both sides, and p under the null."""

from __future__ import annotations

import numpy as np
import pytest

from lsns import LsnsError
from lsns.evaluation.statistics import (
    Estimate,
    beside_controls,
    combine,
    empirical_p,
    lost_share,
    paradigm_values,
    trend,
)

# Of 1,000 intervals of 95%, these bounds hold the covering ones but for 1 in 1,000 runs or less.
COVERING = range(930, 971)


def test_interval_is_scipys():
    from scipy import stats

    values = np.random.default_rng(1).random(12)
    low, high = Estimate.of(values).interval()
    expected = stats.ttest_1samp(values, 0).confidence_interval()
    assert (low, high) == pytest.approx((expected.low, expected.high))
    assert Estimate.of(values).within() == pytest.approx(
        max(map(abs, stats.ttest_1samp(values, 0).confidence_interval(0.9)))
    )


def test_difference_of_independent_means_is_welchs():
    from scipy import stats

    rng = np.random.default_rng(2)
    first, second = rng.normal(0, 1, 8), rng.normal(0.5, 3, 15)
    low, high = (Estimate.of(first) - Estimate.of(second)).interval()
    expected = stats.ttest_ind(first, second, equal_var=False).confidence_interval()
    assert (low, high) == pytest.approx((expected.low, expected.high))


def test_detectable_effect_has_the_power():
    from scipy import stats

    found = Estimate(0.0, 0.5, 20.0).detectable()
    # The power of a two-sided t at that value, by the noncentral distribution.
    bound = stats.t.ppf(0.975, 20)
    assert stats.nct.sf(bound, 20, found / 0.5) == pytest.approx(0.8, abs=0.01)


def test_paradigms_weigh_the_same_whatever_their_size():
    values, paradigms = np.array([[1.0], [0.0], [0.0], [0.0]]), np.array([0, 1, 1, 1])
    assert paradigm_values(values, np.ones(4), paradigms).tolist() == [[1.0], [0.0]]


def test_one_paradigm_is_a_ratio_of_sums_with_the_error_of_a_ratio():
    rng = np.random.default_rng(0)
    weights = rng.integers(5, 200, 400).astype(float)
    values = weights * 3 + rng.normal(0, 4, 400) * weights**0.5
    units = paradigm_values(values[:, None], weights, np.zeros(400, int))[:, 0]
    assert units.mean() == pytest.approx(values.sum() / weights.sum())
    drawn = rng.integers(0, 400, (4000, 400))
    ratios = values[drawn].sum(axis=1) / weights[drawn].sum(axis=1)
    assert Estimate.of(units).error == pytest.approx(ratios.std(), rel=0.05)


@pytest.mark.parametrize(("paradigms", "items"), [(3, 20), (5, 20), (20, 20), (67, 3)])
def test_coverage_over_paradigms(paradigms, items):
    """The bootstrap of paradigms and items covered .98 with 20 paradigms, and too few with 3."""
    rng, covered = np.random.default_rng(5), 0
    of_item = np.repeat(np.arange(paradigms), items)
    for _ in range(1000):
        true = rng.beta(12, 4, paradigms)
        values = (rng.random(len(of_item)) < true[of_item]).astype(float)
        units = paradigm_values(values[:, None], np.ones(len(of_item)), of_item)
        low, high = Estimate.of(units[:, 0]).interval()
        covered += low <= 0.75 <= high
    assert covered in COVERING


@pytest.mark.parametrize("draws", [5, 20, 99])
@pytest.mark.parametrize("spread", [0.0, 0.1])
def test_coverage_beside_controls(draws, spread):
    rng, covered = np.random.default_rng(draws), 0
    for _ in range(1000):
        base = rng.normal(0.7, 0.1, (20, 1))
        of_draw = rng.normal(0, spread, draws) + rng.normal(0, 0.05, (20, draws))
        lesion = base[:, 0] - 0.1 + rng.normal(0, 0.05, 20)
        low, high = beside_controls(lesion, base + of_draw).interval()
        covered += low <= -0.1 <= high
    assert covered in COVERING


def test_one_control_is_a_paired_t():
    from scipy import stats

    rng = np.random.default_rng(3)
    lesion, control = rng.random(10), rng.random(10)
    low, high = beside_controls(lesion, control[:, None]).interval()
    expected = stats.ttest_rel(lesion, control).confidence_interval()
    assert (low, high) == pytest.approx((expected.low, expected.high))


def test_coverage_of_lost_shares():
    """Two benchmarks with other room to fall lose one share of their ability."""
    rng, covered, shares = np.random.default_rng(4), 0, []
    for run in range(1000):
        top = 0.95 if run % 2 else 0.7
        able = np.clip(rng.normal(top, 0.05, 30), 0.5, 1.0)
        intact = rng.binomial(20, able) / 20
        lesion = rng.binomial(20, 0.5 + 0.6 * (able - 0.5)) / 20
        lost = lost_share(intact, lesion, 0.5)
        assert lost is not None
        low, high = Estimate.of(lost).interval()
        covered += low <= 0.4 <= high
        shares.append(lost.mean())
    assert covered in COVERING
    assert np.mean(shares[::2]) == pytest.approx(np.mean(shares[1::2]), abs=0.01)


def test_what_is_at_chance_has_nothing_to_lose():
    intact = np.array([0.45, 0.55, 0.5, 0.52, 0.48])
    assert lost_share(intact, intact - 0.1, 0.5) is None
    assert lost_share(intact + 0.3, intact, 0.5) is not None


def test_one_unit_has_no_interval_and_a_constant_an_empty_one():
    assert Estimate.of(np.array([0.3])).interval() == (-np.inf, np.inf)
    assert Estimate.of(np.full(5, 0.3)).interval() == (0.3, 0.3)
    assert combine([Estimate.of(np.array([0.3]))], [1.0]).interval() == (-np.inf, np.inf)
    assert beside_controls(np.full(4, 0.5), np.full((4, 3), 0.5)).interval() == (0.0, 0.0)


def test_trend_is_a_t_over_slopes():
    from scipy import stats

    rng = np.random.default_rng(7)
    values = rng.normal(0, 1, (12, 4)) - 0.3 * np.arange(4)
    found = trend(values, [0.5, 1, 2, 4])
    assert found is not None
    slopes = [stats.linregress(np.arange(4), row).slope for row in values]
    assert found[0].value == pytest.approx(np.mean(slopes))
    assert found[1] == pytest.approx(stats.ttest_1samp(slopes, 0).pvalue)
    assert trend(values[:, :2], [1, 2]) is None


def test_p_counts_ties_against_the_mask():
    assert empirical_p(0.5, [0.5, 0.4, 0.6]) == 0.75
    assert empirical_p(0.5, [0.4] * 19) == 0.05
    # Sums in another order differ in the last digits.
    assert empirical_p(0.3, [0.1 + 0.2]) == 1.0
    with pytest.raises(LsnsError, match="no controls"):
        empirical_p(0.5, [])


def test_p_is_uniform_under_the_null():
    rng = np.random.default_rng(2)
    p_values = [empirical_p(*(lambda v: (v[0], v[1:]))(rng.random(20))) for _ in range(4000)]
    for level in (0.05, 0.25, 0.5):
        assert np.mean(np.array(p_values) <= level) == pytest.approx(level, abs=0.02)
