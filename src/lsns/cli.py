"""The commands: options to calls, results to lines. No logic, and few options beside `specs`."""

from __future__ import annotations

import signal
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from cyclopts import App, CycloptsError, Parameter

from lsns import specs
from lsns.errors import LsnsError
from lsns.interrupts import Interruptible
from lsns.specs import ASKED, NO_FLAG, RUNNING, STIMULI, SpecError
from lsns.terminal import OutputError, forget_output, one_line, quieted, say, show_notes, width

if TYPE_CHECKING:
    from lsns.evaluation.conditions import MaskSpec
    from lsns.localization import Localization
    from lsns.models.base import BaseModel
    from lsns.models.factory import ModelRequest

EXIT_CODE = 2
# Where a flag is not called like its option.
FLAGS = {
    "name": "model-name", "plugins": "plugin", "percentages": "percentage",
    "benchmarks": "benchmark", "modes": "mode",
}  # fmt: skip
KEPT = "interrupted: what was finished is kept; the same command goes on from there"
# Never optional where it is used: cyclopts would read the word "none" as no value.
Condition = Literal["language", "theory-of-mind", "multiple-demand", "stimuli", "random", "none"]
FigureKind = Literal[
    "layers", "heatmap", "scores", "methods", "dose", "effects",
    "reliability", "outliers", "overlap", "protocols", "profile", "recurrence",
]  # fmt: skip
Named: TypeAlias = "Sequence[MaskSpec | Path]"
FLAT, OUTPUT = Parameter(name="*"), Parameter(name=["--output", "-o"])


def _default(value: Any) -> str | None:
    """A default as the help shows it; None: there is nothing to show."""
    if value in (None, ()):
        return None
    return ", ".join(value) if isinstance(value, tuple) else str(value)


app = App(
    name="lsns",
    help_format="plaintext",
    help="Functional localizers for language models: find units, lesion them, see what is lost.",
    version_flags=["--version"],
    group_parameters=ASKED,
    default_parameter=Parameter(negative="", show_default=_default),
    suppress_keyboard_interrupt=False,
)
stimuli_app = App(name="stimuli", help="Published stimulus sets.", help_format="markdown")
app.command(stimuli_app)
# Markdown joins the lines of what is said of an option; the first page, which needs none of it, is
# there in half the time.
_command = partial(app.command, help_format="markdown")


@app.meta.default
def _launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    quiet: Annotated[bool, RUNNING, Parameter(show_default=False)] = False,
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


class _Model(specs.ModelConfig):
    name: specs.ModelName = field()
    threads: Annotated[specs.Count | None, RUNNING] = None
    """Threads of torch on the CPU; default: torch's own."""


class _ModelOrBundled(_Model):
    name: specs.ModelName = "smollm2-135m"


class _Places(specs.Spec):
    stimuli: Annotated[specs.Place | None, STIMULI] = None
    """A folder of langloc CSVs, or a CSV, TSV or JSONL file with text, condition, group."""
    cache_dir: Annotated[specs.Place | None, RUNNING] = None
    """Where results are kept; default LOC_CACHE, else cache."""


class _Units(specs.AnalysisConfig, _Places):
    pass


class _UnitsByWorkers(_Units, specs.Running):
    pass


class _UnitsOfMasks(_Units):
    percentage: Annotated[specs.Percentage | None, NO_FLAG] = None


def _numbers(_: Any, tokens: Any) -> tuple[float, ...]:
    words = tokens[0].value.split(",")
    try:
        return tuple(map(float, words))
    except ValueError as error:
        wrong = str(error).rpartition(": ")[2]
        raise LsnsError(f"percentage {wrong} is not a number; as in 1 or 0.5,1,2") from None


class _Doses(_UnitsOfMasks, specs.Running):
    percentages: Annotated[
        tuple[specs.Percentage, ...],
        Parameter(name="--percentage", converter=_numbers, n_tokens=1),
    ] = ()
    """Percent of all units, as in 1 or 0.125,0.25,0.5,1,2,5; default 1 (nmd: 0.5 per layer)."""


class _DemoUnits(specs.Protocol, _Places):
    percentage: specs.Percentage = 5.0
    """Percent of each layer for NMD; the t-test takes as many units over all layers."""
    max_new_tokens: specs.Count = 20
    """Length of the continuations."""


@_command
def _localize(
    *,
    model: Annotated[_Model, FLAT],
    network: specs.Network | None = None,
    options: Annotated[_UnitsByWorkers, FLAT] = _UnitsByWorkers(),
) -> None:
    """Find the units that answer to a contrast; write the mask, p-values and a table of units.

    Parameters
    ----------
    model, options
        Which model, and which units.
    network
        Which network to localize; default language, or the name of the --stimuli file.
    """
    from lsns.localization import units_path

    with _asked(model, options) as request:
        found = _found(request, options, network)
    paths = found.save(options.cache_dir)
    say(found.describe())
    _say_written(*paths, units_path(paths[0]))


