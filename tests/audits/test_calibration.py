"""The permutation threshold: against plain loops, and by counting how often chance exceeds it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from lsns.analysis import METHODS, TTestAnalyzer
from lsns.analysis.shuffles import shuffle_labels
from lsns.audits import calibration
from lsns.audits.calibration import Calibration, _largest_scores, permutation_test
from lsns.audits.items import Items
from lsns.errors import LsnsError
from lsns.moments import Moments

N, SHAPE = 16, (3, 20)
POSITIVE = np.arange(2 * N) < N
ALONE = [str(i) for i in range(2 * N)]
ANALYZER = TTestAnalyzer({"num_units": 6})


def scores_of(rows: np.ndarray, positive: np.ndarray, analyzer: Any = ANALYZER) -> np.ndarray:
    return analyzer.score(Moments.of(rows[positive]), Moments.of(rows[~positive]))


def calibrate(
    rows: np.ndarray,
    groups: list[str] = ALONE,
    positive: np.ndarray = POSITIVE,
    **options: Any,
) -> Calibration:
    scores = scores_of(rows, positive)
    mask = ANALYZER.select(scores, barred=options.get("barred"))
    options = {"permutations": 99} | options
    items = Items(rows, positive, groups, np.zeros(len(rows), dtype=int))
    return permutation_test(items, scores, mask, ANALYZER, **options)


@pytest.fixture
def rows() -> np.ndarray:
    rows = np.random.default_rng(3).normal(1, 2, (2 * N, *SHAPE)).astype(np.float32)
    rows[:, 1, 4] = 0.1  # a unit that never changes
    rows[:, 2, 5] += 1e5
    return rows


@pytest.mark.parametrize("method", METHODS)
def test_the_largest_score_is_that_of_a_plain_loop(rows, method, monkeypatch):
    # Two shuffles at a time.
    monkeypatch.setattr(calibration, "HELD", 2 * SHAPE[1])
    analyzer = METHODS[method]({"num_units": 4})
    groups = [str(i % 10) for i in range(12)] + [str(i) for i in range(12, 2 * N)]
    labels = shuffle_labels(POSITIVE, groups, 9, seed=1)
    free = np.random.default_rng(0).random(SHAPE) < 0.5
    free[0] = False
    found = _largest_scores(rows, labels, analyzer, free)
    expected = [scores_of(rows, row, analyzer)[free].max() for row in labels]
    assert found == pytest.approx(expected, rel=1e-9)


def test_what_is_counted(rows):
    rows[:N, 0, :3] += 3
    found = calibrate(rows, seed=5)
    scores = scores_of(rows, POSITIVE)
    labels = shuffle_labels(POSITIVE, ALONE, 99, seed=5)
    largest = sorted(float(scores_of(rows, row).max()) for row in labels)
    assert found.threshold == pytest.approx(largest[94], rel=1e-9)
    assert found.largest == scores.max()
    assert found.weakest == sorted(scores.ravel())[-6]
    assert found.p_value == (1 + sum(one >= scores.max() for one in largest)) / 100
    assert found.units_above == (scores > largest[94]).sum()
    assert found.above == (np.sort(scores.ravel())[-6:] > largest[94]).sum()
    assert (found.selected, found.statistic, found.permutations) == (6, "ttest", 99)


@pytest.mark.parametrize(
    ("alpha", "permutations", "above"),
    [(0.05, 19, 1), (0.05, 99, 5), (0.05, 118, 5), (0.07, 99, 7), (0.1, 49, 5), (0.58, 99, 58)],
)
def test_the_threshold_is_an_order_statistic(rows, alpha, permutations, above):
    """Of permutations + 1 values, the true one among them, `above` may lie above it."""
    found = calibrate(rows, alpha=alpha, permutations=permutations)
    labels = shuffle_labels(POSITIVE, ALONE, permutations, seed=0)
    largest = sorted(float(scores_of(rows, row).max()) for row in labels)
    assert found.threshold == pytest.approx(largest[permutations - above], rel=1e-9)
    # So many shuffles reach it, itself among them: a true score above it has p <= alpha.
    assert above / (permutations + 1) <= alpha < (above + 1) / (permutations + 1)


def test_a_planted_effect_is_above_and_the_rest_is_not():
    rng = np.random.default_rng(0)
    rows = rng.normal(10, 1, (2 * N, *SHAPE))
    rows[:N, 1, :6] += 4
    found = calibrate(rows, permutations=199)
    assert (found.selected, found.above, found.units_above) == (6, 6, 6)
    assert found.p_value == 1 / 200


def test_units_that_cannot_be_selected_do_not_count():
    rng = np.random.default_rng(0)
    rows = rng.normal(10, 1, (2 * N, *SHAPE))
    rows[:N, 0] += 5
    barred = np.zeros(SHAPE, dtype=bool)
    barred[0] = True
    found = calibrate(rows, barred=barred)
    assert found.largest == scores_of(rows, POSITIVE)[1:].max()
    assert found.units_above == found.above == 0
    assert calibrate(rows).units_above == 20
    # Nor do they raise the threshold: as if the layer were not there.
    assert found.threshold == pytest.approx(calibrate(rows[:, 1:]).threshold, rel=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_the_true_labels_again_are_a_tie(seed):
    """Three against three items can be labelled in 20 ways: p is about 0.05, whatever is found."""
    rows = np.random.default_rng(1).normal(10, 1, (6, *SHAPE))
    rows[:3] += 50
    positive, groups = np.arange(6) < 3, list("abcdef")
    labels = shuffle_labels(positive, groups, 499, seed=seed)
    same = sum(np.array_equal(row, positive) for row in labels)
    assert 10 < same < 40
    found = calibrate(rows, groups, positive, permutations=499, seed=seed)
    assert found.p_value == (1 + same) / 500
    # The threshold may be the score of the true labels, which does not exceed itself.
    assert (found.units_above > 0) == (found.p_value <= 0.05)
    assert found.threshold <= found.largest * (1 + 1e-9)


def test_too_few_ways_to_shuffle_are_refused():
    rows = np.random.default_rng(0).normal(size=(4, *SHAPE))
    positive = np.arange(4) < 2
    with pytest.raises(LsnsError, match=r"in 6 ways only, too few for p 0\.05"):
        calibrate(rows, list("abcd"), positive)
    # Two runs of each condition, however many items they have.
    runs = [f"{i // N} {i % 2}" for i in range(2 * N)]
    with pytest.raises(LsnsError, match="in 6 ways only"):
        calibrate(np.random.default_rng(0).normal(size=(2 * N, *SHAPE)), runs)


def test_the_same_seed_gives_the_same(rows):
    assert calibrate(rows, seed=2) == calibrate(rows, seed=2)
    assert calibrate(rows, seed=2) != calibrate(rows, seed=3)


# Of 100 values, the true one among them, 5 are the largest: with 99 permutations, alpha 0.05 is
# attained exactly where no two shuffles tie.
STUDIES = 500


def noise(rng: np.random.Generator, n: int) -> np.ndarray:
    """Heavy-tailed, skewed noise of units that are correlated, of different size in every unit."""
    shared = rng.standard_t(3, (n, 1, 4)) @ rng.normal(0, 1, (4, SHAPE[1]))
    return (shared + rng.exponential(2, (n, *SHAPE))) * np.exp(rng.normal(0, 2, SHAPE))


def alone(rng: np.random.Generator) -> tuple[np.ndarray, list[str]]:
    return noise(rng, 2 * N), ALONE


def paired(rng: np.random.Generator) -> tuple[np.ndarray, list[str]]:
    """Pairs of a positive and a negative item that are alike."""
    return np.tile(10 * noise(rng, N), (2, 1, 1)) + noise(rng, 2 * N), ALONE[:N] * 2


def runs(rng: np.random.Generator) -> tuple[np.ndarray, list[str]]:
    """Runs of four items of one condition that are alike."""
    return np.repeat(3 * noise(rng, N // 2), 4, axis=0) + noise(rng, 2 * N), [
        str(i // 4) for i in range(2 * N)
    ]


def false_alarms(make: Any, studies: int, *, grouped: bool = True) -> int:
    """In how many studies without any effect a unit exceeds the threshold."""
    rng = np.random.default_rng(0)
    count = 0
    for study in range(studies):
        rows, groups = make(rng)
        found = calibrate(rows, groups if grouped else ALONE, seed=study)
        assert (found.p_value <= 0.05) == (found.units_above > 0)
        assert found.above == min(found.units_above, 6)
        count += found.units_above > 0
    return count


@pytest.mark.parametrize("make", [alone, paired, runs])
def test_without_an_effect_one_study_in_twenty_has_a_unit_above(make):
    low, high = binom.ppf([0.005, 0.995], STUDIES, 0.05)
    assert low <= false_alarms(make, STUDIES) <= high


def test_without_its_groups_a_study_of_runs_finds_what_is_not_there():
    assert false_alarms(runs, 100, grouped=False) > binom.ppf(0.9999, 100, 0.05)
