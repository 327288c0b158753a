"""Audits end to end: on tiny models, and the published figures on the bundled one."""

from __future__ import annotations

import json

import numpy as np
import pytest

import lsns
from lsns import Contrast, LsnsError, localize
from lsns.audits.auditing import AuditOptions, audit
from lsns.audits.comparison import compare
from lsns.audits.protocols import describe_cost, other_protocols
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


def test_further_conditions_and_other_protocols_are_run_when_asked(found, model, caplog):
    caplog.set_level("INFO", logger="lsns")
    before = audit(found, model=model, options=FEW)
    assert not [o for o in before.overlaps if o.kind == "protocol"]
    after = audit(found, model=model, options=FEW, overlaps=True, profile=True)
    assert [r.condition for r in after.selectivity.profile] == ["positive", "negative", "reversed"]
    assert len([o for o in after.overlaps if o.kind == "protocol"]) == 3
    assert describe_cost(found, list(other_protocols(found))) in caplog.text
    # From now on both are cached, and come without being asked for.
    again = audit(found, model=model, options=FEW)
    assert again.overlaps == after.overlaps
    assert again.selectivity == after.selectivity


def test_cost_counts_the_tokens(found):
    whole = found.measurement.items["whole"]
    cut = sum(min(n, 12) for n in whole)
    words = describe_cost(found, list(other_protocols(found)))
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
    assert (langloc_audit.outliers.selected, langloc_audit.outliers.units) == (17, 172)
    assert langloc_audit.calibration.above == 172
    assert langloc_audit.selectivity.held_out.low > 3
    assert langloc_audit.selectivity.in_sample.g > langloc_audit.selectivity.held_out.g
