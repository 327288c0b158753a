"""`ExperimentConfig`: a run, from YAML and to YAML. Its options are declared in `lsns.specs`.

Every error names the file and the line, or the flag, and what may have been meant. No torch here.
"""

from __future__ import annotations

import difflib
import math
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lsns.errors import LsnsError
from lsns.specs import (
    CUTOFF,
    Expect,
    Network,
    Option,
    Place,
    Spec,
    SpecError,
    Text,
    shortened,
)
from lsns.specs import AnalysisConfig as AnalysisConfig
from lsns.specs import AuditConfig as AuditConfig
from lsns.specs import EvaluationConfig as EvaluationConfig
from lsns.specs import GenerationConfig as GenerationConfig
from lsns.specs import LesionConfig as LesionConfig
from lsns.specs import ModelConfig as ModelConfig
from lsns.store import atomic

WIDTH = 100
# What a configuration is bounded by, so that reading one is quick whatever it is.
CHARACTERS, VALUES, DEPTH, DIGITS = 500_000, 10_000, 10, 400
# Line breaks of YAML 1.1 that are none to others, and the byte order mark.
LINE_BREAKS = "\x85\u2028\u2029\ufeff"
ALIASES = {"model.torch_dtype": "model.dtype"}


class ExperimentConfig(Spec):
    """A run: a localization, lesions of what was found, an audit of it, and a page.

    Raises:
        LsnsError: a value of another type, or one that is not possible.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    network: Network | None = None
    """Which network to localize; default: language, or the name of the stimuli file."""
    stimuli: Place | None = None
    """A folder of langloc CSVs, or a CSV, TSV or JSONL file with text, condition, group; default:
    built-in ones."""
    analysis: AnalysisConfig = field(default_factory=AnalysisConfig)
    prompts: tuple[Text, ...] = ()
    """Texts to continue under each condition of lesion; none: no model is needed once its
    activations are cached."""
    lesion: LesionConfig = field(default_factory=LesionConfig)
    generation: GenerationConfig = field(default_factory=GenerationConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    expect: Expect = field(default_factory=Expect)
    audit: AuditConfig = field(default_factory=AuditConfig)
    report: bool = True
    """Write report.html, the page that shows all of the run."""
    output_dir: Place = "results"
    """Folder for what a run writes; it describes one run."""
    cache_dir: Place | None = None
    """Folder for activations, shared by runs; default: LOC_CACHE, else cache."""

    def __post_init__(self) -> None:
        super().__post_init__()
        lesioned = self.prompts and set(self.lesion.conditions) != {"none"}
        means = {
            "evaluation.modes": "mean" in self.evaluation.modes,
            "lesion.mode": lesioned and self.lesion.mode == "mean",
        }
        for key, wanted in means.items():
            if wanted and self.analysis.pooling == "sum":
                why = "where analysis.pooling is sum, which has no mean of a token"
                raise SpecError(key, f"cannot be mean {why}")

    @classmethod
    def from_yaml(cls, path: str | Path, overrides: Sequence[str] = ()) -> ExperimentConfig:
        """Read a YAML file; what it leaves out has its default.

        Args:
            path: the file.
            overrides: `key=value` texts, as after `--set`: a dotted key and a YAML value. They are
                checked as the file is, and override it.

        Raises:
            LsnsError: no such file, no YAML, an unknown key, a wrong value; with file and line.
        """
        root = _compose(_text_of(Path(path)), str(path))
        entries = [] if root is None else list(_walk(root, str(path)))
        return _build({e.key: e for e in [*entries, *map(_entry_of_override, overrides)]})

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
        return yaml.dump(
            self.to_dict(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=math.inf
        )


_TOP = ExperimentConfig.options()
_SECTIONS: Mapping[str, type[Spec]] = {
    name: option.hint
    for name, option in _TOP.items()
    if isinstance(option.hint, type) and issubclass(option.hint, Spec)
}
# Every option in the order of the file.
OPTIONS = [
    option
    for name, top in _TOP.items()
    for option in (_SECTIONS[name].options().values() if name in _SECTIONS else [top])
]
_KEYS = [option.key for option in OPTIONS]


def commented_default() -> str:
    """Every key with its default, its meaning in a comment above it, as YAML."""
    lines = ["# A run of lsns: every key with its default. Use it with: lsns run THIS_FILE"]
    for name, option in _TOP.items():
        if name not in _SECTIONS:
            lines += ["", *_commented(option, "")]
            continue
        doc = (_SECTIONS[name].__doc__ or "").partition(";")[0].rstrip(".")
        lines += ["", f"# {doc}", f"{name}:"]
        inner = _SECTIONS[name].options().values()
        lines += [line for option in inner for line in _commented(option, "  ")]
    return "\n".join(lines) + "\n"


def is_written_by_lsns(path: Path) -> bool:
    """Whether a file is as `to_yaml` or a run writes it: nothing is lost by writing it again."""
    text = re.sub(r"# run: [0-9a-f]{64}\n\Z", "", _text_of(path))
    return text == ExperimentConfig.from_yaml(path).to_text()


def _commented(option: Option, indent: str) -> list[str]:
    lines = textwrap.wrap(
        f"{option.meaning} [{option.wants.words}]", WIDTH,
        initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ",
    )  # fmt: skip
    value = yaml.safe_dump([_plain(option.default)], default_flow_style=True, width=math.inf)
    return [*lines, f"{indent}{option.name}: {value.strip()[1:-1]}"]


class _Dumper(yaml.SafeDumper):
    """Quotes what PyYAML would write bare and read back as a space."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = '"' if set(text) & set(LINE_BREAKS) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


