"""Runs end to end: localize, lesion, compare."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsns.analysis import MomentsAnalyzer
from lsns.cache import atomic, prepare_folder, results_folder, write_json
from lsns.config import AnalysisConfig, ExperimentConfig, is_written_by_lsns
from lsns.errors import LsnsError
from lsns.lesions.controls import Control, control_mask
from lsns.localization import Localization, localize, make_analyzer
from lsns.mask import UnitMask
from lsns.models.factory import ModelRequest
from lsns.plugins import load_module
from lsns.report.text import describe_continuations, describe_localization
from lsns.stimuli.contrast import Contrast
from lsns.stimuli.networks import load_contrast

if TYPE_CHECKING:
    from lsns.lesions.ablation import Mode
    from lsns.models.base import BaseModel


REPLACED = {"zero": "zeroed", "mean": "set to their mean"}
PACKAGES = ("lsns", "numpy", "scipy", "torch", "transformers", "tokenizers", "safetensors")
CONTINUATIONS = ("continuations.json", "continuations.txt")


@dataclass(frozen=True)
class Continuation:
    """What a model made of a prompt under one condition.

    Attributes:
        condition: in words.
        text: the continuation, without the prompt.
        mask: what was lesioned; None for the intact model.
    """

    condition: str
    text: str
    mask: UnitMask | None


def continue_under_lesions(
    model: BaseModel,
    prompt: str,
    networks: Sequence[str],
    *,
    find: Callable[[str], Localization],
    control_for: str = "language",
    control: Control = "uniform",
    control_seed: int | None = None,
    seed: int = 42,
    mode: Mode = "zero",
    max_new_tokens: int = 20,
    temperature: float | None = None,
) -> list[Continuation]:
    """Continue a prompt once per condition.

    Args:
        model: from `load_model`.
        prompt: the text to continue.
        networks: for each condition a network's name, `random` (a control for `control_for`), or
            `none`.
        find: the localization of a network by name; asked only for what is needed.
        control_for: which network `random` is a control for.
        control: see `control_mask`.
        control_seed: of the control; default: `seed`.
        seed: of the sampling.
        mode: see `lesion`.
        max_new_tokens: see `generate`.
        temperature: see `generate`.
    """
    found: dict[str, Localization] = {}
    drawn_with = seed if control_seed is None else control_seed

    def localization(name: str) -> Localization:
        if name not in found:
            found[name] = find(name)
        return found[name]

    continuations = []
    for name in networks:
        source = None if name == "none" else localization(control_for if name == "random" else name)
        mask = None if source is None else source.mask
        if source is not None and name == "random":
            mask = _control(source, control, drawn_with)
        with _condition(model, mask, source, mode):
            text = model.generate(
                prompt, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed
            )
        label = "intact"
        if source is not None and mask is not None:
            of = source.manifest["stimuli"]["name"]
            label = _random_label(of, control, drawn_with) if name == "random" else of
            label += f": {mask.count} of {mask.units.size} units {REPLACED[mode]}"
        continuations.append(Continuation(label, text, mask))
    return continuations


def _control(source: Localization, kind: Control, seed: int) -> UnitMask:
    return control_mask(
        source.mask,
        kind,
        seed=seed,
        magnitudes=source.magnitudes,
        barred=source.barred,
        outliers=source.outlier_units if kind == "outliers" else None,
    )


def _condition(
    model: BaseModel, mask: UnitMask | None, source: Localization | None, mode: Mode
) -> AbstractContextManager[Any]:
    from lsns.lesions.ablation import lesion

    if mask is None or source is None:
        return nullcontext()
    return lesion(model, mask, mode, means=source.means if mode == "mean" else None)


def _random_label(network: str, control: str, seed: int) -> str:
    return f"random control for {network} ({control}, seed {seed})"


@dataclass(frozen=True, eq=False)
class ExperimentResult:
    """What a run found.

    Attributes:
        config: with every default resolved; the same run again.
        found: the localization.
        continuations: by prompt; empty without prompts.
        paths: the files that were written.
    """

    config: ExperimentConfig
    found: Localization
    continuations: Mapping[str, Sequence[Continuation]]
    paths: tuple[Path, ...]


def run_experiment(
    config: ExperimentConfig, *, source: Path | None = None, progress: bool = False
) -> ExperimentResult:
    """Do what a config says, and write the results into its `output_dir`.

    Without prompts, no model is loaded if its activations are cached. The folder describes one
    run: what another run said of itself in it is replaced.

    Args:
        config: see `ExperimentConfig`.
        source: the file that it was read from, which must not be lost.
        progress: show a bar while the model reads the stimuli.

    Raises:
        LsnsError: see `localize` and `lesion`; or a folder that cannot be written to.
    """
    for plugin in config.model.plugins:
        load_module(plugin)
    config, contrast = resolve(config)
    folder = _output_folder(config.output_dir)
    _check_not_lost(source, folder / "config.yaml")
    request = _request(config)
    model = request.load() if config.prompts else request
    found = _localize(model, contrast, config, progress=progress)
    continuations = {} if isinstance(model, ModelRequest) else _continue_all(model, config, found)
    paths = [config.to_yaml(folder / "config.yaml"), _write_versions(folder / "versions.json")]
    paths += [_write_text(folder / "localization.txt", describe_localization(found))]
    paths += [*found.save(folder), *_write_continuations(folder, continuations)]
    return ExperimentResult(config, found, continuations, tuple(paths))


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
    analyzer = make_analyzer(analysis.method, _selection(analysis))
    if not isinstance(analyzer, MomentsAnalyzer):
        return {}
    percentage = analysis.percentage
    if percentage is None and analysis.num_units is None:
        percentage = analyzer.default_percentage
    return {"percentage": percentage, "per_layer": analyzer.per_layer}


def _selection(analysis: AnalysisConfig) -> dict[str, Any]:
    names = ("percentage", "num_units", "localize_range", "per_layer", "seed")
    return {name: getattr(analysis, name) for name in names}


def _request(config: ExperimentConfig) -> ModelRequest:
    options = asdict(config.model)
    del options["plugins"]
    return ModelRequest(**options)


def _localize(
    model: BaseModel | ModelRequest, contrast: Contrast, config: ExperimentConfig, *, progress: bool
) -> Localization:
    analysis = config.analysis
    return localize(
        model,
        contrast,
        method=analysis.method,
        **_selection(analysis),
        exclude_outliers=analysis.exclude_outliers,
        outlier_threshold=analysis.outlier_threshold,
        pooling=analysis.pooling,
        max_tokens=analysis.max_tokens or None,
        cache_dir=config.cache_dir,
        overwrite=analysis.overwrite,
        batch_size=analysis.batch_size,
        progress=progress,
    )


def _continue_all(
    model: BaseModel, config: ExperimentConfig, found: Localization
) -> dict[str, list[Continuation]]:
    lesion, generation = config.lesion, config.generation
    conditions = [
        (name, seed)
        for name in lesion.conditions
        for seed in (lesion.seeds if name == "random" else (None,))
    ]
    return {
        prompt: [
            continuation
            for name, seed in conditions
            for continuation in continue_under_lesions(
                model,
                prompt,
                [name],
                find=lambda _: found,
                control=lesion.control,
                control_seed=seed,
                mode=lesion.mode,
                **asdict(generation),
            )
        ]
        for prompt in config.prompts
    }


def _write_continuations(
    folder: Path, continuations: Mapping[str, Sequence[Continuation]]
) -> list[Path]:
    data, text = (folder / name for name in CONTINUATIONS)
    if not continuations:
        # Of an earlier run, and not what the config beside them says.
        for path in (data, text):
            path.unlink(missing_ok=True)
        return []
    prompts = [
        {"prompt": prompt, "conditions": [_as_json(item) for item in items]}
        for prompt, items in continuations.items()
    ]
    write_json(data, {"prompts": prompts})
    blocks = [describe_continuations(prompt, items) for prompt, items in continuations.items()]
    return [data, _write_text(text, "\n\n".join(blocks))]


def _as_json(item: Continuation) -> dict[str, Any]:
    lesioned = None
    if item.mask is not None:
        control = item.mask.manifest.get("control")
        lesioned = {"units": item.mask.count, "mask": item.mask.digest, "control": control}
    return {"condition": item.condition, "text": item.text, "lesion": lesioned}


def _write_versions(path: Path) -> Path:
    versions = {package: version(package) for package in PACKAGES}
    write_json(path, {"python": platform.python_version(), **versions})
    return path


def _write_text(path: Path, text: str) -> Path:
    with atomic(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    return path
