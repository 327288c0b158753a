"""lm-eval's tasks on the same model object, so that a lesion that is attached acts.

lm-eval (https://github.com/EleutherAI/lm-evaluation-harness) is an extra. It reseeds the global
random generators; here they are put back as they were.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, cached_property
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import yaml

from lsns.errors import LsnsError
from lsns.evaluation.benchmark import Benchmark, Row
from lsns.evaluation.scoring import resolve_prefix
from lsns.store import sha256_file

if TYPE_CHECKING:
    from lsns.models.base import BaseModel

# The first of these that a task has is its score; all are a share of correct items.
_METRICS = ("acc", "exact_match", "em", "f1", "mcc")
# Of a task's YAML, at most.
_DEPTH = 100


@dataclass(frozen=True)
class HarnessTask(Benchmark):
    """A task or group of lm-eval, or a task's YAML file."""

    whole: ClassVar[bool] = True

    @property
    def paths(self) -> list[Path]:
        """All files that the task is made of: YAML, the code of its functions, local data."""
        others = dict.fromkeys(
            other
            for path, config in self._configs.items()
            for other in [*_code_files(config, path.parent), *_data_files(config)]
        )
        return [*self._configs, *(path for path in others if path.is_file())]

    @property
    def code(self) -> list[str]:
        """The code that lm-eval runs for the files of a task of one's own, each piece in words."""
        return [
            f"{code} in {path}"
            for path, config in self._configs.items()
            if not _is_installed(path)
            for code in dict.fromkeys([*config.tagged, *_scripts(config)])
        ]

    @property
    def description(self) -> dict[str, Any]:
        """All that determines the items; of a data set on the hub, only its name is known."""
        name = self.argument if self._file is None else self._file.stem
        # Files of one name in several folders are common, and the folders are no content.
        files = sorted([path.name, sha256_file(path)] for path in self.paths)
        own = {"files": files, "limit": self.limit, "task": name, "lm_eval": _version()}
        return {"kind": type(self).__name__, **own}

    @property
    def size(self) -> int:
        """A guess: items are known when they are scored."""
        _ = self._task
        return 2 * (self.limit or 500)

    @cached_property
    def _file(self) -> Path | None:
        """The task's YAML file, if it is given by one."""
        path = Path(self.argument)
        if path.suffix not in (".yaml", ".yml"):
            return None
        if not path.is_file():
            raise LsnsError(f"no file {path}")
        return path.resolve()

    @cached_property
    def _configs(self) -> dict[Path, _Config]:
        """The YAML files that the task is made of, and those that they include or list, read."""
        _ = _version()
        configs: dict[Path, _Config] = {}
        waiting = [self._file] if self._file is not None else self._files(self._task)
        while waiting:
            path = waiting.pop()
            if path in configs:
                continue
            config = configs[path] = _config(path)
            included = _listed(config.get("include"))
            waiting += [(path.parent / str(name)).resolve() for name in included]
            # A group lists its tasks, in many ways; a task has no list. Other words find nothing.
            tasks = config.get("task")
            names = [name for name in _each(tasks) if isinstance(name, str) and name is not tasks]
            waiting += [file for name in names for file in self._files(name)]
        return configs

    @cached_property
    def _manager(self) -> Any:
        """What knows lm-eval's tasks, and those in the folder of the file."""
        return _shipped_tasks() if self._file is None else _tasks_with(self._file.parent)

    @cached_property
    def _task(self) -> str:
        """The task's name."""
        if self._file is None:
            return _known(self.argument, list(self._manager.all_tasks))
        config = self._configs[self._file]
        names = (config.get("task"), config.get("group"), self._file.stem)
        name = next(name for name in names if isinstance(name, str))
        found = [path for path in self._files(name) if path != self._file]
        if found:
            raise LsnsError(f"{found[0]} is a task of the same name as {self._file}; rename one")
        return name

    def _files(self, name: str) -> list[Path]:
        """The file of a task or group, or those of a tag's tasks; none for an unknown name."""
        entry = self._manager.task_index.get(name)
        # Before lm-eval 0.4.13 an entry is a dict, with the tasks of a tag under `task`.
        fields = entry if isinstance(entry, dict) else vars(entry) if entry else {}
        if isinstance(fields.get("yaml_path"), (str, Path)):
            return [Path(fields["yaml_path"]).resolve()]
        members = sorted(fields.get("tags") or fields.get("task") or [])
        return [path for member in members for path in self._files(member)]

    def run(self, model: BaseModel, *, prefix: str, batch_size: int | None = None) -> list[Row]:
        """Have lm-eval score every document: the one benchmark that runs itself.

        Args:
            model: the model, intact or with lesions attached.
            prefix: what stands in front of a text without context: `auto`, `bos`, `eos`, `none`
                (lm-eval's own choice), or a token of the vocabulary.
            batch_size: requests per forward pass; None: 16.

        Returns:
            A row for each document; `score` is what lm-eval says of it.

        Raises:
            LsnsError: lm-eval fails, or gives no result for each document.
        """
        front = resolve_prefix(model.tokenizer, prefix)
        options = {} if front.token_id is None else {"prefix_token_id": front.token_id}
        with _undisturbed():
            samples = self._samples(model, {"batch_size": batch_size or 16, **options})
        rows = [_row(self.name, task, one) for task in sorted(samples) for one in samples[task]]
        if not rows:
            raise LsnsError(f"lm-eval task {self._task} has no items")
        return rows

    def _samples(self, model: BaseModel, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """What lm-eval keeps of every document, by task."""
        # Untyped: its decorators hide what its functions take.
        lm_eval: Any = import_module("lm_eval")
        models: Any = import_module("lm_eval.models.huggingface")
        name, manager = self._task, self._manager
        try:
            with model.evaluating(), _sandboxed():
                results = lm_eval.simple_evaluate(
                    models.HFLM(pretrained=model.model, tokenizer=model.tokenizer, **options),
                    tasks=[name], limit=self.limit, task_manager=manager, bootstrap_iters=0,
                    log_samples=True, batch_size=options["batch_size"],
                )  # fmt: skip
        except LsnsError:
            raise
        except Exception as error:
            # A data set that cannot be had, or an item that lm-eval stumbles over.
            raise LsnsError(
                f"lm-eval task {name} failed ({type(error).__name__}: {str(error)[:200]})"
            ) from error
        if not results or "samples" not in results:
            raise LsnsError(f"lm-eval task {name} gave no item-level results")
        return results["samples"]


def _row(benchmark: str, task: str, sample: Mapping[str, Any]) -> Row:
    metric = next((name for name in _METRICS if name in sample), None)
    item = f"{task}, item {sample['doc_id']}"
    if metric is None:
        raise LsnsError(f"{item}: none of {', '.join(_METRICS)} among its metrics")
    score = sample[metric]
    if metric in ("f1", "mcc") and isinstance(score, (tuple, list)) and len(score) == 2:
        # A measure of all items together, as for CoLA: of each, lm-eval keeps gold and guess.
        metric, score = f"{metric}: gold = guess", score[0] == score[1]
    if not isinstance(score, (bool, int, float, np.generic)) or not np.isfinite(float(score)):
        raise LsnsError(f"{item}: {metric} is {score!r}, not a number for each item")
    value = float(score)
    return {
        "benchmark": benchmark,
        "paradigm": task,
        "item": str(sample["doc_id"]),
        "metric": metric,
        "score": value,
        "correct": bool(value) if value in (0.0, 1.0) else None,
        "chance": _chance(metric, sample),
    }


def _chance(metric: str, sample: Mapping[str, Any]) -> float:
    """What guessing scores: one of the answers that are offered; nothing, where none is."""
    choices = len(sample.get("arguments") or ())
    return 1 / choices if metric.startswith(("acc", "f1", "mcc")) and choices > 1 else 0.0


def _known(name: str, names: Sequence[str]) -> str:
    if name not in names:
        near = get_close_matches(name, names, n=3)
        hint = f"; did you mean {', '.join(near)}?" if near else "; see lm-eval ls tasks"
        raise LsnsError(f"lm-eval has no task {name!r}{hint}")
    return name


@cache
def _shipped_tasks() -> Any:
    return _tasks_with(None)


def _tasks_with(folder: Path | None) -> Any:
    """lm-eval's own tasks, and those in a folder. It reads thousands of files."""
    with _undisturbed():
        from lm_eval.tasks import TaskManager  # type: ignore[import-not-found]

        return TaskManager(include_path=None if folder is None else str(folder))


def _each(value: Any) -> Iterator[Any]:
    """A value and all below it; what aliases repeat is looked into once."""
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        yield (one := waiting.pop())
        if isinstance(one, (dict, list)) and id(one) not in seen:
            seen.add(id(one))
            waiting += one.values() if isinstance(one, dict) else one


def _code_files(config: Mapping[str, Any], folder: Path) -> Iterator[Path]:
    """The Python files of the functions in a configuration."""
    for value in _each(config):
        if isinstance(value, _Function):
            yield folder / f"{value.rpartition('.')[0].replace('.', '/')}.py"


@cache
def _is_installed(path: Path) -> bool:
    """Whether a file came with lm-eval."""
    package = find_spec("lm_eval")
    places = (package.submodule_search_locations or []) if package else []
    return any(path.is_relative_to(Path(place).resolve()) for place in places)


def _scripts(config: Mapping[str, Any]) -> Iterator[str]:
    """Metrics and data sets in a configuration that are scripts, or pickles, which are no less."""
    for value in _each(config):
        if not isinstance(value, dict):
            continue
        metric, data = value.get("metric"), value.get("dataset_path")
        if metric is not None and (value.get("hf_evaluate") or str(metric) not in _metrics()):
            yield f"metric {metric}"
        if data == "pandas" or value.get("trust_remote_code"):
            yield f"data set {data or 'with trust_remote_code'}"


@cache
def _metrics() -> frozenset[str]:
    """The metrics that lm-eval has itself; others it loads as scripts, from here or the hub."""
    with _undisturbed():
        import_module("lm_eval.api.metrics")
        return frozenset(import_module("lm_eval.api.registry").METRIC_REGISTRY)


def _data_files(config: Mapping[str, Any]) -> Iterator[Path]:
    """The local files that a configuration names."""
    options = config.get("dataset_kwargs")
    files = (options.get("data_files") if isinstance(options, dict) else None) or []
    for entry in files.values() if isinstance(files, dict) else _listed(files):
        yield from (Path(name) for name in _listed(entry))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


class _Function(str):
    """What stands after `!function`: a module beside the YAML file, and a name in it."""

    __slots__ = ()


# What lm-eval reads with, so that both see the same.
_Safe: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Safe):
    """Reads lm-eval's `!function` without running it."""


