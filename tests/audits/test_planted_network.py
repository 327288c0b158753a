"""A real network whose selective units are known: are they found, measured, and taken away."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import binom, hypergeom, norm

import lsns
from lsns import Contrast, UnitMask, localize
from lsns.analysis import METHODS
from lsns.audits.auditing import Audit, AuditOptions, audit
from lsns.audits.calibration import permutation_test
from lsns.audits.items import Items
from lsns.localization import Localization
from tests.audits.planted import (
    LENGTH,
    PER_LAYER,
    SHAPE,
    VOCABULARY,
    Network,
    make_network,
    make_texts,
    write,
)

pytestmark = pytest.mark.usefixtures("one_thread")
N = 40
PLANTED = PER_LAYER * SHAPE[0]
UNITS = SHAPE[0] * SHAPE[1]
# Of float32 around 10.
ROUNDING = 1e-4
HIGH, MIDDLE = 6.0, 1.5
OPTIONS = AuditOptions(permutations=99, halves=10, percentages=())
# That a unit without an effect exceeds the threshold has a probability of 0.001.
STRICT = AuditOptions(permutations=999, alpha=0.001, halves=10, percentages=())


def find(network: Network, folder, *, contrast: Contrast | None = None, **options) -> Localization:
    texts = contrast or make_texts(N)
    return localize(network.model, texts, num_units=PLANTED, cache_dir=folder, **options)


def response_of(network: Network, texts: tuple[str, ...]) -> np.ndarray:
    return lsns.extract(network.model, texts)


@pytest.fixture(scope="module")
def high() -> Network:
    return make_network(HIGH)


@pytest.fixture(scope="module")
def found(high, tmp_path_factory) -> Localization:
    return find(high, tmp_path_factory.mktemp("high"))


@pytest.fixture(scope="module")
def silent(tmp_path_factory) -> list[tuple[Network, Localization, Audit]]:
    """Networks whose planted units have no effect, each read other texts."""
    folder = tmp_path_factory.mktemp("silent")
    made = []
    for seed in range(30):
        network = make_network(0.0, seed)
        localized = find(network, folder, contrast=make_texts(N, seed))
        made.append((network, localized, audit(localized, options=OPTIONS)))
    return made


def test_the_network_is_what_it_is_said_to_be(high):
    """Over texts the noise has mean 10 and variance 1; the effect is in the planted units alone."""
    n = 400
    texts = make_texts(n, seed=7)
    rows = response_of(high, texts.texts)
    first, second = rows[:n], rows[n:]
    difference = first.mean(axis=0) - second.mean(axis=0)
    # 96 differences of two means of n texts: normal, with variance 2 / n.
    most = norm.ppf(1 - 0.001 / UNITS) * (2 / n) ** 0.5
    assert np.abs(difference - HIGH * high.units).max() < most < 1 / 3
    # A variance of n values has a standard deviation of sqrt(2 / n).
    spread = norm.ppf(1 - 0.001 / UNITS) * (2 / n) ** 0.5
    for part in (first, second):
        assert np.abs(part.var(axis=0, ddof=1) - 1).max() < spread
    # No unit is near 0, so that the effect on |x| is the effect on x.
    assert rows.min() > 1


def test_without_an_effect_the_planted_units_are_as_all_others():
    """What is planted cannot be seen: the same words of either vocabulary give the same."""
    network, words = make_network(0.0), np.arange(LENGTH)
    first, second = response_of(network, (write("p", words), write("n", words)))
    assert first == pytest.approx(second, abs=ROUNDING)


def test_the_llama_cannot_tell_the_conditions(high):
    words = np.random.default_rng(0).integers(0, VOCABULARY, (20, LENGTH))
    first, second = (response_of(high, tuple(write(v, t) for t in words)) for v in "pn")
    difference = np.abs(first - second)
    assert difference[:, high.units] == pytest.approx(HIGH, abs=0.2)
    # In the first block no other unit knows; in later ones what was planted before is read.
    assert difference[:, 0][:, ~high.units[0]].max() < ROUNDING
    assert ROUNDING < difference[:, 1:][:, ~high.units[1:]].max() < 0.2


@pytest.mark.parametrize("method", METHODS)
def test_a_high_effect_is_found_with_recall_and_precision_of_one(high, tmp_path, method):
    localized = find(high, tmp_path, method=method)
    assert np.array_equal(localized.mask.units, high.units)


def test_of_twice_as_many_units_the_planted_ones_are_above_chance(high, tmp_path):
    twice = localize(high.model, make_texts(N), num_units=2 * PLANTED, cache_dir=tmp_path)
    assert twice.mask.units[high.units].all()
    calibration = audit(twice, options=STRICT).calibration
    assert (calibration.selected, calibration.above) == (2 * PLANTED, PLANTED)


def test_the_audit_of_a_high_effect(found):
    made = audit(found, options=STRICT)
    assert made.conclusion.startswith("The units answer to other items.")
    assert {row.dice for row in made.reliability.rows if row.split == "halves"} == {1.0}
    assert made.calibration.above == made.calibration.units_above == PLANTED
    assert made.calibration.p_value == 1 / 1000
    levels = {finding.rule: finding.level for finding in made.findings}
    for rule in ("reliability", "calibration", "selectivity", "outliers"):
        assert levels[rule] == "good"


@pytest.mark.parametrize("effect", [MIDDLE, HIGH])
def test_the_effect_on_held_out_texts_is_the_planted_one(effect, tmp_path):
    network = make_network(effect)
    localized = find(network, tmp_path)
    assert np.array_equal(localized.mask.units, network.units)
    held_out = audit(localized, options=OPTIONS).selectivity.held_out
    planted = network.response_effect
    error = (2 / N + planted**2 / (4 * N)) ** 0.5
    assert held_out.g == pytest.approx(planted, abs=norm.ppf(0.9995) * error)
    # Far from what one unit would give, and from nothing.
    assert held_out.low > effect


def test_without_an_effect_planted_units_are_found_by_chance(silent):
    shared = sum(int((network.units & one.mask.units).sum()) for network, one, _ in silent)
    # A sum of as many independent hypergeometric numbers.
    chances = np.ones(1)
    for _ in silent:
        one = hypergeom.pmf(np.arange(PLANTED + 1), UNITS, PLANTED, PLANTED)
        chances = np.convolve(chances, one)
    tail = np.cumsum(chances)
    assert tail[shared] > 0.0005
    assert 1 - (tail[shared - 1] if shared else 0) > 0.0005
    # Bounds that exclude that a third is found, and that none is.
    assert tail[0] < 0.0005
    assert tail[len(silent) * PLANTED // 3] > 1 - 1e-9


def test_without_an_effect_the_calibration_says_so(silent):
    alarms = [made.calibration.above > 0 for _, _, made in silent]
    assert sum(alarms) <= binom.ppf(0.9995, len(silent), 0.05)
    claims = [made.conclusion.startswith("The units answer") for _, _, made in silent]
    assert sum(claims) <= binom.ppf(0.9995, len(silent), 0.05)
    assert {made.verdict for _, _, made in silent} <= {"open", "nothing"}


def test_without_an_effect_held_out_texts_show_none(silent):
    covered = sum(
        m.selectivity.held_out.low <= 0 <= m.selectivity.held_out.high for *_, m in silent
    )
    # Too large an interval covers more often; it must not cover less.
    assert covered >= binom.ppf(0.0005, len(silent), 0.95)
    # The texts that chose the units show one in every network.
    assert min(made.selectivity.in_sample.g for *_, made in silent) > 0


@pytest.mark.parametrize("paired", [False, True])
def test_under_shuffled_labels_the_whole_pipeline_is_wrong_as_often_as_it_says(
    high, tmp_path, paired
):
    """Texts of both vocabularies in either condition, from the model's run to the threshold."""
    n, studies = 20, 300
    texts = np.array(make_texts(n, seed=3).texts)
    rng = np.random.default_rng(5)
    alarms = 0
    for study in range(studies):
        contrast = shuffled_contrast(texts, rng, paired=paired)
        localized = find(high, tmp_path, contrast=contrast)
        alarms += calibrate(localized, seed=study).above > 0
    least, most = binom.ppf([0.005, 0.995], studies, 0.05)
    assert least <= alarms <= most


