"""A finished run's folder, read once for figures and page: what is there, and why the rest is not.

    results/
      localization.npz, localization-nmd.npz   masks with scores, t, p, magnitudes, outliers
      audit.json                               reliability, calibration, outliers, findings
      study/study.json                         lesions on benchmarks against controls
      continuations.json                       prompts continued intact and under lesions
      config.yaml, versions.json, localization.txt

The folder that `lsns evaluate` alone writes, with study.json at its top, is one as well.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from lsns.analysis.results import load_results
from lsns.errors import LsnsError
from lsns.mask import UnitMask

Array = np.ndarray[Any, Any]
Row = Mapping[str, Any]

LOCALIZATION, NMD = "localization.npz", "localization-nmd.npz"
AUDIT, CONTINUATIONS = "audit.json", "continuations.json"
STUDIES = ("study/study.json", "study.json")
CONFIG, VERSIONS, TEXT = "config.yaml", "versions.json", "localization.txt"
PAGE = "report.html"
MAPS = ("scores", "t_values", "adjusted_p_values", "magnitudes", "outliers")

# What the rows of each list hold at least; a list may be missing or null.
_INTERVAL = ("mean", "low", "high")
_AUDIT_ROWS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("reliability", "rows"): (
        *("split", "percentage", "units", "chosen"),
        *("dice", "dice_low", "dice_high", "dice_chance", "dice_shuffled"),
    ),
    ("reliability", "scores"): ("split", "r", "r_low", "r_high"),
    ("selectivity", "profile"): ("condition", "n", *_INTERVAL),
    ("outliers", "dimensions"): ("dimension", "selected_layers", "outlier_layers"),
    ("confounds",): ("measure", "positive", "negative"),
    ("overlaps",): ("name", "units", "shared", "dice", "expected"),
    ("lesions",): (),
    ("findings",): ("rule", "level", "sentence"),
}
_AUDIT_OBJECTS = ("manifest", "reliability", "selectivity", "calibration", "outliers", "missing")
_SUMMARY = (
    *("benchmark", "measure", "condition", "target", "percentage"),
    *("control", "seed", "mode", "mask", "units", "value", "low", "high"),
)
_DIFFERENCE = ("difference", "difference_low", "difference_high")
# What is no number in a row; and one list, which is checked by itself.
_WORDS = {
    *("split", "condition", "name", "rule", "level", "sentence", "benchmark", "target"),
    *("control", "mode", "mask", "measure", "prompt", "text"),
}
_LIST = "conditions"


@dataclass(frozen=True, eq=False)
class ScoredUnits:
    """A mask and what is known of every unit; arrays of shape (n_layers, hidden_size).

    Attributes:
        mask: the selected units and their manifest.
        scores: what they were selected by.
        t_values: Welch's t.
        p_values: adjusted over all units.
        magnitudes: mean |activation|.
        outliers: all outlier units of the model, selected or not.
    """

    mask: UnitMask
    scores: Float[Array, "n_layers hidden_size"]
    t_values: Float[Array, "n_layers hidden_size"]
    p_values: Float[Array, "n_layers hidden_size"]
    magnitudes: Float[Array, "n_layers hidden_size"]
    outliers: Bool[Array, "n_layers hidden_size"]

    @property
    def manifest(self) -> Mapping[str, Any]:
        """All that determined the mask."""
        return self.mask.manifest


@dataclass(frozen=True, eq=False)
class Results:
    """What a results folder holds; None for what is not there.

    Attributes:
        folder: where it was read from.
        localization: the mask and its scores.
        nmd: the same for NMD at the same number of units.
        audit: the object in audit.json; see `section` for its parts.
        study: the object in study.json: "summary", "dissociation" and the study's manifest.
        continuations: for each prompt, "prompt" and "conditions".
        config: the text of config.yaml.
        versions: of Python and packages.
        text: the text of localization.txt.
    """

    folder: Path
    localization: ScoredUnits | None = None
    nmd: ScoredUnits | None = None
    audit: Mapping[str, Any] | None = None
    study: Mapping[str, Any] | None = None
    continuations: Sequence[Row] | None = None
    config: str | None = None
    versions: Mapping[str, Any] | None = None
    text: str | None = None

    @property
    def manifest(self) -> Mapping[str, Any]:
        """That of the localization, else of the audit; empty if there is neither."""
        if self.localization is not None:
            return self.localization.manifest
        return (self.audit or {}).get("manifest") or {}

    @property
    def summary(self) -> Sequence[Row]:
        """The study's rows, a row for each benchmark and condition; none without a study."""
        return [] if self.study is None else self.study["summary"]

    def section(self, name: str) -> Any:
        """A section of the audit; None if it could not be computed or there is no audit."""
        return (self.audit or {}).get(name)

    def missing(self, name: str) -> str:
        """Why a section of the audit is not there, in words; empty if it is there."""
        if self.section(name) is not None:
            return ""
        if self.audit is None:
            return f"there is no {AUDIT}"
        reasons = self.audit.get("missing") or {}
        return str(reasons.get(name) or f"{AUDIT} does not have it")


