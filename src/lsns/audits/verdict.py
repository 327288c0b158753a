"""Findings in words, by rules that are stated beforehand; docs/audit.md has them with sources.

A rule looks at the parts of an audit and says how they stand: `good`, `caution`, `bad`, or `open`
where nothing was measured. The conclusion follows from the levels alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from lsns.audits.calibration import Calibration
from lsns.audits.confounds import Confound
from lsns.audits.lesions import LesionEvidence, Rival, language_rows
from lsns.audits.outliers import OutlierAudit
from lsns.audits.protocols import ProtocolOverlap
from lsns.audits.reliability import Reliability
from lsns.audits.selectivity import Selectivity
from lsns.evaluation.conditions import ALL, REST
from lsns.table import Column

Level = Literal["good", "caution", "bad", "open"]
Judgement = tuple[Level, str]
ALPHA = 0.05
# Below the first, poor; below the second, fair.
POOR, FAIR = 0.40, 0.60
# Masks of two protocols that share less than half of their units are not the same finding.
HALF = 0.5
_WORST_FIRST: tuple[Level, ...] = ("bad", "caution", "open", "good")


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What an audit measured; None where a part could not be examined.

    Attributes:
        reliability: agreement of masks and scores of different items.
        selectivity: effect on items that did not choose the units.
        calibration: largest score that chance gives.
        differs: whether any selected unit has a t other than 0.
        outliers: outlier dimensions in the mask.
        confounds: what else differs between the conditions.
        overlaps: overlap with the masks of other methods and protocols.
        lesions: what a study says of lesions by the mask.
    """

    reliability: Reliability | None = None
    selectivity: Selectivity | None = None
    calibration: Calibration | None = None
    differs: bool = True
    outliers: OutlierAudit
    confounds: tuple[Confound, ...] = ()
    overlaps: tuple[ProtocolOverlap, ...] = ()
    lesions: tuple[LesionEvidence, ...] = ()


@dataclass(frozen=True)
class Finding:
    """What a rule says.

    Attributes:
        rule: the rule's name.
        level: `good`, `caution`, `bad`, or `open`: not measured.
        sentence: the finding in words, with its numbers.
    """

    columns: ClassVar = (Column("rule"), Column("level"), Column("sentence"), Column("source"))

    rule: str
    level: Level
    sentence: str

    @property
    def source(self) -> str:
        """The paper behind the rule; empty for a rule that a file names and nobody knows."""
        return RULES[self.rule][1] if self.rule in RULES else ""


def judge(parts: Parts) -> tuple[Finding, ...]:
    """What each rule says of the parts of an audit."""
    return tuple(Finding(rule, *look(parts)) for rule, (look, _) in RULES.items())


def conclude(findings: Sequence[Finding]) -> str:
    """The conclusion: it follows from the levels of the findings alone."""
    level: dict[str, Level] = {finding.rule: finding.level for finding in findings}
    if "bad" in (level["calibration"], level["selectivity"], level["reliability"]):
        return "Not a finding: what was selected does not stand up on other items."
    stands = {level["calibration"], level["selectivity"], level["reliability"]} == {"good"}
    first = "The units are found again" if stands else "Whether the units are found again is open"
    rest = _WITHOUT_OUTLIERS[level["lesion without outliers"]]
    return f"{first}; {_CAUSAL[level['lesion']].format(rest)}."


_CAUSAL: dict[Level, str] = {
    "open": "what a lesion of them takes away is open: it was not measured, or its controls are "
    "too few, or none has as many outlier units",
    "bad": "their lesion was not shown to harm language more than lesions of other units do",
    "caution": "their lesion harms language more than some kinds of controls, and not all",
    "good": "their lesion harms language more than all controls{}",
}
_WITHOUT_OUTLIERS: dict[Level, str] = {
    "open": "; whether it does without outlier dimensions is open",
    "bad": ", and without outlier dimensions it was not shown to",
    "caution": ", and without outlier dimensions only more than some",
    "good": ", also without outliers",
}


def _reliability(parts: Parts) -> Judgement:
    """By phi of random halves: Dice corrected for chance."""
    rows = parts.reliability.rows if parts.reliability else ()
    row = next((r for r in rows if r.chosen and r.split == "halves"), None)
    if row is None:
        return "open", "Reliability was not measured."
    value = row.phi
    level: Level = "bad" if value < POOR else "caution" if value < FAIR else "good"
    word = {"bad": "poor", "caution": "fair"}.get(level, level)
    return level, (
        f"Reliability is {word}: halves of the items share Dice {row.dice:.2f} of their units "
        f"(chance {row.dice_chance:.3f}); corrected for chance, {value:.2f}."
    )


def _calibration(parts: Parts) -> Judgement:
    """By how many selected units score above what chance gives anywhere."""
    found = parts.calibration
    if not parts.differs:
        return "bad", "No selected unit differs between the conditions: every t is 0."
    if found is None:
        return "open", "No permutation test was done."
    whole, none = found.above == found.selected, found.above == 0
    return "good" if whole else "bad" if none else "caution", (
        f"{found.above} of the {found.selected} selected units score above {found.threshold:.2f}, "
        f"which chance reaches anywhere in the model with p {found.alpha:g} "
        f"({found.permutations} permutations); so do {found.units_above} units in all."
    )


