"""The commands. No logic: options to calls, results to lines."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, CycloptsError, Group, Parameter

from lsns.errors import LsnsError
from lsns.interrupts import Interruptible
from lsns.terminal import (
    OutputError,
    forget_output,
    one_line,
    quieted,
    say,
    show_notes,
    width,
)

if TYPE_CHECKING:
    from lsns.evaluation.conditions import MaskSpec
    from lsns.localization import Localization
    from lsns.mask import UnitMask
    from lsns.models.base import BaseModel
    from lsns.models.factory import ModelRequest

EXIT_CODE = 2
KEPT = "interrupted: what was finished is kept; the same command goes on from there"
# The groups of options in the help, in this order.
ASKED = Group("What is asked", sort_key=1)
STIMULI = Parameter(group=Group("Stimuli and protocol", sort_key=2))
SELECTION = Parameter(group=Group("Selection", sort_key=3))
LOADING = Group("Model loading", sort_key=4)
RUNNING = Parameter(group=Group("Running", sort_key=5))
Network = Literal["language", "theory-of-mind", "multiple-demand"]
# Never optional where it is used: cyclopts would read the word "none" as no value.
Condition = Literal["language", "theory-of-mind", "multiple-demand", "stimuli", "random", "none"]
Pooling = Literal["last-token", "last", "mean", "sum"]
Dtype = Literal["float32", "bfloat16", "float16", "auto"]
FigureKind = Literal[
    "layers", "heatmap", "scores", "methods", "dose", "effects",
    "reliability", "outliers", "overlap", "protocols", "profile", "recurrence",
]  # fmt: skip

app = App(
    name="lsns",
    help="Functional localizers for language models: find units, lesion them, see what is lost.",
    version_flags=["--version"],
    group_parameters=ASKED,
    suppress_keyboard_interrupt=False,
)
stimuli_app = App(name="stimuli", help="Published stimulus sets.")
app.command(stimuli_app)


@app.meta.default
def launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    quiet: Annotated[bool, RUNNING, Parameter(negative="", show_default=False)] = False,
) -> None:
    """Run a command.

    Parameters
    ----------
    tokens
        The command and its options.
    quiet
        Only errors and the result: no progress, no notes.
    """
    with quieted(quiet):
        app(list(tokens), exit_on_error=False, print_error=False, result_action="return_value")


# Of the command, whose own `--` it is.
app.meta.end_of_options_delimiter = ""
app.meta.suppress_keyboard_interrupt = False


@Parameter(name="*", group=LOADING)
@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which model, and how it is loaded."""

    model_name: Annotated[str, Parameter(group=ASKED)]
    """smollm2-135m (bundled, needs no hub), a hub id, a local folder, or a .gguf file."""
    device: str = "auto"
    """auto, cpu, cuda, mps or cuda:N."""
    dtype: Dtype = "float32"
    """Precision of the weights; auto is the checkpoint's own."""
    revision: str | None = None
    """Branch, tag or commit of a hub model."""
    untrained: Annotated[bool, Parameter(negative="")] = False
    """Random weights of the same architecture, drawn with --seed."""
    trust_remote_code: Annotated[bool, Parameter(negative="")] = False
    """Run code that comes with the model."""
    blocks: str | None = None
    """Dotted path of the list of blocks, where it is not found by itself."""
    device_map: str | None = None
    """auto: spread a large model over the devices there are; --device is then not used."""
    quantization: Literal["8bit", "4bit"] | None = None
    """Quantized weights (extra: quantization)."""
    plugin: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    """Modules or .py files that register models of your own; imported first."""
    threads: Annotated[int | None, RUNNING] = None
    """Threads of torch on the CPU; default: torch's own."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ExtractionOptions:
    """On what, and where results are kept."""

    pooling: Annotated[Pooling | None, STIMULI] = None
    """How a text's tokens become one vector; default: the network's protocol."""
    max_tokens: Annotated[int | None, STIMULI] = None
    """Cut texts to their first tokens; 0: whole; default: the network's protocol."""
    stimuli: Annotated[str | None, STIMULI] = None
    """A folder of langloc CSVs, or a CSV, TSV or JSONL file with text, condition, group."""
    seed: Annotated[int, RUNNING] = 42
    """Of random draws, and of the weights of an untrained model."""
    batch_size: Annotated[int | None, RUNNING] = None
    """Texts per forward pass: masks stay the same, activations but for rounding."""
    cache_dir: Annotated[str | None, RUNNING] = None
    """Where results are kept; default LOC_CACHE, else cache."""
    overwrite: Annotated[bool, RUNNING, Parameter(negative="")] = False
    """Run the model again even if its activations are cached."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class SelectionOptions(ExtractionOptions):
    """Which units, but for how many percent."""

    num_units: Annotated[int | None, SELECTION] = None
    """A number of units instead of a percentage."""
    localize_range: Annotated[str, SELECTION] = "100-100"
    """100-100 highest, 0-0 lowest, x-y a random draw between those percentiles of the score."""
    per_layer: Annotated[bool | None, SELECTION, Parameter(negative="--global")] = None
    """The same number of units in every layer (nmd's default), or over all layers."""
    method: Annotated[str, SELECTION] = "ttest"
    """How units are scored: ttest, ttest-signed, nmd, mean, or module:Class for your own."""
    exclude_outliers: Annotated[bool, SELECTION, Parameter(negative="")] = False
    """Do not select outlier units; there are as many units as without it."""
    outlier_threshold: Annotated[float, SELECTION] = 10.0
    """How many times the median of its layer an outlier's mean |activation| exceeds."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class LocalizationOptions(SelectionOptions):
    """Which units."""

    percentage: float | None = None
    """Percent of all units, rounded down; default 1 (nmd: 0.5 of each layer)."""


@app.command
def localize(
    *,
    model: ModelOptions,
    network: Network | None = None,
    options: LocalizationOptions | None = None,
) -> None:
    """Find the units that answer to a contrast; write the mask, p-values and a table of units.

    Parameters
    ----------
    model
        Which model.
    network
        Which network to localize; default language, or the name of the --stimuli file.
    options
        Which units.
    """
    from lsns.localization import units_path

    options = options or LocalizationOptions()
    with _threads(model.threads):
        found = _localize(_request(model, options), options, network)
    paths = found.save(options.cache_dir)
    say(found.describe())
    _say_written(*paths, units_path(paths[0]))


@app.command
def lesion(
    *,
    model: ModelOptions,
    network: Annotated[tuple[Condition, ...], Parameter(consume_multiple=True)] = (),
    options: LocalizationOptions | None = None,
    prompt: str,
    control_for: Network | None = None,
    control: Literal["uniform", "layer", "magnitude", "outliers"] = "uniform",
    mode: Literal["zero", "mean"] = "zero",
    max_new_tokens: int = 20,
    temperature: float | None = None,
) -> None:
    """Continue a prompt under a lesion, a random control lesion, or none.

    Parameters
    ----------
    model
        Which model.
    network
        What is lesioned: a network, stimuli (the units for --stimuli, by their own protocol),
        random (as many units from outside), or none. Several are shown one below the other.
        Default language; with --stimuli, stimuli.
    options
        Which units.
    prompt
        The text to continue.
    control_for
        The network that random is a control for; default as for --network.
    control
        Units of a random control: any others, as many in each layer, also of like magnitude, or
        as many outliers.
    mode
        What replaces a unit: zero, or its mean activation.
    max_new_tokens
        Length of the continuation.
    temperature
        Sample at this temperature, with --seed; default: greedy.
    """
    from lsns.lesions.continuations import continue_under_lesions
    from lsns.report.text import describe_continuations

    options = options or LocalizationOptions()
    usual = "language" if options.stimuli is None else "stimuli"
    with _threads(model.threads):
        loaded = _request(model, options).load()
        continuations = continue_under_lesions(
            loaded,
            prompt,
            network or (usual,),
            find=lambda name: _localize(loaded, options, name),
            control_for=control_for or usual,
            control=control,
            seed=options.seed,
            mode=mode,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
        )
    say(describe_continuations(prompt, continuations, width()))


@app.command(name="run")
def run_config(
    config: Path,
    /,
    *,
    override: Annotated[tuple[str, ...], Parameter(name="--set", negative="")] = (),
    allow_code: Annotated[bool, RUNNING, Parameter(negative="")] = False,
) -> None:
    """Do what a configuration file says: localize, lesion, evaluate, audit, and write the page.

    Parameters
    ----------
    config
        A YAML file; lsns config prints one with every key and its default.
    override
        KEY=VALUE, as in analysis.percentage=1: overrides the file; once for each key.
    allow_code
        Run the code that the configuration names: plugins, a method of your own, what comes with
        the model, functions of lm-eval's tasks. Without it, such a configuration is refused.
    """
    from lsns.config import ExperimentConfig
    from lsns.experiment import run_experiment
    from lsns.report.text import describe_continuations

    read = ExperimentConfig.from_yaml(config, override)
    result = run_experiment(read, source=config, allow_code=allow_code, progress=True)
    say(result.found.describe())
    for prompt, continuations in result.continuations.items():
        say(f"\n{describe_continuations(prompt, continuations, width())}")
    if result.study is not None:
        say(f"\n{result.study.describe(width())}")
    if result.audit is not None:
        say(f"\n{result.audit.describe_findings(width())}")
    _say_written(*result.paths)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class DemoModelOptions(ModelOptions):
    """Which model, and how it is loaded; the bundled one if none is named."""

    model_name: Annotated[str, Parameter(group=ASKED)] = "smollm2-135m"
    """smollm2-135m (bundled, needs no hub), a hub id, a local folder, or a .gguf file."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class DemoOptions(ExtractionOptions):
    """On what the two methods are compared."""

    percentage: float = 5.0
    """Percent of each layer for NMD; the t-test takes as many units over all layers."""


@app.command
def demo(
    *,
    model: DemoModelOptions | None = None,
    network: Network | None = None,
    options: DemoOptions | None = None,
    prompt: str = "The quick brown fox",
    max_new_tokens: int = 20,
    synthetic: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Compare selection by t-test and by NMD at the same number of units.

    Parameters
    ----------
    model
        Which model.
    network
        Which network to localize; default language, or the name of the --stimuli file.
    options
        On what.
    prompt
        The text to continue, intact and under a lesion of either method's units.
    max_new_tokens
        Length of the continuations.
    synthetic
        Use synthetic activations in which the selective units are known, and no model.
    """
    from lsns import demo as logic
    from lsns.report.text import describe_continuations

    chosen, asked = options or DemoOptions(), model or DemoModelOptions()
    if synthetic:
        planted = logic.plant(chosen.seed)
        masks = logic.select_planted(planted, chosen.percentage)
        say(f"{logic.describe_methods(*masks)}\n\n{logic.describe_recovery(planted, *masks)}")
        return
    base = LocalizationOptions(**asdict(chosen))
    with _threads(asked.threads):
        loaded = _request(asked, base).load()
        found = logic.localize_both(
            lambda **selection: _localize(loaded, replace(base, **selection), network),
            chosen.percentage,
        )
        ttest, nmd = found[0].mask, found[1].mask
        say(f"{logic.describe_methods(ttest, nmd)}\n{logic.describe_outliers(*found)}")
        continuations = logic.continue_three_ways(
            loaded, prompt, ttest, nmd, max_new_tokens=max_new_tokens
        )
    say(f"\n{describe_continuations(prompt, continuations, width())}")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class EvaluationUnits(SelectionOptions):
    """Which units; several percentages are a dose sweep."""

    percentage: str | None = None
    """Percent of all units, as in 1 or 0.125,0.25,0.5,1,2,5; default 1 (nmd: 0.5 per layer)."""


@app.command
def evaluate(
    *,
    model: ModelOptions,
    network: Annotated[tuple[Network, ...], Parameter(consume_multiple=True)] = (),
    options: EvaluationUnits | None = None,
    mask: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    benchmark: Annotated[tuple[str, ...], Parameter(negative="")] = ("minimal-pairs",),
    controls: str | None = None,
    split_outliers: Annotated[bool, Parameter(negative="")] = False,
    seeds: int = 20,
    mode: str = "zero",
    prefix: str = "auto",
    limit: int | None = None,
    resamples: int = 2000,
    allow_code: Annotated[bool, RUNNING, Parameter(negative="")] = False,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("results"),
) -> None:
    """Measure on benchmarks what a lesion takes away, against control lesions.

    Parameters
    ----------
    model
        Which model.
    network
        Whose units are lesioned, at each --percentage; default language, unless --mask is given.
    options
        Which units.
    mask
        A mask's file, or network@percentage as in language@1 or language@0.5:nmd; repeatable.
    benchmark
        minimal-pairs, minimal-pairs:PATH, blimp (from the hub), blimp:FOLDER, syntaxgym:FOLDER,
        perplexity, perplexity:FILE or lm-eval:TASK; other= in front counts it as not of
        language. Repeatable.
    controls
        Of uniform, layer, magnitude, least, outliers, with commas, or none; default: the first
        four (for a mask's file uniform,layer).
    split_outliers
        Lesion each mask three times: all, its outlier units only, the rest; each with its own
        controls.
    seeds
        Masks drawn of each kind of control; fewer than 20 are too few for a claim.
    mode
        What replaces a unit: zero, mean (its mean activation), or zero,mean.
    prefix
        What stands in front of each text: auto, bos, eos, none, or a token written out.
    limit
        Items of each paradigm at most, the first ones.
    resamples
        Of the bootstrap, at most 100000.
    allow_code
        Run code that a task's file (lm-eval:FILE) or a --mask (language@1:file.py:Class) names.
    output
        Folder for the results; the same command goes on from what is there.
    """
    from lsns.evaluation.lesion_study import evaluate as run_study
    from lsns.models.factory import SharedRequest

    chosen = options or EvaluationUnits()
    units: dict[str, Any] = asdict(chosen) | {"percentage": None}
    base = LocalizationOptions(**units)
    with _threads(model.threads):
        request = SharedRequest.of(_request(model, base))
        study = run_study(
            request,
            _masks(request, base, chosen.percentage, network, _specs(mask, allow_code)),
            benchmark,
            controls=None if controls is None else _words(controls),
            split_outliers=split_outliers,
            seeds=seeds,
            modes=_words(mode),
            prefix=prefix,
            limit=limit,
            output_dir=output,
            cache_dir=chosen.cache_dir,
            batch_size=chosen.batch_size,
            resamples=resamples,
            allow_code=allow_code,
            progress=True,
        )
    say(study.describe(width()))
    say(f"\nwrote {output / 'summary.csv'}, {output / 'study.json'} and {output / 'items'}")


@app.command
def audit(
    *,
    model: ModelOptions,
    network: Network | None = None,
    options: LocalizationOptions | None = None,
    study: Path | None = None,
    overlaps: Annotated[bool, Parameter(negative="")] = False,
    profile: Annotated[bool, Parameter(negative="")] = False,
    halves: int = 20,
    permutations: int = 1000,
    alpha: float = 0.05,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
) -> None:
    """Ask of a localization whether it is a network or an artefact.

    Reliability on other items, selectivity on held-out ones, what chance gives, outlier
    dimensions, confounds, the share of other protocols; with a study, what lesions say.

    Parameters
    ----------
    model
        Which model.
    network
        Which network to localize; default language, or the name of the --stimuli file.
    options
        Which units.
    study
        Folder of a study by lsns evaluate with this mask; best with --split-outliers.
    overlaps
        Run the model for the other poolings and cuts; what it costs is said before.
    profile
        Run the model for further conditions of the stimuli, such as scrambled sentences.
    halves
        Random halves for reliability.
    permutations
        Shuffles of the labels for the threshold that chance reaches.
    alpha
        Family-wise error rate of that threshold.
    output
        File for the audit as JSON.
    """
    from lsns.audits.auditing import AuditOptions
    from lsns.audits.auditing import audit as examine
    from lsns.models.factory import SharedRequest

    options = options or LocalizationOptions()
    chosen = AuditOptions(halves=halves, permutations=permutations, alpha=alpha)
    with _threads(model.threads):
        request = SharedRequest.of(_request(model, options))
        found = _localize(request, options, network)
        result = examine(
            found,
            model=request,
            study=study,
            overlaps=overlaps,
            profile=profile,
            options=chosen,
            batch_size=options.batch_size,
            progress=True,
        )
    # Before anything is printed, which may fail.
    written = None if output is None else result.save(output)
    say(result.describe(width()))
    if written is not None:
        say(f"\nwrote {written}")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class CompareModelOptions(ModelOptions):
    """Whose masks are meant by network@percentage; not needed for files."""

    model_name: Annotated[str, Parameter(group=ASKED)] = ""
    """smollm2-135m (bundled, needs no hub), a hub id, a local folder, or a .gguf file."""


@app.command
def compare(
    *masks: str,
    model: CompareModelOptions | None = None,
    options: SelectionOptions | None = None,
    allow_code: Annotated[bool, RUNNING, Parameter(negative="")] = False,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
) -> None:
    """Count the units that masks share, pair by pair, against chance.

    Parameters
    ----------
    masks
        Files of masks, or network@percentage as in language@1 or language@0.5:nmd for masks of
        --model-name; at least two.
    model
        Which model.
    options
        Which units.
    allow_code
        Run the code that a mask names, as language@1:file.py:Class does.
    output
        File for the comparison as JSON.
    """
    from lsns.audits.comparison import compare as compare_pairs
    from lsns.store import write_json

    asked = model or CompareModelOptions()
    with _threads(asked.threads):
        specs = dict(zip(masks, _specs(masks, allow_code), strict=True))
        result = compare_pairs(_named_masks(specs, asked, options or SelectionOptions()))
    if output is not None:
        write_json(output, result.to_dict())
    say(result.describe(width()))
    if output is not None:
        _say_written(output)


@app.command
def verify(model: str, /, *, revision: str | None = None) -> None:
    """Read all files of a model, and say of each whether it is damaged.

    Parameters
    ----------
    model
        smollm2-135m (bundled; made again if it is damaged), a hub id of which the files are on this
        machine, a local folder, or a .gguf file.
    revision
        Branch, tag or commit of a hub model.
    """
    from lsns.models.verification import verify_model

    for file in verify_model(model, revision=revision):
        print(file, flush=True)


@app.command(name="config")
def print_config() -> None:
    """Print a configuration file with every key, its default and its meaning."""
    from lsns.config import commented_default

    say(commented_default(), end="")


@stimuli_app.command
def fetch(
    name: Literal["langloc"],
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("stimuli/langloc"),
) -> None:
    """Download a published set from a pinned commit; every file is checked by SHA-256.

    Parameters
    ----------
    name
        langloc: the sentences and nonword strings of the published language localizer.
    output
        Folder for the files.
    """
    from lsns.stimuli.published import fetch_langloc

    paths = fetch_langloc(output, notify=say)
    say(f"{name}: {len(paths)} files in {output}; use them with --stimuli {output}")


@app.command
def plot(
    kind: FigureKind,
    /,
    *results: Path,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
) -> None:
    """Draw a figure of a finished run, fit for a paper: PNG, SVG or PDF.

    Parameters
    ----------
    kind
        layers, heatmap, scores, methods (T-test against NMD), dose, effects (of lesions),
        reliability, outliers, overlap (of masks), protocols, profile, or recurrence (across
        layers).
    results
        A results folder, as lsns run writes it; several for heatmap and overlap.
    output
        The file; its ending says the format. Default: KIND.pdf.
    """
    from lsns.report.figures import write_figure

    _say_written(write_figure(kind, results, output or Path(f"{kind}.pdf")))


@app.command
def report(
    results: Path,
    /,
    *,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
) -> None:
    """Write the page of a finished run: one HTML file that needs no network.

    Parameters
    ----------
    results
        A results folder, as lsns run or lsns evaluate writes it.
    output
        The file. Default: report.html in the results folder.
    """
    from lsns.report.page import write_page

    _say_written(write_page(results, output))


def run(arguments: Sequence[str]) -> int:
    """Run the command line on `arguments`.

    Returns:
        The exit code: 0; 2 after an error that a user can mend, which is one line on standard
        error; 130 after Ctrl-C and 143 after SIGTERM, with a line on what is kept.
    """
    show_notes()
    with Interruptible() as interruption:
        try:
            app.meta(
                list(arguments), exit_on_error=False, print_error=False,
                result_action="return_value",
            )  # fmt: skip
        except CycloptsError as error:
            return _fail(f"{error} (see lsns --help)")
        except (LsnsError, OutputError) as error:
            return _fail(str(error))
        except UnicodeEncodeError:
            wrong = next((word for word in arguments if _is_broken(word)), None)
            if wrong is None:
                raise
            return _fail(f"{wrong!r} is no UTF-8 text, which is needed here; rename it")
        except KeyboardInterrupt as interrupt:
            return _fail(str(interrupt) or KEPT, 128 + (interruption.signal or signal.SIGINT))
        except BrokenPipeError:
            # The reader of the help has gone (`| head`); nothing is wrong.
            forget_output()
        except OSError as error:
            return _fail(f"{error}; nothing that was finished is lost")
    return 0


def _is_broken(word: str) -> bool:
    """Whether an argument has bytes that are no UTF-8, which Python keeps as half characters."""
    return any("\ud800" <= character <= "\udfff" for character in word)


def _fail(message: str, code: int = EXIT_CODE) -> int:
    with suppress(OSError):
        print(f"lsns: {one_line(message)}", file=sys.stderr, flush=True)
    return code


def _say_written(*paths: Path) -> None:
    for path in paths:
        say(f"wrote {one_line(str(path))}")


def _localize(
    model: BaseModel | ModelRequest, options: LocalizationOptions, network: str | None
) -> Localization:
    from lsns.localization import localize as find
    from lsns.measurement import UNSET
    from lsns.stimuli.networks import load_contrast

    if options.stimuli is not None:
        contrast = load_contrast(options.stimuli, network=None if network == "stimuli" else network)
    elif network == "stimuli":
        raise LsnsError("--network stimuli needs --stimuli, a folder or file")
    else:
        contrast = load_contrast(network or "language")
    return find(
        model,
        contrast,
        method=options.method,
        percentage=options.percentage,
        num_units=options.num_units,
        localize_range=options.localize_range,
        per_layer=options.per_layer,
        exclude_outliers=options.exclude_outliers,
        outlier_threshold=options.outlier_threshold,
        pooling=options.pooling,
        max_tokens={None: UNSET, 0: None}.get(options.max_tokens, options.max_tokens),
        seed=options.seed,
        cache_dir=options.cache_dir,
        overwrite=options.overwrite,
        batch_size=options.batch_size,
        progress=True,
    )


def _masks(
    request: ModelRequest,
    base: LocalizationOptions,
    percentages: str | None,
    networks: Sequence[str],
    specs: Sequence[MaskSpec | Path],
) -> Iterator[Localization | Path]:
    """Every network at every percentage, and what --mask names."""
    amounts = [None] if percentages is None else [_number(text) for text in _words(percentages)]
    for network in networks or ((None,) if not specs or percentages is not None else ()):
        for amount in amounts:
            yield _localize(request, replace(base, percentage=amount), network)
    for spec in specs:
        if isinstance(spec, Path):
            yield spec
            continue
        own = replace(
            base, percentage=spec.percentage, method=spec.method or base.method, num_units=None
        )
        yield _localize(request, own, spec.network)


def _specs(texts: Sequence[str], allow_code: bool) -> list[MaskSpec | Path]:
    """Masks as they are written; one that names code needs permission."""
    from lsns.evaluation.conditions import parse_spec
    from lsns.plugins import permit

    specs = [parse_spec(text) for text in texts]
    named = [code for spec in specs if not isinstance(spec, Path) for code in spec.code]
    permit(named, allowed=allow_code)
    return specs


def _named_masks(
    specs: Mapping[str, MaskSpec | Path], model: ModelOptions, options: SelectionOptions
) -> dict[str, UnitMask]:
    """Masks by what they were asked for as: files are read, networks localized."""
    from lsns.mask import UnitMask
    from lsns.models.factory import SharedRequest

    base = LocalizationOptions(**asdict(options))
    request = SharedRequest.of(_request(model, base))
    named: dict[str, UnitMask] = {}
    for text, spec in specs.items():
        if isinstance(spec, Path):
            named[text] = UnitMask.load(spec)
            continue
        if not model.model_name:
            raise LsnsError(f"{text} is a mask of a model; name it with --model-name")
        method = spec.method or base.method
        own = replace(base, percentage=spec.percentage, method=method, num_units=None)
        named[text] = _localize(request, own, spec.network).mask
    return named


def _words(text: str) -> list[str]:
    """What stands between commas; `none` is nothing."""
    return [] if text == "none" else [word.strip() for word in text.split(",")]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise LsnsError(f"percentage {text!r} is not a number; as in 1 or 0.5,1,2") from None


def _request(model: ModelOptions, options: LocalizationOptions) -> ModelRequest:
    from lsns.models.factory import ModelRequest
    from lsns.plugins import load_module

    for plugin in model.plugin:
        load_module(plugin)
    return ModelRequest(
        name=model.model_name,
        device=model.device,
        dtype=model.dtype,
        revision=model.revision,
        pretrained=not model.untrained,
        seed=options.seed,
        trust_remote_code=model.trust_remote_code,
        blocks=model.blocks,
        device_map=model.device_map,
        quantization=model.quantization,
    )


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    if number is None:
        yield
        return
    if number < 1:
        raise LsnsError(f"threads must be at least 1; got {number}")
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
