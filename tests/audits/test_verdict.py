"""Every rule at every level, and what follows from the levels."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from lsns.audits.calibration import Calibration
from lsns.audits.confounds import Confound
from lsns.audits.lesions import find_evidence
from lsns.audits.outliers import OutlierAudit, OutlierDimension
from lsns.audits.verdict import RULES, Finding, Parts, conclude, judge
from lsns.evaluation.study import ControlRow, Study, SummaryRow

NO_OUTLIERS = OutlierAudit(10.0, 0, 172, 0.0, 0.0, 0.9, 1.0, 93, ())


def judged(rule: str, **parts) -> Finding:
    """What a rule says of parts; those that are not given were not measured."""
    found = Parts(**{"outliers": NO_OUTLIERS} | parts)
    return next(finding for finding in judge(found) if finding.rule == rule)


def judged_lesion(evidence, part="all") -> Finding:
    """What is said of the lesion, or of it without its outliers, of which there are some."""
    outliers = OutlierAudit(10.0, 17, 172, 0.1, 0.57, 0.9, 1e-17, 93, ())
    rule = "lesion" if part == "all" else "lesion without outliers"
    return judged(rule, lesions=tuple(evidence), outliers=outliers)


def row(condition, value, part="all", **effect):
    lesion = condition != "intact"
    return SummaryRow(
        benchmark="blimp", domain="language", measure="accuracy", items=4, paradigms=2,
        condition=condition, target=f"language@1 {part}" * lesion, part=part, series="language",
        percentage=1.0, control="", seed=None, mode="zero", mask=part * lesion,
        whole="abc" * lesion, units=172 * lesion, outlier_units=None, value=value, low=0.0,
        high=1.0, **effect,
    )  # fmt: skip


def study(p, n=20, harm=-0.2, rest=None):
    """A lesion by the whole mask, and one by the rest of it."""
    rows, controls = [row("intact", 0.75)], []
    for part, effect in {"all": harm, "rest": rest}.items():
        if effect is None:
            continue
        ends = {"difference_low": effect - 0.05, "difference_high": effect + 0.05}
        rows.append(row("lesion", 0.75 + effect, part, difference=effect, **ends))
        controls += [
            ControlRow("blimp", "accuracy", f"language@1 {part}", part, "zero", kind, n, n, None,
                       0.7, 0.6, 0.8, rank, "")
            for kind, rank in p.items()
        ]  # fmt: skip
    return Study(rows, controls, [], [], {})


@pytest.mark.parametrize(
    ("p", "n", "harm", "level"),
    [
        ({"uniform": 0.04, "magnitude": 0.04}, 20, -0.2, "good"),
        ({"uniform": 0.04, "magnitude": 0.30}, 20, -0.2, "caution"),
        ({"uniform": 0.30, "magnitude": 0.30}, 20, -0.2, "bad"),
        ({"uniform": 0.04, "magnitude": 0.04}, 3, -0.2, "open"),
        ({"uniform": 0.04, "magnitude": 0.04}, 20, -0.01, "bad"),
        ({}, 20, -0.2, "open"),
    ],
)
def test_lesion(p, n, harm, level):
    finding = judged_lesion(find_evidence(study(p, n, harm), "abc"), "all")
    assert finding.level == level
    assert "172 units" in finding.sentence


@pytest.mark.parametrize(
    ("outliers", "level"),
    [
        ({"uniform": 1.0, "magnitude": 5.0}, "open"),
        ({"uniform": 1.0, "magnitude": 13.5}, "open"),
        ({"uniform": 1.0, "magnitude": 13.7}, "good"),
        ({"uniform": 1.0, "magnitude": 17.0}, "good"),
    ],
)
def test_controls_without_the_lesions_outliers_say_nothing_of_selectivity(outliers, level):
    made = study({"uniform": 0.04, "magnitude": 0.04})

    def found(units, p=0.04):
        controls = [
            replace(one, outliers=outliers[one.kind], p=p if one.kind == "uniform" else one.p)
            for one in made.controls
        ]
        rows = [made.summary[0], replace(made.summary[1], outlier_units=units)]
        return judged_lesion(find_evidence(Study(rows, controls, [], [], {}), "abc"))

    finding = found(17)
    assert finding.level == level
    assert "p 0.040, outlier units 1.0)" in finding.sentence
    words = "No control has as many outlier units as the lesion, 17."
    assert (words in finding.sentence) == (level == "open")
    # A lesion without outliers asks for none, and one that is beaten is beaten by any control.
    assert found(0).level == "good"
    assert found(17, p=0.3).level == "caution"


def test_a_lesion_of_the_rest_says_how_much_is_left():
    p = {"uniform": 0.04}
    rows = study(p, rest=-0.1)
    finding = judged_lesion(find_evidence(rows, "abc"), "rest")
    assert finding.level == "good"
    assert "50% of the whole lesion's effect" in finding.sentence
    assert find_evidence(rows, "unknown") == []


@pytest.mark.parametrize(
    ("whole", "rest", "words"),
    [
        (-0.2, -0.052, "That is 26% of the whole"),
        (-0.2, -0.2, "That is 100% of the whole"),
        (-0.2, -0.26, "That is more than the whole"),
        (-0.2, 0.2, "That is none of the whole"),
        (-0.2, 0.0, "That is none of the whole"),
        # No clear harm, or a gain: there is nothing of which a part could be left.
        (-0.04, 0.04, None),
        (-0.001, -0.2, None),
        (0.2, -0.2, None),
    ],
)
def test_a_share_is_one_only_between_nothing_and_all(whole, rest, words):
    p = {"uniform": 0.04}
    rows = study(p, harm=whole, rest=rest)
    sentence = judged_lesion(find_evidence(rows, "abc"), "rest").sentence
    assert ("That is" in sentence) == (words is not None)
    assert words is None or f"{words} lesion's effect on blimp." in sentence


@pytest.mark.parametrize(("above", "level"), [(172, "good"), (5, "caution"), (0, "bad")])
def test_calibration(above, level):
    found = Calibration("ttest", 1000, 0.05, 4.5, 27.0, 8.7, 0.001, 172, above, 1758)
    assert judged("calibration", calibration=found).level == level


def test_outliers_and_confounds():
    dimension = (OutlierDimension(507, 9, 28),)
    many = OutlierAudit(10.0, 17, 172, 0.1, 0.57, 0.9, 1e-17, 93, dimension)
    few = OutlierAudit(10.0, 1, 172, 0.006, 0.05, 0.9, 0.6, 93, dimension)
    assert [judged("outliers", outliers=one).level for one in (many, few)] == ["caution", "good"]
    alike = Confound("words", 12.0, 12.0, 0.0, -0.2, 0.2)
    apart = Confound("tokens", 12.0, 5.0, None, None, None)
    assert judged("confounds", confounds=(alike,)).level == "good"
    assert "no overlap" in judged("confounds", confounds=(alike, apart)).sentence


def test_what_was_not_measured_is_open():
    findings = judge(Parts(outliers=NO_OUTLIERS))
    assert [finding.rule for finding in findings] == list(RULES)
    for finding in findings:
        measured = finding.rule in ("outliers", "confounds")
        assert (finding.level == "open") != measured
        assert finding.source


def test_without_a_difference_there_is_nothing_to_calibrate():
    assert judged("calibration", differs=False).level == "bad"


def test_without_outliers_nothing_changes_and_of_outliers_alone_nothing_is_left():
    lesions = tuple(find_evidence(study({"uniform": 0.04}), "abc"))
    rule = "lesion without outliers"
    finding = judged(rule, lesions=lesions)
    assert (finding.level, "nothing changes" in finding.sentence) == ("good", True)
    only = OutlierAudit(10.0, 172, 172, 1.0, 1.0, 0.9, 0.0, 173, ())
    finding = judged(rule, lesions=lesions, outliers=only)
    assert (finding.level, "nothing is left" in finding.sentence) == ("bad", True)


def test_the_conclusion_follows_from_the_levels_alone():
    def conclusion(lesion="good", rest="good", **levels):
        levels = dict.fromkeys(RULES, "good") | levels
        levels |= {"lesion": lesion, "lesion without outliers": rest}
        return conclude([Finding(rule, level, "") for rule, level in levels.items()])

    assert "also without outliers" in conclusion()
    assert "without outlier dimensions it was not shown to" in conclusion(rest="bad")
    assert "was not shown to harm language more" in conclusion(lesion="bad")
    assert "not measured" in conclusion(lesion="open")
    for rule in ("calibration", "selectivity", "reliability"):
        assert conclusion(**{rule: "bad"}).startswith("Not a finding")
        assert "is open" in conclusion(**{rule: "open"})
    levels = ("good", "caution", "bad", "open")
    texts = {conclusion(lesion=a, rest=b) for a, b in itertools.product(levels, levels)}
    assert len(texts) == 7