def _selectivity(parts: Parts) -> Judgement:
    """By shuffled labels: how often they have as large an effect on items that chose no units."""
    if parts.selectivity is None:
        return "open", "The effect on held-out items was not measured."
    held, seen = parts.selectivity.held_out, parts.selectivity.in_sample
    p = parts.selectivity.p_value
    level: Level = "good" if p <= ALPHA else "bad" if held.high <= 0 else "caution"
    word = {"good": "answer", "caution": "may not answer", "bad": "do not answer"}[level]
    return level, (
        f"The units {word} to items that did not choose them: g {held.g:.2f} "
        f"(95% {held.low:.2f} to {held.high:.2f}; p {p:.2g} by shuffled labels); on the items that "
        f"chose them it would be {seen.g:.2f}."
    )


def _outliers(parts: Parts) -> Judgement:
    """By whether a mask holds more outlier units than chance would put there."""
    found = parts.outliers
    if found.selected == 0:
        return "good", "No selected unit is an outlier dimension."
    names = ", ".join(
        f"{d.dimension} ({d.selected_layers} layer{'s' if d.selected_layers > 1 else ''})"
        for d in found.dimensions[:4]
    )
    rest = len(found.dimensions) - 4
    return "caution" if found.p_value < ALPHA else "good", (
        f"{found.selected} of {found.units} selected units are outlier dimensions (chance "
        f"{found.expected:.1f}), with {found.magnitude_share:.0%} of the mask's summed magnitude: "
        f"dimension {names}{f' and {rest} more' if rest > 0 else ''}."
    )


def _confounds(parts: Parts) -> Judgement:
    """By whether anything else differs by half a standard deviation or more."""
    words = "; ".join(
        f"{c.measure} {c.positive:.2f} against {c.negative:.2f}"
        + (f" (g {c.g:.2f})" if c.g is not None else " (no overlap)")
        for c in parts.confounds
        if c.differs
    )
    if words:
        return "caution", f"The conditions also differ in: {words}."
    number = len(parts.confounds)
    return "good", f"None of {number} other measures of the texts differs by g 0.5 or more."


def _protocols(parts: Parts) -> Judgement:
    """By the least overlap with the mask of another protocol."""
    others = [one for one in parts.overlaps if one.kind == "protocol"]
    if not others:
        return "open", "Other poolings and cuts were not compared."
    least = min(others, key=lambda one: one.dice)
    depends = least.dice < HALF
    return "caution" if depends else "good", (
        f"The mask {'depends' if depends else 'does not depend much'} on how texts are read: with "
        f"{least.name} it shares Dice {least.dice:.2f} ({least.shared} of {least.units} units, "
        f"{least.expected_by_layer:.1f} by chance)."
    )


def _whole_lesion(parts: Parts) -> Judgement:
    return _lesion(parts, ALL, "The lesion")


def _rest_lesion(parts: Parts) -> Judgement:
    """By the lesion without outlier units; where there are none, or no others, by what is left."""
    if parts.outliers.selected == 0:
        words = "No selected unit is an outlier dimension: nothing changes without them."
        return _whole_lesion(parts)[0], words
    if parts.outliers.selected == parts.outliers.units:
        return "bad", "All selected units are outlier dimensions: nothing is left without them."
    return _lesion(parts, REST, "The lesion without its outlier dimensions")


def _lesion(parts: Parts, part: str, words: str) -> Judgement:
    """By whether a lesion harms language more than every kind of its controls."""
    rows = language_rows(parts.lesions, part)
    if not rows:
        return "open", f"{words} was not measured."
    worst: Level = min(map(_level_of, rows), key=_WORST_FIRST.index)
    shares = _shares(parts.lesions) if part == REST else ()
    return worst, " ".join([*(f"{words} {_lesion_words(row)}" for row in rows), *shares])


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


def _shares(evidence: Sequence[LesionEvidence]) -> Iterator[str]:
    """A sentence per benchmark; none where the whole lesion does no clear harm to be shared."""
    whole = {
        (row.benchmark, row.mode): row.harm for row in language_rows(evidence, ALL) if row.harms
    }
    for row in language_rows(evidence, REST):
        harm = whole.get((row.benchmark, row.mode))
        if harm is not None:
            share = _share(row.harm / harm)
            yield f"That is {share} the whole lesion's effect on {row.benchmark}."


def _share(part: float) -> str:
    """A share in words; beyond nothing and all it is no percentage."""
    return "none of" if part <= 0 else "more than" if part > 1 else f"{part:.0%} of"


# Each rule, and the paper behind it.
RULES: dict[str, tuple[Callable[[Parts], Judgement], str]] = {
    "reliability": (
        _reliability,
        "Guidelines, criteria, and rules of thumb for evaluating normed and standardized "
        "assessment instruments in psychology (https://doi.org/10.1037/1040-3590.6.4.284)",
    ),
    "calibration": (
        _calibration,
        "Nonparametric permutation tests for functional neuroimaging "
        "(https://doi.org/10.1002/hbm.1058)",
    ),
    "selectivity": (
        _selectivity,
        "Circular analysis in systems neuroscience: the dangers of double dipping "
        "(https://doi.org/10.1038/nn.2303)",
    ),
    "outliers": (
        _outliers,
        "Massive Activations in Large Language Models (arXiv 2402.17762)",
    ),
    "confounds": (_confounds, "A power primer (https://doi.org/10.1037/0033-2909.112.1.155)"),
    "protocols": (
        _protocols,
        "Increasing Transparency Through a Multiverse Analysis "
        "(https://doi.org/10.1177/1745691616658637)",
    ),
    "lesion": (
        _whole_lesion,
        "Permutation P-values Should Never Be Zero (https://doi.org/10.2202/1544-6115.1585)",
    ),
    "lesion without outliers": (
        _rest_lesion,
        "Massive Activations in Large Language Models (arXiv 2402.17762)",
    ),
}
