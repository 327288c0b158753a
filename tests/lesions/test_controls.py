"""Controls: as many units, alike in what is asked, drawn beside the mask's own or without them."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lsns.errors import LsnsError
from lsns.lesions.controls import (
    Control,
    Match,
    TooFewUnitsError,
    control_mask,
    effective_number,
    match_of,
)
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


def control(kind: Control, seed: int = 42, *, outside: bool = True) -> UnitMask:
    return control_mask(
        MASK, kind, seed=seed, magnitudes=heavy_tailed(), outliers=OUTLIERS, outside=outside
    )


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
@given(small, st.sampled_from(KINDS), st.integers(0, 2**32 - 1), st.booleans())
def test_every_control_is_of_that_size_and_without_the_mask_if_asked(
    units: np.ndarray, kind: Control, seed: int, outside: bool
) -> None:
    # At most half of each layer, so that there are others everywhere.
    units = units & (np.arange(units.shape[1]) < units.shape[1] // 2)
    units[0, 0] = True
    magnitudes = np.random.default_rng(seed).random(units.shape)
    mask = UnitMask(units.copy())
    # As many outliers in either half, or one more in the second.
    outliers = np.arange(units.shape[1]) % max(units.shape[1] // 2, 1) % 2 == 0
    outliers = np.broadcast_to(outliers, units.shape)
    options: Any = {"seed": seed, "magnitudes": magnitudes, "outliers": outliers}
    found = control_mask(mask, kind, outside=outside, **options)
    assert found.units.shape == units.shape
    assert found.units.dtype == bool
    assert found.count == units.sum()
    assert not outside or not (found.units & units).any()
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


@pytest.mark.parametrize("outside", [False, True])
def test_every_unit_of_a_layer_is_drawn_in_the_end(outside: bool) -> None:
    draws = sum(control("layer", seed, outside=outside).units[0].astype(int) for seed in range(100))
    np.testing.assert_array_equal(draws > 0, ~MASK.units[0] | (not outside))


@pytest.mark.parametrize("kind", ["uniform", "layer"])
def test_the_masks_own_units_are_drawn_as_often_as_others(kind: Control) -> None:
    draws = [control(kind, seed, outside=False).units for seed in range(300)]
    # Of 45 units, from 1200 in all; or 30, 12 and 3 from 300 in each layer.
    expected = {"uniform": 45 * 45 / 1200, "layer": (30**2 + 12**2 + 3**2) / 300}[kind]
    assert np.mean([(units & MASK.units).sum() for units in draws]) == pytest.approx(
        expected, abs=0.4
    )


def log_ratio(kind: Control, seed: int) -> float:
    return abs(float(np.log(match_of(MASK.units, control(kind, seed).units, heavy_tailed()).total)))


def test_magnitudes_are_matched_much_better_than_by_chance() -> None:
    matched = [log_ratio("magnitude", seed) for seed in range(20)]
    for kind in ("uniform", "layer"):
        others = [log_ratio(kind, seed) for seed in range(20)]
        assert np.median(matched) < 0.5 * np.median(others)
        assert max(matched) < min(others)


def test_magnitudes_are_matched_unit_by_unit_and_in_sum() -> None:
    """Beside the mask's own units, there is one of like size for each."""
    notes = [control("magnitude", n, outside=False).manifest["control"] for n in range(20)]
    matches = [Match(**note["match"]) for note in notes]
    assert max(match.median for match in matches if match.median) < 1.1
    assert max(match.worst for match in matches if match.worst) < 1.5
    totals = np.log([match.total for match in matches])
    assert np.abs(totals).max() < 0.05
    # Neither too small nor too large: an error alone would favour smaller partners.
    assert 2 <= (totals > 0).sum() <= 18


def test_units_that_nothing_matches_are_in_every_control_and_others_are_not() -> None:
    magnitudes = np.exp(np.random.default_rng(5).normal(0, 0.3, (1, 400)))
    units = np.arange(400).reshape(1, 400) < 20
    magnitudes[0, 0] = 1000
    draws = [
        control_mask(
            UnitMask(units), "magnitude", seed=n, magnitudes=magnitudes, outside=False
        ).units
        for n in range(30)
    ]
    assert all(found[0, 0] for found in draws)
    assert np.mean([found[0, 1:20].sum() for found in draws]) < 4
    # Weighted by what they remove they are one control; by units they are many.
    assert effective_number(draws, magnitudes**2) == pytest.approx(1, abs=0.01)
    assert effective_number(draws) > 20


