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
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from lsns.analysis.outliers import THRESHOLD
from lsns.analysis.results import load_results
from lsns.audits.audit import Audit
from lsns.errors import LsnsError
from lsns.evaluation.study import Study, SummaryRow
from lsns.localization import Localization
from lsns.mask import UnitMask, check_manifest
from lsns.store import read_bytes
from lsns.typed import as_typed, read_object

Array = np.ndarray[Any, Any]
LOCALIZATION, NMD = "localization.npz", "localization-nmd.npz"
AUDIT, CONTINUATIONS = "audit.json", "continuations.json"
STUDIES = ("study/study.json", "study.json")
CONFIG, VERSIONS, TEXT = "config.yaml", "versions.json", "localization.txt"
PAGE = "report.html"
# Named as the fields are, but for the p-values, and in their order.
_MAPS = ("scores", "t_values", "adjusted_p_values", "magnitudes", "outliers")

# Far above all that a model computes, and far from where sums overflow.
_LARGEST = 1e100
# In front of the run's digest, in the last line of a config.
RUN_LINE = "# run: "
# What only a run writes; all else may be written by a command of its own.
_OF_A_RUN = (LOCALIZATION, NMD, CONTINUATIONS)


@dataclass(frozen=True)
class Continued:
    """A prompt's continuation under one condition.

    Attributes:
        condition: in words.
        text: what the model wrote.
    """

    condition: str
    text: str


@dataclass(frozen=True)
class Prompt:
    """A prompt and its continuations.

    Attributes:
        prompt: what was continued.
        conditions: the model intact and under lesions.
    """

    prompt: str
    conditions: list[Continued]


@dataclass(frozen=True)
class _Continuations:
    prompts: list[Prompt]
    run: str | None = None


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
        outlier_threshold: how many times the median of its layer an outlier's magnitude exceeds.
    """

    mask: UnitMask
    scores: Float[Array, "n_layers hidden_size"]
    t_values: Float[Array, "n_layers hidden_size"]
    p_values: Float[Array, "n_layers hidden_size"]
    magnitudes: Float[Array, "n_layers hidden_size"]
    outliers: Bool[Array, "n_layers hidden_size"]
    outlier_threshold: float = field(default=THRESHOLD, kw_only=True)

    @property
    def manifest(self) -> Mapping[str, Any]:
        """All that determined the mask."""
        return self.mask.manifest


@dataclass(frozen=True, eq=False)
class Results:
    """What a results folder holds; None for what is not there.

    Attributes:
        folder: where it was read from; None: from nowhere.
        localization: the mask and its scores.
        nmd: the same for NMD at the same number of units.
        audit: what audit.json holds.
        study: the lesions on benchmarks.
        continuations: each prompt, continued under each condition.
        config: the text of config.yaml.
        versions: of Python and packages.
        text: the text of localization.txt.
    """

    folder: Path | None = None
    localization: ScoredUnits | None = None
    nmd: ScoredUnits | None = None
    audit: Audit | None = None
    study: Study | None = None
    continuations: Sequence[Prompt] | None = None
    config: str | None = None
    versions: Mapping[str, Any] | None = None
    text: str | None = None

    @property
    def manifest(self) -> Mapping[str, Any]:
        """That of the localization, else of the audit; empty if there is neither."""
        part = self.localization or self.audit
        return {} if part is None else part.manifest

    @property
    def summary(self) -> Sequence[SummaryRow]:
        """The study's rows, a row for each benchmark and condition; none without a study."""
        return [] if self.study is None else self.study.summary

    def section(self, name: str) -> Any:
        """A section of the audit; None if it could not be computed or there is no audit."""
        return getattr(self.audit, name, None)

    def missing(self, name: str) -> str:
        """Why a section of the audit is not there, in words; empty if it is there."""
        if self.section(name) is not None:
            return ""
        if self.audit is None:
            return f"there is no {AUDIT}"
        return self.audit.missing.get(name) or f"{AUDIT} does not have it"


def as_results(found: Results | Study | Audit | Localization | str | Path) -> Results:
    """Results as they are, or of a folder, or of one thing that was found.

    Raises:
        LsnsError: as `read_results`.
    """
    match found:
        case Results():
            return found
        case Study():
            return Results(study=found)
        case Audit():
            return Results(audit=found)
        case Localization():
            maps = (found.scores, found.t_values, found.p_values, found.magnitudes)
            threshold = found.outlier_threshold
            units = ScoredUnits(found.mask, *maps, found.outlier_units, outlier_threshold=threshold)
            return Results(localization=units)
        case _:
            return read_results(found)


