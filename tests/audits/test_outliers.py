"""Outlier dimensions in a mask: counted one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsns.audits import outliers as audits
from lsns.audits.outliers import OutlierAudit, OutlierDimension, OutlierPlace
from lsns.overlap import overlap

# Median 1 in each layer; outliers over 10: (0, 2), (0, 5), (1, 2), (2, 2), (2, 6).
MAGNITUDES = np.array(
    [
        [1, 1, 50, 1, 1, 11, 1, 1],
        [1, 1, 400, 1, 1, 10, 1, 1],
        [1, 1, 30, 1, 1, 1, 20, 1],
    ],
    dtype=float,
)


def audit_outliers(mask: np.ndarray, magnitudes: np.ndarray, **options: float) -> OutlierAudit:
    """Where a unit is as large at every place."""
    sizes = dict.fromkeys(("pooled", "tokens", "first"), magnitudes)
    return audits.audit_outliers(mask, sizes, **options)


def test_an_outlier_at_any_place_is_one_and_places_are_counted():
    flat = np.ones((3, 8))
    first, tokens = flat.copy(), flat.copy()
    first[:, 3], tokens[0, 4] = 90, 30
    sizes = {"pooled": MAGNITUDES, "tokens": tokens, "first": first}
    found = audits.audit_outliers(mask_of((0, 2), (0, 3), (0, 4), (1, 3), (1, 4)), sizes)
    assert (found.selected, found.model) == (4, 5 + 1 + 3)
    assert found.places == (
        OutlierPlace("pooled", 1, 5), OutlierPlace("tokens", 1, 1), OutlierPlace("first", 2, 3)
    )  # fmt: skip
    assert found.magnitude_share == pytest.approx(33 / 34)
    words = "1 where the localizer reads, 1 over all tokens, 2 at the first position"
    assert found.table().lead[1] == f"of these, outliers {words}"


def mask_of(*units: tuple[int, int], shape: tuple[int, int] = (3, 8)) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(np.transpose(units))] = True
    return mask


def test_counts_and_shares():
    # Two outliers, 50 and 400, and two others, 10 and 1.
    found = audit_outliers(mask_of((0, 2), (1, 2), (1, 5), (2, 0)), MAGNITUDES)
    assert (found.threshold, found.selected, found.units, found.model) == (10, 2, 4, 5)
    assert found.share == 0.5
    assert found.magnitude_share == pytest.approx(450 / 461)
    # In the layers are 1, 2 and 1 selected, and 2, 1 and 2 outliers of 8.
    assert found.expected == pytest.approx((1 * 2 + 2 * 1 + 1 * 2) / 8)


def test_a_dimension_recurs_where_it_is_an_outlier_in_more_layers():
    found = audit_outliers(mask_of((0, 2), (0, 5), (1, 2), (1, 5), (2, 6), (2, 7)), MAGNITUDES)
    assert found.dimensions == (
        # Selected in two of the three layers in which it is one; 5 of layer 1 is none.
        OutlierDimension(2, selected_layers=2, outlier_layers=3),
        OutlierDimension(5, selected_layers=1, outlier_layers=1),
        OutlierDimension(6, selected_layers=1, outlier_layers=1),
    )


def test_the_threshold_is_times_the_median_of_the_layer():
    mask = mask_of((1, 5), (2, 6))
    assert [audit_outliers(mask, MAGNITUDES, threshold=t).selected for t in (9.9, 10, 20)] == [
        2, 1, 0
    ]  # fmt: skip
    scaled = MAGNITUDES * np.array([[1], [100], [1e-6]])
    assert audit_outliers(mask, scaled).selected == 1
    assert audit_outliers(mask, scaled).model == 5


def test_a_mask_without_outliers():
    found = audit_outliers(mask_of((0, 0), (2, 7)), MAGNITUDES)
    assert (found.selected, found.share, found.magnitude_share) == (0, 0, 0)
    assert found.p_value == pytest.approx(1)
    assert found.dimensions == ()


def test_a_model_without_outliers():
    found = audit_outliers(mask_of((0, 2), (1, 2)), np.ones((3, 8)))
    assert (found.model, found.selected, found.expected) == (0, 0, 0)
    assert found.p_value == pytest.approx(1)


def test_a_mask_of_outliers_alone():
    found = audit_outliers(MAGNITUDES > 10, MAGNITUDES)
    assert (found.share, found.magnitude_share, found.selected) == (1, 1, 5)
    # Dimensions 2, 5 and 6 of 8 stay where they are.
    assert found.p_value == pytest.approx(1 / (8 * 7 * 6), abs=0.003)


def test_units_that_are_always_zero_have_no_share():
    magnitudes = MAGNITUDES.copy()
    magnitudes[0, :2] = 0
    assert audit_outliers(mask_of((0, 0), (0, 1)), magnitudes).magnitude_share == 0


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_any_mask_unit_by_unit(seed, k):
    rng = np.random.default_rng(seed)
    magnitudes = np.exp(rng.normal(0, 2, (4, 15)))
    chosen = rng.permutation(60)[:k].tolist()
    mask = mask_of(*(divmod(unit, 15) for unit in chosen), shape=(4, 15))
    found = audit_outliers(mask, magnitudes, threshold=3)
    medians = [sorted(row)[7] for row in magnitudes.tolist()]
    outliers = {(i, j) for i in range(4) for j in range(15) if magnitudes[i, j] > 3 * medians[i]}
    both = outliers & {divmod(unit, 15) for unit in chosen}
    assert (found.selected, found.units, found.model) == (len(both), k, len(outliers))
    assert found.p_value == overlap(mask, magnitudes > 3 * np.array(medians)[:, None]).p_value
    assert found.magnitude_share == pytest.approx(
        sum(magnitudes[unit] for unit in both) / magnitudes[mask].sum()
    )
    layers = {d.dimension: (d.selected_layers, d.outlier_layers) for d in found.dimensions}
    assert layers == {
        j: (sum(unit[1] == j for unit in both), sum(unit[1] == j for unit in outliers))
        for j in {j for _, j in both}
    }
    counts = [(-d.selected_layers, d.dimension) for d in found.dimensions]
    assert counts == sorted(counts)
