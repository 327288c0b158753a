"""`Audit`: what an audit found, as values, as JSON, and as tables."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lsns.audits.confounds import Confound
from lsns.audits.protocols import ProtocolOverlap
from lsns.audits.verdict import Finding, Parts, Verdict
from lsns.errors import LsnsError
from lsns.store import write_json
from lsns.table import Table, Tabled
from lsns.terminal import first_lines, one_line
from lsns.typed import as_typed, read_object

WIDTH = 96
FORMAT = 2


@dataclass(frozen=True, kw_only=True)
class Audit(Parts, Tabled):
    """What an audit found; a part that could not be examined is None, and `missing` says why.

    Attributes:
        verdict: `network`, `artefact`, `nothing` or `open`; see `verdict.decide`.
        conclusion: the verdict in words, which follows from the levels of the findings.
        findings: one for each rule that docs/audit.md states.
        reliability: agreement of masks and scores of different items.
        selectivity: effect on items that did not choose the units.
        calibration: largest score that chance gives.
        differs: whether any selected unit has a t other than 0.
        outliers: outlier dimensions in the mask.
        confounds: what else differs between the conditions.
        overlaps: overlap with the masks of other methods and protocols.
        lesions: what a study says of lesions by the mask.
        missing: why a part is not there, by its name.
        manifest: all that determined the localization, with the options of the audit.
    """

    verdict: Verdict
    conclusion: str
    findings: tuple[Finding, ...]
    manifest: Mapping[str, Any]
    missing: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The audit as lists, dictionaries and plain values, as in `audit.json`."""
        findings = [asdict(one) | {"source": one.source} for one in self.findings]
        return asdict(self) | {"format": FORMAT, "findings": findings}

    def save(self, path: str | Path) -> Path:
        """Write the audit as JSON, in one step."""
        place = Path(path)
        write_json(place, self.to_dict())
        return place

    @classmethod
    def load(cls, path: str | Path) -> Audit:
        """Read an audit that `save`, or `lsns audit -o`, wrote.

        Raises:
            LsnsError: no such file, one that an earlier version wrote, or a damaged one.
        """
        place = Path(path)
        content = read_object(place, FORMAT)
        if content is None:
            raise LsnsError(f"there is no {place}; write it by lsns audit -o {place}")
        return as_typed(place, content, cls)

    def __repr__(self) -> str:
        """The stimuli, the model and the levels of the findings, in one line."""
        levels = Counter(finding.level for finding in self.findings)
        named = ", ".join(f"{count} {level}" for level, count in levels.items())
        stimuli, model = self.manifest["stimuli"]["name"], self.manifest["model"]["name"]
        return one_line(f"Audit({stimuli} in {model}: findings {named})")

    def __str__(self) -> str:
        """The rules of each level and the conclusion, in at most ten lines."""
        rules: dict[str, list[str]] = {}
        for finding in self.findings:
            rules.setdefault(finding.level, []).append(finding.rule)
        levels = [f"{level}: {', '.join(names)}" for level, names in rules.items()]
        return first_lines([self._head(), *levels, *self._conclusion(WIDTH)], "see describe()")

    def tables(self) -> list[Table]:
        """The findings, and then the table of each part that was examined."""
        notes = [f"{name}: {why}" for name, why in self.missing.items()]
        parts = (self.reliability, self.selectivity, self.calibration, self.outliers)
        names = [column.head for column in Finding.columns]
        tables = [Table("findings", Finding.columns, self.findings, notes=notes, names=names)]
        tables += [part.table() for part in parts if part is not None]
        confounds = "what else differs between the conditions"
        tables.append(Table(confounds, Confound.columns, self.confounds))
        if self.overlaps:
            overlaps = "overlap with masks of the same size"
            tables.append(Table(overlaps, ProtocolOverlap.columns, self.overlaps))
        return tables

    def describe(self, columns: int | None = None) -> str:
        """The tables and the findings, for a terminal.

        Args:
            columns: width of the terminal that the tables have to fit in; None: any width.
        """
        findings, *tables = self.tables()
        parts = [self._head(), *(table.text(columns) for table in tables)]
        missing = [one_line(note) for note in findings.notes]
        return "\n\n".join([*parts, *missing, self.describe_findings(columns)])

    def describe_findings(self, columns: int | None = None) -> str:
        """What each rule says, with its level, and the conclusion.

        Args:
            columns: width of the terminal, if it is less than the usual one.
        """
        width = min(columns or WIDTH, WIDTH)
        lines = [
            line
            for one in self.findings
            for line in _wrap(f"[{one.level}] {one.rule}: {one.sentence}", width, "    ")
        ]
        head = "findings (rules and sources: docs/audit.md)"
        return "\n".join([head, *lines, "", *self._conclusion(width)])

    def _head(self) -> str:
        model, stimuli = self.manifest["model"], self.manifest["stimuli"]
        protocol, selection = self.manifest["protocol"], self.manifest["selection"]
        tokens = protocol["max_tokens"]
        cut = "whole texts" if tokens is None else f"{tokens} tokens"
        return one_line(
            f"audit of {stimuli['name']} in {model['name']} ({model['dtype']}): "
            f"{selection['selected']} units by {selection['method']}, {protocol['pooling']}, {cut}"
        )

    def _conclusion(self, width: int) -> list[str]:
        return _wrap(f"conclusion: {self.conclusion}", width)


def _wrap(text: str, width: int, indent: str = "") -> list[str]:
    return textwrap.wrap(one_line(text), width, subsequent_indent=indent)
