"""The built-in analyzers against ten-line statements of each."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from lsns.analysis import (
    METHODS,
    BaseAnalyzer,
    MeanAnalyzer,
    MomentsAnalyzer,
    NMDAnalyzer,
    SignedTTestAnalyzer,
    TTestAnalyzer,
)
from lsns.errors import LsnsError
from lsns.moments import Moments

SEEDS = range(4)
N_LAYERS, HIDDEN_SIZE = 3, 40


def refusal(call: Callable[[], Any]) -> str:
    with pytest.raises(LsnsError) as caught:
        call()
    message = str(caught.value)
    assert message
    assert "\n" not in message
    return message


def activations(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Random ones; some units are constant, some are copies of others."""
    rng = np.random.default_rng(seed)
    effect = rng.normal(0, 1, (N_LAYERS, HIDDEN_SIZE))
    spread = np.exp(rng.normal(0, 1, (N_LAYERS, HIDDEN_SIZE)))
    positive = rng.normal(effect, spread, (14, N_LAYERS, HIDDEN_SIZE)).astype(np.float32)
    negative = rng.normal(0, spread, (9, N_LAYERS, HIDDEN_SIZE)).astype(np.float32)
    for x, constant in ((positive, 0.1), (negative, 0.3)):
        x[:, :, 5:15] = constant
        x[:, :, 20:30] = x[:, :, 30:40]
        x[:, 2, 15:20] = x[:, 1, 15:20]
    return positive, negative


def welch(positive: np.ndarray, negative: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    with np.errstate(all="ignore"):
        result = stats.ttest_ind(
            positive.astype(float), negative.astype(float), axis=0, equal_var=False
        )
    constant = (np.ptp(positive, axis=0) == 0) & (np.ptp(negative, axis=0) == 0)
    return np.where(constant, 0.0, result.statistic), np.where(constant, 1.0, result.pvalue)


def top(scores: np.ndarray, k: int) -> np.ndarray:
    flat = scores.ravel().tolist()
    ranked = sorted(range(len(flat)), key=lambda unit: (-flat[unit], unit))
    mask = np.zeros(len(flat), dtype=bool)
    mask[ranked[:k]] = True
    return mask.reshape(scores.shape)


def mean_difference(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    return positive.astype(float).mean(axis=0) - negative.astype(float).mean(axis=0)


# 60% of 120 units is 72: the cut goes through the ties at t = 0.
@pytest.mark.filterwarnings("ignore:Precision loss")
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("percentage", "k"), [(1.0, 1), (5, 6), (60.0, 72), (100.0, 120)])
def test_ttest(seed: int, percentage: float, k: int) -> None:
    positive, negative = activations(seed)
    t, p = welch(np.abs(positive), np.abs(negative))
    mask, metadata = TTestAnalyzer({"percentage": percentage}).analyze(positive, negative)
    np.testing.assert_array_equal(mask, top(t, k))
    check_metadata(metadata, scores=t, t=t, p=p, mask=mask)


@pytest.mark.filterwarnings("ignore:Precision loss")
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("percentage", "k"), [(5.0, 6), (60.0, 72)])
def test_signed_ttest(seed: int, percentage: float, k: int) -> None:
    positive, negative = activations(seed)
    t, p = welch(positive, negative)
    mask, metadata = SignedTTestAnalyzer({"percentage": percentage}).analyze(positive, negative)
    np.testing.assert_array_equal(mask, top(t, k))
    check_metadata(metadata, scores=t, t=t, p=p, mask=mask)


def test_a_unit_that_falls_below_zero_is_selected_for_its_size_only() -> None:
    positive, negative = (x[:, :1, :2].copy() for x in wide())
    positive[:, 0] += [2, -9]
    unsigned, _ = TTestAnalyzer({"num_units": 1}).analyze(positive, negative)
    signed, _ = SignedTTestAnalyzer({"num_units": 1}).analyze(positive, negative)
    assert unsigned.tolist() == [[False, True]]
    assert signed.tolist() == [[True, False]]