def test_an_assignment_is_better_than_one_after_the_other() -> None:
    """Of 10, 8 and 7 the nearest of the first would leave nothing for the second."""
    magnitudes = np.array([[10.0, 7.9, 9.9, 8.0, 0.1, 0.1]])
    units = np.array([[True, True, False, False, False, False]])
    for seed in range(10):
        found = control_mask(UnitMask(units), "magnitude", seed=seed, magnitudes=magnitudes)
        assert np.flatnonzero(found.units).tolist() == [2, 3]


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
    squares = magnitudes**2
    match = Match(**note["match"])
    assert match.total == pytest.approx(squares[found.units].sum() / squares[MASK.units].sum())
    if kind in ("layer", "magnitude"):
        rows = zip(found.units, MASK.units, magnitudes, strict=True)
        pairs = np.concatenate([np.sort(m[a]) / np.sort(m[b]) for a, b, m in rows])
        factors = np.maximum(pairs, 1 / pairs)
        assert (match.median, match.worst) == pytest.approx((np.median(factors), factors.max()))
    else:
        assert match == Match(match.total)
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
        assert "match" not in control_mask(MASK, kind).manifest["control"]


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
    assert "3 units of layer 1 are selected and only 2 others may be drawn" in message
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
        "outliers": (free & outliers).sum() >= (units & outliers).sum()
        and all((free & ~outliers).sum(axis=1) >= (units & ~outliers).sum(axis=1)),
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


def in_dimensions() -> tuple[UnitMask, np.ndarray]:
    """Six outlier dimensions in six of eight layers; the mask has two of them in three layers."""
    outliers = np.zeros((8, 100), dtype=bool)
    outliers[1:7, [3, 17, 40, 55, 80, 99]] = True
    units = np.zeros((8, 100), dtype=bool)
    units[2:5, [3, 40]] = True
    units[[2, 6], 10] = True
    return UnitMask(units), outliers


def test_outliers_are_those_of_whole_dimensions_in_the_same_layers() -> None:
    mask, outliers = in_dimensions()
    drawn = []
    for seed in range(200):
        found = control_mask(mask, "outliers", seed=seed, outliers=outliers, outside=False).units
        large = found & outliers
        np.testing.assert_array_equal(large.sum(axis=1), (mask.units & outliers).sum(axis=1))
        dimensions = np.flatnonzero(large.any(axis=0)).tolist()
        assert len(dimensions) == 2
        assert large[2:5, dimensions].all()
        np.testing.assert_array_equal((found & ~outliers).sum(axis=1), [0, 0, 1, 0, 0, 0, 1, 0])
        drawn.append(tuple(dimensions))
    # Each of the 15 pairs, the mask's own among them.
    assert len(set(drawn)) == 15
    assert drawn.count((3, 40)) > 2


def test_dimensions_that_are_outliers_in_fewer_layers_are_made_up_for() -> None:
    mask, outliers = in_dimensions()
    outliers[:, [17, 55, 80, 99]] = False
    outliers[5:7, [17, 55, 80, 99]] = True
    for seed in range(50):
        found = control_mask(mask, "outliers", seed=seed, outliers=outliers, outside=False).units
        assert (found & outliers).sum() == 6
        assert found.sum() == mask.count


def test_as_many_outliers_and_others_by_layer() -> None:
    for outside in (False, True):
        masks = [control("outliers", seed, outside=outside).units for seed in range(20)]
        assert {int((units & OUTLIERS).sum()) for units in masks} == {27}
        rest = (MASK.units & ~OUTLIERS).sum(axis=1).tolist()
        assert {tuple((units & ~OUTLIERS).sum(axis=1)) for units in masks} == {tuple(rest)}


def test_without_outliers_in_the_mask_it_is_that_by_layer_of_the_others() -> None:
    mask = UnitMask(MASK.units & ~OUTLIERS)
    found = control_mask(mask, "outliers", outliers=OUTLIERS)
    assert not (found.units & OUTLIERS).any()
    assert found.digest == control_mask(mask, "layer", barred=OUTLIERS).digest


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
    assert "30 units of layer 0 are selected and only 0 others" in message
    for kind in ("outliers", "magnitude"):
        some = MASK.units & OUTLIERS
        options: Any = {"outliers": some, "magnitudes": heavy_tailed(), "barred": ~some}
        call = partial(control_mask, UnitMask(some), kind, outside=False, **options)
        assert "no unit but the mask's own may be drawn" in refusal(call)


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


# Controls that are ranked.


def p_of(mask: UnitMask, kind: Control, effects: np.ndarray, first: int, **options: Any) -> float:
    """The rank of a mask among 20 controls: harm is what its units' effects add up to."""
    harm = effects[mask.units].sum()
    draws = (control_mask(mask, kind, seed=first + n, **options).units for n in range(20))
    return (1 + sum(effects[units].sum() >= harm for units in draws)) / 21


