"""`audit`: a localization examined in all parts, with findings in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lsns.analysis import MomentsAnalyzer
from lsns.audits.audit import Audit
from lsns.audits.calibration import permutation_test
from lsns.audits.confounds import audit_confounds
from lsns.audits.items import Items
from lsns.audits.lesions import Evidence, find_evidence
from lsns.audits.outliers import audit_outliers
from lsns.audits.protocols import compare_methods, compare_protocols
from lsns.audits.reliability import measure_reliability
from lsns.audits.selectivity import measure_selectivity
from lsns.audits.verdict import Parts, conclude, decide, judge
from lsns.errors import LsnsError
from lsns.evaluation.study import Study
from lsns.localization import Localization
from lsns.measurement import further_activations
from lsns.models.factory import ModelRequest, check_model
from lsns.specs import AuditOptions

if TYPE_CHECKING:
    from lsns.models.base import BaseModel

Array = np.ndarray[Any, Any]


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
        found: a localization, from `localize`.
        model: model that was localized, loaded or as asked for; it is needed for masks of other
            protocols, and for further conditions.
        study: from `evaluate`, or its folder: what lesions of the mask take away.
        overlaps: run the model for the protocols that are not cached; what it costs is logged.
        profile: run the model for the contrast's further conditions if they are not cached.
        options: how much is computed.
        batch_size: texts in a forward pass; None: chosen by the length of the texts.
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
    evidence = Evidence()
    if study is not None:
        evidence = find_evidence(study, found.mask.digest, found.manifest["stimuli"]["name"])
    running: dict[str, Any] = {"batch_size": batch_size, "progress": progress}
    measurement, pooling = found.measurement, found.manifest["protocol"]["pooling"]
    further = further_activations(measurement, model if profile else None, **running)
    repeated, missing = _repeat(found, chosen, further or {})
    parts = Parts(
        **repeated,
        differs=bool(found.t_values[found.mask.units].any()),
        outliers=audit_outliers(found.mask.units, found.sizes, threshold=found.outlier_threshold),
        confounds=tuple(audit_confounds(measurement.contrast, measurement.items, pooling)),
        overlaps=(
            *compare_methods(found),
            *compare_protocols(found, model, run=overlaps, **running),
        ),
        lesions=evidence,
    )
    findings = judge(parts)
    amounts = asdict(chosen) | {"percentages": list(chosen.percentages)}
    return Audit(
        **vars(parts),
        verdict=decide(findings),
        conclusion=conclude(findings),
        findings=findings,
        manifest={**found.manifest, "audit": amounts},
        missing=missing | _not_asked(found, further, study, evidence),
    )


def _repeat(
    found: Localization, options: AuditOptions, further: Mapping[str, Array]
) -> tuple[dict[str, Any], dict[str, str]]:
    """What needs units to be selected again, None where that is not possible; and why it is not."""
    analyzer, measurement = found.analyzer, found.measurement
    if not isinstance(analyzer, MomentsAnalyzer):
        why = (
            f"method {analyzer.get_analyzer_name()!r} is one of your own; only built-in methods "
            "can be repeated"
        )
        return {}, dict.fromkeys(("reliability", "calibration", "selectivity"), why)
    items = _items(found)
    common: dict[str, Any] = {"barred": found.barred}
    tests: dict[str, Callable[[], Any]] = {
        "reliability": lambda: measure_reliability(
            measurement.folds, _amounts(found, analyzer, options.percentages), items=items,
            counts=measurement.different_texts, n_halves=options.halves, seed=options.seed,
            **common,
        ),
        "calibration": lambda: permutation_test(
            _kept(items), found.scores, found.mask.units, analyzer,
            permutations=options.permutations, alpha=options.alpha, seed=options.seed, **common,
        ),
        "selectivity": lambda: measure_selectivity(
            measurement.folds, _kept(items), analyzer, further=_with_folds(found, further),
            seed=options.seed, **common,
        ),
    }  # fmt: skip
    parts: dict[str, Any] = {}
    missing: dict[str, str] = {}
    for name, test in tests.items():
        try:
            parts[name] = test()
        except LsnsError as error:
            missing[name] = str(error)
    return parts, missing


def _kept(items: Items | None) -> Items:
    if items is None:
        raise LsnsError("only the moments of the activations were kept, not the single ones")
    return items


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

    def at(**amount: Any) -> MomentsAnalyzer:
        return type(analyzer)({**analyzer.config, **amount})

    own = analyzer.config.get("percentage")
    if own is None and analyzer.config.get("num_units") is None:
        own = analyzer.default_percentage
    amounts = [at(percentage=own)]
    for percentage in dict.fromkeys(percentages):
        other = at(percentage=percentage, num_units=None)
        with suppress(LsnsError):
            other.select(found.scores, barred=found.barred)
            amounts += [other] if percentage != own else []
    return amounts


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


def _not_asked(found: Localization, further: Any, study: Any, evidence: Evidence) -> dict[str, str]:
    missing = {}
    if further is None:
        count = sum(map(len, found.measurement.contrast.further_texts.values()))
        missing["further conditions"] = f"not measured yet: {count} texts; ask for the profile"
    if study is None:
        missing["lesions"] = "no study was given"
    elif not evidence.lesions:
        missing["lesions"] = "the study has no lesion by this mask"
    return missing
