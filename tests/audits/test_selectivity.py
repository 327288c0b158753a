"""Effects on items that did not choose the units: against scipy on single items, by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import binom, nct, t, ttest_ind

from lsns.analysis import METHODS
from lsns.audits.items import Items
from lsns.audits.selectivity import Selectivity, _make_probe, hedges_g, measure_selectivity
from lsns.errors import LsnsError
from lsns.moments import Moments
from tests.audits.data import fold_moments, make_items, noise_with

PLANTED = [(0, 3), (1, 7), (1, 8), (2, 0), (2, 49)]


def ttest(**options):
    return METHODS["ttest"](options)


def measure(items: Items, analyzer, **options) -> Selectivity:
    return measure_selectivity(fold_moments(items), items, analyzer, **options)


@pytest.mark.parametrize(("n", "m"), [(2, 2), (9, 7), (40, 3)])
def test_hedges_g_is_that_of_the_formula(n, m):
    rng = np.random.default_rng(n)
    a, b = rng.normal(1, 1, n), rng.normal(0, 2, m)
    pooled = (((n - 1) * a.var(ddof=1) + (m - 1) * b.var(ddof=1)) / (n + m - 2)) ** 0.5
    g = (a.mean() - b.mean()) / pooled * (1 - 3 / (4 * (n + m) - 9))
    half = 1.959964 * ((n + m) / (n * m) + g**2 / (2 * (n + m))) ** 0.5
    found = hedges_g(a, b)
    assert found.g == pytest.approx(g)
    assert [found.low, found.high] == pytest.approx([g - half, g + half])
    assert (found.n_positive, found.n_negative) == (n, m)


def test_hedges_g_has_no_unit_and_a_sign():
    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 1, 9), rng.normal(0, 2, 7)
    found, turned = hedges_g(a, b), hedges_g(b, a)
    assert hedges_g(1e6 + 1e-3 * a, 1e6 + 1e-3 * b).g == pytest.approx(found.g, rel=1e-5)
    assert [-turned.high, -turned.low] == pytest.approx([found.low, found.high])


@pytest.mark.parametrize("value", [0.0, 0.1, 1e9 / 3])
def test_what_does_not_vary_has_no_effect(value):
    same, other = np.full(10, value), np.full(7, value + 1)
    assert hedges_g(same, same[:7]).g == 0
    assert hedges_g(same, other).g == 0


def shifted(d: float, n: int, m: int):
    """Hedges' g of items whose means differ by exactly d pooled standard deviations."""
    a, b = np.linspace(-1, 1, n), np.linspace(-1, 1, m)
    pooled = ((a @ a + b @ b) / (n + m - 2)) ** 0.5
    return hedges_g(a / pooled + d, b / pooled)


