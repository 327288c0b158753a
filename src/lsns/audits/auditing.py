"""`audit`: a localization examined in all parts, with findings in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lsns.analysis import MomentsAnalyzer
from lsns.analysis.selection import random_state
from lsns.audits.audit import Audit
from lsns.audits.calibration import (
    ALPHA,
    MOST_PERMUTATIONS,
    PERMUTATIONS,
    permutation_test,
)
from lsns.audits.confounds import audit_confounds
from lsns.audits.lesions import LesionEvidence, find_evidence
from lsns.audits.outliers import audit_outliers
from lsns.audits.protocols import compare_methods, compare_protocols
from lsns.audits.reliability import (
    HALVES,
    MOST_HALVES,
    PERCENTAGES,
    Items,
    measure_reliability,
)
from lsns.audits.selectivity import measure_selectivity
from lsns.audits.verdict import Parts, conclude, judge
from lsns.errors import LsnsError
from lsns.evaluation.study import Study
from lsns.localization import Localization
from lsns.measurement import further_activations
from lsns.models.factory import ModelRequest, check_model

if TYPE_CHECKING:
    from lsns.models.base import BaseModel


@dataclass(frozen=True, kw_only=True)
class AuditOptions:
    """How much is computed.

    Attributes:
        percentages: for which reliability is measured, beside the localization's own; one that
            selects no unit of a small model, or more than may be selected, is left out.
        halves: random halves.
        permutations: shuffles of the labels.
        alpha: family-wise error rate of the permutation threshold.
        seed: of splits and shuffles.
    """

    percentages: tuple[float, ...] = PERCENTAGES
    halves: int = HALVES
    permutations: int = PERMUTATIONS
    alpha: float = ALPHA
    seed: int = 0

    def __post_init__(self) -> None:
        bounds = {"halves": (1, MOST_HALVES), "permutations": (19, MOST_PERMUTATIONS)}
        for name, (least, most) in bounds.items():
            if not least <= getattr(self, name) <= most:
                found = getattr(self, name)
                raise LsnsError(f"{name} must be at least {least} and at most {most}; got {found}")
        for percentage in self.percentages:
            if not 0 < percentage <= 100:
                raise LsnsError(f"percentages must be above 0 and at most 100; got {percentage}")
        random_state(self.seed)
        if not 0 < self.alpha < 1:
            raise LsnsError(f"alpha must lie between 0 and 1; got {self.alpha}")
        if self.alpha * (self.permutations + 1) < 1:
            raise LsnsError(
                f"alpha {self.alpha:g} cannot be reached with {self.permutations} permutations; "
                f"use at least {int(np.ceil(1 / self.alpha)) - 1}"
            )


def audit(
    found: Localization,
    *,
    model: BaseModel | ModelRequest | None = None,
    study: Any = None,
    overlaps: bool = False,
    profile: bool = False,
    options: AuditOptions | None = None,
    batch_size: int | None = None,
    progress: bool = False,
) -> Audit:
    """Examine a localization: is it a network, or an artefact?

    Without `overlaps` and `profile` no model runs: all is computed from what is cached.

    Args:
        found: from `localize`.
        model: that was localized, loaded or as asked for; for masks of other protocols, and for
            further conditions.
        study: from `evaluate`, or its folder: what lesions of the mask take away.
        overlaps: run the model for the protocols that are not cached; what it costs is logged.
        profile: run the model for the contrast's further conditions if they are not cached.
        options: how much is computed.
        batch_size: see `localize`.
        progress: show bars while the model runs.

    Raises:
        LsnsError: options that cannot be used, another model, or a study that cannot be read.
    """
    if not isinstance(found, Localization):
        raise LsnsError(
            f"audit examines what lsns.localize found; found {type(found).__name__}, which does "
            "not say how the units answered"
        )
    chosen = options or AuditOptions()
    _check_model(found, model)
    if isinstance(study, (str, Path)):
        study = Study.load(study)
    evidence = [] if study is None else find_evidence(study, found.mask.digest)
    examined = _Examined(found, chosen)
    running: dict[str, Any] = {"batch_size": batch_size, "progress": progress}
    further = further_activations(found.measurement, model if profile else None, **running)
    measurement, pooling = found.measurement, found.manifest["protocol"]["pooling"]
    parts = Parts(
        **examined.parts(further),
        differs=bool(found.t_values[found.mask.units].any()),
        outliers=audit_outliers(
            found.mask.units, found.magnitudes, threshold=found.outlier_threshold
        ),
        confounds=tuple(audit_confounds(measurement.contrast, measurement.items, pooling)),
        overlaps=(
            *compare_methods(found),
            *compare_protocols(found, model, run=overlaps, **running),
        ),
        lesions=tuple(evidence),
    )
    findings = judge(parts)
    amounts = asdict(chosen) | {"percentages": list(chosen.percentages)}
    return Audit(
        **vars(parts),
        conclusion=conclude(findings),
        findings=findings,
        manifest={**found.manifest, "audit": amounts},
        missing=examined.missing | _not_asked(found, further, study, evidence),
    )


class _Examined:
    """A localization's items, and what cannot be computed from them."""

    def __init__(self, found: Localization, options: AuditOptions) -> None:
        self.found, self.options = found, options
        self.missing: dict[str, str] = {}

    def parts(self, further: Mapping[str, Any] | None) -> dict[str, Any]:
        """Reliability, calibration and selectivity; None where one is not possible."""
        found, options = self.found, self.options
        analyzer, measurement = found.analyzer, found.measurement
        parts: dict[str, Any] = dict.fromkeys(("reliability", "calibration", "selectivity"))
        if not isinstance(analyzer, MomentsAnalyzer):
            why = f"method {analyzer.get_analyzer_name()!r} is one of your own"
            self.missing |= dict.fromkeys(parts, f"{why}; only built-in methods can be repeated")
            return parts
        items = _items(found)
        try:
            parts["reliability"] = measure_reliability(
                measurement.folds, _amounts(found, analyzer, options.percentages), items=items,
                counts=measurement.different_texts, barred=found.barred,
                n_halves=options.halves, seed=options.seed,
            )  # fmt: skip
        except LsnsError as error:
            self.missing["reliability"] = str(error)
        if items is None:
            why = "only the moments of the activations were kept, not the single ones"
            self.missing |= dict.fromkeys(("calibration", "selectivity"), why)
            return parts
        try:
            parts["calibration"] = permutation_test(
                items.rows, items.positive, items.groups, found.scores, found.mask.units, analyzer,
                permutations=options.permutations, alpha=options.alpha, seed=options.seed,
                texts=items.texts, barred=found.barred,
            )  # fmt: skip
        except LsnsError as error:
            self.missing["calibration"] = str(error)
        try:
            parts["selectivity"] = measure_selectivity(
                measurement.folds, items, analyzer, barred=found.barred,
                further=_with_folds(found, further or {}),
            )  # fmt: skip
        except LsnsError as error:
            self.missing["selectivity"] = str(error)
        return parts


