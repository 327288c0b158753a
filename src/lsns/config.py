"""`ExperimentConfig`: all that a run is made from, in one schema for YAML, flags and Python.

Every field carries what it takes and what it means. The reader of YAML, `--set`, `lsns config`,
`to_yaml` and the checks of a config made in Python all follow from that. No torch here.
"""

from __future__ import annotations

import difflib
import math
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import Field, asdict, dataclass, field, fields
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import yaml

from lsns.analysis import METHODS
from lsns.analysis.outliers import THRESHOLD
from lsns.analysis.selection import PercentileRange
from lsns.audits.calibration import MOST_PERMUTATIONS
from lsns.audits.reliability import MOST_HALVES
from lsns.errors import LsnsError
from lsns.evaluation.conditions import CONTROLS, MOST_SEEDS
from lsns.evaluation.statistics import MOST_RESAMPLES
from lsns.lesions.controls import Control
from lsns.plugins import ANALYZERS
from lsns.stimuli.contrast import Pooling, parse_pooling
from lsns.stimuli.networks import NETWORKS
from lsns.store import atomic

Condition = Literal["none", "network", "random", "uniform", "layer", "magnitude", "outliers"]
DTYPES = ("float32", "bfloat16", "float16", "auto")
LARGEST_SEED = 2**32 - 1
# How alike a word must be to be offered for a misspelt one (difflib's ratio).
CUTOFF = 0.5
WIDTH = 100
# More than anything can be counted to here.
LARGEST = 10**9
# What a configuration is bounded by, so that reading one is quick whatever it is.
CHARACTERS, VALUES, DEPTH, DIGITS = 500_000, 10_000, 10, 400
# Line breaks of YAML 1.1 that are none to others, and the byte order mark.
LINE_BREAKS = "\x85\u2028\u2029\ufeff"


