"""Effects on items that did not choose the units: against scipy on single items, by simulation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import binom, nct, t, ttest_ind

from lsns.analysis import METHODS
from lsns.analysis.shuffles import shuffle_labels
from lsns.audits.crossfit import CrossFit, likely_effects
from lsns.audits.items import Items
from lsns.audits.selectivity import (
    Selectivity,
    _make_probe,
    _variance,
    hedges_g,
    measure_selectivity,
)
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


@pytest.mark.parametrize("method", METHODS)
def test_under_any_labels_responses_are_those_of_the_cross_fit(items, method):
    """One labelling at a time, by the moments of items with these labels."""
    analyzer = METHODS[method]({"num_units": K})
    rows = np.asarray(items.rows).astype(float)
    rows[:, 1] *= -1
    rows[:, 2, 4] = 7.0
    values = rows if analyzer.signed else np.abs(rows)
    labels = shuffle_labels(items.positive, items.groups, 6, seed=1)
    cross = CrossFit(values - values.mean(axis=0), items.folds, analyzer)
    for label, responses in zip(labels, cross.respond(labels), strict=True):
        slow = np.empty(len(rows))
        for fold in range(5):
            inside = items.folds == fold
            sides = Moments.of(rows[label & ~inside]), Moments.of(rows[~label & ~inside])
            slow[inside] = _make_probe(analyzer, sides).respond(rows[inside])
        assert responses == pytest.approx(slow)


def test_the_variance_of_units_chosen_beforehand_holds_for_unequal_spreads():
    """Against the effects of many samples, of conditions with spreads of 3 and 1."""
    rng = np.random.default_rng(0)
    drawn = [(rng.normal(9, 3, 120), rng.normal(0, 1, 120)) for _ in range(3000)]
    effects = [hedges_g(*both).g for both in drawn]
    variances = [_variance(*both) for both in drawn]
    assert np.mean(variances) == pytest.approx(np.var(effects), rel=0.1)
    textbook = 2 / 120 + np.mean(effects) ** 2 / 480
    assert np.var(effects) > 1.2 * textbook
    assert _variance(np.ones(5), np.ones(5)) == 0


def test_effects_are_added_to_positive_items(items):
    values = np.asarray(items.rows).astype(float)
    values -= values.mean(axis=0)
    effects = np.random.default_rng(0).normal(0, 0.5, values.shape[1:])
    labels = shuffle_labels(items.positive, items.groups, 4, seed=1)
    analyzer = ttest(num_units=K)
    added = CrossFit(values, items.folds, analyzer).respond(labels, effects)
    for label, responses in zip(labels, added, strict=True):
        moved = values + label[:, None, None] * effects
        alone = CrossFit(moved, items.folds, analyzer).respond(label[None])[0]
        assert responses == pytest.approx(alone)


def test_p_counts_shuffles_through_the_same_cross_fit(items):
    found = measure(items, ttest(num_units=K), shuffles=39, seed=3)
    labels = shuffle_labels(items.positive, items.groups, 39, seed=3)
    reached = [
        slow_g(slow_held_out(replace(items, positive=label)), label) >= found.held_out.g
        for label in labels
    ]
    assert found.p_value == (1 + sum(reached)) / 40
    assert f"p {found.p_value:.2g}" in found.table().text()


def test_labels_that_leave_too_few_items_are_not_counted():
    """Three folds of two items: some labels leave a fold's others with one of a condition."""
    rows = np.random.default_rng(0).normal(10, 1, (6, 1, 5))
    items = make_items(rows, 3, n_folds=3)
    analyzer = ttest(num_units=2)
    labels = np.array([[1, 1, 0, 1, 0, 0], [1, 0, 0, 1, 1, 0]], dtype=bool)
    cross = CrossFit(rows - rows.mean(axis=0), items.folds, analyzer)
    there = ~np.isnan(cross.respond(labels)).any(axis=1)
    slow = [
        min(min(label[items.folds != f].sum(), (~label)[items.folds != f].sum()) for f in range(3))
        >= 2
        for label in labels
    ]
    assert there.tolist() == slow
    assert not all(slow)


