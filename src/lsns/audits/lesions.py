"""What a study of lesions says of a mask: its rows in `lsns evaluate`'s summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lsns.errors import LsnsError
from lsns.evaluation.benchmark import LANGUAGE
from lsns.evaluation.conditions import CONTROLS, LEAST
from lsns.evaluation.statistics import ENOUGH_CONTROLS
from lsns.shapes import check_study
from lsns.store import read_json

Row = Mapping[str, Any]
ALL, OUTLIERS, REST = "all", "outliers", "rest"
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
        domain: `language` or `other`.
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


def read_summary(study: Any) -> list[Row]:
    """The rows of a study: a `Study`, or the folder that `lsns evaluate` wrote.

    Raises:
        LsnsError: the folder holds no finished study.
    """
    if not isinstance(study, (str, Path)):
        return list(study.summary)
    place = Path(study) / "study.json"
    content = read_json(place)
    if not content.get("summary"):
        raise LsnsError(
            f"{study} holds no finished study (study.json); run lsns evaluate -o {study}"
        )
    check_study(place, content)
    return content["summary"]


def find_evidence(rows: Sequence[Row], digest: str) -> list[LesionEvidence]:
    """What the study says of the mask of that digest and of its parts; empty if it has none.

    Args:
        rows: from `read_summary`.
        digest: of the mask.
    """
    intact = {row["benchmark"]: row for row in rows if row["condition"] == "intact"}
    labels = {
        row["target"]: ALL for row in rows if row["condition"] == "lesion" and row["mask"] == digest
    }
    for label in list(labels):
        labels |= {f"{label} {part}": part for part in (OUTLIERS, REST)}
    return [
        _evidence(row, labels[row["target"]], intact[row["benchmark"]])
        for row in rows
        if row["condition"] == "lesion" and row["target"] in labels
    ]


def language_rows(evidence: Sequence[LesionEvidence], part: str) -> list[LesionEvidence]:
    """The rows of a part on benchmarks of language."""
    return [row for row in evidence if row.part == part and row.domain == LANGUAGE]


def _evidence(row: Row, part: str, intact: Row) -> LesionEvidence:
    rivals = [
        Rival(
            kind,
            int(row[f"{kind}_n"]),
            int(row.get(f"{kind}_distinct", row[f"{kind}_n"])),
            float(row[f"{kind}_mean"]),
            float(row[f"{kind}_p"]),
            row.get(f"{kind}_outliers"),
        )
        for kind in CONTROLS
        if kind != LEAST and row.get(f"{kind}_p") is not None
    ]
    return LesionEvidence(
        part=part,
        units=int(row["units"]),
        mode=row["mode"],
        benchmark=row["benchmark"],
        domain=row["domain"],
        measure=row["measure"],
        intact=float(intact["value"]),
        value=float(row["value"]),
        difference=float(row["difference"]),
        low=float(row["difference_low"]),
        high=float(row["difference_high"]),
        rivals=tuple(rivals),
        outlier_units=row.get("outlier_units"),
    )
