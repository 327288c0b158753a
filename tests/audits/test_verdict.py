"""Every rule at every level, and the verdict that follows from the levels."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from lsns.audits.calibration import Calibration
from lsns.audits.confounds import Confound
from lsns.audits.lesions import find_evidence
from lsns.audits.outliers import OutlierDimension
from lsns.audits.verdict import RULES, Finding, Parts, conclude, decide, judge
from lsns.evaluation.study import ControlRow, DissociationRow, Study, SummaryRow
from tests.audits.made import make_outliers, make_selectivity

NO_OUTLIERS = make_outliers(0)
# Kinds that a sceptic asks for, of which the lesion is rarer than 1 in 20.
BEATEN = {"uniform": 0.04, "magnitude": 0.04, "decoy": 0.04}


def judged(rule: str, **parts) -> Finding:
    """What a rule says of parts; those that are not given were not measured."""
    found = Parts(**{"outliers": NO_OUTLIERS} | parts)
    return next(finding for finding in judge(found) if finding.rule == rule)


def row(condition, value, part="all", **effect):
    lesion = condition != "intact"
    return SummaryRow(
        benchmark="blimp", domain="language", measure="accuracy", items=4, paradigms=2,
        condition=condition, target=f"language@1 {part}" * lesion, part=part, series="language",
        percentage=1.0, control="", seed=None, mode="zero", mask=part * lesion,
        whole="abc" * lesion, units=172 * lesion, outlier_units=None, value=value, low=0.0,
        high=1.0, **effect,
    )  # fmt: skip


def effect(value, half=0.05, name="difference", **more):
    ends = {f"{name}_low": value - half, f"{name}_high": value + half}
    within = max(abs(value - half), abs(value + half))
    return {
        name: value,
        **ends,
        "within": within,
        "detectable": 0.07,
        "smallest": 0.05,
    } | more


def control(kind, p, part="all", n=20, difference=-0.15, half=0.05, **more):
    about = {"target": f"language@1 {part}", "part": part, "mode": "zero", "kind": kind}
    numbers = {"n": n, "distinct": n, "outliers": None, "match": None, "effective": None}
    values = {"mean": 0.7, "min": 0.6, "max": 0.8, "p": p, "note": ""}
    made = {**about, **numbers, **values, **effect(difference, half, "beside")} | more
    return ControlRow(benchmark="blimp", measure="accuracy", **made)


def study(p=BEATEN, harm=-0.2, rest=None, half=0.05, units=None, gap=None, **more):
    """A lesion by the whole mask, and one by the rest of it."""
    rows, controls = [row("intact", 0.75)], []
    for part, value in {"all": harm, "rest": rest}.items():
        if value is not None:
            lesion = row("lesion", 0.75 + value, part, **effect(value, half))
            rows.append(replace(lesion, outlier_units=units))
            controls += [control(kind, rank, part, half=half, **more) for kind, rank in p.items()]
    gaps = [] if gap is None else [dissociation(*gap)]
    return Study(rows, controls, gaps, [], [], [], {})


def dissociation(low, high):
    about = {"part": "all", "percentage": 1.0, "mode": "zero", "mask": "all", "units": 172}
    sides = {f"{side}{end}": 0.3 for side in ("harmed", "spared") for end in ("", "_low", "_high")}
    return DissociationRow(target="language@1 all", harm="blimp", spare="sums", **about, **sides,
                           gap=(low + high) / 2, gap_low=low, gap_high=high)  # fmt: skip


def evidence(*args, network="language", **options):
    return find_evidence(study(*args, **options), "abc", network)


@pytest.mark.parametrize(
    ("options", "level", "words"),
    [
        ({"harm": -0.2}, "good", "harms blimp: accuracy -0.200 (95% -0.250 to -0.150)"),
        ({"harm": -0.04}, "open", "was not shown to harm blimp"),
        ({"harm": -0.04}, "open", "0.070 would be seen in 80 of 100"),
        ({"harm": -0.01, "half": 0.03}, "bad", "does no harm that counts to blimp"),
        ({"harm": 0.2}, "bad", "was not shown to harm"),
        ({"network": "multiple-demand"}, "open", "No lesion was measured on a benchmark that it"),
    ],
)
def test_harm(options, level, words):
    """No evidence is not the same as no effect; and what a network is not for says nothing."""
    finding = judged("harm", lesions=evidence(**options))
    assert finding.level == level
    assert words in finding.sentence


@pytest.mark.parametrize(
    ("p", "options", "level"),
    [
        (BEATEN, {}, "good"),
        # A kind is beaten by rank; on average, or not at all.
        (BEATEN | {"decoy": 0.3}, {}, "caution"),
        (BEATEN | {"decoy": 0.3}, {"difference": 0.0, "half": 0.08}, "open"),
        (BEATEN | {"decoy": 0.3}, {"difference": 0.0, "half": 0.02}, "bad"),
        # Rarer than the controls, by what does not count.
        (BEATEN, {"difference": -0.02, "half": 0.01}, "bad"),
        # What a sceptic asks for is not there, or too few, or not alike.
        ({"uniform": 0.04, "layer": 0.04}, {}, "open"),
        (BEATEN, {"n": 3}, "open"),
        (BEATEN, {"match": 0.15}, "open"),
        (BEATEN, {"effective": 6.9}, "open"),
        (BEATEN, {"effective": 18.0}, "good"),
        (BEATEN, {"match": 0.9}, "good"),
        ({}, {}, "open"),
        ({"uniform": 0.3}, {"difference": 0.0, "half": 0.02}, "bad"),
    ],
)
def test_controls(p, options, level):
    finding = judged("controls", lesions=evidence(p, **options))
    assert finding.level == level, finding.sentence


@pytest.mark.parametrize(
    ("outliers", "level"), [(1.0, "open"), (13.5, "open"), (13.7, "good"), (17.0, "good")]
)
def test_controls_without_the_lesions_outliers_say_nothing(outliers, level):
    found = evidence(BEATEN | {"outliers": 0.04}, units=17, outliers=outliers)
    finding = judged("controls", lesions=found)
    assert finding.level == level
    assert ("without as many outlier units" in finding.sentence) == (level == "open")
    # Nor do they earn "more than some".
    assert judged("controls", lesions=evidence(units=17, outliers=1.0)).level == "open"
    # A lesion without outliers asks for none.
    assert judged("controls", lesions=evidence(units=0, outliers=outliers)).level == "good"


@pytest.mark.parametrize(
    ("gap", "level"),
    [((0.1, 0.5), "good"), ((-0.1, 0.5), "open"), ((-0.1, 0.08), "bad"), (None, "open")],
)
def test_specificity(gap, level):
    finding = judged("specificity", lesions=evidence(gap=gap))
    assert finding.level == level
    assert ("single dissociation" in finding.sentence) == (gap is not None)


def test_a_lesion_of_the_rest_says_how_much_is_left():
    many = make_outliers(17)
    finding = judged("without outliers", lesions=evidence(rest=-0.1), outliers=many)
    assert finding.level == "good"
    assert "50% of the whole lesion's effect" in finding.sentence
    finding = judged("without outliers", lesions=evidence(), outliers=many)
    assert finding.level == "open"
    assert find_evidence(study(), "unknown", "language").lesions == ()


@pytest.mark.parametrize(
    ("whole", "rest", "words"),
    [
        (-0.2, -0.052, "That is 26% of the whole"),
        (-0.2, -0.26, "That is more than the whole"),
        (-0.2, 0.2, "That is none of the whole"),
        # No clear harm, or a gain: there is nothing of which a part could be left.
        (-0.04, 0.04, None),
        (0.2, -0.2, None),
    ],
)
def test_a_share_is_one_only_between_nothing_and_all(whole, rest, words):
    found = evidence(harm=whole, rest=rest)
    sentence = judged("without outliers", lesions=found, outliers=make_outliers(17)).sentence
    assert ("That is" in sentence) == (words is not None)
    assert words is None or f"{words} lesion's effect on blimp." in sentence


def test_without_outliers_nothing_changes_and_of_outliers_alone_nothing_is_left():
    finding = judged("without outliers", lesions=evidence())
    assert (finding.level, "nothing changes" in finding.sentence) == ("good", True)
    finding = judged("without outliers", lesions=evidence(), outliers=make_outliers(172))
    assert (finding.level, "nothing is left" in finding.sentence) == ("bad", True)


@pytest.mark.parametrize(
    ("p", "high", "level"),
    [(0.002, 2.0, "good"), (0.3, 0.9, "open"), (0.3, 0.15, "bad"), (0.04, 0.1, "good")],
)
def test_selectivity(p, high, level):
    found = make_selectivity(p, high)
    assert judged("selectivity", selectivity=found).level == level


def test_without_a_difference_there_is_nothing():
    assert judged("selectivity", differs=False).level == "bad"


@pytest.mark.parametrize(("above", "level"), [(172, "good"), (5, "caution"), (0, "open")])
def test_calibration(above, level):
    found = Calibration("ttest", 1000, 0.05, 4.5, 27.0, 8.7, 0.001, 172, above, 1758)
    assert judged("calibration", calibration=found).level == level


def test_outliers_and_confounds():
    many = make_outliers(17, dimensions=(OutlierDimension(507, 9, 28),))
    few = make_outliers(1, p=0.6)
    assert [judged("outliers", outliers=one).level for one in (many, few)] == ["caution", "good"]
    alike = Confound("words", 12.0, 12.0, 0.0, -0.2, 0.2)
    apart = Confound("tokens", 12.0, 5.0, None, None, None)
    assert judged("confounds", confounds=(alike,)).level == "good"
    assert "no overlap" in judged("confounds", confounds=(alike, apart)).sentence


def test_what_was_not_measured_is_open():
    findings = judge(Parts(outliers=NO_OUTLIERS))
    assert [finding.rule for finding in findings] == list(RULES)
    for finding in findings:
        measured = finding.rule in ("outliers", "without outliers", "confounds")
        assert (finding.level == "open") != measured
        assert finding.source
        assert finding.question
    assert decide(findings) == "open"


def made(**levels) -> list[Finding]:
    changed = {name.replace("_", " "): level for name, level in levels.items()}
    return [Finding(rule, changed.get(rule, "good"), "") for rule in RULES]


@pytest.mark.parametrize(
    ("levels", "verdict"),
    [
        ({}, "network"),
        # Which units, and whether such units are there, are two questions.
        ({"reliability": "bad"}, "network"),
        ({"calibration": "open"}, "network"),
        ({"outliers": "caution"}, "network"),
        ({"selectivity": "bad"}, "nothing"),
        ({"selectivity": "bad", "controls": "bad"}, "nothing"),
        ({"selectivity": "open"}, "open"),
        ({"controls": "bad"}, "artefact"),
        ({"specificity": "bad"}, "artefact"),
        ({"without_outliers": "bad"}, "artefact"),
        ({"harm": "open"}, "open"),
        ({"harm": "bad"}, "open"),
        ({"controls": "caution"}, "open"),
        ({"specificity": "caution"}, "open"),
        ({"confounds": "caution"}, "open"),
    ],
)
def test_the_verdict_follows_from_the_levels_alone(levels, verdict):
    assert decide(made(**levels)) == verdict


def test_the_conclusion_says_why():
    assert conclude(made()).startswith("A network:")
    assert "depends on the items" in conclude(made(reliability="bad"))
    assert "as much of what it should spare" in conclude(made(specificity="bad"))
    assert "the conditions also differ" in conclude(made(confounds="caution"))
    assert conclude(made(selectivity="bad")).startswith("Not a finding")
    levels = ("good", "caution", "bad", "open")
    for a, b, c in itertools.product(levels, levels, levels):
        text = conclude(made(controls=a, specificity=b, without_outliers=c))
        assert text.endswith(".")
        assert decide(made(controls=a, specificity=b, without_outliers=c)) in (
            "network", "artefact", "open"
        )  # fmt: skip