@_command
def _lesion(
    *,
    model: Annotated[_Model, FLAT],
    network: Annotated[tuple[Condition, ...], Parameter(consume_multiple=True)] = (),
    options: Annotated[_Units, FLAT] = _Units(),
    prompt: str,
    control_for: specs.Network | None = None,
    lesion: Annotated[specs.LesionConfig, FLAT] = specs.LesionConfig(),
    generation: Annotated[specs.GenerationConfig, FLAT] = specs.GenerationConfig(),
) -> None:
    """Continue a prompt under a lesion, a random control lesion, or none.

    Parameters
    ----------
    model, options, lesion, generation
        Which model, which units, what is done to them, and how the prompt is continued.
    network
        What is lesioned: a network, stimuli (the units for --stimuli, by their own protocol),
        random (as many units from outside), or none. Several are shown one below the other.
        Default language; with --stimuli, stimuli.
    prompt
        The text to continue.
    control_for
        The network that random is a control for; default as for --network.
    """
    from lsns.lesions.continuations import continue_under_lesions
    from lsns.report.text import describe_continuations

    usual = "language" if options.stimuli is None else "stimuli"
    with _asked(model, options) as request:
        continuations = continue_under_lesions(
            request.load(),
            prompt,
            network or (usual,),
            find=lambda name: _found(request.load(), options, name),
            control_for=control_for or usual,
            seed=options.seed,
            **lesion.but("conditions", "seeds"),
            **generation.but("seed"),
        )
    say(describe_continuations(prompt, continuations, width()))


@_command(name="run")
def _run(
    config: Path,
    /,
    *,
    override: Annotated[tuple[str, ...], Parameter(name="--set")] = (),
    running: Annotated[specs.Running, FLAT] = specs.Running(),
    allow_code: Annotated[bool, RUNNING] = False,
) -> None:
    """Do what a configuration file says: localize, lesion, evaluate, audit, and write the page.

    Parameters
    ----------
    config
        A YAML file; lsns config prints one with every key and its default.
    override
        KEY=VALUE, as in analysis.percentage=1: overrides the file; once for each key.
    running
        How it is done.
    allow_code
        Run the code that the configuration names: plugins, a method of your own, what comes with
        the model, functions of lm-eval's tasks. Without it, such a configuration is refused.
    """
    from lsns.config import ExperimentConfig
    from lsns.experiment import run_experiment
    from lsns.report.text import describe_continuations

    read = ExperimentConfig.from_yaml(config, override)
    result = run_experiment(
        read, source=config, workers=running.workers, allow_code=allow_code, progress=True
    )
    say(result.found.describe())
    for prompt, continuations in result.continuations.items():
        say(f"\n{describe_continuations(prompt, continuations, width())}")
    if result.study is not None:
        say(f"\n{result.study.describe(width())}")
    if result.audit is not None:
        say(f"\n{result.audit.describe_findings(width())}")
    _say_written(*result.paths)


@_command
def _demo(
    *,
    model: Annotated[_ModelOrBundled, FLAT] = _ModelOrBundled(),
    network: specs.Network | None = None,
    options: Annotated[_DemoUnits, FLAT] = _DemoUnits(),
    prompt: str = "The quick brown fox",
    synthetic: bool = False,
) -> None:
    """Compare selection by t-test and by NMD at the same number of units.

    Parameters
    ----------
    model, options
        Which model, and on what.
    network
        Which network to localize; default language, or the name of the --stimuli file.
    prompt
        The text to continue, intact and under a lesion of either method's units.
    synthetic
        Use synthetic activations in which the selective units are known, and no model.
    """
    from lsns import demo as logic
    from lsns.report.text import describe_continuations

    if synthetic:
        say(logic.describe_synthetic(options.seed, options.percentage))
        return
    base = _Units.of(options)
    with _asked(model, options) as request:
        loaded = request.load()
        found = logic.localize_both(
            lambda **selection: _found(loaded, replace(base, **selection), network),
            options.percentage,
        )
        say(logic.describe_both(*found))
        continuations = logic.continue_three_ways(
            loaded, prompt, *found, max_new_tokens=options.max_new_tokens
        )
    say(f"\n{describe_continuations(prompt, continuations, width())}")


