"""Moments: mergeable in any way, and Welch's test as scipy states it."""

from __future__ import annotations

import math
import statistics
from fractions import Fraction
from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from lsns.moments import Moments, adjust_p_values, mean_difference, merge_all, welch

FIELDS = ("mean", "m2", "abs_mean", "abs_m2")
SHAPE = (2, 3)
modest = settings(max_examples=40, deadline=None)
numbers = st.floats(-1e3, 1e3, width=32)
constants = st.floats(-1e30, 1e30)


def items(least: int = 0, most: int = 8) -> st.SearchStrategy[np.ndarray]:
    sizes = st.integers(least, most)
    return sizes.flatmap(lambda n: hnp.arrays(np.float64, (n, *SHAPE), elements=numbers))


def assert_same(found: Moments, expected: Moments) -> None:
    assert found.n == expected.n
    for name in FIELDS:
        np.testing.assert_allclose(
            getattr(found, name), getattr(expected, name), rtol=1e-9, atol=1e-7, err_msg=name
        )


def two_pass(x: np.ndarray) -> Moments:
    """The textbook: mean, then squared deviations from it."""
    x = x.astype(np.float64)
    parts = [(y.mean(axis=0), ((y - y.mean(axis=0)) ** 2).sum(axis=0)) for y in (x, np.abs(x))]
    return Moments(len(x), *parts[0], *parts[1])


@modest
@given(items(least=1))
def test_of_is_the_textbook(x: np.ndarray) -> None:
    assert_same(Moments.of(x), two_pass(x))


@modest
@given(items(), items(), items())
def test_merge_is_associative(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> None:
    a, b, c = Moments.of(x), Moments.of(y), Moments.of(z)
    assert_same(a.merge(b).merge(c), a.merge(b.merge(c)))


@modest
@given(items(), items())
def test_merge_is_commutative(x: np.ndarray, y: np.ndarray) -> None:
    assert_same(Moments.of(x).merge(Moments.of(y)), Moments.of(y).merge(Moments.of(x)))


@modest
@given(items(least=1))
def test_zeros_is_neutral_to_the_bit(x: np.ndarray) -> None:
    moments, zeros = Moments.of(x), Moments.zeros(SHAPE)
    for merged in (moments.merge(zeros), zeros.merge(moments), moments.update(x[:0])):
        assert merged.n == len(x)
        for name in FIELDS:
            np.testing.assert_array_equal(getattr(merged, name), getattr(moments, name))


@modest
@given(items(least=1, most=12), st.data())
def test_update_in_any_partition_is_of_all(x: np.ndarray, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(x)), max_size=4)))
    parts = np.split(x, cuts)
    assert_same(reduce(Moments.update, parts, Moments.zeros(SHAPE)), two_pass(x))
    assert_same(merge_all(Moments.of(part) for part in parts), two_pass(x))


def test_of_nothing_is_zeros() -> None:
    empty = Moments.of(np.empty((0, *SHAPE), dtype=np.float32))
    assert empty.n == 0
    assert all(getattr(empty, name).shape == SHAPE for name in FIELDS)
    assert not any(getattr(empty, name).any() for name in FIELDS)


@pytest.mark.parametrize("parts", [1, 7])
def test_a_large_offset_costs_no_digits(parts: int) -> None:
    x = np.random.default_rng(0).normal(1e4, 1, (50, 1, 2)).astype(np.float32)
    found = reduce(Moments.update, np.array_split(x, parts), Moments.zeros((1, 2)))
    exact = [statistics.variance(map(Fraction, map(float, x[:, 0, unit]))) for unit in range(2)]
    np.testing.assert_allclose(found.m2[0] / 49, [float(v) for v in exact], rtol=1e-10)


def test_float16_does_not_overflow() -> None:
    x = np.full((100, 1, 1), 60000, dtype=np.float16)
    x[0] = -60000
    found = Moments.of(x)
    value = float(np.float16(60000))
    np.testing.assert_allclose(found.mean, value * 0.98, rtol=1e-12)
    np.testing.assert_allclose(found.m2, 100 * value**2 * (1 - 0.98**2), rtol=1e-12)


