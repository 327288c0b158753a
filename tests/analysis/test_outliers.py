"""Outlier units: a rule of one line, stated again."""

from __future__ import annotations

import inspect
import statistics

import numpy as np
import pytest

from lsns.analysis.outliers import THRESHOLD, check_threshold, outlier_units
from lsns.errors import LsnsError
from lsns.localization import localize
from lsns.specs import AnalysisConfig

MAGNITUDES = np.exp(np.random.default_rng(0).normal(0, 1.5, (4, 101)))


@pytest.mark.parametrize("threshold", [0.5, 1, 3.0, 10])
def test_over_so_many_times_the_median_of_the_layer(threshold: float) -> None:
    found = outlier_units(MAGNITUDES, threshold=threshold)
    for layer, row in enumerate(MAGNITUDES.tolist()):
        limit = threshold * statistics.median(row)
        assert found[layer].tolist() == [value > limit for value in row]


def test_at_the_threshold_is_not_over_it() -> None:
    assert outlier_units(np.array([[1.0, 1.0, 10.0, 11.0, 1.0]])).tolist() == [
        [False, False, False, True, False]
    ]


@pytest.mark.parametrize("threshold", [0, -1, float("nan"), float("inf")])
def test_what_is_no_threshold(threshold: float) -> None:
    with pytest.raises(LsnsError, match=f"outlier-threshold must be .* got {threshold}"):
        outlier_units(MAGNITUDES, threshold=threshold)
    with pytest.raises(LsnsError, match="outlier-threshold"):
        check_threshold(threshold)


def test_one_default_everywhere() -> None:
    here = inspect.signature(localize).parameters["outlier_threshold"].default
    assert AnalysisConfig().outlier_threshold == here == THRESHOLD == 10
