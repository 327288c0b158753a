"""Every option of the package, declared once: what it takes, its default, and its meaning below it.

YAML, `--set`, `lsns config`, the flags of the command line and the checks in Python all follow from
these classes. No torch, and nothing of the package but its errors.

Annotations are evaluated here, and not later, because cyclopts does that in the module of a
subclass.
"""

import ast
import difflib
import inspect
import math
import os
import re
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, fields
from functools import cache, cached_property
from itertools import pairwise
from pathlib import Path
from types import NoneType
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    Self,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

from cyclopts import Group, Parameter

from lsns.errors import LsnsError
from lsns.plugins import ANALYZERS

METHODS = ("ttest", "ttest-signed", "nmd", "mean")
DEVICES = ("auto", "cpu", "cuda", "mps")
LARGEST_SEED = 2**32 - 1
# More than anything can be counted to here.
LARGEST = 10**9
# How alike a word must be to be offered for a misspelt one (difflib's ratio).
CUTOFF = 0.5
LONGEST_SHOWN = 60
# So much that a computation ends.
MOST_SEEDS, MOST_HALVES, MOST_PERMUTATIONS = 10_000, 10_000, 100_000

# The groups of flags in the help of the command line, in this order.
ASKED = Group("What is asked", sort_key=1)
STIMULI = Parameter(group=Group("Stimuli and protocol", sort_key=2))
SELECTION = Parameter(group=Group("Selection", sort_key=3))
LOADING = Parameter(group=Group("Model loading", sort_key=4))
RUNNING = Parameter(group=Group("Running", sort_key=5))
NO_FLAG = Parameter(parse=False)
# Of a list that cannot be empty.
SOME = "at least one"


@dataclass(frozen=True)
class _Kind:
    """What an option takes.

    Attributes:
        words: for people, to follow "wants".
        read: a value to the one to store; `ValueError` or `ArithmeticError` if it is not taken.
        choices: names that it takes, to be offered for a misspelt one.
    """

    words: str
    read: Callable[[Any], Any]
    choices: tuple[str, ...] = ()


class SpecError(LsnsError):
    """A value that an option does not take; whoever knows where it stands adds that.

    Attributes:
        key: the dotted key of the option.
        wrong: what is wrong, to follow the key.
    """

    def __init__(self, key: str, wrong: str) -> None:
        super().__init__(f"{key} {wrong}")
        self.key, self.wrong = key, wrong


def _require(condition: object) -> None:
    if not condition:
        raise ValueError


def _text(value: Any, pattern: str = r"(?s).*") -> str:
    # Half a surrogate pair cannot be written; the error is a ValueError.
    _require(isinstance(value, str) and value.strip().encode() and re.fullmatch(pattern, value))
    return value


def _path(value: Any) -> str:
    text = _text(str(value) if isinstance(value, Path) else value, r"[^\0]*")
    # A shell does this for a flag; nobody does it for a line of YAML.
    return os.path.expanduser(text) if text.startswith("~") else text


def _method(value: Any) -> str:
    if re.fullmatch(r".+:\w+", _text(value)) or value in METHODS:
        return value
    # Takes longer to import than all of this.
    from importlib.metadata import entry_points

    _require(value in entry_points(group=ANALYZERS).names)
    return value


def _range(value: Any) -> str:
    start, end = (float(part) for part in _text(value).split("-"))
    _require(0 <= start < end <= 100 or start == end in (0, 100))
    return value


def _number(value: Any, kind: type = float) -> Any:
    _require(isinstance(value, (int, kind)) and not isinstance(value, bool))
    return kind(value)


def _whole(least: int, most: int) -> _Kind:
    def read(value: Any) -> int:
        _require(least <= _number(value, int) <= most)
        return value

    return _Kind(f"a whole number, {least} to {most}", read)


def _above_0(most: float = math.inf) -> _Kind:
    def read(value: Any) -> float:
        _require(0 < _number(value) <= most and math.isfinite(value))
        return float(value)

    return _Kind(f"a number above 0{'' if most == math.inf else f' and at most {most:g}'}", read)