def scipy_welch(x: np.ndarray, y: np.ndarray, *, signed: bool) -> tuple[np.ndarray, np.ndarray]:
    x, y = x.astype(np.float64), y.astype(np.float64)
    if not signed:
        x, y = np.abs(x), np.abs(y)
    result = stats.ttest_ind(x, y, axis=0, equal_var=False)
    return result.statistic, result.pvalue


@pytest.mark.filterwarnings("ignore:Precision loss")
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(("offset", "shift"), [(0, 0), (0, 3), (300, 0), (1e4, 0), (-1e4, 0.5)])
@pytest.mark.parametrize(("n_x", "n_y"), [(2, 2), (2, 31), (40, 7), (240, 240)])
def test_welch_is_scipys(
    n_x: int, n_y: int, offset: float, shift: float, dtype: type, signed: bool
) -> None:
    rng = np.random.default_rng(n_x * 1000 + n_y)
    # The spacing of float16 at 1e4 is 8: the noise must be wider.
    sd = 30.0 if dtype is np.float16 and abs(offset) == 1e4 else 1.0
    x = rng.normal(offset + shift * sd, sd, (n_x, 2, 16)).astype(dtype)
    y = rng.normal(offset, 2 * sd, (n_y, 2, 16)).astype(dtype)
    t, p = welch(Moments.of(x), Moments.of(y), signed=signed)
    expected_t, expected_p = scipy_welch(x, y, signed=signed)
    # Two items of float16 can agree: that is another test.
    varies = np.isfinite(expected_t)
    assert varies.mean() > 0.8
    # Where means cancel, scipy itself is 1e-10 from the truth (see the exact test below).
    atol = 2e-10 if abs(offset) == 1e4 else 0
    np.testing.assert_allclose(t[varies], expected_t[varies], rtol=1e-9, atol=atol)
    np.testing.assert_allclose(p[varies], expected_p[varies], rtol=1e-9, atol=atol)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_welch_at_a_large_offset_is_exact(dtype: type) -> None:
    rng = np.random.default_rng(5)
    x, y = (rng.normal(1e4, 1, (n, 1, 6)).astype(dtype) for n in (240, 31))
    t, _ = welch(Moments.of(x), Moments.of(y), signed=True)
    exact = [exact_t(x[:, 0, unit], y[:, 0, unit]) for unit in range(6)]
    np.testing.assert_allclose(t[0], exact, rtol=1e-9, atol=5e-11)


def exact_t(x: np.ndarray, y: np.ndarray) -> float:
    """Welch's t in rational numbers, but for the last root."""
    a, b = ([Fraction(float(value)) for value in values] for values in (x, y))
    error = statistics.variance(a) / len(a) + statistics.variance(b) / len(b)
    return float(statistics.mean(a) - statistics.mean(b)) / math.sqrt(error)


