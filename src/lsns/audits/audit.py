"""`Audit`: what an audit found, as values, as JSON, and as lines for a terminal."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lsns.audits.calibration import Calibration
from lsns.audits.confounds import Confound
from lsns.audits.lesions import LesionEvidence
from lsns.audits.outliers import OutlierAudit
from lsns.audits.protocols import ProtocolOverlap
from lsns.audits.reliability import Reliability
from lsns.audits.selectivity import Selectivity
from lsns.audits.verdict import Finding
from lsns.store import write_json
from lsns.table import align_columns
from lsns.terminal import first_lines, one_line

WIDTH = 96


@dataclass(frozen=True)
class Audit:
    """What an audit found; a part that could not be examined is None, and `missing` says why.

    Attributes:
        conclusion: one sentence, which follows from the levels of the findings.
        findings: one for each rule; see `lsns.audits.verdict`.
        reliability: of masks and scores on other items.
        selectivity: on items that did not choose the units.
        calibration: what chance would give.
        outliers: outlier dimensions in the mask.
        confounds: what else differs between the conditions.
        overlaps: with the masks of other methods and protocols.
        lesions: what a study says of the mask.
        missing: for a part that is not there, why.
        manifest: of the localization, with the options of the audit.
    """

    conclusion: str
    findings: tuple[Finding, ...]
    reliability: Reliability | None
    selectivity: Selectivity | None
    calibration: Calibration | None
    outliers: OutlierAudit
    confounds: tuple[Confound, ...]
    overlaps: tuple[ProtocolOverlap, ...]
    lesions: tuple[LesionEvidence, ...]
    manifest: Mapping[str, Any]
    missing: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """In lists, dictionaries and plain values, as in `audit.json`."""
        findings = [asdict(one) | {"source": one.source} for one in self.findings]
        return asdict(self) | {"findings": findings}

    def save(self, path: str | Path) -> Path:
        """Write it as JSON, in one step."""
        place = Path(path)
        write_json(place, self.to_dict())
        return place

    def __repr__(self) -> str:
        """Of what, and how its findings are, in one line."""
        levels = Counter(finding.level for finding in self.findings)
        named = ", ".join(f"{count} {level}" for level, count in levels.items())
        stimuli, model = self.manifest["stimuli"]["name"], self.manifest["model"]["name"]
        return one_line(f"Audit({stimuli} in {model}: findings {named})")

    def __str__(self) -> str:
        """The findings by their levels, and the conclusion, in at most ten lines."""
        return first_lines(summarize_audit(self), "see describe()")

    def describe(self, columns: int | None = None) -> str:
        """The tables and the findings, for a terminal.

        Args:
            columns: that they have to fit in; None: as wide as they are.
        """
        return describe_audit(self, columns)


def describe_audit(audit: Audit, columns: int | None = None) -> str:
    """The tables of each part, then the findings and the conclusion.

    Args:
        audit: what was found.
        columns: that the tables have to fit in; None: as wide as they are.
    """
    parts = [_head(audit)]
    if audit.reliability is not None:
        parts.append(_reliability(audit.reliability, columns))
    if audit.selectivity is not None:
        parts.append(_selectivity(audit.selectivity, columns))
    if audit.calibration is not None:
        parts.append(_calibration(audit.calibration))
    parts += [_outliers(audit.outliers, columns), _confounds(audit.confounds, columns)]
    if audit.overlaps:
        parts.append(_overlaps(audit.overlaps, columns))
    parts += [one_line(f"{name}: {why}") for name, why in audit.missing.items()]
    return "\n\n".join([*parts, describe_findings(audit, columns)])


def describe_findings(audit: Audit, columns: int | None = None) -> str:
    """What each rule says, with its level, and the conclusion.

    Args:
        audit: what was found.
        columns: that the lines have to fit in, if they are fewer than usual.
    """
    width = min(columns or WIDTH, WIDTH)
    lines = list(_finding_lines(audit, width))
    conclusion = _wrap(f"conclusion: {audit.conclusion}", "", width)
    return "\n".join(["findings (rules and sources: docs/audit.md)", *lines, "", *conclusion])


def summarize_audit(audit: Audit) -> list[str]:
    """What was audited, the rules of each level, and the conclusion."""
    rules: dict[str, list[str]] = {}
    for finding in audit.findings:
        rules.setdefault(finding.level, []).append(finding.rule)
    levels = [f"{level}: {', '.join(names)}" for level, names in rules.items()]
    return [_head(audit), *levels, *_wrap(f"conclusion: {audit.conclusion}", "", WIDTH)]


def _head(audit: Audit) -> str:
    model, stimuli = audit.manifest["model"], audit.manifest["stimuli"]
    protocol, selection = audit.manifest["protocol"], audit.manifest["selection"]
    tokens = protocol["max_tokens"]
    cut = "whole texts" if tokens is None else f"{tokens} tokens"
    return one_line(
        f"audit of {stimuli['name']} in {model['name']} ({model['dtype']}): "
        f"{selection['selected']} units by {selection['method']}, {protocol['pooling']}, {cut}"
    )


def _reliability(found: Reliability, columns: int | None) -> str:
    head = ("split", "%", "units", "n", "Dice", "95%", "chance", "shuffled", "Jaccard", "corrected")
    rows: list[Sequence[str]] = [head]
    for row in found.rows:
        amount = "-" if row.percentage is None else f"{row.percentage:g}"
        rows.append(
            (
                f"{row.split}{' *' if row.chosen else ''}",
                amount,
                str(row.units),
                str(row.n),
                f"{row.dice:.3f}",
                f"{row.dice_low:.3f} to {row.dice_high:.3f}",
                f"{row.dice_chance:.3f}",
                _number(row.dice_shuffled),
                f"{row.jaccard:.3f}",
                _number(row.phi_corrected),
            )
        )
    scores = [
        f"score maps, {row.split}: r {row.r:.3f} ({row.r_low:.3f} to {row.r_high:.3f}), "
        f"shuffled {_number(row.r_shuffled)}, corrected {_number(row.r_corrected)}"
        for row in found.scores
    ]
    note = (
        "*: the localization's own amount; corrected: phi (Dice corrected for chance) of halves, "
        "by Spearman-Brown for all items"
    )
    return "\n".join(["reliability", *align_columns(rows, columns), *scores, note])


def _selectivity(found: Selectivity, columns: int | None) -> str:
    effects = {"held out": found.held_out, "in sample (double dipping)": found.in_sample}
    rows = [
        f"{name}: g {e.g:.2f} (95% {e.low:.2f} to {e.high:.2f}), "
        f"{e.n_positive} against {e.n_negative} items"
        for name, e in effects.items()
    ]
    profile: list[Sequence[str]] = [("condition", "items", "response (SD)", "95%")]
    profile += [
        (r.condition, str(r.n), f"{r.mean:+.3f}", f"{r.low:+.3f} to {r.high:+.3f}")
        for r in found.profile
    ]
    return "\n".join([f"selectivity, {found.folds} folds", *rows, *align_columns(profile, columns)])


def _calibration(found: Calibration) -> str:
    return "\n".join(
        [
            f"calibration: largest {found.statistic} score under {found.permutations} shuffles",
            f"threshold at family-wise p {found.alpha:g}: {found.threshold:.3f}; selected scores "
            f"{found.weakest:.3f} to {found.largest:.3f} (p of the largest {found.p_value:.4f})",
            f"above it: {found.above} of {found.selected} selected units, "
            f"{found.units_above} of all units",
        ]
    )


def _outliers(found: OutlierAudit, columns: int | None) -> str:
    lines = [
        f"outlier dimensions (mean |activation| over {found.threshold:g} times the layer's median)",
        f"{found.selected} of {found.units} selected units ({found.share:.1%}), with "
        f"{found.magnitude_share:.1%} of their magnitude; chance {found.expected:.2f}, "
        f"p {found.p_value:.2g}; {found.model} in the model",
    ]
    rows: list[Sequence[str]] = [("dimension", "selected in layers", "outlier in layers")]
    rows += [
        (str(d.dimension), str(d.selected_layers), str(d.outlier_layers)) for d in found.dimensions
    ]
    return "\n".join(lines + (align_columns(rows, columns) if found.dimensions else []))


def _confounds(found: Sequence[Confound], columns: int | None) -> str:
    rows: list[Sequence[str]] = [("measure", "positive", "negative", "g", "95%", "")]
    for c in found:
        size = ("apart", "") if c.g is None else (f"{c.g:+.2f}", f"{c.low:+.2f} to {c.high:+.2f}")
        mark = "differs" if c.differs else ""
        rows.append((c.measure, f"{c.positive:.2f}", f"{c.negative:.2f}", *size, mark))
    return "\n".join(["what else differs between the conditions", *align_columns(rows, columns)])


def _overlaps(found: Sequence[ProtocolOverlap], columns: int | None) -> str:
    rows: list[Sequence[str]] = [
        ("units shared with", "units", "shared", "Dice", "chance", "p", "by layer", "p")
    ]
    rows += [
        (
            o.name,
            str(o.units),
            str(o.shared),
            f"{o.dice:.3f}",
            f"{o.expected:.1f}",
            f"{o.p_value:.2g}",
            f"{o.expected_by_layer:.1f}",
            f"{o.p_value_by_layer:.2g}",
        )
        for o in found
    ]
    return "\n".join(["overlap with masks of the same size", *align_columns(rows, columns)])


def _finding_lines(audit: Audit, width: int) -> Iterator[str]:
    for finding in audit.findings:
        yield from _wrap(f"[{finding.level}] {finding.rule}: {finding.sentence}", "    ", width)


def _wrap(text: str, indent: str, width: int) -> list[str]:
    return textwrap.wrap(one_line(text), width, subsequent_indent=indent)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
