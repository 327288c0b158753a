"""What a study of lesions says of a mask: its rows in `lsns evaluate`'s summary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lsns.evaluation.benchmark import LANGUAGE
from lsns.evaluation.statistics import ENOUGH_CONTROLS
from lsns.evaluation.study import ControlRow, Study, SummaryRow

# Controls with fewer outlier units than this share of the lesion's are not alike in them.
ALIKE = 0.8


@dataclass(frozen=True)
class Rival:
    """The controls of one kind.

    Attributes:
        kind: of control.
        n: how many.
        distinct: how many different masks these are: of few units there are few.
        mean: of their values.
        p_value: (1 + controls at least as harmful) / (1 + controls).
        outlier_units: how many of their units are outliers, on average; None: not known.
    """

    kind: str
    n: int
    distinct: int
    mean: float
    p_value: float
    outlier_units: float | None = None

    @property
    def enough(self) -> bool:
        """Whether there are enough different ones for a claim."""
        return self.distinct >= ENOUGH_CONTROLS


@dataclass(frozen=True)
class LesionEvidence:
    """A lesion by the mask, or by a part of it, on one benchmark.

    Attributes:
        part: `all` of the mask, its `outliers` alone, or the `rest`.
        units: that are lesioned.
        mode: what replaces them.
        benchmark: its name.
        domain: what the benchmark asks for: one of the three networks, or `other`.
        measure: `accuracy` or `perplexity`.
        intact: value of the intact model.
        value: under the lesion.
        difference: to intact; for perplexity the log of the ratio.
        low: lower end of its 95% interval.
        high: upper end.
        rivals: the controls.
        outlier_units: how many of the lesioned units are outliers; None: not known.
    """

    part: str
    units: int
    mode: str
    benchmark: str
    domain: str
    measure: str
    intact: float
    value: float
    difference: float
    low: float
    high: float
    rivals: tuple[Rival, ...]
    outlier_units: int | None = None

    def is_alike(self, rival: Rival) -> bool:
        """Whether those controls have about as many outlier units, or none is lesioned.

        Outlier units do harm whatever they answer to: controls that lack them say nothing of
        selectivity. What is not known of a mask is not held against it.
        """
        if not self.outlier_units or rival.outlier_units is None:
            return True
        return rival.outlier_units >= ALIKE * self.outlier_units

    @property
    def harm(self) -> float:
        """The difference, positive where the lesion harms."""
        return self.difference if self.measure == "perplexity" else -self.difference

    @property
    def harms(self) -> bool:
        """Whether the interval of the difference says that the lesion harms."""
        return self.low > 0 if self.measure == "perplexity" else self.high < 0


def find_evidence(study: Study, digest: str) -> list[LesionEvidence]:
    """What a study says of a mask and of its parts; empty if it has no lesion by it.

    Args:
        study: with rows of lesions by several masks, or by none.
        digest: that of the mask.
    """
    intact = {row.benchmark: row.value for row in study.summary if row.condition == "intact"}
    return [
        _evidence(row, study.controls_of(row), intact[row.benchmark])
        for row in study.summary
        if row.condition == "lesion" and row.whole == digest
    ]


def language_rows(evidence: Sequence[LesionEvidence], part: str) -> list[LesionEvidence]:
    """The rows of a part on benchmarks of language."""
    return [row for row in evidence if row.part == part and row.domain == LANGUAGE]


def _evidence(row: SummaryRow, controls: Sequence[ControlRow], intact: float) -> LesionEvidence:
    difference, low, high = row.effect
    return LesionEvidence(
        part=row.part,
        units=row.units,
        mode=row.mode,
        benchmark=row.benchmark,
        domain=row.domain,
        measure=row.measure,
        intact=intact,
        value=row.value,
        difference=difference,
        low=low,
        high=high,
        rivals=tuple(
            Rival(one.kind, one.n, one.distinct, one.mean, one.p, one.outliers)
            for one in controls
            if one.p is not None
        ),
        outlier_units=row.outlier_units,
    )