@modest
@given(st.integers(2, 20), st.integers(2, 20), st.integers(0, 10**6), st.booleans())
def test_welch_of_merged_parts_is_scipys(n_x: int, n_y: int, seed: int, signed: bool) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(1, 1, (n_x, *SHAPE)), rng.normal(0, 3, (n_y, *SHAPE))
    positive = Moments.of(x[: n_x // 2]).update(x[n_x // 2 :])
    t, p = welch(positive, Moments.of(y), signed=signed)
    expected_t, expected_p = scipy_welch(x, y, signed=signed)
    np.testing.assert_allclose(t, expected_t, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(p, expected_p, rtol=1e-9)


def test_a_sign_that_flips_is_seen_by_the_signed_test_only() -> None:
    size = np.random.default_rng(1).normal(5, 1, (30, 1, 1))
    positive, negative = Moments.of(size), Moments.of(-size)
    assert welch(positive, negative)[0].item() == pytest.approx(0, abs=1e-9)
    assert welch(positive, negative, signed=True)[0].item() > 20


@pytest.mark.parametrize("scale", [1e-150, 1e-30, 1e30])
def test_welch_does_not_depend_on_the_unit_of_measurement(scale: float) -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(1, 1, (9, *SHAPE)), rng.normal(0, 1, (12, *SHAPE))
    scaled = welch(Moments.of(x * scale), Moments.of(y * scale), signed=True)
    for found, expected in zip(scaled, scipy_welch(x, y, signed=True), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9)


@modest
@given(constants, constants, st.lists(st.integers(0, 5), min_size=1, max_size=5), st.booleans())
def test_zero_variance_is_t_0_and_p_1(a: float, b: float, sizes: list[int], signed: bool) -> None:
    parts = [Moments.of(np.full((size, 1, 1), a)) for size in [2, *sizes]]
    t, p = welch(merge_all(parts), Moments.of(np.full((3, 1, 1), b)), signed=signed)
    assert (t.item(), p.item()) == (0.0, 1.0)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("n", [3, 7, 10, 240])
def test_constants_of_inexact_mean_have_no_variance(dtype: type, n: int) -> None:
    x, y = np.full((n, *SHAPE), 0.1, dtype), np.full((n, *SHAPE), 0.3, dtype)
    t, p = welch(Moments.of(x), Moments.of(y[:1]).update(y[1:]), signed=True)
    np.testing.assert_array_equal(t, 0.0)
    np.testing.assert_array_equal(p, 1.0)


def test_a_constant_size_has_no_variance_though_its_sign_varies() -> None:
    x = np.array([0.1, -0.1, 0.1, -0.1]).reshape(4, 1, 1)
    t, p = welch(Moments.of(x), Moments.of(3 * x))
    assert (t.item(), p.item()) == (0.0, 1.0)


@pytest.mark.filterwarnings("ignore:Precision loss")
def test_a_constant_condition_against_a_varying_one_is_scipys() -> None:
    x, y = np.full((5, 1, 1), 0.1), np.random.default_rng(3).normal(size=(8, 1, 1))
    t, p = welch(Moments.of(x), Moments.of(y), signed=True)
    expected_t, expected_p = scipy_welch(x, y, signed=True)
    np.testing.assert_allclose(t, expected_t, rtol=1e-9)
    np.testing.assert_allclose(p, expected_p, rtol=1e-9)


def test_a_constant_unit_does_not_spoil_the_correction() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.normal(2, 1, (20, 1, 5)), rng.normal(0, 1, (20, 1, 5))
    x[:, 0, 2] = y[:, 0, 2] = 0.1
    adjusted = adjust_p_values(welch(Moments.of(x), Moments.of(y), signed=True)[1])
    assert adjusted[0, 2] == 1.0
    assert (np.delete(adjusted[0], 2) < 0.01).all()


@pytest.mark.parametrize(("n_x", "n_y"), [(1, 5), (5, 1), (0, 5), (1, 1)])
def test_fewer_than_two_items_are_refused(n_x: int, n_y: int) -> None:
    parts = [Moments.of(np.ones((n, *SHAPE))) for n in (n_x, n_y)]
    with pytest.raises(ValueError, match=f"2 items per condition: {n_x}, {n_y}"):
        welch(*parts)


@modest
@given(items(least=1), items(least=1))
def test_mean_difference_is_positive_minus_negative(x: np.ndarray, y: np.ndarray) -> None:
    a, b = Moments.of(x), Moments.of(y)
    signed, absolute = (mean_difference(a, b, signed=signed) for signed in (True, False))
    np.testing.assert_allclose(signed, x.mean(axis=0) - y.mean(axis=0), rtol=1e-9, atol=1e-9)
    expected = np.abs(x).mean(axis=0) - np.abs(y).mean(axis=0)
    np.testing.assert_allclose(absolute, expected, rtol=1e-9, atol=1e-9)


probabilities = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.01, 0.05, 1.0]))


@settings(max_examples=80, deadline=None)
@given(hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=2), elements=probabilities))
def test_adjusted_p_values_are_scipys(p: np.ndarray) -> None:
    before = p.copy()
    found = adjust_p_values(p)
    expected = stats.false_discovery_control(p.ravel(), method="bh").reshape(p.shape)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_array_equal(p, before)