@_command
def _evaluate(
    *,
    model: Annotated[_Model, FLAT],
    network: Annotated[tuple[specs.Network, ...], Parameter(consume_multiple=True)] = (),
    options: Annotated[_Doses, FLAT] = _Doses(),
    mask: tuple[str, ...] = (),
    study: Annotated[specs.StudySpec, FLAT] = specs.StudySpec(),
    expect: Annotated[specs.Expect, FLAT] = specs.Expect(),
    allow_code: Annotated[bool, RUNNING] = False,
    output: Annotated[Path, OUTPUT] = Path("results"),
) -> None:
    """Measure on benchmarks what a lesion takes away, against control lesions.

    Parameters
    ----------
    model, options, study, expect
        Which model, which units, and how they are evaluated.
    network
        Whose units are lesioned, at each --percentage; default language, unless --mask is given.
    mask
        A mask's file, or network@percentage as in language@1 or language@0.5:nmd; repeatable.
    allow_code
        Run code that a task's file (lm-eval:FILE) or a --mask (language@1:file.py:Class) names.
    output
        Folder for the results; the same command goes on from what is there.
    """
    from lsns.evaluation.lesion_study import evaluate

    with _asked(model, options) as request:
        result = evaluate(
            request,
            _lesioned(request, options, network, _named(mask, allow_code)),
            **study.but("doses", "part_controls", "batch_size"),
            expect=expect,
            batch_size=options.batch_size,
            workers=options.workers,
            cache_dir=options.cache_dir,
            output_dir=output,
            allow_code=allow_code,
            progress=True,
        )
    say(result.describe(width()))
    say(f"\nwrote {output / 'summary.csv'}, {output / 'study.json'} and {output / 'items'}")


@_command
def _audit(
    *,
    model: Annotated[_Model, FLAT],
    network: specs.Network | None = None,
    options: Annotated[_Units, FLAT] = _Units(),
    study: Path | None = None,
    asked: Annotated[specs.AuditSpec, FLAT] = specs.AuditSpec(),
    output: Annotated[Path | None, OUTPUT] = None,
) -> None:
    """Ask of a localization whether it is a network or an artefact.

    Reliability on other items, selectivity on held-out ones, what chance gives, outlier
    dimensions, confounds, the share of other protocols; with a study, what lesions say.

    Parameters
    ----------
    model, options, asked
        Which model, which units, and how much is computed.
    network
        Which network to localize; default language, or the name of the --stimuli file.
    study
        Folder of a study by lsns evaluate with this mask; best with --split-outliers.
    output
        File for the audit as JSON.
    """
    from lsns.audits.auditing import AuditOptions, audit

    with _asked(model, options) as request:
        result = audit(
            _found(request, options, network),
            model=request,
            study=study,
            overlaps=asked.overlaps,
            profile=asked.profile,
            options=AuditOptions.of(asked),
            batch_size=options.batch_size,
            progress=True,
        )
    # Before anything is printed, which may fail.
    written = output and result.save(output)
    say(result.describe(width()))
    _say_written(written, after="\n")


@_command
def _compare(
    *masks: str,
    model: Annotated[_Model | None, FLAT] = None,
    options: Annotated[_UnitsOfMasks, FLAT] = _UnitsOfMasks(),
    allow_code: Annotated[bool, RUNNING] = False,
    output: Annotated[Path | None, OUTPUT] = None,
) -> None:
    """Count the units that masks share, pair by pair, against chance.

    Parameters
    ----------
    masks
        Files of masks, or network@percentage as in language@1 or language@0.5:nmd for masks of
        --model-name; at least two.
    model, options
        Which model, and which units.
    allow_code
        Run the code that a mask names, as language@1:file.py:Class does.
    output
        File for the comparison as JSON.
    """
    from lsns.audits.comparison import compare
    from lsns.mask import UnitMask
    from lsns.store import write_json

    named = _named(masks, allow_code)
    lacking = [text for text, one in zip(masks, named, strict=True) if not isinstance(one, Path)]
    if lacking and model is None:
        raise LsnsError(f"{lacking[0]} is a mask of a model; name it with --model-name")
    with _asked(model or _ModelOrBundled(), options) as request:
        made = [
            UnitMask.load(one) if isinstance(one, Path) else one
            for one in _made(request, options, named)
        ]
    result = compare(dict(zip(masks, made, strict=True)))
    if output is not None:
        write_json(output, result.to_dict())
    say(result.describe(width()))
    _say_written(output)


@_command
def _verify(model: str, /, *, revision: str | None = None) -> None:
    """Read all files of a model, and say of each whether it is damaged.

    Parameters
    ----------
    model
        smollm2-135m (bundled; made again if it is damaged), a hub id of which the files are on this
        machine, a local folder, or a .gguf file.
    revision
        Branch, tag or commit of a hub model.
    """
    from lsns.models.source import verify_model

    for file in verify_model(model, revision=revision):
        print(file, flush=True)


