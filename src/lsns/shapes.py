"""What JSON that is read back must look like: shapes declared once, as types, and one check.

A file may be changed by hand, cut short or of another version. It is checked where it is read, so
that nothing behind needs to doubt it. A shape names what is used of a file; there may be more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, NotRequired

# pydantic asks for this one before Python 3.12.
from typing_extensions import TypedDict

from lsns.errors import LsnsError

Number = float | None
# What a row of a study says of each kind of control, by the end of the column's name.
_OF_CONTROLS = ("_n", "_distinct", "_outliers", "_mean", "_min", "_max", "_p")
_LONGEST_MESSAGE = 200


class Model(TypedDict):
    """The model that was localized."""

    name: NotRequired[str]
    label: NotRequired[str]
    dtype: NotRequired[str]
    pretrained: NotRequired[bool]
    init_seed: NotRequired[int | None]
    quantization: NotRequired[str | None]


class Stimuli(TypedDict):
    """The texts."""

    name: NotRequired[str]
    positive: NotRequired[int]
    negative: NotRequired[int]


class Protocol(TypedDict):
    """How texts were read."""

    pooling: NotRequired[str]
    max_tokens: NotRequired[int | None]


class Selection(TypedDict):
    """How units were selected."""

    method: NotRequired[str]
    percentage: NotRequired[Number]
    num_units: NotRequired[Number]
    localize_range: NotRequired[str | None]
    per_layer: NotRequired[bool | None]
    exclude_outliers: NotRequired[bool]


class Manifest(TypedDict):
    """All that determined a localization; empty for a mask of unknown origin."""

    model: NotRequired[Model]
    stimuli: NotRequired[Stimuli]
    protocol: NotRequired[Protocol]
    selection: NotRequired[Selection]
    activations: NotRequired[str]
    audit: NotRequired[dict[str, Any]]
    run: NotRequired[str]


class StudyRow(TypedDict):
    """A condition on a benchmark."""

    benchmark: str
    measure: str
    condition: Literal["intact", "lesion", "control"]
    target: str
    percentage: Number
    control: str
    seed: int | None
    mode: str
    mask: str
    units: int
    value: Number
    low: Number
    high: Number
    domain: NotRequired[str]
    outlier_units: NotRequired[int | None]


class EffectRow(TypedDict):
    """What a row of a lesion or control has besides."""

    percentage: float
    difference: float
    difference_low: float
    difference_high: float


class Dissociation(TypedDict):
    """A lesion's effects on both sides."""

    target: str
    mode: str
    language: NotRequired[Number]
    language_low: NotRequired[Number]
    language_high: NotRequired[Number]
    other: NotRequired[Number]
    other_low: NotRequired[Number]
    other_high: NotRequired[Number]
    gap: NotRequired[Number]
    gap_low: NotRequired[Number]
    gap_high: NotRequired[Number]


class StudiedModel(TypedDict):
    """The model that was evaluated."""

    name: NotRequired[str]


class Study(TypedDict):
    """study.json."""

    summary: list[StudyRow]
    dissociation: NotRequired[list[Dissociation] | None]
    model: NotRequired[StudiedModel | None]
    about: NotRequired[str | None]
    run: NotRequired[str]


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

    manifest: NotRequired[Manifest | None]
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


class Continued(TypedDict):
    """A prompt continued under one condition."""

    condition: str
    text: str


class Prompt(TypedDict):
    """A prompt and its continuations."""

    prompt: str
    conditions: list[Continued]


class Continuations(TypedDict):
    """continuations.json."""

    prompts: list[Prompt]
    run: NotRequired[str]


def check(path: str | Path, content: Any, shape: Any) -> None:
    """Check what was read from a file against a shape of this module.

    Raises:
        LsnsError: where in the file something else was found than belongs there.
    """
    from pydantic import ValidationError

    try:
        _adapter(shape).validate_python(content, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        words = _problem(first["loc"], first["type"], first["input"])
        raise LsnsError(f"{path} is damaged: {words}"[:_LONGEST_MESSAGE]) from None


def check_study(path: str | Path, study: Mapping[str, Any]) -> None:
    """Check the content of a study.json: its rows, those of lesions and of controls in full.

    Raises:
        LsnsError: see `check`; or a benchmark without its intact row.
    """
    check(path, study, Study)
    rows: Sequence[Mapping[str, Any]] = study["summary"]
    effects = [row for row in rows if row["condition"] != "intact"]
    check(path, {"summary": effects}, TypedDict("_", {"summary": list[EffectRow]}))
    whole = {row["benchmark"] for row in rows if row["condition"] == "intact"}
    for row in effects:
        if row["benchmark"] not in whole:
            raise LsnsError(f"{path} is damaged: {row['benchmark']!r} has no intact row"[:200])
    for row in (*effects, *(study.get("dissociation") or ())):
        for name, value in row.items():
            if name.endswith(_OF_CONTROLS) and not isinstance(value, (int, float, type(None))):
                raise LsnsError(f"{path} is damaged: {name} is {value!r}"[:_LONGEST_MESSAGE])


@cache
def _adapter(shape: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(shape)


def _problem(place: Sequence[str | int], kind: str, found: object) -> str:
    """`'overlaps', row 0, has no 'units'`, or of another kind, in words."""
    names = [str(part) for part in place]
    number = next((n for n, part in enumerate(place) if isinstance(part, int)), None)
    if number is None:
        where, last = "", ".".join(names)
    else:
        where = f"{'.'.join(names[:number])!r}, row {names[number]}"
        last = ".".join(names[number + 1 :])
    if kind == "missing":
        return f"{where}, has no {last!r}" if where else f"it has no {last!r}"
    if kind == "list_type":
        return f"{f'{where}: ' if where else ''}{last!r} is not a list of objects"
    if kind in ("dict_type", "mapping_type"):
        return f"{f'{where}: ' if where else ''}{last!r} is not an object"
    return f"{f'{where}: ' if where else ''}{last} is {found!r}"