@pytest.mark.filterwarnings("ignore:Precision loss")
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("percentage", "per_layer"), [(5.0, 2), (30.0, 12), (100.0, 40)])
def test_nmd(seed: int, percentage: float, per_layer: int) -> None:
    positive, negative = activations(seed)
    difference = np.abs(mean_difference(positive, negative))
    expected = np.stack([top(layer, per_layer) for layer in difference])
    mask, metadata = NMDAnalyzer({"percentage": percentage}).analyze(positive, negative)
    np.testing.assert_array_equal(mask, expected)
    t, p = welch(positive, negative)
    check_metadata(metadata, scores=difference, t=t, p=p, mask=mask)


@pytest.mark.filterwarnings("ignore:Precision loss")
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("percentage", "k"), [(5.0, 6), (60.0, 72)])
def test_mean(seed: int, percentage: float, k: int) -> None:
    positive, negative = (np.abs(x) for x in activations(seed))
    difference = mean_difference(positive, negative)
    mask, metadata = MeanAnalyzer({"percentage": percentage}).analyze(*activations(seed))
    np.testing.assert_array_equal(mask, top(difference, k))
    t, p = welch(positive, negative)
    check_metadata(metadata, scores=difference, t=t, p=p, mask=mask)


@pytest.mark.parametrize("method", METHODS)
def test_units_that_are_barred_are_not_selected_and_as_many_are(method: str) -> None:
    positive, negative = activations(0)
    barred = np.random.default_rng(5).random((N_LAYERS, HIDDEN_SIZE)) < 0.3
    analyzer = METHODS[method]({"percentage": 10})
    moments = Moments.of(positive), Moments.of(negative)
    usual, metadata = analyzer.analyze_moments(*moments)
    mask, without = analyzer.analyze_moments(*moments, barred=barred)
    assert mask.sum() == usual.sum() == without["num_units"] == 12
    assert not (mask & barred).any()
    # Among the others nothing changes places.
    scores = np.where(barred, -np.inf, metadata["scores"])
    expected = np.stack([top(row, 4) for row in scores]) if method == "nmd" else top(scores, 12)
    np.testing.assert_array_equal(mask, expected)
    np.testing.assert_array_equal(without["scores"], metadata["scores"])
    assert without["weakest_score"] == metadata["scores"][mask].min()


def check_metadata(
    metadata: dict[str, Any], *, scores: np.ndarray, t: np.ndarray, p: np.ndarray, mask: np.ndarray
) -> None:
    adjusted = stats.false_discovery_control(p.ravel()).reshape(p.shape)
    expected = {"scores": scores, "t_values": t, "p_values": p, "adjusted_p_values": adjusted}
    for name, array in expected.items():
        assert metadata[name].shape == (N_LAYERS, HIDDEN_SIZE)
        np.testing.assert_allclose(metadata[name], array, rtol=1e-8, atol=1e-10, err_msg=name)
    assert metadata["num_units"] == mask.sum()
    assert metadata["weakest_score"] == pytest.approx(scores[mask].min(), rel=1e-8, abs=1e-10)