def read_results(folder: str | Path) -> Results:
    """Read what is in a results folder.

    Raises:
        LsnsError: no such folder, nothing of a run in it, or a file in it that is damaged.
    """
    place = Path(folder)
    _check_folder(place)
    study = _first(place, STUDIES)
    return Results(
        folder=place,
        localization=_read_units(place / LOCALIZATION),
        nmd=_read_units(place / NMD),
        audit=_read_audit(place / AUDIT),
        study=None if study is None else _read_study(study),
        continuations=_read_continuations(place / CONTINUATIONS),
        config=_read_text(place / CONFIG),
        versions=_read_object(place / VERSIONS),
        text=_read_text(place / TEXT),
    )


def _check_folder(place: Path) -> None:
    if not place.is_dir():
        what = "is a file, not a folder" if place.exists() else "is not there"
        raise LsnsError(f"{place} {what}; give a results folder, as lsns run writes it")
    known = (LOCALIZATION, AUDIT, *STUDIES)
    if _first(place, known) is None:
        raise LsnsError(
            f"{place} is not a results folder: it has none of {', '.join(known)}; "
            "lsns run writes one"
        )


def _first(place: Path, names: Sequence[str]) -> Path | None:
    return next((place / name for name in names if (place / name).is_file()), None)


def _read_units(path: Path) -> ScoredUnits | None:
    if not path.exists():
        return None
    mask, metadata = load_results(path)
    try:
        # Named as the fields are, but for the p-values, and in their order.
        maps = [_read_map(path, name, metadata, mask.shape) for name in MAPS]
        return ScoredUnits(UnitMask(mask, metadata.get("manifest") or {}), *maps)
    except (LsnsError, AttributeError, TypeError) as error:
        raise LsnsError(f"{path} holds no localization: {error}") from None


def _read_map(path: Path, name: str, metadata: Mapping[str, Any], shape: tuple[int, ...]) -> Array:
    found = metadata.get(name)
    if not isinstance(found, np.ndarray) or found.shape != shape:
        what = found.shape if isinstance(found, np.ndarray) else "nothing"
        raise LsnsError(f"{name} of shape {shape} was expected, found {what}")
    return found.astype(bool) if name == "outliers" else found.astype(np.float64)


def _read_audit(path: Path) -> dict[str, Any] | None:
    audit = _read_object(path)
    if audit is None:
        return None
    for name in _AUDIT_OBJECTS:
        if not isinstance(audit.get(name) or {}, dict):
            raise LsnsError(f"{path} is damaged: {name!r} is not an object")
    for place, keys in _AUDIT_ROWS.items():
        rows: Any = audit
        for name in place:
            rows = (rows or {}).get(name)
        _check_rows(path, ".".join(place), rows or [], keys)
    return audit


def _read_study(path: Path) -> dict[str, Any]:
    study = _read_object(path) or {}
    if "summary" not in study:
        raise LsnsError(
            f"{path} has no summary; the same lsns evaluate command writes it from what is there"
        )
    _check_rows(path, "summary", study["summary"], _SUMMARY)
    effects = [row for row in study["summary"] if row["condition"] != "intact"]
    _check_rows(path, "summary", effects, _DIFFERENCE)
    _check_rows(path, "dissociation", study.get("dissociation") or [], ("target", "mode"))
    return study


def _read_continuations(path: Path) -> list[Row] | None:
    content = _read_object(path)
    if content is None:
        return None
    prompts: Any = content.get("prompts")
    _check_rows(path, "prompts", prompts, ("prompt", "conditions"))
    for item in prompts:
        _check_rows(path, "conditions", item["conditions"], ("condition", "text"))
    return prompts


def _check_rows(path: Path, name: str, rows: Any, keys: Sequence[str]) -> None:
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise LsnsError(f"{path} is damaged: {name!r} is not a list of objects")
    for number, row in enumerate(rows):
        lacking = [key for key in keys if key not in row]
        if lacking:
            raise LsnsError(f"{path} is damaged: {name!r}, row {number}, has no {lacking[0]!r}")
        wrong = [key for key in keys if not _is_of_its_kind(key, row[key])]
        if wrong:
            raise LsnsError(
                f"{path} is damaged: {name!r}, row {number}: {wrong[0]} is {row[wrong[0]]!r}"[:200]
            )


def _is_of_its_kind(key: str, value: Any) -> bool:
    if key == _LIST:
        return True
    return isinstance(value, str) if key in _WORDS else isinstance(value, (int, float, type(None)))


def _read_object(path: Path) -> dict[str, Any] | None:
    """A JSON object; None if there is no file. Unlike a cache's, a damaged one is an error."""
    text = _read_text(path)
    if text is None:
        return None
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LsnsError(f"{path} is damaged: not JSON ({error})") from None
    if not isinstance(content, dict):
        raise LsnsError(f"{path} is damaged: an object was expected, not {type(content).__name__}")
    return content


def _read_text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LsnsError(f"{path} could not be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise LsnsError(f"{path} is damaged: not UTF-8") from None