def shuffled_contrast(texts: np.ndarray, rng: np.random.Generator, *, paired: bool) -> Contrast:
    n = len(texts) // 2
    groups = None
    order = rng.permutation(2 * n)
    if paired:
        swapped = rng.random(n) < 0.5
        order = np.concatenate([np.arange(n) + n * swapped, np.arange(n) + n * ~swapped])
        groups = tuple(f"pair {i}" for i in range(n))
    first, second = texts[order[:n]].tolist(), texts[order[n:]].tolist()
    return Contrast("shuffled", first, second, positive_groups=groups, negative_groups=groups)


def calibrate(localized: Localization, *, seed: int, permutations: int = 99, alpha: float = 0.05):
    rows = localized.measurement.activations()
    positive = np.arange(len(rows)) < len(rows) // 2
    groups = localized.measurement.contrast.groups
    folds = np.array(localized.measurement.items["fold"])
    return permutation_test(
        Items(rows, positive, groups, folds), localized.scores, localized.mask.units,
        localized.analyzer, permutations=permutations, alpha=alpha, seed=seed,
    )  # fmt: skip


def logits(network: Network, text: str) -> torch.Tensor:
    ids = torch.tensor([network.model.tokenizer(text)["input_ids"]])
    with torch.no_grad():
        return network.model.model(input_ids=ids).logits


