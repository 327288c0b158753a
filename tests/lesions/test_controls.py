"""Controls: as many units, from outside the mask, alike in what is asked."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lsns.errors import LsnsError
from lsns.lesions.controls import Control, TooFewUnitsError, control_mask
from lsns.mask import UnitMask

KINDS = get_args(Control)
SHAPE = (4, 300)


def refusal(call: Callable[[], Any]) -> str:
    with pytest.raises(LsnsError) as caught:
        call()
    message = str(caught.value)
    assert message
    assert "\n" not in message
    return message


def heavy_tailed(seed: int = 0) -> np.ndarray:
    """Magnitudes as real models have them: some are a hundred times the median."""
    return np.exp(np.random.default_rng(seed).normal(0, 1.5, SHAPE))


def random_mask() -> UnitMask:
    """30, 12, 3 and no units, the larger ones the likelier."""
    rng, magnitudes = np.random.default_rng(1), heavy_tailed()
    units = np.zeros(SHAPE, dtype=bool)
    for layer, count in enumerate((30, 12, 3, 0)):
        p = np.sqrt(magnitudes[layer])
        units[layer, rng.choice(SHAPE[1], count, replace=False, p=p / p.sum())] = True
    return UnitMask(units, {"method": "ttest"})


MASK = random_mask()
# 27 of the mask's 45 units, and 252 of the others.
OUTLIERS = heavy_tailed() > 3 * np.median(heavy_tailed(), axis=1, keepdims=True)


def control(kind: Control, seed: int = 42) -> UnitMask:
    return control_mask(MASK, kind, seed=seed, magnitudes=heavy_tailed(), outliers=OUTLIERS)


@pytest.mark.parametrize("seed", [0, 42, 43, 44])
def test_uniform_is_the_published_draw(seed: int) -> None:
    flat = MASK.units.ravel()
    others = [unit for unit in range(flat.size) if not flat[unit]]
    expected = np.random.RandomState(seed).choice(others, int(flat.sum()), replace=False)
    found = control_mask(MASK, seed=seed).units
    assert found.shape == SHAPE
    assert np.flatnonzero(found).tolist() == sorted(expected.tolist())


small = hnp.arrays(bool, st.tuples(st.integers(1, 4), st.integers(2, 9)))


@settings(max_examples=80, deadline=None)
@given(small, st.sampled_from(KINDS), st.integers(0, 2**32 - 1))
def test_every_control_is_of_that_size_and_outside_the_mask(
    units: np.ndarray, kind: Control, seed: int
) -> None:
    # At most half of each layer, so that there are others everywhere.
    units = units & (np.arange(units.shape[1]) < units.shape[1] // 2)
    units[0, 0] = True
    magnitudes = np.random.default_rng(seed).random(units.shape)
    mask = UnitMask(units.copy())
    # As many outliers in either half, or one more in the second.
    outliers = np.arange(units.shape[1]) % max(units.shape[1] // 2, 1) % 2 == 0
    outliers = np.broadcast_to(outliers, units.shape)
    found = control_mask(mask, kind, seed=seed, magnitudes=magnitudes, outliers=outliers)
    assert found.units.shape == units.shape
    assert found.units.dtype == bool
    assert found.count == units.sum()
    assert not (found.units & units).any()
    np.testing.assert_array_equal(mask.units, units)
    if kind == "outliers":
        assert (found.units & outliers).sum() == (units & outliers).sum()
    elif kind != "uniform":
        assert found.per_layer.tolist() == units.sum(axis=1).tolist()


@pytest.mark.parametrize("kind", ["layer", "magnitude"])
def test_matched_controls_have_the_counts_of_the_layers(kind: Control) -> None:
    assert control(kind).per_layer.tolist() == [30, 12, 3, 0]


def test_uniform_units_are_in_every_layer() -> None:
    counts = np.mean([control("uniform", seed).per_layer for seed in range(40)], axis=0)
    # 45 units of 1155 others: 270, 288, 297 and 300 of them in the layers.
    np.testing.assert_allclose(counts, [10.5, 11.2, 11.6, 11.7], atol=2)


def test_every_other_unit_of_a_layer_is_drawn_in_the_end() -> None:
    draws = sum(control("layer", seed).units[0].astype(int) for seed in range(80))
    np.testing.assert_array_equal(draws > 0, ~MASK.units[0])


def log_ratio(kind: Control, seed: int) -> float:
    magnitudes = heavy_tailed()
    summed = magnitudes[control(kind, seed).units].sum()
    return abs(float(np.log(summed / magnitudes[MASK.units].sum())))


def test_magnitudes_are_matched_much_better_than_by_chance() -> None:
    matched = [log_ratio("magnitude", seed) for seed in range(20)]
    for kind in ("uniform", "layer"):
        others = [log_ratio(kind, seed) for seed in range(20)]
        assert np.median(matched) < 0.5 * np.median(others)
        assert max(matched) < min(others)


def test_magnitudes_are_matched_unit_by_unit() -> None:
    """Not the sums alone: the sorted magnitudes of a layer lie close to each other."""
    magnitudes, found = heavy_tailed(), control("magnitude").units
    for layer in range(2):
        pair = [np.sort(np.log(magnitudes[layer, units[layer]])) for units in (found, MASK.units)]
        assert np.median(np.abs(pair[0] - pair[1])) < 0.1


def test_an_outlier_is_matched_by_an_outlier() -> None:
    magnitudes = np.ones((1, 100))
    magnitudes[0, :20] = 1000
    mask = UnitMask(np.arange(100).reshape(1, 100) < 2)
    for seed in range(20):
        found = control_mask(mask, "magnitude", seed=seed, magnitudes=magnitudes)
        assert (magnitudes[found.units] == 1000).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_manifest_says_what_it_is(kind: Control) -> None:
    found, magnitudes = control(kind, 7), heavy_tailed()
    note = found.manifest["control"]
    assert (note["kind"], note["seed"], note["of"]) == (kind, 7, MASK.digest)
    expected = magnitudes[found.units].sum() / magnitudes[MASK.units].sum()
    assert note["magnitude_ratio"] == pytest.approx(expected)
    assert found.manifest["method"] == "ttest"
    assert "control" not in MASK.manifest


@pytest.mark.parametrize("kind", KINDS)
def test_a_control_follows_its_seed(kind: Control) -> None:
    digests = [control(kind, seed).digest for seed in (1, 1, *range(2, 12))]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 11
    unseeded = control_mask(MASK, kind, magnitudes=heavy_tailed(), outliers=OUTLIERS)
    assert unseeded.digest == control(kind, 42).digest


def test_magnitudes_change_neither_of_the_other_controls() -> None:
    for kind in ("uniform", "layer"):
        assert control_mask(MASK, kind, seed=3).digest == control(kind, 3).digest
        assert "magnitude_ratio" not in control_mask(MASK, kind).manifest["control"]


@pytest.mark.parametrize("kind", KINDS)
def test_global_random_states_are_left_alone(kind: Control) -> None:
    np.random.seed(7)
    random.seed(7)
    expected = np.random.random(), random.random()
    np.random.seed(7)
    random.seed(7)
    control(kind)
    assert (np.random.random(), random.random()) == expected


def test_a_mask_of_more_than_half_has_no_uniform_control() -> None:
    mask = UnitMask(np.arange(10).reshape(2, 5) < 6)
    message = refusal(lambda: control_mask(mask))
    assert "6 units are selected and only 4 others may be drawn" in message


@pytest.mark.parametrize("kind", ["layer", "magnitude"])
def test_a_layer_with_too_few_others_is_named(kind: Control) -> None:
    units = np.zeros((3, 5), dtype=bool)
    units[1, :3] = True
    message = refusal(lambda: control_mask(UnitMask(units), kind, magnitudes=np.ones((3, 5))))
    assert "layer 1 has 3 selected units and only 2 others may be drawn" in message
    assert control_mask(UnitMask(units)).count == 3


@pytest.mark.parametrize("kind", KINDS)
def test_exactly_half_has_one_control(kind: Control) -> None:
    units = np.array([[True, False, True, False]])
    none = np.zeros((1, 4), dtype=bool)
    found = control_mask(UnitMask(units), kind, magnitudes=np.ones((1, 4)), outliers=none)
    np.testing.assert_array_equal(found.units, ~units)


def test_magnitude_without_magnitudes_is_refused() -> None:
    assert "needs magnitudes=" in refusal(lambda: control_mask(MASK, "magnitude"))


@pytest.mark.parametrize("shape", [(3, 300), (4, 299), (4, 301), (5, 300), (300,)])
def test_magnitudes_of_another_model_are_refused(shape: tuple[int, ...]) -> None:
    message = refusal(lambda: control_mask(MASK, "magnitude", magnitudes=np.ones(shape)))
    assert str(shape) in message
    assert str(SHAPE) in message


def test_an_unknown_control_is_refused() -> None:
    kind: Any = "matched"
    message = refusal(lambda: control_mask(MASK, kind))
    assert "'matched'" in message
    assert all(known in message for known in KINDS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_numpy_does_not_take_is_refused(kind: Control, seed: int) -> None:
    assert str(seed) in refusal(lambda: control(kind, seed))


# Units that are barred, and outliers.

small_with_two = small.flatmap(
    lambda u: st.tuples(st.just(u), hnp.arrays(bool, u.shape), hnp.arrays(bool, u.shape))
)


@settings(max_examples=150, deadline=None)
@given(small_with_two, st.sampled_from(KINDS), st.integers(0, 2**32 - 1))
def test_what_is_barred_is_never_drawn(
    arrays: tuple[np.ndarray, np.ndarray, np.ndarray], kind: Control, seed: int
) -> None:
    units, barred, outliers = arrays
    units[0, 0] = True
    free = ~units & ~barred
    rows = zip(free, units, strict=True)
    enough = {
        "uniform": free.sum() >= units.sum(),
        "layer": all(there.sum() >= here.sum() for there, here in rows),
        "outliers": all(
            (free & some).sum() >= (units & some).sum() for some in (outliers, ~outliers)
        ),
    }
    enough["magnitude"] = enough["layer"]
    mask = UnitMask(units)
    given_ = {"magnitudes": np.ones(units.shape), "barred": barred, "outliers": outliers}
    if not enough[kind]:
        with pytest.raises(TooFewUnitsError, match="others may be drawn"):
            control_mask(mask, kind, seed=seed, **given_)
        return
    found = control_mask(mask, kind, seed=seed, **given_)
    assert found.count == units.sum()
    assert not (found.units & (units | barred)).any()
    assert found.manifest["control"]["barred"] == barred.sum()
    if kind == "outliers":
        assert (found.units & outliers).sum() == (units & outliers).sum()
    elif kind != "uniform":
        assert found.per_layer.tolist() == units.sum(axis=1).tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_barred_is_the_same_draw(kind: Control) -> None:
    nothing = np.zeros(SHAPE, dtype=bool)
    other = control_mask(MASK, kind, magnitudes=heavy_tailed(), barred=nothing, outliers=OUTLIERS)
    assert other.digest == control(kind).digest
    assert "barred" not in control(kind).manifest["control"]


def test_as_many_outliers_of_any_layer_and_each_in_the_end() -> None:
    masks = [control("outliers", seed).units for seed in range(200)]
    assert {int((units & OUTLIERS).sum()) for units in masks} == {27}
    assert {int(units.sum()) for units in masks} == {45}
    drawn = np.any(masks, axis=0)
    np.testing.assert_array_equal(drawn & OUTLIERS, OUTLIERS & ~MASK.units)
    # The last layer has none of the mask's units, and still its share: 64 of 252.
    assert np.mean([(units & OUTLIERS)[3].sum() for units in masks]) == pytest.approx(6.9, abs=0.7)


def test_without_outliers_in_the_mask_it_is_uniform_over_the_others() -> None:
    mask = UnitMask(MASK.units & ~OUTLIERS)
    found = control_mask(mask, "outliers", outliers=OUTLIERS)
    assert not (found.units & OUTLIERS).any()
    assert found.digest == control_mask(mask, "uniform", barred=OUTLIERS).digest


def test_of_outliers_only_all_are_outliers() -> None:
    mask = UnitMask(MASK.units & OUTLIERS)
    found = control_mask(mask, "outliers", outliers=OUTLIERS)
    assert found.count == (found.units & OUTLIERS).sum() == 27


def test_too_few_outliers_outside_are_counted() -> None:
    outliers = MASK.units.copy()
    outliers[3, :5] = True
    message = refusal(lambda: control_mask(MASK, "outliers", outliers=outliers))
    assert "45 outlier units are selected and only 5 others may be drawn" in message
    message = refusal(lambda: control_mask(MASK, "outliers", outliers=~MASK.units))
    assert "45 units that are no outliers are selected and only 0 others" in message


def test_arrays_that_are_missing_or_of_another_model() -> None:
    assert "needs outliers=" in refusal(lambda: control_mask(MASK, "outliers"))
    wrong = np.zeros((4, 299), dtype=bool)
    for name in ("barred", "outliers"):
        arrays: dict[str, Any] = {name: wrong}
        message = refusal(lambda arrays=arrays: control_mask(MASK, **arrays))
        assert f"{name}= of shape (4, 299)" in message


def test_integers_are_as_good_as_booleans() -> None:
    whole = OUTLIERS.astype(np.int64)
    assert control_mask(MASK, "outliers", outliers=whole).digest == control("outliers").digest
    barred = control_mask(MASK, barred=whole)
    assert barred.digest == control_mask(MASK, barred=OUTLIERS).digest