@pytest.mark.parametrize(("n", "m"), [(20, 20), (20, 30), (120, 40)])
@pytest.mark.parametrize("effect", [0.0, 0.8, 2.0])
def test_the_interval_covers_a_normal_effect_as_often_as_it_says(effect, n, m):
    """No simulation: d is a noncentral t, and those that are covered lie between two values."""
    scale = (1 / n + 1 / m) ** 0.5
    largest = brentq(lambda d: shifted(d, n, m).low - effect, -10, 10)
    smallest = brentq(lambda d: shifted(d, n, m).high - effect, -10, 10)
    d = nct(n + m - 2, effect / scale, scale=scale)
    # 0.95 for large samples; of 40 items within two in a hundred.
    assert d.cdf(largest) - d.cdf(smallest) == pytest.approx(0.95, abs=0.02)
    # And g, which is linear in d, is without bias.
    assert shifted(1, n, m).g * d.mean() == pytest.approx(effect, rel=1e-3, abs=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_a_probe_is_the_mean_of_standardised_activations(method):
    rng = np.random.default_rng(1)
    n, rows = 12, rng.normal(0.3, 2, (30, 2, 6))
    rows[:n, 0, 1] += 4
    rows[:n, 1, 2] -= 4
    chosen = METHODS[method]({"num_units": 3})
    probe = _make_probe(chosen, (Moments.of(rows[:n]), Moments.of(rows[n:])))
    assert np.array_equal(
        probe.units, chosen.select(chosen.score(Moments.of(rows[:n]), Moments.of(rows[n:])))
    )
    new = rng.normal(0, 3, (5, 2, 6))
    expected = np.mean([respond(unit, rows, n, new, chosen.signed) for unit in zip(
        *np.nonzero(probe.units), strict=True)], axis=0)  # fmt: skip
    assert probe.respond(new) == pytest.approx(expected)


def respond(
    unit: tuple[int, int], rows: np.ndarray, n: int, new: np.ndarray, signed: bool
) -> np.ndarray:
    """One unit's standardised answers, upwards where positive items are higher."""
    x, y = rows[:, *unit], new[:, *unit]
    if not signed:
        x, y = np.abs(x), np.abs(y)
    elif x[:n].mean() < x[n:].mean():
        x, y = -x, -y
    squares = (n - 1) * x[:n].var(ddof=1) + (len(x) - n - 1) * x[n:].var(ddof=1)
    return (y - x.mean()) / (squares / (len(x) - 2)) ** 0.5


def test_a_unit_that_is_constant_in_the_items_that_choose_adds_nothing():
    rows = np.random.default_rng(0).normal(5, 1, (10, 1, 3))
    rows[:, 0, 1] = 0.1
    probe = _make_probe(ttest(num_units=3), (Moments.of(rows[:5]), Moments.of(rows[5:])))
    moved = rows.copy()
    moved[:, 0, 1] = 7
    assert probe.respond(moved) == pytest.approx(probe.respond(rows))


K = 4


def slow_responses(items: Items, choosing: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Units by scipy's t of |x| on some items, their mean z on others."""
    x = np.abs(np.asarray(items.rows).astype(float)).reshape(len(items.rows), -1)
    a, b = x[choosing & items.positive], x[choosing & ~items.positive]
    best = np.argsort(-ttest_ind(a, b, equal_var=False).statistic)[:K]
    pooled = ((len(a) - 1) * a.var(0, ddof=1) + (len(b) - 1) * b.var(0, ddof=1)) / (
        len(a) + len(b) - 2
    )
    return ((x[measured] - x[choosing].mean(0)) / pooled**0.5)[:, best].mean(axis=1)


def slow_g(values: np.ndarray, positive: np.ndarray) -> float:
    return hedges_g(values[positive], values[~positive]).g


def slow_held_out(items: Items) -> np.ndarray:
    values = np.empty(len(items.rows))
    for fold in np.unique(items.folds):
        inside = items.folds == fold
        values[inside] = slow_responses(items, ~inside, inside)
    return values


@pytest.fixture(scope="module")
def items() -> Items:
    return make_items(noise_with(PLANTED, 0.7, n=20, shape=(3, 50)), 20, n_folds=5)


def test_every_item_is_measured_by_units_of_the_other_folds(items):
    found = measure(items, ttest(num_units=K))
    values = slow_held_out(items)
    assert (found.folds, found.units) == (5, K)
    assert found.held_out.g == pytest.approx(slow_g(values, items.positive))
    everything = np.ones(len(items.rows), dtype=bool)
    in_sample = slow_responses(items, everything, everything)
    assert found.in_sample.g == pytest.approx(slow_g(in_sample, items.positive))
    assert [one.condition for one in found.profile] == ["positive", "negative"]
    for side, response in zip((items.positive, ~items.positive), found.profile, strict=True):
        assert response.n == 20
        assert response.mean == pytest.approx(values[side].mean())
        error = values[side].std(ddof=1) / 20**0.5
        low, high = t.interval(0.95, 19, values[side].mean(), error)
        assert [response.low, response.high] == pytest.approx([low, high])


def test_the_interval_is_the_jackknife_over_folds(items):
    found = measure(items, ttest(num_units=K)).held_out
    without = []
    for out in range(5):
        there = items.folds != out
        rest = Items(items.rows[there], items.positive[there], [], items.folds[there])
        without.append(slow_g(slow_held_out(rest), rest.positive))
    error = (4 / 5 * np.sum((without - np.mean(without)) ** 2)) ** 0.5
    half = t.ppf(0.975, 4) * error
    assert [found.low, found.high] == pytest.approx([found.g - half, found.g + half])


def test_with_two_folds_the_textbook_variance_is_doubled():
    items = make_items(noise_with(PLANTED, 2, n=20), 20, n_folds=2)
    found = measure(items, ttest(num_units=5)).held_out
    half = 1.959964 * (40 / 400 + found.g**2 / 80) ** 0.5 * 2**0.5
    assert [found.low, found.high] == pytest.approx([found.g - half, found.g + half])


def test_barred_units_are_not_chosen():
    items = make_items(noise_with(PLANTED, 6), 40)
    barred = np.zeros((3, 50), dtype=bool)
    barred[tuple(np.transpose(PLANTED))] = True
    assert measure(items, ttest(num_units=5)).held_out.low > 4
    free = measure(items, ttest(num_units=5), barred=barred)
    assert free.held_out.low < 0 < free.held_out.high


def test_further_conditions_are_measured_by_the_units_of_their_items_folds(items):
    """Copies of the positive items answer as those do; of no item, as the mean over all folds."""
    rows = np.asarray(items.rows)[items.positive]
    folds = items.folds[items.positive]
    by_item = (rows, folds.tolist())
    by_none = (rows, [None] * len(rows))
    found = measure(items, ttest(num_units=K), further={"copies": by_item, "new": by_none})
    names = [one.condition for one in found.profile]
    assert names == ["positive", "negative", "copies", "new"]
    positive, _, copies, new = found.profile
    for name in ("mean", "low", "high"):
        assert getattr(copies, name) == pytest.approx(getattr(positive, name))
    everything = [slow_responses(items, items.folds != fold, items.positive) for fold in range(5)]
    assert new.mean == pytest.approx(np.mean(everything))
    # What is further says nothing of the effect.
    assert found.held_out == measure(items, ttest(num_units=K)).held_out


@pytest.mark.parametrize(
    "folds", [np.zeros(12, dtype=int), np.array([0, 1] * 2 + [0] * 8), np.arange(12) // 6]
)
def test_too_few_items_outside_a_fold(folds):
    """One fold; one with all but two items; one with all items of a condition."""
    rows = np.random.default_rng(0).normal(size=(12, 1, 5))
    items = Items(rows, np.arange(12) < 6, list("abcdefghijkl"), folds)
    with pytest.raises(LsnsError, match="too few items") as caught:
        measure(items, ttest(num_units=1))
    assert "\n" not in str(caught.value)


STUDIES = 200
SIDE, CHOSEN = 40, 10


def simulate(rng: np.random.Generator, effect: float, shared: float) -> Selectivity:
    """More units planted than are selected, all with the same effect, and noise that they share."""
    rows = rng.normal(30, 1, (2 * SIDE, 1, 200)) + shared * rng.normal(size=(2 * SIDE, 1, 1))
    rows[:SIDE, 0, :80] += effect
    return measure(make_items(rows, SIDE), ttest(num_units=CHOSEN))


def planted(effect: float, shared: float) -> float:
    """Of the mean of units of one weight: its variance is that of the shared noise plus 1/k.

    A unit's standard deviation scales effect and noise alike.
    """
    return effect / (shared**2 + 1 / CHOSEN) ** 0.5


# Of the planted units, and the standard deviation of the noise that all units share.
DESIGNS = {"an effect": (2.0, 1.0), "no effect": (0.0, 0.0)}


@pytest.fixture(scope="module")
def simulated() -> dict[str, list[Selectivity]]:
    made = {}
    for name, design in DESIGNS.items():
        rng = np.random.default_rng(1)
        made[name] = [simulate(rng, *design) for _ in range(STUDIES)]
    return made


def beyond(values: list[float]) -> float:
    """What a mean over independent studies is off by once in ten thousand times."""
    return 3.9 * float(np.std(values, ddof=1)) / len(values) ** 0.5


@pytest.mark.parametrize("name", DESIGNS)
def test_held_out_intervals_cover_the_planted_effect(simulated, name):
    true = planted(*DESIGNS[name])
    inside = sum(one.held_out.low <= true <= one.held_out.high for one in simulated[name])
    # The jackknife's variance is, if anything, too large: to cover more often is no error.
    assert inside >= binom.ppf(0.005, STUDIES, 0.95)


@pytest.mark.parametrize("name", DESIGNS)
def test_held_out_effects_are_right_on_average_and_in_sample_ones_too_large(simulated, name):
    true = planted(*DESIGNS[name])
    held_out, in_sample = (
        [getattr(one, part).g for one in simulated[name]] for part in ("held_out", "in_sample")
    )
    # Every fold has units and a center of its own, which adds 2 percent to the spread of items.
    assert np.mean(held_out) == pytest.approx(true, abs=beyond(held_out) + 0.02 * true)
    assert np.mean(in_sample) > true + beyond(in_sample)
    # In-sample intervals are those of items that chose nothing, and miss the effect accordingly.
    inside = sum(one.in_sample.low <= true <= one.in_sample.high for one in simulated[name])
    assert inside < binom.ppf(0.0005, STUDIES, 0.95)


def test_the_textbook_interval_misses_that_there_is_no_effect(simulated):
    """Folds that choose each other's units are not independent: why there is a jackknife."""
    inside = 0
    for one in simulated["no effect"]:
        g = one.held_out.g
        inside += abs(g) <= 1.96 * (2 / SIDE + g**2 / (4 * SIDE)) ** 0.5
    assert inside < binom.ppf(0.0005, STUDIES, 0.95)