def test_a_lesion_of_the_planted_units_takes_their_effect_away(high, found):
    texts = make_texts(N, seed=11)
    before = response_of(high, texts.texts)
    # Six differences of two means of N texts.
    most = norm.ppf(1 - 0.0005 / PLANTED) * (2 / N) ** 0.5
    difference = before[:N].mean(axis=0) - before[N:].mean(axis=0)
    assert difference[high.units] == pytest.approx(HIGH, abs=most)
    with lsns.lesion(high.model, found.mask):
        after = response_of(high, texts.texts)
    assert (after[:, high.units] == 0).all()
    assert response_of(high, texts.texts) == pytest.approx(before, abs=ROUNDING)


def test_with_the_lesion_the_network_cannot_tell_the_conditions(high, found):
    """Twins of the same words: what differs between their logits is what was planted."""
    words = np.random.default_rng(1).integers(0, VOCABULARY, LENGTH)
    twins = write("p", words), write("n", words)
    first, second = (logits(high, text) for text in twins)
    spread = float(first.std())
    assert apart(first, second) > 0.1 * spread
    others = UnitMask(np.roll(high.units, 1, axis=1) & ~high.units)
    assert others.count >= PLANTED // 2
    for mask, same in ((found.mask, True), (others, False)):
        with lsns.lesion(high.model, mask):
            one, other = (logits(high, text) for text in twins)
        assert (apart(one, other) < 1e-5 * spread) is same
        assert same or apart(one, other) > 0.1 * spread
        assert apart(one, first) > 0.1 * spread
    assert apart(logits(high, twins[0]), first) < 1e-5 * spread


def apart(first: torch.Tensor, second: torch.Tensor) -> float:
    return float((first - second).abs().max())


def test_under_the_lesion_the_planted_units_are_not_found_again(high, found, tmp_path):
    with lsns.lesion(high.model, found.mask):
        again = find(high, tmp_path)
    assert not (again.mask.units & high.units).any()
    assert (again.scores[high.units] == 0).all()
    # As in `STRICT`.
    assert calibrate(again, seed=0, permutations=999, alpha=0.001).units_above == 0
