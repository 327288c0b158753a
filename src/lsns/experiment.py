"""A configuration, run end to end: localize, lesion, evaluate, audit, and the page of it all."""

from __future__ import annotations

import logging
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from lsns.analysis import BaseAnalyzer, MomentsAnalyzer
from lsns.analysis.results import save_results
from lsns.audits.auditing import Audit, AuditOptions, audit
from lsns.config import AnalysisConfig, ExperimentConfig, is_written_by_lsns
from lsns.errors import LsnsError
from lsns.evaluation.benchmarks import check_items, parse_benchmarks
from lsns.evaluation.conditions import Target, make_targets
from lsns.lesions.continuations import Continuation, continue_under_lesions
from lsns.localization import Localization, localize, make_analyzer, units_path
from lsns.models.factory import ModelRequest
from lsns.plugins import load_module, names_code, permit
from lsns.report import results as named
from lsns.report.text import describe_continuations
from lsns.specs import Control
from lsns.stimuli.contrast import Contrast
from lsns.stimuli.networks import load_contrast
from lsns.store import atomic, digest_of, locked, prepare_folder, remove, results_folder, write_json

if TYPE_CHECKING:
    from lsns.evaluation.study import Study

logger = logging.getLogger(__name__)
PACKAGES = ("lsns", "numpy", "scipy", "torch", "transformers", "tokenizers", "safetensors")
CONTINUATIONS_TEXT = "continuations.txt"
STUDY = "study"
STUDY_FILES = tuple(f"{STUDY}/{name}" for name in ("study.json", "summary.csv", "controls.csv"))
# In the order in which they are removed.
OF_A_RUN = (
    *(named.AUDIT, *STUDY_FILES, named.CONTINUATIONS, CONTINUATIONS_TEXT, named.TEXT),
    *(named.VERSIONS, named.NMD, named.LOCALIZATION),
)
# Of a dose beside the mask: the published control, and the one that is alike in all but score.
DOSE_CONTROLS = ("uniform", "magnitude")
PAGE_PACKAGES = ("altair", "jinja2", "vl_convert")


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
    workers: int = 1,
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
        workers: processes of this machine that run the model, each with a copy of it; what is found
            does not depend on it.
        allow_code: run the code that the config names; see `code_of`.
        progress: show bars while the model runs.

    Raises:
        LsnsError: see `localize`, `lesion`, `evaluate` and `audit`; a folder that cannot be written
            to, a package that is not installed and will be needed, or code without `allow_code`.
    """
    _check_packages(config)
    asked = config.evaluation
    # One that is not there is said before the model runs, not after.
    chosen = parse_benchmarks(asked.benchmarks, limit=asked.limit) if asked.benchmarks else []
    # With permission, tasks are told of where they are run.
    tasks = [] if allow_code else [code for benchmark in chosen for code in benchmark.code]
    permit([*code_of(config), *tasks], allowed=allow_code)
    for plugin in config.model.plugins:
        load_module(plugin)
    config, contrast = resolve(config)
    folder = _output_folder(config.output_dir)
    with locked(folder / ".lock", f"another run into {folder}", once=True):
        _check_not_lost(source, folder / named.CONFIG)
        # Of a study that was finished, items need not be read.
        check_items([] if (folder / STUDY_FILES[0]).exists() else chosen)
        request = ModelRequest.of(config.model)
        running: dict[str, Any] = {"workers": workers, "progress": progress}
        running["cache_dir"] = config.cache_dir
        found = localize(request, contrast, **config.analysis.arguments(), **running)
        # From here on the folder is this run's: what it does not write must not be another's.
        run = _Run(config, request, found, folder, {**running, "allow_code": allow_code})
        paths = [*run.take_over(), *run.write_localization()]
        continuations = run.continue_prompts()
        paths += run.write_continuations(continuations)
        study = run.evaluate()
        paths += [] if study is None else [folder / name for name in STUDY_FILES]
        audited = run.audit(study)
        paths += [] if audited is None else [audited.save(folder / named.AUDIT)]
        if config.report:
            from lsns.report.page import write_page

            paths.append(write_page(folder, folder / named.PAGE))
    return ExperimentResult(config, found, continuations, study, audited, tuple(paths))


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


@dataclass(frozen=True, eq=False)
class _Run:
    """A run that owns its folder: what is done in it, and what of it is written."""

    config: ExperimentConfig
    request: ModelRequest
    found: Localization
    folder: Path
    running: Mapping[str, Any]

    @cached_property
    def digest(self) -> str:
        """Names the run in each of its files: config, weights, texts and versions."""
        manifest = self.found.manifest
        return digest_of(
            {
                "config": self.config.to_dict(),
                "model": manifest["model"]["identity"],
                "stimuli": manifest["stimuli"]["digest"],
                "versions": _versions(),
            }
        )

    def stamped(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """A manifest that names the run."""
        return {**manifest, "run": self.digest}

    def take_over(self) -> list[Path]:
        """Write the config, and remove what an earlier run said of itself.

        Its cells are kept, which their content names. In this order, so that a run that is killed
        in between loses nobody's config, and leaves one that fits none of the earlier parts. The
        earlier units go last: beside them, what other commands wrote is known for another run's.
        """
        remove(self.folder / named.PAGE)
        text = f"{self.config.to_text()}{named.RUN_LINE}{self.digest}"
        config = _write_text(self.folder / named.CONFIG, text)
        for name in OF_A_RUN:
            remove(self.folder / name)
        write_json(self.folder / named.VERSIONS, _versions())
        return [config, self.folder / named.VERSIONS]

    def write_localization(self) -> list[Path]:
        """The mask with all that is known of every unit; and that of NMD, to compare with."""
        found, folder = self.found, self.folder
        text = _write_text(folder / named.TEXT, found.describe())
        saved = found.save(folder)
        paths = [text, *saved, units_path(saved[0]), self._save_units(named.LOCALIZATION, found)]
        if found.analyzer.get_analyzer_name() != "ttest":
            return paths
        other = found.by(make_analyzer("nmd", {"num_units": found.mask.count}))
        return [*paths, self._save_units(named.NMD, other)]

    def _save_units(self, name: str, found: Localization) -> Path:
        return save_results(
            self.folder / name,
            found.mask.units,
            {
                "scores": found.scores,
                "t_values": found.t_values,
                "adjusted_p_values": found.p_values,
                "magnitudes": found.magnitudes,
                "outliers": found.outlier_units,
                "manifest": self.stamped(found.manifest),
            },
        )

    def continue_prompts(self) -> dict[str, list[Continuation]]:
        """Each prompt under each condition, a control by its kind and for each of its seeds."""
        lesion = self.config.lesion
        kinds: dict[Any, Control] = {"random": lesion.control, **{k: k for k in get_args(Control)}}
        conditions = [
            (name, seed)
            for name in lesion.conditions
            for seed in (lesion.seeds if name in kinds else (None,))
        ]
        return {
            prompt: [
                continuation
                for name, seed in conditions
                for continuation in continue_under_lesions(
                    self.request.load(),
                    prompt,
                    ["random" if name in kinds else name],
                    find=lambda _: self.found,
                    control=kinds.get(name, lesion.control),
                    control_seed=seed,
                    mode=lesion.mode,
                    **self.config.generation.but(),
                )
            ]
            for prompt in self.config.prompts
        }

    def write_continuations(self, made: Mapping[str, Sequence[Continuation]]) -> list[Path]:
        """As JSON, and as they are printed."""
        if not made:
            return []
        prompts = [
            {"prompt": prompt, "conditions": [_as_json(item) for item in items]}
            for prompt, items in made.items()
        ]
        write_json(self.folder / named.CONTINUATIONS, {"run": self.digest, "prompts": prompts})
        blocks = [describe_continuations(prompt, items) for prompt, items in made.items()]
        text = _write_text(self.folder / CONTINUATIONS_TEXT, "\n\n".join(blocks))
        return [self.folder / named.CONTINUATIONS, text]

    def evaluate(self) -> Study | None:
        """What lesions take away; None without benchmarks."""
        if not self.config.evaluation.benchmarks:
            return None
        from lsns.evaluation.lesion_study import evaluate

        study = evaluate(
            self.request,
            self._targets(),
            **self.config.evaluation.but("doses", "controls", "part_controls", "split_outliers"),
            expect=self.config.expect,
            output_dir=self.folder / STUDY,
            **self.running,
        )
        stamped = replace(study, manifest=self.stamped(study.manifest))
        stamped.save(self.folder / STUDY)
        return stamped

    def _targets(self) -> list[Target]:
        """The mask, split at its outliers, and further doses of it, which are not."""
        asked, found = self.config.evaluation, self.found
        # Nothing is given by name, so nothing has to be found.
        whole, *parts = make_targets([found], lambda _: found, split_outliers=asked.split_outliers)
        of_parts = asked.controls if asked.part_controls is None else asked.part_controls
        doses = [self._dose(dose) for dose in asked.doses]
        of_doses = DOSE_CONTROLS if asked.controls is None else asked.controls
        further = make_targets(doses, lambda _: found) if doses else []
        return [
            _with_controls(whole, asked.controls),
            *(_with_controls(part, of_parts) for part in parts),
            *(replace(target, kinds=of_doses) for target in further),
        ]

    def _dose(self, percentage: float) -> Localization:
        """The same localization of another percentage of the units."""
        analysis = self.config.analysis
        return self.found.by(_analyzer(replace(analysis, percentage=percentage, num_units=None)))

    def audit(self, study: Study | None) -> Audit | None:
        """Of the localization; None if it is not asked for."""
        asked = self.config.audit
        if not asked.enabled:
            return None
        audited = audit(
            self.found,
            model=self.request,
            study=study,
            overlaps=asked.overlaps,
            profile=asked.profile,
            options=AuditOptions.of(asked),
            batch_size=self.config.analysis.batch_size,
            progress=self.running["progress"],
        )
        return replace(audited, manifest=self.stamped(audited.manifest))


def _with_controls(target: Target, kinds: Sequence[str] | None) -> Target:
    """The target with these kinds of controls, of those that say something of it; None: all."""
    if kinds is None:
        return target
    return replace(target, kinds=tuple(kind for kind in target.kinds if kind in kinds))


def _as_json(item: Continuation) -> dict[str, Any]:
    lesioned = None
    if item.mask is not None:
        control = item.mask.manifest.get("control")
        lesioned = {"units": item.mask.count, "mask": item.mask.digest, "control": control}
    return {"condition": item.condition, "text": item.text, "lesion": lesioned}


def _versions() -> dict[str, str]:
    versions = {package: version(package) for package in PACKAGES}
    return {"python": platform.python_version(), **versions}


def _write_text(path: Path, text: str) -> Path:
    with atomic(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    return path