Text = Annotated[str, _Kind("text", _text)]
Place = Annotated[str, _Kind("a path", _path)]
Named = Annotated[str, _Kind("a name", _path)]
ModelName = Annotated[Named, Parameter(name="--model-name", group=ASKED)]
Device = Annotated[
    str,
    _Kind(
        f"{', '.join(DEVICES)} or cuda:N",
        lambda value: _text(value, r"auto|(cpu|cuda|mps|xpu)(:\d+)?"),
        DEVICES,
    ),
]
Method = Annotated[str, _Kind(f"one of {', '.join(METHODS)}, or module:Class", _method, METHODS)]
Range = Annotated[str, _Kind("100-100, 0-0 or START-END with 0 <= START < END <= 100", _range)]
Count = Annotated[int, _whole(1, LARGEST)]
Seed = Annotated[int, _whole(0, LARGEST_SEED)]
Positive = Annotated[float, _above_0()]
Percentage = Annotated[float, _above_0(100)]
Pooling = Literal["last-token", "last", "mean", "sum"]
Network = Literal["language", "theory-of-mind", "multiple-demand"]
Control = Literal["uniform", "layer", "magnitude", "outliers"]
AnyControl = Literal["uniform", "layer", "magnitude", "outliers", "decoy", "least"]
Condition = Literal["none", "network", "random", "uniform", "layer", "magnitude", "outliers"]
Mode = Literal["zero", "mean"]


def _by_commas(_: Any, tokens: Any) -> tuple[str, ...]:
    """What stands between commas on the command line; `none` is nothing."""
    text = tokens[0].value
    return () if text == "none" else tuple(word.strip() for word in text.split(","))


COMMAS = Parameter(converter=_by_commas, n_tokens=1, negative="")


@dataclass(frozen=True)
class Option:
    """One field of a spec.

    Attributes:
        spec: the class that has it.
        name: of the field.
        hint: its type, as it is annotated.
        default: the value where none is given; `dataclasses.MISSING` if it is made.
    """

    spec: "type[Spec]"
    name: str
    hint: Any
    default: Any

    @property
    def key(self) -> str:
        """Its dotted key, as in YAML."""
        return self.spec.section + self.name

    @property
    def meaning(self) -> str:
        """What stands below the field."""
        return _meanings(self.spec)[self.name]

    @cached_property
    def wants(self) -> _Kind:
        """What it takes."""
        return _kind(self.hint)

    def read(self, value: Any) -> Any:
        """The value to store.

        Raises:
            SpecError: a value that is not taken.
        """
        try:
            return self.wants.read(value)
        except (ArithmeticError, TypeError, ValueError):
            found = f"found {_shown(value)}{_meant(self.wants, value)}"
            raise SpecError(self.key, f"wants {self.wants.words}; {found}") from None


@dataclass_transform(frozen_default=True, kw_only_default=True)
@dataclass(frozen=True)
class Spec:
    """Options that belong together; they are checked wherever they come from.

    What is derived of it is a frozen dataclass.

    Raises:
        LsnsError: a value of another type, or one that is not possible.
    """

    section: ClassVar[str] = ""

    def __init_subclass__(cls, *, kw_only: bool = True) -> None:
        dataclass(frozen=True, kw_only=kw_only)(cls)

    def __post_init__(self) -> None:
        for name, option in self.options().items():
            value = getattr(self, name)
            if value is not option.default:
                object.__setattr__(self, name, option.read(value))

    @classmethod
    @cache
    def options(cls) -> Mapping[str, Option]:
        """Its options by their names, in the order of the file."""
        hints = get_type_hints(cls, include_extras=True)
        return {e.name: Option(cls, e.name, hints[e.name], e.default) for e in fields(cls)}

    @classmethod
    def of(cls, other: "Spec") -> Self:
        """Those options of another spec that this one has as well; itself if it is one."""
        if isinstance(other, cls):
            return other
        names = (entry.name for entry in fields(cls) if hasattr(other, entry.name))
        return cls(**{name: getattr(other, name) for name in names})

    def but(self, *names: str) -> dict[str, Any]:
        """Its options by name, as arguments of a function; without some."""
        return {e.name: getattr(self, e.name) for e in fields(self) if e.name not in names}