@pytest.mark.parametrize(("share", "effect"), [(0.0, 0.0), (0.05, 5.0), (0.3, 3.0)])
def test_likely_effects_are_distributed_as_the_planted_ones(share, effect):
    """In standard errors; observed differences are spread by noise, likely ones are not."""
    n, units = 40, 2000
    rng = np.random.default_rng(0)
    planted = np.where(np.arange(units) < share * units, effect, 0.0)
    rows = rng.normal(30, 1, (2 * n, 1, units))
    rows[:n, 0] += planted * (2 / n) ** 0.5
    sides = Moments.of(rows[:n]), Moments.of(rows[n:])
    likely = likely_effects(sides, signed=False)[0] / (2 / n) ** 0.5
    assert likely.mean() == pytest.approx(planted.mean(), abs=0.1)
    assert likely.std() == pytest.approx(planted.std(), abs=0.45)
    top, few = np.sort(likely)[-20:].mean(), np.sort(planted)[-20:].mean()
    assert top == pytest.approx(few, abs=1.2)
    observed = np.sort((rows[:n].mean(0) - rows[n:].mean(0))[0] / (2 / n) ** 0.5)[-20:].mean()
    assert abs(top - few) < observed - few


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


STUDIES = 60
# Items a side, units that answer of 400, and by how many standard deviations; 2% are selected.
DESIGNS = {"no effect": (24, 0, 0.0), "few": (24, 8, 0.8), "many": (24, 120, 0.8)}


def simulate(rng: np.random.Generator, items: int, answering: int, effect: float) -> Selectivity:
    rows = rng.normal(30, 1, (2 * items, 1, 400))
    rows[:items, 0, :answering] += effect
    made = make_items(rows, items, n_folds=5)
    return measure(made, ttest(num_units=8), shuffles=39, seed=int(rng.integers(2**31)))


@pytest.fixture(scope="module")
def simulated() -> dict[str, list[Selectivity]]:
    made = {}
    for name, design in DESIGNS.items():
        rng = np.random.default_rng(1)
        made[name] = [simulate(rng, *design) for _ in range(STUDIES)]
    return made


@pytest.mark.parametrize("name", DESIGNS)
def test_held_out_intervals_cover_what_a_study_of_that_size_shows(simulated, name):
    """Not less often than they say, and not more: the jackknife's covered in 99 of 100."""
    held = [one.held_out for one in simulated[name]]
    true = np.mean([one.g for one in held])
    inside = sum(one.low <= true <= one.high for one in held)
    # So few studies bound coverage from below; from above, the width does.
    assert binom.ppf(0.005, STUDIES, 0.93) <= inside
    half = np.mean([(one.high - one.low) / 2 for one in held])
    assert half == pytest.approx(1.96 * np.std([one.g for one in held], ddof=1), rel=0.3)


def test_p_is_right_where_nothing_answers_and_small_where_units_do(simulated):
    alarms = sum(one.p_value <= 0.05 for one in simulated["no effect"])
    assert binom.ppf(0.001, STUDIES, 0.05) <= alarms <= binom.ppf(0.999, STUDIES, 0.05)
    assert np.mean([one.p_value for one in simulated["no effect"]]) == pytest.approx(0.5, abs=0.14)
    for name, power in (("few", 0.5), ("many", 0.95)):
        assert np.mean([one.p_value <= 0.05 for one in simulated[name]]) > power


def test_the_textbook_interval_misses_that_there_is_no_effect(simulated):
    """Folds that choose each other's units are not independent: why labels are shuffled."""
    items, inside = 24, 0
    for one in simulated["no effect"]:
        g = one.held_out.g
        inside += abs(g) <= 1.96 * (2 / items + g**2 / (4 * items)) ** 0.5
    assert inside < binom.ppf(0.05, STUDIES, 0.95)


def test_in_sample_effects_are_too_large(simulated):
    for found in simulated.values():
        assert all(one.in_sample.g > one.held_out.g for one in found)
    assert np.mean([one.held_out.g for one in simulated["no effect"]]) == pytest.approx(0, abs=0.25)
    assert np.mean([one.in_sample.g for one in simulated["no effect"]]) > 1