class _KeyError(LsnsError):
    """Something wrong with one key; the reader of a file adds where it stands."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(f"{key} {message}")
        self.key = key


@dataclass(frozen=True)
class _Kind:
    """What a key takes.

    Attributes:
        words: in words, to follow "wants".
        read: a value to the value that is stored; raises an error for one that is not taken.
        choices: the names it takes, for "did you mean".
    """

    words: str
    read: Callable[[Any], Any]
    choices: tuple[str, ...] = ()


def _require(condition: bool) -> None:
    if not condition:
        raise ValueError


def _text() -> _Kind:
    def read(value: Any) -> str:
        _require(isinstance(value, str) and bool(value.strip()))
        # Half a surrogate pair cannot be written; the error is a ValueError.
        value.encode()
        return value

    return _Kind("text", read)


def _path(words: str = "a path") -> _Kind:
    def read(value: Any) -> str:
        _require(isinstance(value, (str, Path)))
        place = _text().read(str(value))
        _require("\0" not in place)
        # A shell does this for a flag; nobody does it for a line of YAML.
        return str(Path(place).expanduser()) if place.startswith("~") else place

    return _Kind(words, read)


def _flag() -> _Kind:
    def read(value: Any) -> bool:
        _require(isinstance(value, bool))
        return value

    return _Kind("true or false", read)


def _integer(low: int, high: int = LARGEST) -> _Kind:
    def read(value: Any) -> int:
        _require(isinstance(value, int) and not isinstance(value, bool) and low <= value <= high)
        return value

    return _Kind(f"a whole number, {low} to {high}", read)


def _number(high: float = math.inf) -> _Kind:
    def read(value: Any) -> float:
        _require(isinstance(value, (int, float)) and not isinstance(value, bool))
        _require(0 < value <= high and math.isfinite(value))
        return float(value)

    until = "" if high == math.inf else f" and at most {high:g}"
    return _Kind(f"a number above 0{until}", read)


def _choice(*names: str) -> _Kind:
    def read(value: Any) -> str:
        _require(isinstance(value, str) and value in names)
        return value

    return _Kind(f"one of {', '.join(names)}", read, names)


def _device() -> _Kind:
    def read(value: Any) -> str:
        _require(isinstance(value, str))
        _require(re.fullmatch(r"auto|(cpu|cuda|mps|xpu)(:\d+)?", value) is not None)
        return value

    names = ("auto", "cpu", "cuda", "mps")
    return _Kind(f"{', '.join(names)} or cuda:N", read, names)


def _method() -> _Kind:
    def read(value: Any) -> str:
        _require(isinstance(value, str))
        own = re.fullmatch(r".+:\w+", value) or value in entry_points(group=ANALYZERS).names
        _require(value in METHODS or bool(own))
        return value

    return _Kind(f"one of {', '.join(METHODS)}, or module:Class", read, tuple(METHODS))


def _pooling() -> _Kind:
    def read(value: Any) -> str:
        _require(isinstance(value, str))
        return parse_pooling(value)

    return _Kind(f"one of {', '.join(get_args(Pooling))}", read, get_args(Pooling))


def _range() -> _Kind:
    def read(value: Any) -> str:
        _require(isinstance(value, str))
        PercentileRange.parse(value)
        return value

    return _Kind("100-100, 0-0 or START-END with 0 <= START < END <= 100", read)


def _list_of(kind: _Kind, *, least: int = 0) -> _Kind:
    def read(value: Any) -> tuple[Any, ...]:
        _require(isinstance(value, (list, tuple)) and len(value) >= least)
        items = tuple(kind.read(item) for item in value)
        _require(len(set(items)) == len(items))
        return items

    some = "a list (at least one) of different values" if least else "a list of different values"
    return _Kind(f"{some}, each {kind.words}", read, kind.choices)


def _optional(kind: _Kind) -> _Kind:
    def read(value: Any) -> Any:
        return None if value is None else kind.read(value)

    return _Kind(f"{kind.words}, or null", read, kind.choices)


def _key(default: Any, kind: _Kind, doc: str, *, alias: str | None = None) -> Any:
    return field(default=default, metadata={"kind": kind, "doc": doc, "alias": alias})


class _Section:
    """Checks and stores what it is given, as the reader of a file does."""

    prefix_of_keys: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for entry in fields(self):  # type: ignore[arg-type]
            if "kind" in entry.metadata:
                value = _read(entry, self.prefix_of_keys + entry.name, getattr(self, entry.name))
                object.__setattr__(self, entry.name, value)


@dataclass(frozen=True, kw_only=True)
class ModelConfig(_Section):
    """Which model, and how it is loaded; see `lsns.load_model`."""

    prefix_of_keys: ClassVar[str] = "model."

    name: str = _key(
        "smollm2-135m",
        _path("a name"),
        "smollm2-135m (bundled, needs no hub), a hub id, a local folder, a .gguf file, or a "
        "registered name",
    )
    device: str = _key("auto", _device(), "auto: cuda, else mps, else cpu")
    dtype: str = _key(
        "float32",
        _choice(*DTYPES),
        "precision of the weights; auto: the checkpoint's own",
        alias="torch_dtype",
    )
    revision: str | None = _key(
        None, _optional(_text()), "branch, tag or commit of a hub model; null: what is here"
    )
    pretrained: bool = _key(True, _flag(), "false: random weights of the same architecture")
    seed: int = _key(42, _integer(0, LARGEST_SEED), "of the random weights")
    trust_remote_code: bool = _key(False, _flag(), "run code that comes with the model")
    blocks: str | None = _key(
        None, _optional(_text()), "dotted path of the list of blocks; null: found by itself"
    )
    device_map: str | None = _key(
        None,
        _optional(_text()),
        "auto: spread a large model over the devices there are; device is then not used",
    )
    quantization: str | None = _key(
        None, _optional(_choice("8bit", "4bit")), "quantized weights (extra: quantization)"
    )
    plugins: tuple[str, ...] = _key(
        (),
        _list_of(_path()),
        "modules or .py files that register models of your own; imported first",
    )

    @property
    def torch_dtype(self) -> str:
        """The same as `dtype`."""
        return self.dtype


@dataclass(frozen=True, kw_only=True)
class AnalysisConfig(_Section):
    """Which units; see `lsns.localize`."""

    prefix_of_keys: ClassVar[str] = "analysis."

    method: str = _key("ttest", _method(), "how units are scored; module:Class: one of your own")
    percentage: float | None = _key(
        None,
        _optional(_number(100)),
        "of all units, rounded down; null: the method's default (1; nmd: 0.5 of each layer)",
    )
    num_units: int | None = _key(
        None, _optional(_integer(1)), "a number of units instead of a percentage"
    )
    localize_range: str = _key(
        "100-100",
        _range(),
        "100-100 highest scores, 0-0 lowest, x-y a random draw between those percentiles",
    )
    per_layer: bool | None = _key(
        None,
        _optional(_flag()),
        "the same number of units in every layer; null: the method's default (nmd: true)",
    )
    exclude_outliers: bool = _key(
        False, _flag(), "do not select outlier units; there are as many units as without it"
    )
    outlier_threshold: float = _key(
        THRESHOLD,
        _number(),
        "how many times the median of its layer an outlier's mean absolute activation exceeds",
    )
    pooling: str | None = _key(
        None,
        _optional(_pooling()),
        "how a text's tokens become one vector (last is last-token); null: the network's protocol",
    )
    max_tokens: int | None = _key(
        None,
        _optional(_integer(0)),
        "cut texts to their first tokens; 0: whole; null: the network's protocol",
    )
    seed: int = _key(42, _integer(0, LARGEST_SEED), "of a random draw of units")
    batch_size: int | None = _key(
        None,
        _optional(_integer(1)),
        "texts per forward pass; null: chosen; masks stay the same, activations but for rounding",
    )
    overwrite: bool = _key(False, _flag(), "run the model again even if its activations are cached")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.percentage is not None and self.num_units is not None:
            raise _KeyError(
                "analysis.num_units",
                "cannot stand beside analysis.percentage; set one of them to null",
            )


@dataclass(frozen=True, kw_only=True)
class LesionConfig(_Section):
    """The conditions under which prompts are continued; see `lsns.lesion`."""

    prefix_of_keys: ClassVar[str] = "lesion."

    conditions: tuple[Condition, ...] = _key(
        ("none", "network", "random"),
        _list_of(_choice(*get_args(Condition)), least=1),
        "none (intact), network (the units found), random (as many others, as control says), or a "
        "control by its kind",
    )
    mode: Literal["zero", "mean"] = _key(
        "zero", _choice("zero", "mean"), "what replaces a unit: zero, or its mean activation"
    )
    control: Control = _key(  # noqa: RUF009 (a Literal)
        "uniform",
        _choice(*get_args(Control)),
        "random units: any others, as many in each layer, also of like magnitude, or as many "
        "outliers",
    )
    seeds: tuple[int, ...] = _key(
        (42,), _list_of(_integer(0, LARGEST_SEED), least=1), "one random control for each"
    )


@dataclass(frozen=True, kw_only=True)
class GenerationConfig(_Section):
    """How prompts are continued; see `lsns.generate`."""

    prefix_of_keys: ClassVar[str] = "generation."

    max_new_tokens: int = _key(20, _integer(1), "length of a continuation")
    temperature: float | None = _key(
        None, _optional(_number()), "sample at this temperature; null: greedy"
    )
    seed: int = _key(42, _integer(0, LARGEST_SEED), "of the sampling")


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig(_Section):
    """Benchmarks under lesions and controls; see `lsns.evaluate`."""

    prefix_of_keys: ClassVar[str] = "evaluation."

    benchmarks: tuple[str, ...] = _key(
        (),
        _list_of(_text()),
        "such as minimal-pairs, blimp:FOLDER, perplexity, other=minimal-pairs:FILE; none: no study",
    )
    doses: tuple[float, ...] = _key(
        (),
        _list_of(_number(100)),
        "further percentages of units, lesioned beside the mask; with uniform and magnitude "
        "controls, if controls is null",
    )
    controls: tuple[str, ...] | None = _key(
        None,
        _optional(_list_of(_choice(*CONTROLS))),
        "kinds of control lesions; null: all that there are units for",
    )
    split_outliers: bool = _key(
        True, _flag(), "lesion the mask's outlier units alone as well, and the rest of it"
    )
    part_controls: tuple[str, ...] | None = _key(
        None,
        _optional(_list_of(_choice(*CONTROLS))),
        "the same of the outlier units alone and of the rest; null: those of the mask",
    )
    seeds: int = _key(
        20,
        _integer(1, MOST_SEEDS),
        "control masks of each kind; fewer than 20 are too few for a claim",
    )
    modes: tuple[str, ...] = _key(
        ("zero",), _list_of(_choice("zero", "mean"), least=1), "what replaces a unit"
    )
    prefix: str = _key(
        "auto", _text(), "what stands in front of each text: auto, bos, eos, none, or a token"
    )
    limit: int | None = _key(
        None, _optional(_integer(1)), "items of each paradigm at most; null: all"
    )
    resamples: int = _key(2000, _integer(1, MOST_RESAMPLES), "of the bootstrap")
    batch_size: int | None = _key(
        None,
        _optional(_integer(1)),
        "texts per forward pass; null: chosen; changes log-probabilities by rounding",
    )


@dataclass(frozen=True, kw_only=True)
class AuditConfig(_Section):
    """Is it a network or an artefact; see `lsns.audit`."""

    prefix_of_keys: ClassVar[str] = "audit."

    enabled: bool = _key(True, _flag(), "false: no audit")
    overlaps: bool = _key(False, _flag(), "run the model for the masks of other poolings and cuts")
    profile: bool = _key(
        True, _flag(), "run the model for the further conditions of the stimuli, if they have some"
    )
    halves: int = _key(20, _integer(1, MOST_HALVES), "random halves for reliability")
    permutations: int = _key(1000, _integer(19, MOST_PERMUTATIONS), "shuffles of the labels")
    alpha: float = _key(
        0.05, _number(0.5), "family-wise error rate of the threshold that chance reaches"
    )
    seed: int = _key(0, _integer(0, LARGEST_SEED), "of splits and shuffles")


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig(_Section):
    """A run: a localization, lesions of what was found, an audit of it, and a page.

    Raises:
        LsnsError: a value of another type, or one that is not possible.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    network: str | None = _key(
        None,
        _optional(_choice(*NETWORKS)),
        "which network to localize; null: language, or the name of the stimuli file",
    )
    stimuli: str | None = _key(
        None,
        _optional(_path()),
        "a folder of langloc CSVs, or a CSV, TSV or JSONL file with text, condition, group; "
        "null: built-in ones",
    )
    analysis: AnalysisConfig = field(default_factory=AnalysisConfig)
    prompts: tuple[str, ...] = _key(
        (), _list_of(_text()), "texts to continue under each condition of lesion; none: no model "
        "is needed once its activations are cached",
    )  # fmt: skip
    lesion: LesionConfig = field(default_factory=LesionConfig)
    generation: GenerationConfig = field(default_factory=GenerationConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    audit: AuditConfig = field(default_factory=AuditConfig)
    report: bool = _key(True, _flag(), "write report.html, the page that shows all of the run")
    output_dir: str = _key("results", _path(), "folder for what a run writes; it describes one run")
    cache_dir: str | None = _key(
        None,
        _optional(_path()),
        "folder for activations, shared by runs; null: LOC_CACHE, else cache",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, section in SECTIONS.items():
            if not isinstance(getattr(self, name), section):
                raise _KeyError(name, f"wants a {section.__name__}")
        if self.analysis.pooling == "sum" and "mean" in self.evaluation.modes:
            raise _KeyError(
                "evaluation.modes",
                "cannot have mean where analysis.pooling is sum, which has no mean of a token",
            )
        used = self.prompts and set(self.lesion.conditions) != {"none"}
        if used and self.lesion.mode == "mean" and self.analysis.pooling == "sum":
            raise _KeyError(
                "lesion.mode",
                "cannot be mean where analysis.pooling is sum, which has no mean of a token",
            )

    @classmethod
    def from_yaml(cls, path: str | Path, overrides: Sequence[str] = ()) -> ExperimentConfig:
        """Read a YAML file; what it leaves out has its default.

        Args:
            path: the file.
            overrides: `key=value` texts, as of `--set`: a dotted key and a YAML value. They are
                checked as the file is, and override it.

        Raises:
            LsnsError: no such file, no YAML, an unknown key, a wrong value; with file and line.
        """
        entries = _entries_of_file(Path(path))
        for text in overrides:
            entry = _entry_of_override(text)
            entries[entry.key] = entry
        return _build(entries)

    def to_dict(self) -> dict[str, Any]:
        """All keys and values, in lists, dictionaries and plain values."""
        return _plain(asdict(self))

    def to_yaml(self, path: str | Path) -> Path:
        """Write all keys and values as YAML, in one step."""
        with atomic(Path(path)) as temporary:
            temporary.write_text(self.to_text(), encoding="utf-8")
        return Path(path)

    def to_text(self) -> str:
        """All keys and values as YAML."""
        return _dump(self.to_dict())


SECTIONS: Mapping[str, type[_Section]] = {
    "model": ModelConfig,
    "analysis": AnalysisConfig,
    "lesion": LesionConfig,
    "generation": GenerationConfig,
    "evaluation": EvaluationConfig,
    "audit": AuditConfig,
}


def commented_default() -> str:
    """Every key with its default, its meaning in a comment above it, as YAML."""
    lines = ["# A run of lsns: every key with its default. Use it with: lsns run THIS_FILE"]
    for entry in fields(ExperimentConfig):
        section = SECTIONS.get(entry.name)
        if section is None:
            lines += ["", *_commented(entry, "")]
            continue
        doc = (section.__doc__ or "").partition(";")[0].rstrip(".")
        lines += ["", f"# {doc}", f"{entry.name}:"]
        for inner in fields(section):  # type: ignore[arg-type]
            lines += _commented(inner, "  ")
    return "\n".join(lines) + "\n"


def is_written_by_lsns(path: Path) -> bool:
    """Whether a file is as `to_yaml` or a run writes it: nothing is lost by writing it again."""
    text = re.sub(r"# run: [0-9a-f]{64}\n\Z", "", _text_of(path))
    return text == _dump(ExperimentConfig.from_yaml(path).to_dict())


def schema() -> Iterator[tuple[str, Field[Any]]]:
    """Every dotted key and its field, in the order of the file."""
    for entry in fields(ExperimentConfig):
        section = SECTIONS.get(entry.name)
        if section is None:
            yield entry.name, entry
        else:
            for inner in fields(section):  # type: ignore[arg-type]
                yield f"{entry.name}.{inner.name}", inner


def _commented(entry: Field[Any], indent: str) -> list[str]:
    doc, words = entry.metadata["doc"], entry.metadata["kind"].words
    comment = f"{doc} [{words}]"
    lines = textwrap.wrap(
        comment, WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# "
    )
    value = yaml.safe_dump([_plain(entry.default)], default_flow_style=True, width=math.inf)
    return [*lines, f"{indent}{entry.name}: {value.strip()[1:-1]}"]


class _Dumper(yaml.SafeDumper):
    """Quotes what PyYAML would write bare and read back as a space."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = '"' if set(text) & set(LINE_BREAKS) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def _dump(content: Mapping[str, Any]) -> str:
    return yaml.dump(
        dict(content), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=math.inf
    )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


@dataclass(frozen=True)
class _Entry:
    """A value, and where it stands.

    Attributes:
        key: the dotted key by its one name.
        place: file and line, or the flag.
        line: of the file; 0 for a flag.
        value: as read from YAML.
    """

    key: str
    place: str
    line: int
    value: Any


def _read(entry: Field[Any], key: str, value: Any) -> Any:
    kind: _Kind = entry.metadata["kind"]
    try:
        return kind.read(value)
    except (LsnsError, ArithmeticError, ValueError, TypeError, RuntimeError):
        raise _KeyError(
            key, f"wants {kind.words}; found {_shown(value)}{_meant(kind, value)}"
        ) from None


def _meant(kind: _Kind, value: Any) -> str:
    words = value if isinstance(value, (list, tuple)) else [value]
    for word in words:
        near = difflib.get_close_matches(_plainly(word).lower(), kind.choices, 1, CUTOFF)
        if near and word not in kind.choices:
            return f"; did you mean {near[0]}?"
    return (
        "; quote it"
        if kind.words.startswith(("text", "a path", "a name")) and _is_scalar(value)
        else ""
    )


def _is_scalar(value: Any) -> bool:
    return value is not None and not isinstance(value, (str, list, tuple, dict))


def _shown(value: Any) -> str:
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the text {_short(repr(value))}"
    if isinstance(value, dict):
        return "a mapping"
    return _plainly(list(value) if isinstance(value, tuple) else value)


def _plainly(value: Any) -> str:
    try:
        return _short(str(value))
    except ValueError:
        # Python writes no number of more than some thousands of digits.
        return "a number of too many digits"


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


def _build(entries: Mapping[str, _Entry]) -> ExperimentConfig:
    known = dict(schema())
    values: dict[str, Any] = {}
    for key, entry in entries.items():
        try:
            values[key] = _read(known[key], key, entry.value)
        except _KeyError as error:
            raise LsnsError(f"{entry.place}: {error}") from None
    top = {key: value for key, value in values.items() if "." not in key}
    for name, section in SECTIONS.items():
        inner = {k.partition(".")[2]: v for k, v in values.items() if k.startswith(f"{name}.")}
        top[name] = _placed(entries, section, inner)
    return _placed(entries, ExperimentConfig, top)


def _placed(entries: Mapping[str, _Entry], section: Callable[..., Any], values: Any) -> Any:
    """A section; what does not go together is told with the place of one of the keys."""
    try:
        return section(**values)
    except _KeyError as error:
        raise LsnsError(f"{entries[error.key].place}: {error}") from None


def _entries_of_file(path: Path) -> dict[str, _Entry]:
    entries: dict[str, _Entry] = {}
    for entry in _walk(_compose(_text_of(path), str(path)), str(path)):
        before = entries.setdefault(entry.key, entry)
        if before is not entry:
            raise LsnsError(
                f"{entry.place}: {entry.key} is given twice; the first is in line {before.line}"
            )
    return entries


def _text_of(path: Path) -> str:
    try:
        with path.open(encoding="utf-8-sig") as file:
            text = file.read(CHARACTERS + 1)
    except UnicodeDecodeError:
        raise LsnsError(f"{path} is not UTF-8 text; save it as UTF-8") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise LsnsError(f"configuration {path} cannot be read ({reason})") from None
    if len(text) > CHARACTERS:
        raise LsnsError(f"{path} is no configuration: it has more than {CHARACTERS:,} characters")
    return text


class _NotTakenError(yaml.MarkedYAMLError):
    """YAML, but more than a configuration needs."""


class _Loader(yaml.SafeLoader):
    """YAML whose values stand where they are written, a bounded number of them.

    Without aliases, a few of which stand for a billion values, and without tags, which make other
    values of a text than a reader sees.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._count = 0

    def get_single_node(self) -> yaml.Node | None:
        """The one value of the text."""
        try:
            return super().get_single_node()
        except (ValueError, OverflowError):
            # PyYAML makes a character of any escape, and a number of any %YAML.
            said = "an escape or a number out of range"
            raise yaml.MarkedYAMLError(problem=said, problem_mark=self.get_mark()) from None

    def compose_node(self, parent: yaml.Node | None, index: Any) -> Any:
        """A value; PyYAML calls this for each."""
        event: Any = self.peek_event()
        self._depth, self._count = self._depth + 1, self._count + 1
        if isinstance(event, yaml.AliasEvent):
            raise _not_taken(event, f"an alias (*{_short(event.anchor)}); write its value")
        if event.tag is not None:
            tag = _short(event.tag.replace("tag:yaml.org,2002:", "!!"))
            raise _not_taken(event, f"a tag ({tag}); leave it out, and quote what is text")
        if self._depth > DEPTH:
            raise _not_taken(event, "nested too deeply")
        if self._count > VALUES:
            raise _not_taken(event, f"more than {VALUES:,} values")
        node: Any = super().compose_node(parent, index)
        if node.tag.endswith((":int", ":float")) and len(node.value) > DIGITS:
            raise _not_taken(event, f"a number of more than {DIGITS} digits")
        self._depth -= 1
        return node


def _not_taken(event: yaml.Event, what: str) -> _NotTakenError:
    return _NotTakenError(problem=what, problem_mark=event.start_mark)


def _compose(text: str, name: str) -> yaml.Node | None:
    """The YAML nodes, which know their lines; nothing is made of them yet."""
    try:
        return yaml.compose(text, Loader=_Loader)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise LsnsError(f"{name}, line {line}: not YAML: {error.reason}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        said = error.problem or error.context
        what = "not a configuration" if isinstance(error, _NotTakenError) else "not YAML"
        raise LsnsError(f"{name}, line {line}: {what}: {said} (column {column})") from None


def _walk(root: yaml.Node | None, name: str) -> Iterator[_Entry]:
    if root is None:
        return
    for key, line, node in _pairs(root, name, "the file"):
        if key not in SECTIONS:
            yield _entry(key, f"{name}, line {line}", line, node)
        elif node.tag != "tag:yaml.org,2002:null":
            for inner, inner_line, leaf in _pairs(node, name, key):
                place = f"{name}, line {inner_line}"
                yield _entry(f"{key}.{inner}", place, inner_line, leaf)


def _pairs(node: yaml.Node, name: str, what: str) -> Iterator[tuple[str, int, yaml.Node]]:
    if not isinstance(node, yaml.MappingNode) or node.tag != "tag:yaml.org,2002:map":
        line = node.start_mark.line + 1
        raise LsnsError(f"{name}, line {line}: {what} wants keys with values (key: value)")
    seen: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise LsnsError(f"{name}, line {line}: {what}: a key is a word")
        if key.value in seen:
            first = seen[key.value]
            raise LsnsError(
                f"{name}, line {line}: {key.value} is given twice; the first is in line {first}"
            )
        seen[key.value] = line
        yield key.value, line, value


def _entry(key: str, place: str, line: int, node: yaml.Node | None) -> _Entry:
    return _Entry(_known_key(key, place), place, line, _value(node, f"{place}: {key}"))


def _entry_of_override(text: str) -> _Entry:
    key, equals, value = text.partition("=")
    key = key.strip()
    place = f"--set {key}"
    if not equals:
        raise LsnsError(f"--set {text}: wants KEY=VALUE, as in analysis.percentage=1")
    if key in SECTIONS:
        raise LsnsError(f"{place}: a section; set one of its keys: {', '.join(_keys_of(key))}")
    key = _known_key(key, place)
    try:
        return _entry(key, place, 0, _compose(value, place))
    except LsnsError as error:
        if "not YAML" not in str(error):
            raise
        raise LsnsError(f"{place}: {value!r} is no YAML value; quote it: '{key}=\"...\"'") from None


def _value(node: yaml.Node | None, place: str) -> Any:
    """The plain value of a node; a tag can make nothing else of it."""
    if node is None:
        return None
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_object(node, deep=True)
    except (yaml.YAMLError, ValueError, TypeError, OverflowError) as error:
        said = getattr(error, "problem", None) or str(error)
        raise LsnsError(f"{place}: not a plain value ({_short(said)})") from None
    finally:
        loader.dispose()


def _known_key(key: str, place: str) -> str:
    aliases = {
        f"{known.rpartition('.')[0]}.{entry.metadata['alias']}": known
        for known, entry in schema()
        if entry.metadata["alias"]
    }
    known = [name for name, _ in schema()]
    if key in known:
        return key
    if key in aliases:
        return aliases[key]
    key = _short(key)
    raise LsnsError(f"{place}: {key} is not a key; {_advice(key, [*known, *SECTIONS, *aliases])}")


def _advice(key: str, known: Sequence[str]) -> str:
    section, _, leaf = key.replace("-", "_").rpartition(".")
    here = {name.rpartition(".")[2]: name for name in known if name.rpartition(".")[0] == section}
    anywhere = {name.rpartition(".")[2]: name for name in known}
    candidates = (
        [here[near] for near in difflib.get_close_matches(leaf, here, 1, 0.8)],
        [anywhere[leaf]] if leaf in anywhere and leaf not in here else [],
        [here[near] for near in difflib.get_close_matches(leaf, here, 1, CUTOFF)],
        difflib.get_close_matches(key, known, 1, CUTOFF),
        [anywhere[near] for near in difflib.get_close_matches(leaf, anywhere, 1, CUTOFF)],
    )
    for found in candidates:
        if found:
            return f"did you mean {found[0]}?"
    return f"there are {', '.join(_keys_of(section) or _keys_of(''))}"


def _keys_of(section: str) -> list[str]:
    if section == "":
        return [entry.name for entry in fields(ExperimentConfig)]
    return [name for name, _ in schema() if name.startswith(f"{section}.")]