def test_a_mask_that_is_large_and_nothing_else_is_not_told_from_matched_controls() -> None:
    """Harm as an artefact does it: by the square of what a unit is, give or take."""
    rejected = 0
    for study in range(120):
        rng = np.random.default_rng(1000 + study)
        magnitudes = np.exp(rng.normal(0, 0.7, (3, 80)))
        magnitudes[:, :6] *= 8
        effects = magnitudes**2 * np.exp(rng.normal(0, 0.5, magnitudes.shape))
        # Large units are likelier, as in real masks.
        p = magnitudes.ravel() / magnitudes.sum()
        units = np.zeros(magnitudes.size, dtype=bool)
        units[rng.choice(magnitudes.size, 24, replace=False, p=p)] = True
        mask = UnitMask(units.reshape(magnitudes.shape))
        found = p_of(mask, "magnitude", effects, study, magnitudes=magnitudes, outside=False)
        rejected += found < 0.05
    # Nominal 1 of 21: 5.7; more than 12 of 120 comes up in 1% of runs.
    assert rejected <= 12


def test_p_of_random_outlier_dimensions_is_as_nominal() -> None:
    """Three of nine dimensions, as in a real model: most controls share some with the mask."""
    rng, rejected = np.random.default_rng(4), 0
    for study in range(300):
        outliers = np.zeros((6, 60), dtype=bool)
        outliers[:, rng.permutation(60)[:9]] = True
        # Units of one dimension do the same in every layer.
        effects = np.exp(rng.normal(0, 1, 60)) * np.where(outliers, 20, 1)
        units = np.zeros((6, 60), dtype=bool)
        units[2:5, rng.permutation(np.flatnonzero(outliers[0]))[:3]] = True
        mask = UnitMask(units)
        found = p_of(mask, "outliers", effects, study, outliers=outliers, outside=False)
        rejected += found < 0.05
    # Nominal 14; beyond 26 in 0.2% of runs. Of 84 choices some are the mask's own, which tie.
    assert rejected <= 26


@pytest.mark.parametrize("kind", ["uniform", "layer"])
def test_p_of_a_random_mask_is_as_nominal(kind: Control) -> None:
    """From a small pool too, where controls without the mask's units share each other's."""
    rng, rejected = np.random.default_rng(3), {False: 0, True: 0}
    for study in range(400):
        effects = rng.normal(0, 1, (2, 12)) ** 2
        order = rng.permuted(np.tile(np.arange(12), (2, 1)), axis=1)
        mask = UnitMask(order < 5)
        for outside, count in rejected.items():
            rejected[outside] = count + (p_of(mask, kind, effects, study, outside=outside) < 0.05)
    # Nominal 1 of 21, 19 of 400; beyond 32 in 0.2% of runs.
    assert rejected[False] <= 32
    assert rejected[True] > 50


# How many controls overlapping ones are worth.


def test_the_same_mask_again_and_again_is_one() -> None:
    assert effective_number([MASK.units] * 20) == pytest.approx(1)
    assert effective_number([MASK.units]) == 1


def test_disjoint_masks_and_random_ones_are_as_many_as_there_are() -> None:
    disjoint = [np.arange(200).reshape(2, 100) // 10 == n for n in range(20)]
    assert effective_number(disjoint) == pytest.approx(20)
    drawn = [control("layer", n, outside=False).units for n in range(20)]
    assert effective_number(drawn) > 19


def test_overlap_by_chance_is_none() -> None:
    """A third of all units each: two of them share a third."""
    rng = np.random.default_rng(0)
    masks = [rng.permuted(np.arange(3000) < 1000)[None] for _ in range(20)]
    assert effective_number(masks) > 19.5


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 12), st.integers(0, 2**32 - 1))
def test_it_lies_between_one_and_their_number_and_ignores_order(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    masks = [rng.random((2, 30)) < 0.3 for _ in range(n)]
    weights = np.exp(rng.normal(0, 2, (2, 30)))
    found = effective_number(masks, weights)
    assert 1 - 1e-9 <= found <= n + 1e-9
    assert effective_number(masks[::-1], 7 * weights) == pytest.approx(found)
    assert effective_number([*masks, masks[0]], weights) <= found + 1


def test_it_says_how_often_overlapping_controls_would_all_be_beaten_by_chance() -> None:
    """Controls that share half of their weight, as those of a mask with large units did."""
    rng = np.random.default_rng(0)
    shared = np.zeros((1, 400), dtype=bool)
    shared[0, :20] = True
    masks = []
    for _ in range(20):
        units = shared.copy()
        units[0, 20 + rng.permutation(380)[:10]] = True
        masks.append(units)
    number = effective_number(masks)
    stacked = np.stack(masks)[:, 0].astype(float)
    effects = rng.normal(0, 1, (20000, 400))
    harms, other = effects @ stacked.T, rng.normal(0, np.sqrt(30), 20000)
    beaten = float((other > harms.max(axis=1)).mean())
    # As often as so many independent ones would be, or rather more often: it is no flattery.
    assert beaten <= 1 / (1 + number)
    assert beaten > 2.5 / 21
