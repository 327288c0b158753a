"""What a study of lesions says of a mask: its rows, and which of its controls may be believed."""

from __future__ import annotations

from dataclasses import dataclass

from lsns.evaluation.statistics import ENOUGH_CONTROLS
from lsns.evaluation.study import ControlRow, DissociationRow, InteractionRow, Study, SummaryRow

# Controls with fewer outlier units than this share of the lesion's are not alike in them.
ALIKE = 0.8
# Controls that are worth fewer independent ones than this are one lesion, counted again and again.
EFFECTIVE = 10
# Summed squared magnitude of controls, as a ratio to the lesion's: beyond these they are not alike.
MATCH = (0.8, 1.25)


@dataclass(frozen=True)
class LesionEvidence:
    """A lesion by the mask, or by a part of it, on one benchmark.

    Attributes:
        row: the lesion.
        intact: value of the intact model.
        expected: whether it should harm that benchmark; None: nothing is expected.
        controls: a row for each kind.
    """

    row: SummaryRow
    intact: float
    expected: bool | None
    controls: tuple[ControlRow, ...]

    @property
    def harm(self) -> float:
        """The difference to intact, positive where the lesion harms."""
        return self.row.sign * self.row.effect[0]

    def why_not(self, control: ControlRow) -> str:
        """Why controls say nothing of selectivity; empty: they do.

        What a lesion does whatever its units answer to is explained by controls that have as much
        of it: outlier units, and magnitude where that is what they are matched on. What is not
        known of a mask is not held against it.
        """
        outliers, effective = self.row.outlier_units, control.effective
        if control.p is None:
            return "one mask, no draw"
        if control.distinct < ENOUGH_CONTROLS:
            return "too few"
        if effective is not None and effective < EFFECTIVE:
            return f"worth {effective:.1f} different ones"
        if outliers and control.outliers is not None and control.outliers < ALIKE * outliers:
            return "without as many outlier units"
        matched = control.match is None or MATCH[0] <= control.match <= MATCH[1]
        if control.kind == "magnitude" and not matched:
            return f"with {control.match:.2f} times its squared magnitude"
        return ""

    @property
    def usable(self) -> list[ControlRow]:
        """The kinds of controls that say something."""
        return [control for control in self.controls if not self.why_not(control)]


@dataclass(frozen=True)
class GapEvidence:
    """What a lesion takes of what it should harm, and of what it should spare.

    Attributes:
        row: the lesion.
        controls: a row for each kind: their gaps.
    """

    row: DissociationRow
    controls: tuple[ControlRow, ...]


@dataclass(frozen=True)
class Evidence:
    """All that a study says of a mask.

    Attributes:
        lesions: by the mask and by its parts, on each benchmark.
        gaps: of those that have benchmarks on both sides.
        interactions: double dissociations that the whole mask is a part of.
        smallest: the smallest effect that counts, as a share of the intact model's ability.
    """

    lesions: tuple[LesionEvidence, ...] = ()
    gaps: tuple[GapEvidence, ...] = ()
    interactions: tuple[InteractionRow, ...] = ()
    smallest: float = 0.1

    def of(self, part: str, *, expected: bool | None = True) -> list[LesionEvidence]:
        """The lesions by a part of the mask on benchmarks that they should harm (or spare)."""
        return [one for one in self.lesions if (one.row.part, one.expected) == (part, expected)]


def find_evidence(study: Study, digest: str, network: str | None) -> Evidence:
    """What a study says of a mask and of its parts; nothing if it has no lesion by it.

    Args:
        study: with rows of lesions by several masks, or by none.
        digest: that of the mask.
        network: name of the stimuli that selected it.
    """
    options = study.manifest.get("options") or {}
    intact = {row.benchmark: row.value for row in study.summary if row.condition == "intact"}
    rows = [row for row in study.summary if row.condition == "lesion" and row.whole == digest]
    targets = {row.target for row in rows}
    return Evidence(
        tuple(
            LesionEvidence(
                row,
                intact[row.benchmark],
                study.expects_harm(row, network),
                tuple(study.controls_of(row)),
            )
            for row in rows
        ),
        tuple(
            GapEvidence(row, tuple(study.controls_of(row)))
            for row in study.dissociation
            if row.target in targets
        ),
        tuple(row for row in study.interactions if targets & {row.first, row.second}),
        options.get("smallest_effect", 0.1),
    )