def wide(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(0.2, 1, (6, 2, 400)), rng.normal(0, 1, (5, 2, 400))


def test_by_default_nmd_takes_half_a_percent_of_each_layer_and_the_others_one_of_all() -> None:
    positive, negative = wide()
    counts = {
        name: analyzer().analyze(positive, negative)[0].sum(axis=1)
        for name, analyzer in METHODS.items()
    }
    assert counts["nmd"].tolist() == [2, 2]
    assert {name: counts[name].sum() for name in ("ttest", "ttest-signed", "mean")} == {
        "ttest": 8,
        "ttest-signed": 8,
        "mean": 8,
    }


def test_nmd_selects_by_the_size_of_a_signed_difference() -> None:
    positive, negative = np.full((2, 1, 4), 0.0), np.full((2, 1, 4), 0.0)
    positive[:, 0] = [1, -5, 3, 3]
    negative[:, 0] = [0, 0, -3, 3]
    mask, metadata = NMDAnalyzer({"num_units": 2}).analyze(positive, negative)
    assert metadata["scores"].tolist() == [[1, 5, 6, 0]]
    assert mask.tolist() == [[False, True, True, False]]


# What the guide writes.


def test_the_guides_mean_analyzer() -> None:
    positive, negative = wide()
    analyzer = MeanAnalyzer({"percentage": 5.0, "localize_range": "100-100"})
    mask, _ = analyzer.analyze(positive, negative)
    scores = mean_difference(np.abs(positive), np.abs(negative))
    np.testing.assert_array_equal(mask, top(scores, 40))


def test_the_guides_nmd_ratio_and_percentage_are_the_same_mask() -> None:
    positive, negative = wide()
    by_ratio, _ = NMDAnalyzer({"topk_ratio": 0.05}).analyze(positive, negative)
    by_percentage, _ = NMDAnalyzer({"percentage": 5.0}).analyze(positive, negative)
    np.testing.assert_array_equal(by_ratio, by_percentage)
    assert by_ratio.sum(axis=1).tolist() == [20, 20]


@pytest.mark.parametrize(("ratio", "k"), [(0.07, 700), (0.0029, 29), (0.57, 5700), (1, 10_000)])
def test_a_ratio_is_exact(ratio: float, k: int) -> None:
    assert NMDAnalyzer({"topk_ratio": ratio}).count((3, 10_000)) == 3 * k


@pytest.mark.parametrize("ratio", [0, -0.1, 1.01, float("nan")])
def test_impossible_ratios_are_refused(ratio: float) -> None:
    assert f"got {ratio}" in refusal(lambda: NMDAnalyzer({"topk_ratio": ratio}))


def test_ratio_and_percentage_together_are_refused() -> None:
    config = {"topk_ratio": 0.05, "percentage": 5.0}
    assert "topk_ratio or percentage" in refusal(lambda: NMDAnalyzer(config))


def test_the_guides_own_analyzer() -> None:
    class MyAnalyzer(BaseAnalyzer):
        def analyze(self, positive_activations, negative_activations):
            mask = positive_activations.mean(axis=0) > self.config["percentage"]
            return mask, {}

        def get_analyzer_name(self):
            return "my_method"

    analyzer = MyAnalyzer({"percentage": 5.0, "an option of my own": 1})
    mask, _ = analyzer.analyze(np.full((2, 1, 2), [4.0, 6.0]), np.zeros((2, 1, 2)))
    assert mask.tolist() == [[False, True]]
    assert analyzer.get_analyzer_name() == "my_method"


def test_the_dictionary_of_the_caller_is_left_alone() -> None:
    config = {"topk_ratio": 0.05}
    NMDAnalyzer(config).analyze(*wide())
    assert config == {"topk_ratio": 0.05}


# Options.


@pytest.mark.parametrize("name", METHODS)
def test_names(name: str) -> None:
    analyzer = METHODS[name]()
    assert analyzer.get_analyzer_name() == name
    assert analyzer.analyze(*wide())[1]["method"] == name


@pytest.mark.parametrize("name", METHODS)
def test_an_unknown_option_is_refused(name: str) -> None:
    message = refusal(lambda: METHODS[name]({"percent": 5.0}))
    assert "'percent'" in message
    assert "percentage" in message


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({"percentage": 0}, "0"),
        ({"percentage": 101.0}, "101.0"),
        ({"num_units": 0}, "0"),
        ({"percentage": 1.0, "num_units": 5}, "either"),
        ({"localize_range": "90-80"}, "'90-80'"),
    ],
)
def test_impossible_options_are_refused_before_a_model_is_there(
    name: str, config: dict[str, Any], found: str
) -> None:
    assert found in refusal(lambda: METHODS[name](config).check())


@pytest.mark.parametrize("name", METHODS)
def test_more_units_than_there_are_are_refused(name: str) -> None:
    assert "801" in refusal(lambda: METHODS[name]({"num_units": 801}).analyze(*wide()))


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("per_layer", [True, False])
def test_per_layer_can_be_chosen(name: str, per_layer: bool) -> None:
    positive, negative = wide()
    # Only the first layer differs between the conditions.
    positive[:, 0] *= 50
    positive[:, 1] = 1
    negative[:, 1] = 1
    mask, _ = METHODS[name]({"percentage": 2.0, "per_layer": per_layer}).analyze(positive, negative)
    assert mask.sum() == 16
    assert (mask.sum(axis=1).tolist() == [8, 8]) == per_layer