class ModelSpec(Spec, kw_only=False):
    """Which model, and how it is loaded."""

    section: ClassVar[str] = "model."

    name: ModelName
    """smollm2-135m (bundled, needs no hub), a hub id, a local folder, a .gguf file, or a registered
    name."""
    _: KW_ONLY
    device: Annotated[Device, LOADING] = "auto"
    """auto (cuda, else mps, else cpu), cpu, cuda, mps or cuda:N."""
    dtype: Annotated[Literal["float32", "bfloat16", "float16", "auto"], LOADING] = "float32"
    """Precision of the weights; auto: the checkpoint's own."""
    revision: Annotated[Text | None, LOADING] = None
    """Branch, tag or commit of a hub model; default: what is here."""
    pretrained: Annotated[bool, Parameter(negative="--untrained"), LOADING] = True
    """False (--untrained): random weights of the same architecture, drawn with the seed."""
    seed: Annotated[Seed, NO_FLAG] = 42
    """Random seed for the weights of an untrained model."""
    trust_remote_code: Annotated[bool, LOADING] = False
    """Run code that comes with the model."""
    blocks: Annotated[Text | None, LOADING] = None
    """Dotted path of the list of blocks, where it is not found by itself."""
    device_map: Annotated[Text | None, LOADING] = None
    """auto: spread a large model over the devices there are; device is then not used."""
    quantization: Annotated[Literal["8bit", "4bit"] | None, LOADING] = None
    """Quantized weights (extra: quantization)."""


class ModelConfig(ModelSpec):
    """Which model, and how it is loaded; see `lsns.load_model`."""

    name: ModelName = "smollm2-135m"
    plugins: Annotated[tuple[Place, ...], LOADING, Parameter(name="--plugin")] = ()
    """Modules or .py files that register models of your own; imported first."""

    @property
    def torch_dtype(self) -> str:
        """Another name of `dtype`."""
        return self.dtype