@dataclass(frozen=True)
class _Entry:
    """A value as read from YAML, by its dotted key, and where it stands: file and line, or flag."""

    key: str
    place: str
    value: Any


def _build(entries: Mapping[str, _Entry]) -> ExperimentConfig:
    given: dict[str, dict[str, Any]] = {name: {} for name in ("", *_SECTIONS)}
    for key, entry in entries.items():
        section, _, name = key.rpartition(".")
        given[section][name] = entry.value
    try:
        made: dict[str, Any] = {name: made_of(**given[name]) for name, made_of in _SECTIONS.items()}
        return ExperimentConfig(**given[""], **made)
    except SpecError as error:
        # Its own place, else that of the key beside it which it does not go with.
        places = {key.rpartition(".")[0]: entry.place for key, entry in entries.items()}
        places |= {key: entry.place for key, entry in entries.items()}
        place = places.get(error.key) or places[error.key.rpartition(".")[0]]
        raise LsnsError(f"{place}: {error}") from None


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
            raise _not_taken(event, f"an alias (*{shortened(event.anchor)}); write its value")
        if event.tag is not None:
            tag = shortened(event.tag.replace("tag:yaml.org,2002:", "!!"))
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


def _walk(node: yaml.Node, name: str, section: str = "") -> Iterator[_Entry]:
    """Every key of the file, or of one of its sections, with its value."""
    what = section.rstrip(".") or "the file"
    if not isinstance(node, yaml.MappingNode) or node.tag != "tag:yaml.org,2002:map":
        line = node.start_mark.line + 1
        raise LsnsError(f"{name}, line {line}: {what} wants keys with values (key: value)")
    seen: dict[str, int] = {}
    for key_node, value in node.value:
        line = key_node.start_mark.line + 1
        place = f"{name}, line {line}"
        if not isinstance(key_node, yaml.ScalarNode):
            raise LsnsError(f"{place}: {what}: a key is a word")
        key = _known_key(section + key_node.value, place, also=() if section else tuple(_SECTIONS))
        if key in seen:
            raise LsnsError(f"{place}: {key} is given twice; the first is in line {seen[key]}")
        seen[key] = line
        if key not in _SECTIONS:
            yield _Entry(key, place, _value(value, f"{place}: {key}"))
        elif value.tag != "tag:yaml.org,2002:null":
            yield from _walk(value, name, f"{key}.")


def _entry_of_override(text: str) -> _Entry:
    key, equals, value = text.partition("=")
    key = key.strip()
    place = f"--set {key}"
    if not equals:
        raise LsnsError(f"--set {text}: wants KEY=VALUE, as in analysis.percentage=1")
    if key in _SECTIONS:
        raise LsnsError(f"{place}: a section; set one of its keys: {', '.join(_keys_of(key))}")
    key = _known_key(key, place)
    try:
        return _Entry(key, place, _value(_compose(value, place), f"{place}: {key}"))
    except LsnsError as error:
        if "not YAML" not in str(error):
            raise
        raise LsnsError(f"{place}: {value!r} is no YAML value; quote it: '{key}=\"...\"'") from None


def _value(node: yaml.Node | None, place: str) -> Any:
    """The plain value of a node; a tag can make nothing else of it."""
    try:
        return node and yaml.SafeLoader("").construct_object(node, deep=True)
    except (yaml.YAMLError, ValueError, TypeError, OverflowError) as error:
        said = getattr(error, "problem", None) or str(error)
        raise LsnsError(f"{place}: not a plain value ({shortened(said)})") from None


def _known_key(key: str, place: str, also: Sequence[str] = ()) -> str:
    key = ALIASES.get(key, key)
    if key in _KEYS or key in also:
        return key
    key = shortened(key)
    raise LsnsError(f"{place}: {key} is not a key; {_advice(key, [*_KEYS, *_SECTIONS, *ALIASES])}")


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
    return [key for key in _KEYS if key.startswith(f"{section}.")] if section else list(_TOP)