def _items(found: Localization) -> Items | None:
    rows = found.measurement.activations()
    if rows is None:
        return None
    contrast = found.measurement.contrast
    positive = np.arange(len(contrast.texts)) < len(contrast.positive)
    folds = np.array(found.measurement.items["fold"])
    return Items(rows, positive, contrast.groups, folds, np.array(contrast.firsts))


def _check_model(found: Localization, model: BaseModel | ModelRequest | None) -> None:
    """What is cached under the name of one model must not come from another."""
    if model is None:
        return
    check_model(model, by_name=not isinstance(model, str))
    # A request knows the weights by their source, and of a registered model none.
    given: Any = model.source() if isinstance(model, ModelRequest) else model
    known = found.manifest["model"]
    if given is not None and given.identity not in (None, known["identity"]):
        raise LsnsError(
            f"model {model.name!r} has other weights than {known['name']!r}, which was localized; "
            "give that one, or none"
        )


def _amounts(
    found: Localization, analyzer: MomentsAnalyzer, percentages: Sequence[float]
) -> list[MomentsAnalyzer]:
    """The analyzer itself, and it at every other percentage that can be selected."""
    own = analyzer.config.get("percentage")
    if own is None and analyzer.config.get("num_units") is None:
        own = analyzer.default_percentage
    chosen = type(analyzer)({**analyzer.config, "percentage": own})
    others = [
        type(analyzer)({**analyzer.config, "percentage": p, "num_units": None})
        for p in dict.fromkeys(percentages)
        if p != own
    ]
    return [chosen, *(other for other in others if _selects(found, other))]


def _selects(found: Localization, analyzer: MomentsAnalyzer) -> bool:
    try:
        analyzer.select(found.scores, barred=found.barred)
    except LsnsError:
        return False
    return True


def _with_folds(
    found: Localization, further: Mapping[str, Any]
) -> dict[str, tuple[Any, list[int | None]]]:
    """Further activations, each with the fold of the item that it was made from."""
    contrast, folds = found.measurement.contrast, found.measurement.items["fold"]
    by_group: dict[Any, int] = dict(zip(contrast.groups, folds, strict=True))
    by_text = dict(zip(contrast.texts, folds, strict=True))
    labels, texts = contrast.further_labels, contrast.further_texts

    def places(name: str) -> list[int | None]:
        pairs = zip(labels[name] or [None] * len(texts[name]), texts[name], strict=True)
        return [by_group.get(label, by_text.get(text)) for label, text in pairs]

    return {name: (rows, places(name)) for name, rows in further.items()}


def _not_asked(
    found: Localization, further: Any, study: Any, evidence: Sequence[LesionEvidence]
) -> dict[str, str]:
    missing = {}
    if further is None:
        count = sum(map(len, found.measurement.contrast.further_texts.values()))
        missing["further conditions"] = f"not measured yet: {count} texts; ask for the profile"
    if study is None:
        missing["lesions"] = "no study was given"
    elif not evidence:
        missing["lesions"] = "the study has no lesion by this mask"
    return missing
