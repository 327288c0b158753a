"""What audit.json must look like; what it is of is declared in `lsns.audits`."""

from __future__ import annotations

from typing import Any, Literal, NotRequired

# pydantic asks for this one before Python 3.12.
from typing_extensions import TypedDict

Number = float | None


class ReliabilityRow(TypedDict):
    """How alike masks of other items are."""

    split: str
    percentage: Number
    units: int
    chosen: bool
    dice: float
    dice_low: float
    dice_high: float
    dice_chance: float
    dice_shuffled: Number


class ScoreRow(TypedDict):
    """How alike scores of other items are."""

    split: str
    r: float
    r_low: float
    r_high: float


class Reliability(TypedDict):
    """Masks and scores on other items."""

    rows: NotRequired[list[ReliabilityRow] | None]
    scores: NotRequired[list[ScoreRow] | None]


class Effect(TypedDict):
    """An effect size with its interval."""

    g: NotRequired[float]
    low: NotRequired[float]
    high: NotRequired[float]


class Response(TypedDict):
    """What the units do in a condition."""

    condition: str
    n: int
    mean: float
    low: float
    high: float


class Selectivity(TypedDict):
    """On items that did not choose the units."""

    held_out: NotRequired[Effect | None]
    in_sample: NotRequired[Effect | None]
    profile: NotRequired[list[Response] | None]


class Dimension(TypedDict):
    """An outlier dimension."""

    dimension: int
    selected_layers: int
    outlier_layers: int


class Outliers(TypedDict):
    """Outlier dimensions in the mask."""

    expected: NotRequired[float]
    threshold: NotRequired[float]
    dimensions: NotRequired[list[Dimension] | None]


class Confound(TypedDict):
    """What else differs between the conditions."""

    measure: str
    positive: Number
    negative: Number
    g: NotRequired[Number]
    low: NotRequired[Number]
    high: NotRequired[Number]


class Overlap(TypedDict):
    """Units shared with another mask."""

    name: str
    units: int
    shared: int
    dice: float
    expected: float
    p_value: NotRequired[Number]
    expected_by_layer: NotRequired[Number]
    p_value_by_layer: NotRequired[Number]


class Finding(TypedDict):
    """A sentence of the audit."""

    rule: str
    level: Literal["good", "caution", "bad", "open"]
    sentence: str
    source: NotRequired[str]


class Audit(TypedDict):
    """audit.json; a part that could not be examined is null, and `missing` says why."""

    manifest: NotRequired[dict[str, Any] | None]
    conclusion: NotRequired[str | None]
    findings: NotRequired[list[Finding] | None]
    reliability: NotRequired[Reliability | None]
    selectivity: NotRequired[Selectivity | None]
    calibration: NotRequired[dict[str, Number | str] | None]
    outliers: NotRequired[Outliers | None]
    confounds: NotRequired[list[Confound] | None]
    overlaps: NotRequired[list[Overlap] | None]
    lesions: NotRequired[list[dict[str, Any]] | None]
    missing: NotRequired[dict[str, str] | None]