@pytest.mark.parametrize("name", METHODS)
def test_the_lowest_can_be_chosen(name: str) -> None:
    analyzer = METHODS[name]({"num_units": 10, "localize_range": "0-0", "per_layer": False})
    mask, metadata = analyzer.analyze(*wide())
    np.testing.assert_array_equal(mask, top(-metadata["scores"], 10))


def test_a_draw_follows_its_seed() -> None:
    def draw(**config: Any) -> np.ndarray:
        options = {"num_units": 50, "localize_range": "50-100", **config}
        return TTestAnalyzer(options).analyze(*wide())[0]

    np.testing.assert_array_equal(draw(seed=1), draw(seed=1))
    assert (draw(seed=1) != draw(seed=2)).any()
    np.testing.assert_array_equal(draw(), draw(seed=42))


def test_a_draw_without_a_seed_is_never_left_to_chance() -> None:
    # The other options read None as "not given".
    config = {"num_units": 50, "localize_range": "50-100", "seed": None}
    draws = [TTestAnalyzer(config).analyze(*wide())[0] for _ in range(2)]
    np.testing.assert_array_equal(draws[0], draws[1])


@pytest.mark.parametrize("name", METHODS)
def test_moments_in_parts_give_the_same_mask(name: str) -> None:
    positive, negative = wide()
    analyzer: MomentsAnalyzer = METHODS[name]({"num_units": 30})
    merged = Moments.of(positive[:2]).update(positive[2:]), Moments.of(negative)
    expected, _ = analyzer.analyze(positive, negative)
    found, _ = analyzer.analyze_moments(*merged)
    np.testing.assert_array_equal(found, expected)


def test_constructors_and_analyses_leave_global_random_states_alone() -> None:
    def draw() -> tuple[float, float]:
        return np.random.random(), random.random()

    def seed() -> None:
        np.random.seed(7)
        random.seed(7)

    seed()
    expected = draw()
    seed()
    for analyzer in METHODS.values():
        config = {"num_units": 5, "localize_range": "10-90", "seed": 3}
        analyzer(config).analyze(*wide())
    assert draw() == expected


def test_analyzers_do_without_torch() -> None:
    code = (
        "import sys, numpy as np\n"
        "from lsns.analysis import METHODS\n"
        "x = np.random.RandomState(0).rand(3, 2, 200)\n"
        "for method in METHODS.values():\n"
        "    method({'percentage': 1.0, 'seed': 1}).analyze(x[:2], x)\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# Input.


def one_item(x: np.ndarray) -> np.ndarray:
    return x[:1]


def with_nan(x: np.ndarray) -> np.ndarray:
    return np.where(np.arange(x.size).reshape(x.shape) == 3, np.nan, x)


def with_infinity(x: np.ndarray) -> np.ndarray:
    return np.where(np.arange(x.size).reshape(x.shape) == 3, np.inf, x)


def two_axes(x: np.ndarray) -> np.ndarray:
    return x[:, 0]


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("spoil", [one_item, with_nan, with_infinity, two_axes])
@pytest.mark.parametrize("condition", ["positive", "negative"])
def test_bad_input_is_refused(
    name: str, spoil: Callable[[np.ndarray], np.ndarray], condition: str
) -> None:
    arrays = dict(zip(("positive", "negative"), wide(), strict=True))
    arrays[condition] = spoil(arrays[condition])
    analyzer = METHODS[name]({"num_units": 5})
    message = refusal(lambda: analyzer.analyze(arrays["positive"], arrays["negative"]))
    assert message.startswith(condition)
    assert str(arrays[condition].shape) in message


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("part", [np.s_[:, :1], np.s_[:, :, :399], np.s_[:, :, :1]])
def test_conditions_of_different_models_are_refused(name: str, part: Any) -> None:
    positive, negative = wide()
    message = refusal(lambda: METHODS[name]({"num_units": 1}).analyze(positive, negative[part]))
    assert str(positive.shape) in message
    assert str(negative[part].shape) in message


@pytest.mark.parametrize("name", METHODS)
def test_the_activations_are_left_alone(name: str) -> None:
    arrays = wide()
    METHODS[name]({"num_units": 5}).analyze(*arrays)
    for array, before in zip(arrays, wide(), strict=True):
        np.testing.assert_array_equal(array, before)