_Loader.add_constructor("!function", lambda loader, node: _Function(loader.construct_scalar(node)))


class _Config(dict[str, Any]):
    """A YAML file's content, and what it has that is more than data, wherever that stands."""

    tagged: list[str]


def _config(path: Path) -> _Config:
    tagged, depth = [], 0
    try:
        text = path.read_bytes()
        for event in yaml.parse(text, Loader=_Safe):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            # libyaml crashes where Python would say so.
            if depth > _DEPTH:
                raise ValueError("nested too deeply")
            tag = getattr(event, "tag", None)
            if tag is not None and tag not in yaml.SafeLoader.yaml_constructors:
                tagged.append(f"{tag} {getattr(event, 'value', '')}".strip())
        content = yaml.load(text, Loader=_Loader)  # noqa: S506
    except (OSError, ValueError, LookupError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise LsnsError(f"{path} cannot be read as YAML ({error})") from None
    if not isinstance(content, dict):
        raise LsnsError(f"{path} is no lm-eval task; expected keys such as task")
    config = _Config(content)
    config.tagged = tagged
    return config


def _version() -> str:
    try:
        return version("lm-eval")
    except PackageNotFoundError:
        raise LsnsError(
            "a benchmark of lm-eval needs lm-eval: pip install 'lsns[harness]'"
        ) from None


@contextmanager
def _sandboxed() -> Generator[None]:
    """Templates of tasks do not reach into Python: in lm-eval's own environment they can."""
    from jinja2.sandbox import SandboxedEnvironment

    utils: Any = import_module("lm_eval.utils")
    before = utils.env
    utils.env = SandboxedEnvironment(
        undefined=before.undefined, keep_trailing_newline=before.keep_trailing_newline
    )
    utils.env.filters |= before.filters
    try:
        yield
    finally:
        utils.env = before


@contextmanager
def _undisturbed() -> Generator[None]:
    """Nothing global is changed by lm-eval: generators of Python, numpy and torch, and logging.

    Its own messages would come between the lines of a progress bar.
    """
    import torch

    python, numbers = random.getstate(), np.random.get_state()
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numbers)
        logging.disable(disabled)
