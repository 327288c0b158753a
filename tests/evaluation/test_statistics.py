"""The bootstrap against scipy's, its coverage, and the empirical p under the null."""

from __future__ import annotations

import numpy as np
import pytest

from lsns import LsnsError
from lsns.evaluation.statistics import (
    bootstrap_means,
    check_resamples,
    empirical_p,
    interval,
    mean_over_paradigms,
)
from lsns.evaluation.summary import _note


def ones(n):
    return np.ones(n)


def test_one_paradigm_is_scipys_bootstrap():
    from scipy.stats import bootstrap

    values = np.random.default_rng(1).random((80, 1))
    samples = bootstrap_means(values, ones(80), np.zeros(80, int), resamples=20_000)
    expected = bootstrap((values[:, 0],), np.mean, n_resamples=20_000, method="percentile", rng=2)
    low, high = interval(samples)
    assert low[0] == pytest.approx(expected.confidence_interval.low, abs=0.003)
    assert high[0] == pytest.approx(expected.confidence_interval.high, abs=0.003)
    assert samples.std() == pytest.approx(expected.standard_error, rel=0.03)


def test_spread_is_that_of_two_stages():
    rng = np.random.default_rng(0)
    paradigms = np.repeat(np.arange(6), 10)
    values = (rng.random((60, 1)) < np.repeat(rng.random(6), 10)[:, None]).astype(float)
    means = values.reshape(6, 10).mean(axis=1)
    # Of a paradigm drawn at random, and of ten of its items: the two add.
    variance = (means.var() + np.mean(means * (1 - means)) / 10) / 6
    samples = bootstrap_means(values, ones(60), paradigms, resamples=20_000)
    assert samples.var() == pytest.approx(variance, rel=0.05)
    assert samples.mean() == pytest.approx(values.mean(), abs=0.005)


def test_paradigms_weigh_the_same_whatever_their_size():
    values, paradigms = np.array([[1.0], [0.0], [0.0], [0.0]]), np.array([0, 1, 1, 1])
    assert mean_over_paradigms(values, ones(4), paradigms).tolist() == [0.5]


def test_tokens_are_the_weights_of_windows():
    values, weights = np.array([[10.0], [2.0]]), np.array([8.0, 4.0])
    assert mean_over_paradigms(values, weights, np.zeros(2, int)).tolist() == [1.0]
    samples = bootstrap_means(values, weights, np.zeros(2, int), resamples=500)
    assert set(np.round(samples[:, 0], 6)) == {0.5, 1.0, 1.25}


def test_differences_are_paired():
    values = np.random.default_rng(3).random((40, 1))
    both = np.hstack([values, values - 0.25])
    samples = bootstrap_means(both, ones(40), np.repeat(np.arange(4), 10), resamples=100)
    np.testing.assert_allclose(samples[:, 1] - samples[:, 0], -0.25)


def test_the_same_draws_with_more_conditions_and_in_another_process_of_holding(monkeypatch):
    values, paradigms = np.random.default_rng(3).random((40, 3)), np.repeat(np.arange(4), 10)
    alone = bootstrap_means(values[:, :1], ones(40), paradigms, resamples=50, seed=9)
    both = bootstrap_means(values, ones(40), paradigms, resamples=50, seed=9)
    np.testing.assert_allclose(alone[:, 0], both[:, 0], rtol=1e-12)
    state = np.random.get_state()[1].copy()
    monkeypatch.setattr("lsns.evaluation.statistics.HELD", 100)
    held = bootstrap_means(values, ones(40), paradigms, resamples=50, seed=9)
    np.testing.assert_allclose(held, both, rtol=1e-12)
    assert (np.random.get_state()[1] == state).all()


def test_coverage():
    """20 paradigms x 20 items: about 95% of intervals hold the true mean; no fewer than 92%."""
    rng, hits, runs = np.random.default_rng(5), 0, 300
    paradigms = np.repeat(np.arange(20), 20)
    for run in range(runs):
        chance = rng.beta(4, 2, size=20)
        values = (rng.random(400) < np.repeat(chance, 20)).astype(float)[:, None]
        low, high = interval(bootstrap_means(values, ones(400), paradigms, resamples=300, seed=run))
        hits += low[0] <= 4 / 6 <= high[0]
    assert 0.92 <= hits / runs <= 0.995


def test_p_is_uniform_under_the_null():
    rng = np.random.default_rng(7)
    draws = rng.normal(size=(4000, 20))
    found = np.array([empirical_p(row[0], row[1:]) for row in draws])
    for level in (0.05, 0.25, 0.5, 0.75, 1.0):
        assert (found <= level + 1e-9).mean() == pytest.approx(level, abs=0.025)


def test_ties_count_against_the_mask():
    assert empirical_p(0.2, [0.2, 0.1, 0.2 + 1e-16]) == 3 / 4
    assert empirical_p(0.5, [0.1] * 19) == 1 / 20
    assert empirical_p(0.0, [0.0]) == 1.0


@pytest.mark.parametrize(
    ("n", "distinct", "note"),
    [(19, 19, "few controls"), (20, 20, ""), (20, 4, "only 4 distinct"),
     (2, 1, "few controls, only 1 distinct")],
)  # fmt: skip
def test_few_and_repeated_controls_are_marked(n, distinct, note):
    assert _note(n, distinct) == note


def test_without_controls_there_is_no_p():
    with pytest.raises(LsnsError, match="no controls"):
        empirical_p(1, [])


def test_no_resamples():
    with pytest.raises(LsnsError, match="resamples must be at most 100,000; got 1000000000"):
        check_resamples(1_000_000_000)
    with pytest.raises(LsnsError, match="resamples must be at least 1; got 0"):
        bootstrap_means(np.ones((2, 1)), ones(2), np.zeros(2, int), resamples=0)