class Protocol(Spec):
    """How the texts are read."""

    section: ClassVar[str] = "analysis."

    pooling: Annotated[Pooling | None, STIMULI] = None
    """How a text's tokens become one vector (last is last-token); default: the network's
    protocol."""
    max_tokens: Annotated[Annotated[int, _whole(0, LARGEST)] | None, STIMULI] = None
    """Cut texts to their first tokens; 0: whole; default: the network's protocol."""
    seed: Annotated[Seed, RUNNING] = 42
    """Random seed for a draw of units; on the command line also for control lesions, for sampling
    and for the weights of an untrained model."""
    batch_size: Annotated[Count | None, RUNNING] = None
    """Texts per forward pass; default: chosen. Masks stay the same, activations but for
    rounding."""
    overwrite: Annotated[bool, RUNNING] = False
    """Run the model again even if its activations are cached."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pooling == "last":
            object.__setattr__(self, "pooling", "last-token")


class Running(Spec):
    """How work is done, which no result depends on."""

    workers: Annotated[Count, RUNNING] = 1
    """Processes of this machine that run the model, each with a copy of it and as many threads as
    one would have (see OMP_NUM_THREADS)."""


class Selection(Spec):
    """Which units."""

    section: ClassVar[str] = "analysis."

    method: Annotated[Method, SELECTION] = "ttest"
    """How units are scored: ttest, ttest-signed, nmd, mean, or module:Class for your own."""
    percentage: Percentage | None = None
    """Percent of all units, rounded down; default: the method's (1; nmd: 0.5 of each layer)."""
    num_units: Annotated[Count | None, SELECTION] = None
    """A number of units instead of a percentage."""
    localize_range: Annotated[Range, SELECTION] = "100-100"
    """100-100 highest scores, 0-0 lowest, x-y a random draw between those percentiles."""
    per_layer: Annotated[bool | None, SELECTION, Parameter(negative="--global")] = None
    """The same number of units in every layer, or over all layers; default: the method's (nmd: the
    same)."""
    exclude_outliers: Annotated[bool, SELECTION] = False
    """Do not select outlier units; there are as many units as without it."""
    outlier_threshold: Annotated[Positive, SELECTION] = 10.0
    """How many times the median of its layer an outlier's mean absolute activation exceeds."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.percentage is not None and self.num_units is not None:
            raise SpecError(
                f"{self.section}num_units",
                "cannot stand beside a percentage: give one of them (null for the other), not both",
            )


class AnalysisConfig(Protocol, Selection):
    """Which units; see `lsns.localize`."""

    def arguments(self) -> dict[str, Any]:
        """What `lsns.localize` takes: whole texts are 0 tokens here, and None there."""
        given = {e.name: getattr(self, e.name) for e in fields(AnalysisConfig)}
        if given["max_tokens"] is None:
            del given["max_tokens"]
        return given | ({"max_tokens": None} if self.max_tokens == 0 else {})


class LesionConfig(Spec):
    """The conditions under which prompts are continued; see `lsns.lesion`."""

    section: ClassVar[str] = "lesion."

    conditions: Annotated[tuple[Condition, ...], SOME, NO_FLAG] = (*("none", "network", "random"),)
    """none (intact), network (the units found), random (as many others, as control says), or a
    control by its kind."""
    mode: Mode = "zero"
    """What replaces a unit: zero, or its mean activation."""
    control: Control = "uniform"
    """Units of a random control: any others, as many in each layer, also of like magnitude, or as
    many outliers."""
    seeds: Annotated[tuple[Seed, ...], SOME, NO_FLAG] = (42,)
    """Random seeds for the controls, one control for each."""


class GenerationConfig(Spec):
    """How prompts are continued; see `lsns.generate`."""

    section: ClassVar[str] = "generation."

    max_new_tokens: Count = 20
    """Length of the continuation."""
    temperature: Positive | None = None
    """Sample at this temperature; default: greedy."""
    seed: Annotated[Seed, NO_FLAG] = 42
    """Random seed for the sampling."""


class StudySpec(Spec):
    """Benchmarks under lesions and controls, as `lsns.evaluate` takes them."""

    section: ClassVar[str] = "evaluation."

    benchmarks: Annotated[tuple[Text, ...], Parameter(name="--benchmark", negative="")] = (
        "minimal-pairs",
    )
    """minimal-pairs, minimal-pairs:PATH, beliefs, sums, facts, blimp (from the hub), blimp:FOLDER,
    syntaxgym:FOLDER, perplexity, perplexity:FILE or lm-eval:TASK; language=, theory-of-mind=,
    multiple-demand= or other= in front says what it asks for."""
    doses: Annotated[tuple[Percentage, ...], NO_FLAG] = ()
    """Further percentages of units, lesioned beside the mask; with uniform and magnitude controls,
    if no controls are named."""
    controls: Annotated[tuple[AnyControl, ...] | None, COMMAS] = None
    """Kinds of control lesions: uniform, layer, magnitude, decoy, least, outliers (as a flag: with
    commas, or none); default: all that there are units for (outliers where masks are split; for a
    mask's file uniform and layer)."""
    split_outliers: bool = False
    """Lesion each mask three times: all, its outlier units only, the rest; each with its own
    controls."""
    part_controls: Annotated[tuple[AnyControl, ...] | None, NO_FLAG] = None
    """Kinds of control lesions for the outlier units alone and for the rest; default: those of the
    mask."""
    seeds: Annotated[int, _whole(1, MOST_SEEDS)] = 20
    """Masks drawn of each kind of control; fewer than 20 are too few for a claim."""
    modes: Annotated[tuple[Mode, ...], SOME, COMMAS, Parameter(name="--mode")] = ("zero",)
    """What replaces a unit: zero, mean (its mean activation), or both (as a flag: zero,mean)."""
    prefix: Text = "auto"
    """What stands in front of each text: auto, bos, eos, none, or a token written out."""
    limit: Count | None = None
    """Items of each paradigm at most, the first ones; default: all."""
    smallest_effect: Annotated[float, _above_0(0.5)] = 0.1
    """Smallest effect that counts: a share of what the intact model does above chance."""
    batch_size: Annotated[Count | None, NO_FLAG] = None
    """Texts per forward pass; default: chosen. Changes log-probabilities by rounding."""


class Expect(Spec):
    """What lesions should harm and what they should spare, said beforehand."""

    section: ClassVar[str] = "expect."

    harm: Annotated[tuple[Text, ...], Parameter(name="--harm", negative="")] = ()
    """Benchmarks that lesions should harm, by name; default: those of the network's own domain, or
    all that they should not spare."""
    spare: Annotated[tuple[Text, ...], Parameter(name="--spare", negative="")] = ()
    """Benchmarks that lesions should spare, by name; default: all others."""

    def __post_init__(self) -> None:
        super().__post_init__()
        both = next((name for name in self.harm if name in self.spare), None)
        if both is not None:
            raise SpecError("expect.spare", f"cannot have {both!r}, which stands in expect.harm")


class EvaluationConfig(StudySpec):
    """Benchmarks under lesions and controls; see `lsns.evaluate`."""

    benchmarks: tuple[Text, ...] = ()
    split_outliers: bool = True


class _AuditParts(Spec):
    section: ClassVar[str] = "audit."

    enabled: Annotated[bool, NO_FLAG] = True
    """False: no audit."""
    overlaps: bool = False
    """Run the model for the masks of other poolings and cuts; what it costs is said before."""
    profile: bool = False
    """Run the model for the further conditions of the stimuli, such as scrambled sentences."""


class _AuditAmounts(Spec):
    section: ClassVar[str] = "audit."

    halves: Annotated[int, _whole(1, MOST_HALVES)] = 20
    """Random halves for reliability."""
    permutations: Annotated[int, _whole(19, MOST_PERMUTATIONS)] = 1000
    """Shuffles of the labels for the threshold that chance reaches."""
    alpha: Annotated[float, _above_0(0.5)] = 0.05
    """Family-wise error rate of that threshold."""
    seed: Annotated[Seed, NO_FLAG] = 0
    """Random seed for splits and shuffles."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.alpha * (self.permutations + 1) < 1:
            raise SpecError(
                f"{self.section}alpha",
                f"{self.alpha:g} cannot be reached with {self.permutations} permutations; use at "
                f"least {math.ceil(1 / self.alpha) - 1}",
            )


class AuditOptions(_AuditAmounts):
    """How much of an audit is computed."""

    percentages: tuple[Percentage, ...] = (0.125, 0.25, 0.5, 1.0, 2.0, 5.0)
    """Percentages for which reliability is measured, beside the localization's own; one that
    selects no unit of a small model, or more than may be selected, is left out."""


class AuditSpec(_AuditAmounts, _AuditParts):
    """What of an audit is done, as `lsns.audit` does by default."""


class AuditConfig(AuditSpec):
    """Is it a network or an artefact; see `lsns.audit`."""

    profile: bool = True


@cache
def _meanings(spec: "type[Spec]") -> dict[str, str]:
    """What stands below the fields, in the source."""
    found: dict[str, str] = {}
    for base in reversed(spec.__mro__[:-1]):
        made: Any = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        for entry, below in pairwise(made.body):
            match entry, below:
                case ast.AnnAssign(ast.Name(name)), ast.Expr(ast.Constant(str(text))):
                    found[name] = " ".join(text.split())
                case _:
                    pass
    return found


def _kind(hint: Any) -> _Kind:
    base, *notes = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    for note in notes:
        if isinstance(note, _Kind):
            return note
    if get_origin(base) is tuple:
        return _list_of(_kind(get_args(base)[0]), some=SOME in notes)
    names, inner = get_args(base), [one for one in get_args(base) if one is not NoneType]
    if get_origin(base) is Literal:
        return _Kind(f"one of {', '.join(names)}", lambda value: names[names.index(value)], names)
    if inner:
        kind = _kind(inner[0])
        return _Kind(
            f"{kind.words}, or null",
            lambda value: None if value is None else kind.read(value),
            kind.choices,
        )

    def read(value: Any) -> Any:
        _require(isinstance(value, base))
        return value

    return _Kind("true or false" if base is bool else f"a {base.__name__}", read)


def _list_of(inner: _Kind, *, some: bool) -> _Kind:
    def read(value: Any) -> tuple[Any, ...]:
        _require(isinstance(value, (list, tuple)) and (value or not some))
        items = tuple(map(inner.read, value))
        _require(len(set(items)) == len(items))
        return items

    many = f"a list{f' ({SOME})' if some else ''} of different values"
    return _Kind(f"{many}, each {inner.words}", read, inner.choices)


def _meant(wanted: _Kind, value: Any) -> str:
    words = value if isinstance(value, (list, tuple)) else [value]
    for word in words:
        near = difflib.get_close_matches(_plainly(word).lower(), wanted.choices, 1, CUTOFF)
        if near and word not in wanted.choices:
            return f"; did you mean {near[0]}?"
    is_bare = not isinstance(value, (NoneType, str, list, tuple, dict))
    return "; quote it" if is_bare and wanted.words.startswith(("text", "a path", "a name")) else ""


def _shown(value: Any) -> str:
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the text {shortened(repr(value))}"
    if isinstance(value, dict):
        return "a mapping"
    return _plainly(list(value) if isinstance(value, tuple) else value)


def _plainly(value: Any) -> str:
    try:
        return shortened(str(value))
    except ValueError:
        # Python writes no number of more than some thousands of digits.
        return "a number of too many digits"


def shortened(text: str) -> str:
    """A text, cut to what one line has place for."""
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 3]}..."
