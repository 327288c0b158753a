"""Findings in words, by rules that are stated beforehand; docs/audit.md has them with sources.

A rule looks at one part of an audit and says how it stands: `good`, `caution`, `bad`, or `open`
where it was not measured. The conclusion follows from the levels alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from lsns.audits.calibration import Calibration
from lsns.audits.confounds import Confound
from lsns.audits.lesions import ALL, REST, LesionEvidence, Rival, language_rows
from lsns.audits.outliers import OutlierAudit
from lsns.audits.protocols import ProtocolOverlap
from lsns.audits.reliability import Reliability
from lsns.audits.selectivity import Selectivity

Level = Literal["good", "caution", "bad", "open"]
ALPHA = 0.05
# Below the first, poor; below the second, fair.
POOR, FAIR = 0.40, 0.60
# Masks of two protocols that share less than half of their units are not the same finding.
HALF = 0.5

SOURCES = {
    "reliability": "Guidelines, criteria, and rules of thumb for evaluating normed and "
    "standardized assessment instruments in psychology (https://doi.org/10.1037/1040-3590.6.4.284)",
    "calibration": "Nonparametric permutation tests for functional neuroimaging "
    "(https://doi.org/10.1002/hbm.1058)",
    "selectivity": "Circular analysis in systems neuroscience: the dangers of double dipping "
    "(https://doi.org/10.1038/nn.2303)",
    "outliers": "Massive Activations in Large Language Models (arXiv 2402.17762)",
    "confounds": "A power primer (https://doi.org/10.1037/0033-2909.112.1.155)",
    "protocols": "Increasing Transparency Through a Multiverse Analysis "
    "(https://doi.org/10.1177/1745691616658637)",
    "lesion": "Permutation P-values Should Never Be Zero (https://doi.org/10.2202/1544-6115.1585)",
    "lesion without outliers": "Massive Activations in Large Language Models (arXiv 2402.17762)",
}


@dataclass(frozen=True)
class Finding:
    """What a rule says.

    Attributes:
        rule: its name.
        level: `good`, `caution`, `bad`, or `open`: not measured.
        sentence: in words, with the numbers.
        source: the paper behind the rule.
    """

    rule: str
    level: Level
    sentence: str

    @property
    def source(self) -> str:
        """The paper behind the rule."""
        return SOURCES[self.rule]


def judge_reliability(found: Reliability | None) -> Finding:
    """By phi of random halves (Dice corrected for chance), corrected for length."""
    row = next((r for r in found.rows if r.chosen and r.split == "halves"), None) if found else None
    if row is None or row.phi_corrected is None:
        return Finding("reliability", "open", "Reliability was not measured.")
    value = row.phi_corrected
    level: Level = "bad" if value < POOR else "caution" if value < FAIR else "good"
    word = {"bad": "poor", "caution": "fair", "good": "good"}[level]
    return Finding(
        "reliability",
        level,
        f"Reliability is {word}: halves of the items share Dice {row.dice:.2f} of their units "
        f"(chance {row.dice_chance:.3f}); corrected for chance and for length, {value:.2f}.",
    )


def judge_calibration(found: Calibration | None, *, differs: bool = True) -> Finding:
    """By how many selected units score above what chance gives anywhere.

    Args:
        found: from `calibration.permutation_test`; None: it was not done.
        differs: whether any selected unit has a t other than 0; else no test is needed.
    """
    if not differs:
        words = "No selected unit differs between the conditions: every t is 0."
        return Finding("calibration", "bad", words)
    if found is None:
        return Finding("calibration", "open", "No permutation test was done.")
    whole, none = found.above == found.selected, found.above == 0
    return Finding(
        "calibration",
        "good" if whole else "bad" if none else "caution",
        f"{found.above} of the {found.selected} selected units score above {found.threshold:.2f}, "
        f"which chance reaches anywhere in the model with p {found.alpha:g} "
        f"({found.permutations} permutations); so do {found.units_above} units in all.",
    )


def judge_selectivity(found: Selectivity | None) -> Finding:
    """By the interval of the effect on items that did not choose the units."""
    if found is None:
        return Finding("selectivity", "open", "The effect on held-out items was not measured.")
    held, seen = found.held_out, found.in_sample
    ends = f"95% {held.low:.2f} to {held.high:.2f}"
    level: Level = "good" if held.low > 0 else "bad" if held.high <= 0 else "caution"
    words = {
        "good": "answer to items that did not choose them",
        "caution": "may not answer to items that did not choose them",
        "bad": "do not answer to items that did not choose them",
    }
    return Finding(
        "selectivity",
        level,
        f"The units {words[level]}: g {held.g:.2f} ({ends}); "
        f"on the items that chose them it would be {seen.g:.2f}.",
    )


def judge_outliers(found: OutlierAudit) -> Finding:
    """By whether a mask holds more outlier units than chance would put there."""
    if found.selected == 0:
        return Finding("outliers", "good", "No selected unit is an outlier dimension.")
    more = found.p_value < ALPHA
    names = ", ".join(
        f"{d.dimension} ({d.selected_layers} layer{'s' if d.selected_layers > 1 else ''})"
        for d in found.dimensions[:4]
    )
    rest = len(found.dimensions) - 4
    return Finding(
        "outliers",
        "caution" if more else "good",
        f"{found.selected} of {found.units} selected units are outlier dimensions (chance "
        f"{found.expected:.1f}), with {found.magnitude_share:.0%} of the mask's summed magnitude: "
        f"dimension {names}{f' and {rest} more' if rest > 0 else ''}.",
    )


def judge_confounds(found: Sequence[Confound]) -> Finding:
    """By whether anything else differs by half a standard deviation or more."""
    apart = [one for one in found if one.differs]
    if not apart:
        return Finding(
            "confounds",
            "good",
            f"None of {len(found)} other measures of the texts differs by g 0.5 or more.",
        )
    words = "; ".join(
        f"{c.measure} {c.positive:.2f} against {c.negative:.2f}"
        + (f" (g {c.g:.2f})" if c.g is not None else " (no overlap)")
        for c in apart
    )
    return Finding("confounds", "caution", f"The conditions also differ in: {words}.")


def judge_protocols(found: Sequence[ProtocolOverlap]) -> Finding:
    """By the least overlap with the mask of another protocol."""
    others = [one for one in found if one.kind == "protocol"]
    if not others:
        return Finding("protocols", "open", "Other poolings and cuts were not compared.")
    least = min(others, key=lambda one: one.dice)
    level: Level = "caution" if least.dice < HALF else "good"
    word = "depends" if level == "caution" else "does not depend much"
    return Finding(
        "protocols",
        level,
        f"The mask {word} on how texts are read: with {least.name} it shares Dice "
        f"{least.dice:.2f} ({least.shared} of {least.units} units, {least.expected_by_layer:.1f} "
        "by chance).",
    )


def judge_lesion(evidence: Sequence[LesionEvidence], part: str) -> Finding:
    """By whether the lesion harms language more than every kind of its controls.

    Args:
        evidence: from `lesions.find_evidence`.
        part: `all` of the mask, or the `rest`: without its outlier units.
    """
    rule = "lesion" if part == ALL else "lesion without outliers"
    rows = language_rows(evidence, part)
    words = "The lesion" if part == ALL else "The lesion without its outlier dimensions"
    if not rows:
        return Finding(rule, "open", f"{words} was not measured.")
    level = _worst([_level_of(row) for row in rows])
    sentences = [f"{words} {_lesion_words(row)}" for row in rows]
    return Finding(rule, level, " ".join(sentences) + _share_words(evidence, part))


def judge_rest(evidence: Sequence[LesionEvidence], outliers: OutlierAudit) -> Finding:
    """As `judge_lesion` of the rest; without outliers that is all, and without others nothing."""
    rule = "lesion without outliers"
    if outliers.selected == 0:
        words = "No selected unit is an outlier dimension: nothing changes without them."
        return Finding(rule, judge_lesion(evidence, ALL).level, words)
    if outliers.selected == outliers.units:
        words = "All selected units are outlier dimensions: nothing is left without them."
        return Finding(rule, "bad", words)
    return judge_lesion(evidence, REST)


def conclude(findings: Sequence[Finding]) -> str:
    """The conclusion: it follows from the levels of the findings alone."""
    level: dict[str, Level] = {finding.rule: finding.level for finding in findings}
    if "bad" in (level["calibration"], level["selectivity"], level["reliability"]):
        return "Not a finding: what was selected does not stand up on other items."
    stands = {level["calibration"], level["selectivity"], level["reliability"]} == {"good"}
    first = "The units are found again" if stands else "Whether the units are found again is open"
    return f"{first}; {_causal(level['lesion'], level['lesion without outliers'])}."


def _causal(lesion: Level, rest: Level) -> str:
    if lesion == "open":
        return (
            "what a lesion of them takes away is open: it was not measured, or its controls are "
            "too few, or none has as many outlier units"
        )
    if lesion == "bad":
        return "their lesion was not shown to harm language more than lesions of other units do"
    if lesion == "caution":
        return "their lesion harms language more than some kinds of controls, and not all"
    words: dict[Level, str] = {
        "good": "their lesion harms language more than all controls, also without outliers",
        "open": "their lesion harms language more than all controls; whether it does without "
        "outlier dimensions is open",
        "caution": "their lesion harms language more than all controls, and without outlier "
        "dimensions only more than some",
        "bad": "their lesion harms language more than all controls, and without outlier "
        "dimensions it was not shown to",
    }
    return words[rest]


def _level_of(row: LesionEvidence) -> Level:
    enough = [rival for rival in row.rivals if rival.enough]
    if not row.harms:
        return "bad"
    beaten = [rival.p_value <= ALPHA for rival in enough]
    if not all(beaten):
        return "caution" if any(beaten) else "bad"
    # Of a kind with too few controls nothing is known, and "all kinds" cannot be said; nor can it
    # if all controls are spared what the lesion has, outlier units.
    alike = any(row.is_alike(rival) for rival in enough)
    return "good" if alike and len(enough) == len(row.rivals) else "open"


def _worst(levels: Sequence[Level]) -> Level:
    order: tuple[Level, ...] = ("bad", "caution", "open", "good")
    return next(level for level in order if level in levels)


def _lesion_words(row: LesionEvidence) -> str:
    unit = "log perplexity" if row.measure == "perplexity" else row.measure
    harm = "harms" if row.harms else "does not clearly harm"
    rivals = "; ".join(_rival_words(row, rival) for rival in row.rivals) or "no controls"
    return (
        f"({row.units} units, {row.mode}) {harm} {row.benchmark}: {unit} {row.difference:+.3f} "
        f"(95% {row.low:+.3f} to {row.high:+.3f}), from {row.intact:.3f} to {row.value:.3f}; "
        f"controls: {rivals}.{_unlike_words(row)}"
    )


def _rival_words(row: LesionEvidence, rival: Rival) -> str:
    same = f" of which {rival.distinct} different" if rival.distinct < rival.n else ""
    few = "" if rival.enough else ", too few"
    # Said only where it matters: beside a lesion that has outlier units.
    known = row.outlier_units and rival.outlier_units is not None
    outliers = f", outlier units {rival.outlier_units:.1f}" if known else ""
    return (
        f"{rival.kind} {rival.mean:.3f} (n {rival.n}{same}{few}, p {rival.p_value:.3f}{outliers})"
    )


def _unlike_words(row: LesionEvidence) -> str:
    if not row.rivals or any(row.is_alike(rival) for rival in row.rivals):
        return ""
    return f" No control has as many outlier units as the lesion, {row.outlier_units}."


def _share_words(evidence: Sequence[LesionEvidence], part: str) -> str:
    """How much of the whole lesion's harm is left without the outlier units."""
    if part != REST:
        return ""
    return "".join(_shares(evidence))


def _shares(evidence: Sequence[LesionEvidence]) -> Iterator[str]:
    """A sentence per benchmark; none where the whole lesion does no clear harm to be shared."""
    whole = {
        (row.benchmark, row.mode): row.harm for row in language_rows(evidence, ALL) if row.harms
    }
    for row in language_rows(evidence, REST):
        harm = whole.get((row.benchmark, row.mode))
        if harm is not None:
            share = _share(row.harm / harm)
            yield f" That is {share} the whole lesion's effect on {row.benchmark}."


def _share(part: float) -> str:
    """A share in words; beyond nothing and all it is no percentage."""
    return "none of" if part <= 0 else "more than" if part > 1 else f"{part:.0%} of"