def read_results(folder: str | Path) -> Results:
    """Read what is in a results folder.

    Raises:
        LsnsError: no such folder, nothing of a run in it, a file in it that is damaged, or parts
            of different runs.
    """
    place = Path(folder)
    if not place.is_dir():
        what = "is a file, not a folder" if place.exists() else "is not there"
        raise LsnsError(f"{place} {what}; give a results folder, as lsns run writes it")
    known = (LOCALIZATION, AUDIT, *STUDIES)
    there = [name for name in known if (place / name).is_file()]
    if not there:
        raise LsnsError(
            f"{place} is not a results folder: it has none of {', '.join(known)}; "
            "lsns run writes one"
        )
    studies = [(place / name).parent for name in STUDIES if name in there]
    continuations = _read_continuations(place / CONTINUATIONS)
    results = Results(
        folder=place,
        localization=_read_units(place / LOCALIZATION),
        nmd=_read_units(place / NMD),
        audit=_read_audit(place / AUDIT),
        study=Study.load(studies[0]) if studies else None,
        continuations=continuations and continuations.prompts,
        config=_read_text(place / CONFIG),
        versions=read_object(place / VERSIONS),
        text=_read_text(place / TEXT),
    )
    _check_one_run(place, results, continuations)
    return results


def _read_units(path: Path) -> ScoredUnits | None:
    if not path.exists():
        return None
    mask, metadata = load_results(path)
    try:
        maps = [_read_map(name, metadata.get(name), mask.shape) for name in _MAPS]
        manifest = metadata.get("manifest") or {}
        check_manifest(path, manifest)
        json.dumps(manifest)
        return ScoredUnits(UnitMask(mask, manifest), *maps)
    except (LsnsError, TypeError) as error:
        raise LsnsError(f"{path} holds no localization: {error}") from None


def _read_map(name: str, found: Any, shape: tuple[int, ...]) -> Array:
    if not isinstance(found, np.ndarray) or found.shape != shape or found.dtype.kind not in "biuf":
        what = f"{found.shape} of {found.dtype}" if isinstance(found, np.ndarray) else "nothing"
        raise LsnsError(f"{name}: numbers of shape {shape} were expected, found {what}")
    numbers = found.astype(np.float64)
    finite = numbers[np.isfinite(numbers)]
    if (np.abs(finite) > _LARGEST).any() or (name == "magnitudes" and finite.size < found.size):
        raise LsnsError(f"{name} holds what is no finite number up to {_LARGEST:g}")
    return found.astype(bool) if name == "outliers" else numbers


def _read_audit(path: Path) -> Audit | None:
    if not path.exists():
        return None
    audit = Audit.load(path)
    check_manifest(path, audit.manifest)
    return audit


def _read_continuations(path: Path) -> _Continuations | None:
    content = read_object(path)
    return None if content is None else as_typed(path, content, _Continuations)


def _check_one_run(place: Path, results: Results, continuations: _Continuations | None) -> None:
    """Refuse parts of different runs beside each other.

    What `lsns evaluate` and `lsns audit` write by themselves names no run. It may stand beside
    the parts of one, an audit if it is of the same activations and selection.
    """
    parts = {
        LOCALIZATION: results.localization,
        NMD: results.nmd,
        AUDIT: results.audit,
        STUDIES[0]: results.study,
    }
    runs = {name: part.manifest.get("run") for name, part in parts.items() if part is not None}
    if continuations is not None:
        runs[CONTINUATIONS] = continuations.run
    line = re.search(rf"^{RUN_LINE}([0-9a-f]{{64}})$", results.config or "", re.M)
    runs[CONFIG] = line and line[1]
    runs = {name: run for name, run in runs.items() if run or name in _OF_A_RUN}
    audited, mine = (
        part.manifest if part else {} for part in (results.audit, results.localization)
    )
    both = audited.keys() & mine.keys() & {"activations", "selection"}
    if len(set(runs.values())) > 1 or any(audited[key] != mine[key] for key in both):
        named = ", ".join(f"{name} ({str(run or 'none')[:8]})" for name, run in runs.items())
        raise LsnsError(
            f"{place} holds parts of different runs: {named}; run lsns run again, or take out "
            "what is not of this run"
        )


def _read_text(path: Path) -> str | None:
    try:
        content = read_bytes(path)
        return None if content is None else content.decode("utf-8")
    except UnicodeDecodeError:
        raise LsnsError(f"{path} is damaged: not UTF-8") from None
