"""A configuration, run end to end: localize, lesion, evaluate, audit, and the page of it all."""

from __future__ import annotations

import logging
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from lsns.analysis import BaseAnalyzer, MomentsAnalyzer
from lsns.analysis.results import save_results
from lsns.audits.auditing import Audit, AuditOptions, audit
from lsns.config import AnalysisConfig, ExperimentConfig, LesionConfig, is_written_by_lsns
from lsns.errors import LsnsError
from lsns.evaluation.benchmarks import check_items, parse_benchmarks
from lsns.evaluation.conditions import Target, make_targets
from lsns.lesions.continuations import Continuation, continue_under_lesions
from lsns.localization import Localization, localize, make_analyzer, select, units_path
from lsns.models.factory import ModelRequest, SharedRequest
from lsns.plugins import load_module, names_code, permit
from lsns.report.results import (
    AUDIT,
    CONFIG,
    CONTINUATIONS,
    LOCALIZATION,
    NMD,
    PAGE,
    RUN_LINE,
    TEXT,
    VERSIONS,
)
from lsns.report.text import describe_continuations
from lsns.specs import Control
from lsns.stimuli.contrast import Contrast
from lsns.stimuli.networks import load_contrast
from lsns.store import (
    atomic,
    digest_of,
    locked,
    prepare_folder,
    remove,
    results_folder,
    write_json,
)

if TYPE_CHECKING:
    from lsns.evaluation.study import Study

logger = logging.getLogger(__name__)
PACKAGES = ("lsns", "numpy", "scipy", "torch", "transformers", "tokenizers", "safetensors")
CONTINUATIONS_TEXT = "continuations.txt"
STUDY = "study"
STUDY_FILES = (f"{STUDY}/study.json", f"{STUDY}/summary.csv", f"{STUDY}/controls.csv")
TEXTS = (CONTINUATIONS_TEXT, TEXT)
# Of a dose beside the mask: the published control, and the one that is alike in all but score.
DOSE_CONTROLS = ("uniform", "magnitude")
PAGE_PACKAGES = ("jinja2", "plotly")


@dataclass(frozen=True, eq=False)
class ExperimentResult:
    """What a run found.

    Attributes:
        config: with every default resolved; the same run again.
        found: the localization.
        continuations: by prompt; empty without prompts.
        study: what lesions take away; None without benchmarks.
        audit: of the localization; None if it was not asked for.
        paths: the files that were written, the page last.
    """

    config: ExperimentConfig
    found: Localization
    continuations: Mapping[str, Sequence[Continuation]]
    study: Study | None
    audit: Audit | None
    paths: tuple[Path, ...]


