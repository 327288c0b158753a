"""Audits end to end: on tiny models, and the published figures on the bundled one."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

import lsns
from lsns import Audit, Contrast, LsnsError, localize, measurement
from lsns.audits.auditing import AuditOptions, audit
from lsns.audits.comparison import compare
from lsns.audits.protocols import _describe_cost, _other_protocols
from lsns.cli import run
from lsns.mask import UnitMask
from tests.tiny import make_model

WORDS = ("cat", "mat", "moon", "storm", "hills", "harvest", "sat", "looked")
POSITIVE = tuple(
    f"the {a} sat on the {b}" for a, b in zip(WORDS, WORDS[3:] + WORDS[:3], strict=True)
)
NEGATIVE = tuple(f"{a} {b} the the {a}" for a, b in zip(WORDS, WORDS[3:] + WORDS[:3], strict=True))
CONTRAST = Contrast(
    name="tiny",
    positive=POSITIVE,
    negative=NEGATIVE,
    positive_groups=tuple(map(str, range(8))),
    negative_groups=tuple(map(str, range(8))),
    further=(("reversed", tuple(" ".join(reversed(t.split())) for t in POSITIVE)),),
    further_groups=(("reversed", tuple(map(str, range(8)))),),
)
FEW = AuditOptions(permutations=49, halves=5, percentages=(5.0, 10.0))


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture
def found(model, tmp_path):
    return localize(model, CONTRAST, num_units=6, cache_dir=tmp_path)


def test_an_audit_is_json_and_the_same_twice(found, model, tmp_path):
    first = audit(found, options=FEW)
    text = json.dumps(first.to_dict(), allow_nan=False, sort_keys=True)
    assert text == json.dumps(audit(found, options=FEW).to_dict(), allow_nan=False, sort_keys=True)
    assert first.reliability.rows[0].units == 6
    assert set(first.missing) == {"further conditions", "lesions"}
    assert json.loads(first.save(tmp_path / "audit.json").read_text())["conclusion"]
    assert "conclusion:" in first.describe()


def test_every_part_is_a_table_of_its_values(found):
    result = audit(found, options=FEW)
    findings, reliability, selectivity, calibration, outliers, confounds, overlaps = result.tables()
    assert findings.data() == result.to_frame().to_dict("list")
    assert findings.data()["source"] == [one.source for one in result.findings]
    rows = (*result.reliability.rows, *result.reliability.curve)
    assert reliability.data()["dice"] == [row.dice for row in rows]
    assert selectivity.data()["mean"] == [row.mean for row in result.selectivity.profile]
    assert confounds.data()["g"] == [row.g for row in result.confounds]
    assert overlaps.data()["shared"] == [row.shared for row in result.overlaps]
    text = result.describe()
    for table in (reliability, selectivity, calibration, outliers, confounds, overlaps):
        assert table.text() in text
    html = result._repr_html_()
    assert html.count("<caption>") == 7
    assert all(f"<td>{one.rule}</td>" in html for one in result.findings)


def test_what_is_saved_is_read_back_as_the_same(found, model, tmp_path):
    result = audit(found, model=model, options=FEW, overlaps=True, profile=True)
    path = result.save(tmp_path / "audit.json")
    again = Audit.load(path)
    assert again == result
    assert again.describe() == result.describe()
    assert again.save(tmp_path / "again.json").read_bytes() == path.read_bytes()


def test_an_audit_without_its_parts_is_read_back(model, tmp_path, monkeypatch):
    monkeypatch.setattr("lsns.measurement.ACTIVATIONS_LIMIT_BYTES", 10)
    result = audit(localize(model, CONTRAST, num_units=6, cache_dir=tmp_path), options=FEW)
    assert Audit.load(result.save(tmp_path / "audit.json")) == result
    assert result.selectivity is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: a.pop("format"), "was written by an earlier version of lsns; run again"),
        (lambda a: a.pop("outliers"), "is damaged: it has no 'outliers'"),
        (lambda a: a.update(findings={}), "is damaged: 'findings' is not a list"),
        (lambda a: a["findings"][1].update(level="fine"), "'findings', row 1: level is 'fine'"),
        (lambda a: a["overlaps"][0].pop("name"), "'overlaps', row 0, has no 'name'"),
        (lambda a: a["outliers"].update(share="0.5"), "outliers.share is '0.5'"),
        (
            lambda a: a["reliability"]["rows"][0].update(n=1.5),
            "'reliability.rows', row 0: n is 1.5",
        ),
    ],
)
def test_a_damaged_audit_is_one_line(found, tmp_path, change, words):
    content = audit(found, options=FEW).to_dict()
    change(content)
    path = tmp_path / "audit.json"
    path.write_text(json.dumps(content))
    with pytest.raises(LsnsError) as caught:
        Audit.load(path)
    assert str(caught.value).startswith(f"{path} ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_audit_and_half_an_audit(found, tmp_path):
    with pytest.raises(LsnsError, match=r"there is no .*audit\.json"):
        Audit.load(tmp_path / "audit.json")
    path = audit(found, options=FEW).save(tmp_path / "audit.json")
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(LsnsError, match="is damaged: not JSON"):
        Audit.load(path)


def test_further_conditions_and_other_protocols_are_run_when_asked(found, model, caplog):
    caplog.set_level("INFO", logger="lsns")
    before = audit(found, model=model, options=FEW)
    assert not [o for o in before.overlaps if o.kind == "protocol"]
    after = audit(found, model=model, options=FEW, overlaps=True, profile=True)
    assert [r.condition for r in after.selectivity.profile] == ["positive", "negative", "reversed"]
    assert len([o for o in after.overlaps if o.kind == "protocol"]) == 3
    assert _describe_cost(found, list(_other_protocols(found))) in caplog.text
    # From now on both are cached, and come without being asked for.
    again = audit(found, model=model, options=FEW)
    assert again.overlaps == after.overlaps
    assert again.selectivity == after.selectivity


def test_cost_counts_the_tokens(found):
    whole = found.measurement.items["whole"]
    cut = sum(min(n, 12) for n in whole)
    words = _describe_cost(found, list(_other_protocols(found)))
    assert f"{2 * cut + sum(whole)} tokens" in words


def test_moments_alone_are_enough_for_reliability(model, tmp_path, monkeypatch):
    monkeypatch.setattr("lsns.measurement.ACTIVATIONS_LIMIT_BYTES", 10)
    found = localize(model, CONTRAST, num_units=6, cache_dir=tmp_path)
    result = audit(found, options=FEW)
    assert result.reliability.rows[0].dice_shuffled is None
    assert result.calibration is None
    assert "only the moments" in result.missing["selectivity"]
    json.dumps(result.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    "options",
    [{"method": "nmd"}, {"method": "mean"}, {"localize_range": "80-90"}, {"num_units": 3}],
)
def test_every_selection_can_be_audited(model, tmp_path, options):
    options = {"percentage": 10.0} | options
    if "num_units" in options:
        del options["percentage"]
    found = localize(model, CONTRAST, cache_dir=tmp_path, **options)
    json.dumps(audit(found, options=FEW).to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    "options",
    [{"halves": 0}, {"halves": 10**9}, {"permutations": 5}, {"permutations": 10**9}, {"alpha": 0}],
)
def test_impossible_options(options):
    with pytest.raises(LsnsError):
        AuditOptions(**options)


def test_compare(found, tmp_path, capsys):
    other = UnitMask(np.roll(found.mask.units, 1, axis=1))
    result = compare({"one": found.mask, "two": other})
    pair = result.pairs[0]
    assert pair.shared == (found.mask.units & other.units).sum()
    assert pair.expected == pytest.approx(36 / found.mask.units.size)
    found.mask.save(tmp_path / "one.npy")
    other.save(tmp_path / "two.npy")
    assert run(["compare", str(tmp_path / "one.npy"), str(tmp_path / "two.npy")]) == 0
    assert f"{pair.dice:.3f}" in capsys.readouterr().out
    assert run(["compare", str(tmp_path / "one.npy")]) == 2
    assert "at least two" in capsys.readouterr().err
    with pytest.raises(LsnsError, match="different models"):
        compare({"one": found.mask, "small": UnitMask(np.ones((1, 2), dtype=bool))})


def test_published_stimuli_on_the_bundled_model(bundled, langloc, tmp_path):
    langloc_audit = audit(lsns.localize(bundled, langloc, percentage=1, cache_dir=tmp_path))
    row = langloc_audit.reliability.rows[0]
    assert (row.split, row.units, row.n) == ("halves", 172, 20)
    assert row.dice == pytest.approx(0.656, abs=0.03)
    assert row.dice_shuffled == pytest.approx(0.010, abs=0.01)
    assert (langloc_audit.outliers.selected, langloc_audit.outliers.units) == (39, 172)
    assert langloc_audit.calibration.above == 172
    assert langloc_audit.selectivity.held_out.low > 3
    assert langloc_audit.selectivity.in_sample.g > langloc_audit.selectivity.held_out.g


def random_words(seed: int, n: int, letters: str = "abcdefghijklmnop") -> tuple[str, ...]:
    rng = random.Random(seed)
    return tuple(
        " ".join("".join(rng.choices(letters, k=rng.randint(2, 7))) for _ in range(8))
        for _ in range(n)
    )


def conclusion_of(model, folder, contrast: Contrast) -> str:
    found = localize(model, contrast, percentage=5, cache_dir=folder)
    return audit(found, options=AuditOptions(permutations=199, percentages=())).conclusion


@pytest.mark.parametrize("paired", [False, True])
def test_texts_that_are_there_twenty_times_are_not_found_again(model, tmp_path, paired):
    """Twelve random strings differ in nothing, however often they are given, and in what pairs."""
    groups, claims = tuple(map(str, range(120))) if paired else None, 0
    for seed in range(8):
        strings = random_words(seed, 12)
        many = Contrast("many", strings[:6] * 20, strings[6:] * 20, groups, groups)
        claims += conclusion_of(model, tmp_path, many).startswith("The units answer")
    # One in twenty is what a p of 0.05 allows.
    assert claims <= binom.ppf(0.9995, 8, 0.05)


def test_twelve_strings_on_the_real_model_say_the_same_once_and_twenty_times(bundled, tmp_path):
    strings = random_words(5, 12)
    once = conclusion_of(bundled, tmp_path, Contrast("once", strings[:6], strings[6:]))
    many = conclusion_of(bundled, tmp_path, Contrast("many", strings[:6] * 20, strings[6:] * 20))
    assert once.startswith(("Not a finding", "Open: whether the selected units answer"))
    assert many == once


def test_sound_texts_that_are_there_twice_are_still_found_again(model, tmp_path):
    positive, negative = random_words(1, 24, "abcdef"), random_words(2, 24, "stuvwx")
    single = Contrast("a", positive, negative, pooling="mean")
    once = audit(localize(model, single, cache_dir=tmp_path, num_units=5))
    twice = replace(single, positive=positive * 2, negative=negative * 2)
    found = localize(model, twice, cache_dir=tmp_path, num_units=5)
    again = audit(found)
    assert once.conclusion.startswith("The units answer to other items")
    assert again.conclusion == once.conclusion
    held = again.selectivity.held_out
    assert (held.n_positive, held.n_negative) == (24, 24)
    assert found.manifest["stimuli"]["repeated"] == 48


@pytest.mark.parametrize("n", [1, 2])
def test_too_few_different_texts_are_said_and_not_claimed(model, tmp_path, n):
    strings = random_words(0, 2 * n)
    few = Contrast("few", strings[:n] * 20, strings[n:] * 20)
    result = audit(localize(model, few, percentage=5, cache_dir=tmp_path), options=FEW)
    assert {"reliability", "calibration", "selectivity"} <= set(result.missing)
    assert "too few different items" in result.missing["calibration"]
    assert not result.conclusion.startswith("The units answer")


@pytest.mark.parametrize("keep", [True, False])
def test_where_nothing_differs_nothing_is_found(model, tmp_path, monkeypatch, keep):
    """Texts that differ only behind the token that is read."""
    if not keep:
        monkeypatch.setattr("lsns.measurement.ACTIVATIONS_LIMIT_BYTES", 10)
    same = Contrast("same", POSITIVE, tuple(f"{text} twice" for text in POSITIVE), max_tokens=1)
    found = localize(model, same, num_units=6, cache_dir=tmp_path)
    assert found.manifest["selection"]["weakest_t"] == 0
    assert audit(found, options=FEW).conclusion.startswith("Not a finding")


def test_repeated_texts_are_said_once_and_only_where_there_are_some(model, tmp_path, caplog):
    with caplog.at_level("WARNING", logger="lsns"):
        plain = localize(model, CONTRAST, percentage=10, cache_dir=tmp_path)
        assert "repeat" not in plain.describe()
        assert not caplog.records
        three = Contrast("three", POSITIVE + POSITIVE[:3], NEGATIVE)
        found = localize(model, three, percentage=10, cache_dir=tmp_path)
    assert [record.getMessage() for record in caplog.records] == [
        "3 of 19 texts repeat another one: p-values count them as if they did not"
    ]
    assert "3 texts repeat another one" in found.describe()


def test_a_further_text_that_is_a_positive_one_is_measured_without_it(model, tmp_path):
    plain = replace(CONTRAST, further={"copies": POSITIVE}, further_groups=())
    found = localize(model, plain, num_units=6, cache_dir=tmp_path)
    profile = audit(found, model=model, options=FEW, profile=True).selectivity.profile
    positive, _, copies = (replace(response, condition="") for response in profile)
    assert copies.mean == pytest.approx(positive.mean)


def test_what_was_measured_of_texts_that_are_there_once_keeps_its_key():
    """And of texts that repeat only within a group: there is nothing to join."""
    groups = CONTRAST.positive_groups

    def again(group: str) -> Contrast:
        more = (*groups, group)
        return replace(CONTRAST, positive=POSITIVE + POSITIVE[:1], positive_groups=more)

    descriptions = [
        measurement._describe({}, one, {}) for one in (CONTRAST, again("0"), again("1"))
    ]
    assert ["groups" in description for description in descriptions] == [False, False, True]
