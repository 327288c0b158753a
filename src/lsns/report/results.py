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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from lsns.analysis.results import load_results
from lsns.audits.audit import Audit
from lsns.errors import LsnsError
from lsns.evaluation.study import Study, SummaryRow
from lsns.mask import UnitMask, check_manifest
from lsns.store import read_bytes
from lsns.typed import as_typed, read_object

Array = np.ndarray[Any, Any]
Row = Mapping[str, Any]

LOCALIZATION, NMD = "localization.npz", "localization-nmd.npz"
AUDIT, CONTINUATIONS = "audit.json", "continuations.json"
STUDIES = ("study/study.json", "study.json")
CONFIG, VERSIONS, TEXT = "config.yaml", "versions.json", "localization.txt"
PAGE = "report.html"
MAPS = ("scores", "t_values", "adjusted_p_values", "magnitudes", "outliers")

# Far above all that a model computes, and far from where sums overflow.
LARGEST = 1e100
# In front of the run's digest, in the last line of a config.
RUN_LINE = "# run: "


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
        study: the lesions on benchmarks.
        continuations: each prompt, continued under each condition.
        config: the text of config.yaml.
        versions: of Python and packages.
        text: the text of localization.txt.
    """

    folder: Path
    localization: ScoredUnits | None = None
    nmd: ScoredUnits | None = None
    audit: Mapping[str, Any] | None = None
    study: Study | None = None
    continuations: Sequence[Prompt] | None = None
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
    def summary(self) -> Sequence[SummaryRow]:
        """The study's rows, a row for each benchmark and condition; none without a study."""
        return [] if self.study is None else self.study.summary

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
        LsnsError: no such folder, nothing of a run in it, a file in it that is damaged, or parts
            of different runs.
    """
    place = Path(folder)
    _check_folder(place)
    study = _first(place, STUDIES)
    continuations = _read_continuations(place / CONTINUATIONS)
    results = Results(
        folder=place,
        localization=_read_units(place / LOCALIZATION),
        nmd=_read_units(place / NMD),
        audit=_read_audit(place / AUDIT),
        study=None if study is None else Study.load(study.parent),
        continuations=continuations and continuations.prompts,
        config=_read_text(place / CONFIG),
        versions=read_object(place / VERSIONS),
        text=_read_text(place / TEXT),
    )
    _check_one_run(place, results, continuations)
    return results


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
        manifest = metadata.get("manifest") or {}
        check_manifest(path, manifest)
        json.dumps(manifest)
        return ScoredUnits(UnitMask(mask, manifest), *maps)
    except (LsnsError, TypeError) as error:
        raise LsnsError(f"{path} holds no localization: {error}") from None


def _read_map(path: Path, name: str, metadata: Mapping[str, Any], shape: tuple[int, ...]) -> Array:
    found = metadata.get(name)
    if not isinstance(found, np.ndarray) or found.shape != shape:
        what = found.shape if isinstance(found, np.ndarray) else "nothing"
        raise LsnsError(f"{name} of shape {shape} was expected, found {what}")
    if found.dtype.kind not in "biuf":
        raise LsnsError(f"{name} holds no numbers, but {found.dtype}")
    if name == "magnitudes" and not np.isfinite(found).all():
        raise LsnsError(f"{name} holds what is no finite number")
    if (np.abs(found[np.isfinite(found)].astype(np.float64)) > LARGEST).any():
        raise LsnsError(f"{name} holds numbers above {LARGEST:g}")
    return found.astype(bool) if name == "outliers" else found.astype(np.float64)


def _read_audit(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    audit = Audit.load(path)
    check_manifest(path, audit.manifest)
    return audit.to_dict()


def _read_continuations(path: Path) -> _Continuations | None:
    content = read_object(path)
    return None if content is None else as_typed(path, content, _Continuations)


def _check_one_run(place: Path, results: Results, continuations: _Continuations | None) -> None:
    """Refuse parts of different runs beside each other.

    What `lsns evaluate` and `lsns audit` write by themselves names no run. It may stand beside
    the parts of one, an audit if it is of the same activations and selection.
    """
    parts = {
        LOCALIZATION: results.localization and results.localization.manifest.get("run"),
        NMD: results.nmd and results.nmd.manifest.get("run"),
        AUDIT: results.audit and (results.audit.get("manifest") or {}).get("run"),
        STUDIES[0]: results.study and results.study.manifest.get("run"),
        CONTINUATIONS: continuations and continuations.run,
        CONFIG: results.config and _run_of_config(results.config),
    }
    there = {LOCALIZATION: results.localization, NMD: results.nmd, CONTINUATIONS: continuations}
    of_runs = {name: run for name, run in parts.items() if run or there.get(name) is not None}
    if len(set(of_runs.values())) > 1 or _is_foreign(results):
        named = ", ".join(f"{name} ({str(run or 'none')[:8]})" for name, run in of_runs.items())
        raise LsnsError(
            f"{place} holds parts of different runs: {named}; run lsns run again, or take out "
            "what is not of this run"
        )


def _run_of_config(config: str) -> str | None:
    found = re.search(rf"^{RUN_LINE}([0-9a-f]{{64}})$", config, re.M)
    return found and found[1]


def _is_foreign(results: Results) -> bool:
    """Whether the audit is of another localization than the one that is beside it."""
    audited = (results.audit or {}).get("manifest") or {}
    if results.localization is None:
        return False
    mine, keys = results.localization.manifest, ("activations", "selection")
    return any(key in audited and key in mine and audited[key] != mine[key] for key in keys)


def _read_text(path: Path) -> str | None:
    try:
        content = read_bytes(path)
        return None if content is None else content.decode("utf-8")
    except UnicodeDecodeError:
        raise LsnsError(f"{path} is damaged: not UTF-8") from None
