"""Findings in words and a verdict, by rules that are stated beforehand; docs/audit.md has them.

A rule looks at the parts of an audit and says how they stand: `good`, `caution`, `bad`, or `open`
where nothing was measured, or not enough to say. Each answers one of five questions: do such units
exist, which are they, what does their lesion harm, does it spare the rest, and is it an artefact?
The verdict follows from the levels alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from lsns.audits.calibration import Calibration
from lsns.audits.confounds import Confound
from lsns.audits.lesions import Evidence, GapEvidence, LesionEvidence
from lsns.audits.outliers import OutlierAudit
from lsns.audits.protocols import ProtocolOverlap
from lsns.audits.reliability import Reliability
from lsns.audits.selectivity import Selectivity
from lsns.evaluation.conditions import ALL, REST
from lsns.evaluation.statistics import ENOUGH_CONTROLS
from lsns.evaluation.study import ControlRow
from lsns.table import Column

Level = Literal["good", "caution", "bad", "open"]
Question = Literal["existence", "identity", "harm", "specificity", "artefact"]
Verdict = Literal["network", "artefact", "nothing", "open"]
Judgement = tuple[Level, str]
ALPHA = 0.05
# Agreement corrected for chance: below the first, poor; below the second, fair.
POOR, FAIR = 0.40, 0.60
# Masks of two protocols that share less than half of their units are not the same finding.
HALF = 0.5
# A standardised difference below this is small in "A power primer"
# (https://doi.org/10.1037/0033-2909.112.1.155): what is surely less is none.
SMALL = 0.2
# Without these kinds of controls no lesion is said to do more than its controls; see `_missing`.
NEEDED = ("magnitude", "decoy")
_WORST_FIRST: tuple[Level, ...] = ("bad", "open", "caution", "good")


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
    lesions: Evidence = field(default_factory=Evidence)


@dataclass(frozen=True)
class Finding:
    """What a rule says.

    Attributes:
        rule: the rule's name.
        level: `good`, `caution`, `bad`, or `open`: not measured, or not enough to say.
        sentence: the finding in words, with its numbers.
    """

    columns: ClassVar = (
        Column("question"),
        Column("rule"),
        Column("level"),
        Column("sentence"),
        Column("source"),
    )

    rule: str
    level: Level
    sentence: str

    @property
    def question(self) -> str:
        """What the rule is about; empty for a rule that a file names and nobody knows."""
        return RULES[self.rule].question if self.rule in RULES else ""

    @property
    def source(self) -> str:
        """The paper behind the rule; empty for a rule that a file names and nobody knows."""
        return RULES[self.rule].source if self.rule in RULES else ""


@dataclass(frozen=True)
class _Rule:
    """A rule: what it looks at, which question it answers, and the paper behind it."""

    judge: Callable[[Parts], Judgement]
    question: Question
    source: str


def judge(parts: Parts) -> tuple[Finding, ...]:
    """What each rule says of the parts of an audit."""
    return tuple(Finding(name, *rule.judge(parts)) for name, rule in RULES.items())


def decide(findings: Iterable[Finding]) -> Verdict:
    """What was found, from the levels of the findings alone.

    `nothing`: the selected units do not answer to other items. `artefact`: they do, and their
    lesion does no more than controls which have what it has (magnitude, outliers, any selection
    of that kind), or takes as much of what it should spare. `network`: none of that, and all that
    is needed to say so was measured. Else `open`.
    """
    level: dict[str, Level] = {finding.rule: finding.level for finding in findings}
    if level["selectivity"] == "bad":
        return "nothing"
    if level["selectivity"] != "good":
        return "open"
    if "bad" in (level["controls"], level["specificity"], level["without outliers"]):
        return "artefact"
    needed = ("harm", "controls", "specificity", "without outliers", "confounds")
    return "network" if all(level[rule] == "good" for rule in needed) else "open"


def conclude(findings: Sequence[Finding]) -> str:
    """The conclusion in words: the verdict, what the units are, and what is open."""
    level: dict[str, Level] = {finding.rule: finding.level for finding in findings}
    verdict = decide(findings)
    if verdict == "nothing":
        return "Not a finding: what was selected does not answer to other items."
    if level["selectivity"] != "good":
        return "Open: whether the selected units answer to other items was not shown."
    sentences = [_FIRST[verdict]]
    if verdict == "artefact":
        sentences[0] += " " + "; ".join(_WHY[rule] for rule in _WHY if level[rule] == "bad")
    elif verdict == "open":
        named = [_OPEN[rule, level[rule]] for rule in _RULED if level[rule] != "good"]
        sentences.append("What their lesion shows is open: " + "; ".join(named))
    return ". ".join(filter(None, [*sentences, _WHICH[level["reliability"]]])) + "."


_FIRST: dict[Verdict, str] = {
    "network": "A network: the units answer to other items, and their lesion harms what it should, "
    "more than every kind of controls, without outlier dimensions too, and more than what it "
    "should spare",
    "artefact": "An artefact, as far as lesions go. The units answer to other items, but",
    "open": "The units answer to other items",
}
_WHY = {
    "controls": "their lesion does no more than controls that are alike",
    "specificity": "their lesion takes as much of what it should spare",
    "without outliers": "without outlier dimensions their lesion does no more than its controls",
}
_RULED: tuple[str, ...] = ("harm", "controls", "specificity", "without outliers", "confounds")
_OPEN: Mapping[tuple[str, Level], str] = {
    ("harm", "open"): "its harm was not measured, or not shown",
    ("harm", "bad"): "it was shown to do no harm that counts",
    ("controls", "open"): "controls that a sceptic asks for are too few, too unlike, or not there",
    ("controls", "caution"): "it does more than its controls on average, and some do as much",
    ("specificity", "open"): "what it spares was not measured, or not shown",
    ("specificity", "caution"): "lesions of other units spare as much",
    ("without outliers", "open"): "without outlier dimensions it was not measured, or not shown",
    ("without outliers", "caution"): "without outlier dimensions some controls do as much",
    ("confounds", "caution"): "the conditions also differ in other ways",
}
_WHICH: dict[Level, str] = {
    "good": "",
    "open": "Which units they are was not examined",
    "caution": "Which units they are depends in part on the items",
    "bad": "Which units they are depends on the items: others as good were not selected",
}


def _selectivity(parts: Parts) -> Judgement:
    """By labels shuffled through the same choice on other items."""
    if not parts.differs:
        return "bad", "No selected unit differs between the conditions: every t is 0."
    found = parts.selectivity
    if found is None:
        return "open", "The effect on held-out items was not measured."
    held, seen = found.held_out, found.in_sample
    shown, none = found.p_value <= ALPHA, held.high < SMALL
    level: Level = "good" if shown else "bad" if none else "open"
    word = {"good": "answer", "open": "were not shown to answer", "bad": "do not answer"}[level]
    return level, (
        f"The units {word} to items that did not choose them: g {held.g:.2f} "
        f"(95% {held.low:.2f} to {held.high:.2f}; p {found.p_value:.2g} by shuffled labels); on "
        f"the items that chose them it would be {seen.g:.2f}."
    )


def _calibration(parts: Parts) -> Judgement:
    """By how many selected units score above what chance gives anywhere."""
    found = parts.calibration
    if found is None:
        return "open", "No permutation test was done."
    whole, none = found.above == found.selected, found.above == 0
    # None is no evidence against: many weak units may answer, and none stand out.
    return "good" if whole else "open" if none else "caution", (
        f"{found.above} of the {found.selected} selected units score above {found.threshold:.2f}, "
        f"which chance reaches anywhere in the model with p {found.alpha:g} "
        f"({found.permutations} permutations); so do {found.units_above} units in all."
    )


def _reliability(parts: Parts) -> Judgement:
    """By phi of random halves: Dice corrected for chance, and for nothing else."""
    rows = parts.reliability.rows if parts.reliability else ()
    row = next((r for r in rows if r.chosen and r.split == "halves"), None)
    if row is None:
        return "open", "Reliability was not measured."
    level: Level = "bad" if row.phi < POOR else "caution" if row.phi < FAIR else "good"
    word = {"bad": "poor", "caution": "fair"}.get(level, level)
    return level, (
        f"Which units are selected is of {word} reliability: halves of the items share Dice "
        f"{row.dice:.2f} of them (chance {row.dice_chance:.3f}); corrected for chance, "
        f"{row.phi:.2f}. All items give more, and how much more is not known."
    )


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
        return "caution", (f"The conditions also differ in: {words}. The units may answer to that.")
    number = len(parts.confounds)
    return "good", f"None of {number} other measures of the texts differs by g 0.5 or more."


def _harm(parts: Parts) -> Judgement:
    """By the interval of the difference to the intact model, on each benchmark to be harmed."""
    rows = parts.lesions.of(ALL)
    if not rows:
        return "open", (
            "No lesion was measured on a benchmark that it should harm"
            + (": say which (expect)." if parts.lesions.lesions else ".")
        )
    levels: list[Level] = [_LEVEL_OF_HARM[one.row.outcome] for one in rows]
    return _worst(levels), "The lesion " + "; ".join(map(_harm_words, rows)) + "."


_LEVEL_OF_HARM: dict[str, Level] = {
    "more": "good", "open": "open", "equivalent": "bad", "less": "bad"
}  # fmt: skip


def _controls(parts: Parts) -> Judgement:
    return _beside_controls(parts.lesions.of(ALL), "The lesion", outliers=True)


def _without_outliers(parts: Parts) -> Judgement:
    """The lesion without outlier units; where there are none, or no others, by what is left."""
    if parts.outliers.selected == 0:
        return "good", "No selected unit is an outlier dimension: nothing changes without them."
    if parts.outliers.selected == parts.outliers.units:
        return "bad", "All selected units are outlier dimensions: nothing is left without them."
    rows = parts.lesions.of(REST)
    level, words = _beside_controls(
        rows, "The lesion without its outlier dimensions", outliers=False
    )
    if rows and level == "good":
        level = _worst([_LEVEL_OF_HARM[one.row.outcome] for one in rows])
    return level, " ".join([words, *_shares(parts.lesions)])


def _beside_controls(rows: Sequence[LesionEvidence], words: str, *, outliers: bool) -> Judgement:
    """By every kind of controls that says something; those that are needed are asked for."""
    if not rows:
        return "open", f"{words} was not measured beside controls."
    level = _worst(_level_beside(row, outliers=outliers) for row in rows)
    said = (f"{words}, on {one.row.benchmark}: {_all_control_words(one)}." for one in rows)
    missing = dict.fromkeys(kind for row in rows for kind in _missing(row, outliers=outliers))
    asked = [f"Not there, or of no use: {', '.join(missing)} controls."] if missing else []
    return level, " ".join([*said, *asked])


def _level_beside(row: LesionEvidence, *, outliers: bool) -> Level:
    levels: list[Level] = [_level_of_kind(control) for control in row.usable]
    if "bad" in levels:
        return "bad"
    return "open" if _missing(row, outliers=outliers) or not levels else _worst(levels)


def _missing(row: LesionEvidence, *, outliers: bool) -> list[str]:
    """Kinds of controls that a sceptic asks for, and that say nothing or are not there.

    Of a lesion with outlier units, decoys and other magnitudes say nothing: as many outliers do.
    What decoys would say is asked of the lesion without them.
    """
    needed = ("outliers",) if outliers and row.row.outlier_units else NEEDED
    usable = [control.kind for control in row.usable]
    return [kind for kind in needed if kind not in usable]


def _level_of_kind(control: ControlRow) -> Level:
    """Rarer than 1 in 20 among its controls: good; shown to do no more than they: bad."""
    if control.outcome in ("equivalent", "less"):
        return "bad"
    if control.p is not None and control.p <= ALPHA:
        return "good"
    return "caution" if control.outcome == "more" else "open"


def _specificity(parts: Parts) -> Judgement:
    """By the gap between what is lost of what should be harmed and of what should be spared."""
    gaps = [gap for gap in parts.lesions.gaps if gap.row.part == ALL]
    if not gaps:
        return "open", (
            "There is no benchmark that the lesion should spare beside one that it should harm, "
            "both above chance."
        )
    words = [_gap_words(gap) for gap in gaps]
    levels: list[Level] = [_level_of_gap(gap, parts.lesions.smallest) for gap in gaps]
    crossed = [
        f"Against {one.second if one.first == gaps[0].row.target else one.first}, mask x domain: "
        f"{100 * one.interaction:.0f} points{_ends(one.interaction_low, one.interaction_high)}"
        for one in parts.lesions.interactions
    ]
    single = [] if crossed else ["One mask is a single dissociation"]
    return _worst(levels), ". ".join([*words, *crossed, *single]) + "."


def _level_of_gap(gap: GapEvidence, smallest: float) -> Level:
    low, high = gap.row.gap_low, gap.row.gap_high
    if high is not None and high <= smallest:
        return "bad"
    if low is None or low <= 0:
        return "open"
    ranked = [
        one.p for one in gap.controls if one.p is not None and one.distinct >= ENOUGH_CONTROLS
    ]
    return "good" if all(p <= ALPHA for p in ranked) else "caution"


def _gap_words(gap: GapEvidence) -> str:
    row = gap.row
    p_values = ", ".join(f"{one.kind} {one.p:.3f}" for one in gap.controls if one.p is not None)
    return (
        f"It takes {row.harmed:.0%} of the ability on {row.harm} and {row.spared:.0%} of that "
        f"on {row.spare}: a gap of {100 * row.gap:.0f} points{_ends(row.gap_low, row.gap_high)}"
        + (f"; p among controls: {p_values}" if p_values else "")
    )


def _worst(levels: Iterable[Level]) -> Level:
    return min(levels, key=_WORST_FIRST.index)


def _harm_words(one: LesionEvidence) -> str:
    row = one.row
    low, high = row.difference_low, row.difference_high
    unit = "log perplexity" if row.measure == "perplexity" else row.measure
    word = {"more": "harms", "equivalent": "does no harm that counts to"}.get(
        row.outcome, "was not shown to harm"
    )
    ends = "" if low is None or high is None else f" (95% {low:+.3f} to {high:+.3f})"
    seen = row.detectable if row.outcome == "open" else None
    could = f"; {seen:.3f} would be seen in 80 of 100 such studies" if seen is not None else ""
    return (
        f"({row.units} units, {row.mode}) {word} {row.benchmark}: {unit} "
        f"{row.effect[0]:+.3f}{ends}, from {one.intact:.3f} to {row.value:.3f}{could}"
    )


def _all_control_words(one: LesionEvidence) -> str:
    return "; ".join(_control_words(one, control) for control in one.controls) or "no controls"


def _control_words(one: LesionEvidence, control: ControlRow) -> str:
    why = one.why_not(control)
    if why:
        return f"{control.kind} controls ({why}) {control.mean:.3f}"
    return (
        f"{control.kind} controls {control.mean:.3f} (n {control.n}, p {control.p:.3f}), "
        f"{control.words}"
    )


def _ends(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" (95% {100 * low:.0f} to {100 * high:.0f})"


def _shares(evidence: Evidence) -> Iterator[str]:
    """A sentence per benchmark; none where the whole lesion does no clear harm to be shared."""
    whole = {
        (one.row.benchmark, one.row.mode): one.harm
        for one in evidence.of(ALL)
        if one.row.outcome == "more"
    }
    for one in evidence.of(REST):
        harm = whole.get((one.row.benchmark, one.row.mode))
        if harm is not None:
            share = _share(one.harm / harm)
            yield f"That is {share} the whole lesion's effect on {one.row.benchmark}."


def _share(part: float) -> str:
    """A share in words; beyond nothing and all it is no percentage."""
    return "none of" if part <= 0 else "more than" if part > 1 else f"{part:.0%} of"


RULES: Mapping[str, _Rule] = {
    "selectivity": _Rule(
        _selectivity,
        "existence",
        "Circular analysis in systems neuroscience: the dangers of double dipping "
        "(https://doi.org/10.1038/nn.2303)",
    ),
    "calibration": _Rule(
        _calibration,
        "existence",
        "Nonparametric permutation tests for functional neuroimaging "
        "(https://doi.org/10.1002/hbm.1058)",
    ),
    "reliability": _Rule(
        _reliability,
        "identity",
        "Guidelines, criteria, and rules of thumb for evaluating normed and standardized "
        "assessment instruments in psychology (https://doi.org/10.1037/1040-3590.6.4.284)",
    ),
    "protocols": _Rule(
        _protocols,
        "identity",
        "Increasing Transparency Through a Multiverse Analysis "
        "(https://doi.org/10.1177/1745691616658637)",
    ),
    "harm": _Rule(
        _harm,
        "harm",
        "Equivalence Tests: A Practical Primer for t Tests, Correlations, and Meta-Analyses "
        "(https://doi.org/10.1177/1948550617697177)",
    ),
    "controls": _Rule(
        _controls,
        "harm",
        "Permutation P-values Should Never Be Zero (https://doi.org/10.2202/1544-6115.1585)",
    ),
    "specificity": _Rule(
        _specificity,
        "specificity",
        "Erroneous analyses of interactions in neuroscience: a problem of significance "
        "(https://doi.org/10.1038/nn.2886)",
    ),
    "outliers": _Rule(
        _outliers, "artefact", "Massive Activations in Large Language Models (arXiv 2402.17762)"
    ),
    "without outliers": _Rule(
        _without_outliers,
        "artefact",
        "Massive Activations in Large Language Models (arXiv 2402.17762)",
    ),
    "confounds": _Rule(
        _confounds, "artefact", "A power primer (https://doi.org/10.1037/0033-2909.112.1.155)"
    ),
}