def run_experiment(
    config: ExperimentConfig,
    *,
    source: Path | None = None,
    allow_code: bool = False,
    progress: bool = False,
) -> ExperimentResult:
    """Do what a config says, and write the results into its `output_dir`.

    The model is loaded once, and only for what is not kept from an earlier run: activations in
    `cache_dir`, cells of the study in `output_dir`. The folder describes one run: what another run
    said of itself in it is replaced.

    One run at a time owns the folder: another one waits for it. What is written carries the run's
    digest, so that parts of two runs are never read as one: a run that is killed at any point
    leaves its own parts alone, or a mixture that `lsns report` refuses.

    Args:
        config: see `ExperimentConfig`.
        source: the file that it was read from, which must not be lost.
        allow_code: run the code that the config names; see `code_of`.
        progress: show bars while the model runs.

    Raises:
        LsnsError: see `localize`, `lesion`, `evaluate` and `audit`; a folder that cannot be written
            to, a package that is not installed and will be needed, or code without `allow_code`.
    """
    _check_packages(config)
    own, tasks = code_of(config), _code_of_tasks(config)
    # With permission, tasks are told of where they are run.
    permit(own if allow_code else [*own, *tasks], allowed=allow_code)
    for plugin in config.model.plugins:
        load_module(plugin)
    config, contrast = resolve(config)
    folder = _output_folder(config.output_dir)
    with _alone(folder):
        _check_not_lost(source, folder / CONFIG)
        _check_items(config, folder)
        request = SharedRequest.of(config.model)
        found = localize(
            request,
            contrast,
            **config.analysis.arguments(),
            cache_dir=config.cache_dir,
            progress=progress,
        )
        run = _digest_of_run(config, found)
        # From here on the folder is this run's: what it does not write must not be another's.
        paths = [_take_over(folder, config, run), _write_versions(folder / VERSIONS)]
        paths += [_write_text(folder / TEXT, found.describe())]
        saved = found.save(folder)
        paths += [*saved, units_path(saved[0]), *_write_units(folder, found, run)]
        continuations = _continue_all(request, config, found)
        paths += _write_continuations(folder, continuations, run)
        study = _evaluate(request, config, found, run, allow_code=allow_code, progress=progress)
        paths += [] if study is None else [folder / name for name in STUDY_FILES]
        audited = _audit(request, config, found, study, progress=progress)
        paths += [] if audited is None else [_write_audit(folder, audited, run)]
        paths += _write_page(folder) if config.report else []
    return ExperimentResult(config, found, continuations, study, audited, tuple(paths))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other runs out of the folder; wait for one that is in it."""
    path = folder / ".lock"
    with locked(path, f"another run into {folder}"):
        try:
            yield
        finally:
            # While it is held: whoever waits finds the file gone, and makes another.
            with suppress(OSError):
                path.unlink()


def _digest_of_run(config: ExperimentConfig, found: Localization) -> str:
    """Names the run in each of its files: config, weights, texts and versions."""
    manifest = found.manifest
    return digest_of(
        {
            "config": config.to_dict(),
            "model": manifest["model"]["identity"],
            "stimuli": manifest["stimuli"]["digest"],
            "versions": _versions(),
        }
    )


def _take_over(folder: Path, config: ExperimentConfig, run: str) -> Path:
    """Write the config, and remove what an earlier run said of itself; its cells are kept, which
    their content names.

    In this order, so that a run that is killed in between loses nobody's config, and leaves one
    that fits none of the earlier parts. The earlier units go last: beside them, what other
    commands wrote is known for another run's.
    """
    remove(folder / PAGE)
    _write_text(folder / CONFIG, f"{config.to_text()}{RUN_LINE}{run}")
    for name in (AUDIT, *STUDY_FILES, CONTINUATIONS, *TEXTS, VERSIONS, NMD, LOCALIZATION):
        remove(folder / name)
    return folder / CONFIG


def _check_packages(config: ExperimentConfig) -> None:
    """What is missing at the end of a run is said before it begins."""
    if config.evaluation.benchmarks and find_spec("pyarrow") is None:
        raise LsnsError("evaluation.benchmarks need pyarrow: pip install 'lsns[evaluation]'")
    lacking = [name for name in PAGE_PACKAGES if find_spec(name) is None] if config.report else []
    if lacking:
        raise LsnsError(
            f"the page needs {' and '.join(lacking)}: pip install 'lsns[report]', or set report to "
            "false"
        )


def code_of(config: ExperimentConfig) -> list[str]:
    """The code that a config names, each in words, without that of its benchmarks' tasks.

    Modules and files of `model.plugins`, a method `module:Class`, and the code that comes with a
    model under `trust_remote_code`. Built-in and installed methods and models are none.
    """
    model, method = config.model, config.analysis.method
    code = [f"model.plugins: {plugin}" for plugin in model.plugins]
    code += [f"model.trust_remote_code: of {model.name}"] if model.trust_remote_code else []
    return code + ([f"analysis.method: {method}"] if names_code(method) else [])


def _code_of_tasks(config: ExperimentConfig) -> list[str]:
    """That of its benchmarks; one that is not there is said before the model runs, not after."""
    asked = config.evaluation
    made = parse_benchmarks(asked.benchmarks, limit=asked.limit) if asked.benchmarks else []
    return [code for benchmark in made for code in benchmark.code]


def _check_items(config: ExperimentConfig, folder: Path) -> None:
    """Before the model runs; of a study that was finished, items need not be read."""
    asked = config.evaluation
    if asked.benchmarks and not (folder / STUDY_FILES[0]).exists():
        check_items(parse_benchmarks(asked.benchmarks, limit=asked.limit))


def _output_folder(output_dir: str) -> Path:
    try:
        return prepare_folder(Path(output_dir))
    except LsnsError as error:
        reason = str(error).partition(";")[0]
        raise LsnsError(f"output_dir: {reason}; choose another") from None


def _check_not_lost(source: Path | None, target: Path) -> None:
    """A file that a user wrote must not be replaced by the resolved one."""
    if source is None or not target.exists() or not source.samefile(target):
        return
    if not is_written_by_lsns(source):
        raise LsnsError(f"{source} would be overwritten by the run's own config.yaml; rename it")


def resolve(config: ExperimentConfig) -> tuple[ExperimentConfig, Contrast]:
    """The same config with the defaults of its method and protocol filled in, and its stimuli.

    Left as it is: `network` beside stimuli of one's own (their name), `device` `auto`.
    """
    network = config.network if config.stimuli else config.network or "language"
    contrast = load_contrast(config.stimuli or network or "", network=network)
    analysis = config.analysis
    tokens = contrast.max_tokens or 0
    filled = {
        "pooling": analysis.pooling or contrast.pooling,
        "max_tokens": tokens if analysis.max_tokens is None else analysis.max_tokens,
        **_selection_defaults(analysis),
    }
    return replace(
        config,
        network=network,
        analysis=replace(analysis, **filled),
        cache_dir=str(results_folder(config.cache_dir)),
    ), contrast


def _selection_defaults(analysis: AnalysisConfig) -> dict[str, Any]:
    analyzer = _analyzer(analysis)
    if not isinstance(analyzer, MomentsAnalyzer):
        return {}
    percentage = analysis.percentage
    if percentage is None and analysis.num_units is None:
        percentage = analyzer.default_percentage
    return {"percentage": percentage, "per_layer": analyzer.per_layer}


def _analyzer(analysis: AnalysisConfig) -> BaseAnalyzer:
    names = ("percentage", "num_units", "localize_range", "per_layer", "seed")
    return make_analyzer(analysis.method, {name: getattr(analysis, name) for name in names})


def _continue_all(
    request: ModelRequest, config: ExperimentConfig, found: Localization
) -> dict[str, list[Continuation]]:
    lesion, generation = config.lesion, config.generation
    drawn = [name for name in lesion.conditions if name not in ("none", "network")]
    conditions: list[tuple[str, Control, int | None]] = [
        ("random" if name in drawn else name, _kind_of(name, lesion), seed)
        for name in lesion.conditions
        for seed in (lesion.seeds if name in drawn else (None,))
    ]
    return {
        prompt: [
            continuation
            for name, control, seed in conditions
            for continuation in continue_under_lesions(
                request.load(),
                prompt,
                [name],
                find=lambda _: found,
                control=control,
                control_seed=seed,
                mode=lesion.mode,
                **generation.but(),
            )
        ]
        for prompt in config.prompts
    }


def _kind_of(condition: str, lesion: LesionConfig) -> Control:
    """The kind of control that a condition asks for by its name, else the usual one."""
    known: Any = condition
    return known if condition in get_args(Control) else lesion.control


def _evaluate(
    request: ModelRequest,
    config: ExperimentConfig,
    found: Localization,
    run: str,
    *,
    allow_code: bool,
    progress: bool,
) -> Study | None:
    asked = config.evaluation
    if not asked.benchmarks:
        return None
    from lsns.evaluation.lesion_study import evaluate

    study = evaluate(
        request,
        _targets(config, found),
        **asked.but("doses", "controls", "part_controls", "split_outliers"),
        output_dir=Path(config.output_dir) / STUDY,
        cache_dir=config.cache_dir,
        allow_code=allow_code,
        progress=progress,
    )
    stamped = replace(study, manifest={**study.manifest, "run": run})
    stamped.save(Path(config.output_dir) / STUDY)
    return stamped


def _targets(config: ExperimentConfig, found: Localization) -> list[Target]:
    """The mask, split at its outliers, and further doses of it, which are not."""
    asked = config.evaluation
    # Nothing is given by name, so nothing has to be found.
    whole, *parts = make_targets([found], lambda _: found, split_outliers=asked.split_outliers)
    of_parts = asked.controls if asked.part_controls is None else asked.part_controls
    doses = [_dose(config.analysis, found, dose) for dose in asked.doses]
    of_doses = DOSE_CONTROLS if asked.controls is None else asked.controls
    further = make_targets(doses, lambda _: found) if doses else []
    return [
        _with_controls(whole, asked.controls),
        *(_with_controls(part, of_parts) for part in parts),
        *(replace(target, kinds=of_doses) for target in further),
    ]


def _with_controls(target: Target, kinds: Sequence[str] | None) -> Target:
    """The target with these kinds of controls, of those that say something of it; None: all."""
    if kinds is None:
        return target
    return replace(target, kinds=tuple(kind for kind in target.kinds if kind in kinds))


def _dose(analysis: AnalysisConfig, found: Localization, percentage: float) -> Localization:
    """The same localization of another percentage of the units."""
    other = replace(analysis, percentage=percentage, num_units=None)
    return select(
        found.measurement,
        _analyzer(other),
        exclude_outliers=analysis.exclude_outliers,
        outlier_threshold=analysis.outlier_threshold,
    )


def _audit(
    request: ModelRequest,
    config: ExperimentConfig,
    found: Localization,
    study: Study | None,
    *,
    progress: bool,
) -> Audit | None:
    asked = config.audit
    if not asked.enabled:
        return None
    return audit(
        found,
        model=request,
        study=study,
        overlaps=asked.overlaps,
        profile=asked.profile,
        options=AuditOptions.of(asked),
        batch_size=config.analysis.batch_size,
        progress=progress,
    )


def _write_audit(folder: Path, audited: Audit, run: str) -> Path:
    return replace(audited, manifest={**audited.manifest, "run": run}).save(folder / AUDIT)


def _write_units(folder: Path, found: Localization, run: str) -> list[Path]:
    """The mask with all that is known of every unit; and that of NMD, to compare with."""
    paths = [_save_units(folder / LOCALIZATION, found, run)]
    analyzer = found.analyzer
    if analyzer.get_analyzer_name() == "ttest":
        nmd = make_analyzer("nmd", {"num_units": found.mask.count})
        barred = found.barred is not None
        other = select(
            found.measurement, nmd,
            exclude_outliers=barred, outlier_threshold=found.outlier_threshold,
        )  # fmt: skip
        paths.append(_save_units(folder / NMD, other, run))
    return paths


def _save_units(path: Path, found: Localization, run: str) -> Path:
    return save_results(
        path,
        found.mask.units,
        {
            "scores": found.scores,
            "t_values": found.t_values,
            "adjusted_p_values": found.p_values,
            "magnitudes": found.magnitudes,
            "outliers": found.outlier_units,
            "manifest": {**found.manifest, "run": run},
        },
    )


def _write_continuations(
    folder: Path, continuations: Mapping[str, Sequence[Continuation]], run: str
) -> list[Path]:
    if not continuations:
        return []
    data, text = folder / CONTINUATIONS, folder / CONTINUATIONS_TEXT
    prompts = [
        {"prompt": prompt, "conditions": [_as_json(item) for item in items]}
        for prompt, items in continuations.items()
    ]
    write_json(data, {"run": run, "prompts": prompts})
    blocks = [describe_continuations(prompt, items) for prompt, items in continuations.items()]
    return [data, _write_text(text, "\n\n".join(blocks))]


def _as_json(item: Continuation) -> dict[str, Any]:
    lesioned = None
    if item.mask is not None:
        control = item.mask.manifest.get("control")
        lesioned = {"units": item.mask.count, "mask": item.mask.digest, "control": control}
    return {"condition": item.condition, "text": item.text, "lesion": lesioned}


def _write_page(folder: Path) -> list[Path]:
    from lsns.report.page import write_page

    return [write_page(folder, folder / PAGE)]


def _versions() -> dict[str, str]:
    versions = {package: version(package) for package in PACKAGES}
    return {"python": platform.python_version(), **versions}


def _write_versions(path: Path) -> Path:
    write_json(path, _versions())
    return path


def _write_text(path: Path, text: str) -> Path:
    with atomic(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    return path