@_command(name="config")
def _print_config() -> None:
    """Print a configuration file with every key, its default and its meaning."""
    from lsns.config import commented_default

    say(commented_default(), end="")


@stimuli_app.command
def _fetch(
    name: Literal["langloc"], *, output: Annotated[Path, OUTPUT] = Path("stimuli/langloc")
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


@_command
def _plot(
    kind: FigureKind, /, *results: Path, output: Annotated[Path | None, OUTPUT] = None
) -> None:
    """Draw a figure of a finished run: PDF, SVG or PNG for a paper, HTML, or JSON to go on from.

    Parameters
    ----------
    kind
        layers, heatmap, scores, methods (T-test against NMD), dose, effects (of lesions),
        reliability, outliers, overlap (of masks), protocols, profile, or recurrence (across
        layers).
    results
        A results folder, as lsns run writes it; several for heatmap and overlap.
    output
        The file; its ending says the format: pdf, svg, png, html, or json (the chart as Vega-Lite).
        Default: KIND.pdf.
    """
    from lsns.report.figures import write_figure

    _say_written(write_figure(kind, results, output or Path(f"{kind}.pdf")))


@_command
def _report(results: Path, /, *, output: Annotated[Path | None, OUTPUT] = None) -> None:
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
        except (CycloptsError, LsnsError, OutputError) as error:
            return _fail(_described(error))
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


def _described(error: Exception) -> str:
    """What was wrong in one line; of an option that is checked, by the name of its flag."""
    match error:
        case SpecError(key=key, wrong=wrong):
            name = key.rpartition(".")[2]
            flag = FLAGS.get(name, name).replace("_", "-")
            return f"--{flag} {wrong.replace(', or null;', ';')}"
        case CycloptsError():
            return f"{error} (see lsns --help)"
        case _:
            return str(error)


def _is_broken(word: str) -> bool:
    """Whether an argument has bytes that are no UTF-8, which Python keeps as half characters."""
    return any("\ud800" <= character <= "\udfff" for character in word)


def _fail(message: str, code: int = EXIT_CODE) -> int:
    with suppress(OSError):
        print(f"lsns: {one_line(message)}", file=sys.stderr, flush=True)
    return code


def _say_written(*paths: Path | None, after: str = "") -> None:
    for path in filter(None, paths):
        say(f"{after}wrote {one_line(str(path))}")


@contextmanager
def _asked(model: _Model, options: specs.Protocol) -> Generator[ModelRequest]:
    """The model, loaded once and when it is needed; meanwhile torch has the threads asked for."""
    from lsns.models.factory import ModelRequest
    from lsns.plugins import load_module

    for plugin in model.plugins:
        load_module(plugin)
    request = ModelRequest.of(replace(model, seed=options.seed))
    if model.threads is None:
        yield request
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(model.threads)
    try:
        yield request
    finally:
        torch.set_num_threads(before)


def _found(model: BaseModel | ModelRequest, options: _Units, network: str | None) -> Localization:
    from lsns.localization import localize
    from lsns.stimuli.networks import load_contrast

    own, arguments = options.stimuli, options.arguments()
    if network == "stimuli" and own is None:
        raise LsnsError("--network stimuli needs --stimuli, a folder or file")
    named = None if network == "stimuli" or own is None else network
    contrast = load_contrast(own or network or "language", network=named)
    if isinstance(options, specs.Running):
        arguments["workers"] = options.workers
    return localize(model, contrast, **arguments, cache_dir=options.cache_dir, progress=True)


def _lesioned(
    request: ModelRequest, options: _Doses, networks: Sequence[str], named: Named
) -> Iterator[Localization | Path]:
    """Every network at every percentage, and what --mask names."""
    for network in networks or ((None,) if not named or options.percentages else ()):
        for amount in options.percentages or (None,):
            yield _found(request, replace(options, percentage=amount), network)
    yield from _made(request, options, named)


def _made(request: ModelRequest, options: _Units, named: Named) -> Iterator[Localization | Path]:
    """Masks as they are named: files as they are, networks localized."""
    for one in named:
        if isinstance(one, Path):
            yield one
        else:
            asked = {"percentage": one.percentage, "method": one.method or options.method}
            yield _found(request, replace(options, **asked, num_units=None), one.network)


def _named(texts: Sequence[str], allow_code: bool) -> Named:
    """Masks as they are written; one that names code needs permission."""
    from lsns.evaluation.conditions import parse_spec
    from lsns.plugins import permit

    named = [parse_spec(text) for text in texts]
    code = [code for one in named if not isinstance(one, Path) for code in one.code]
    permit(code, allowed=allow_code)
    return named
