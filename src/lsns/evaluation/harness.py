"""lm-eval's tasks on the same model object, so that a lesion that is attached acts.

lm-eval (https://github.com/EleutherAI/lm-evaluation-harness) is an extra. It reseeds the global
random generators; here they are put back as they were.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, cached_property
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from lsns.errors import LsnsError
from lsns.evaluation.benchmark import Advance, Benchmark, Row
from lsns.store import sha256_file

if TYPE_CHECKING:
    from lsns.evaluation.cells import PartStore
    from lsns.models.base import BaseModel

# The first of these that a task has is its score; all are a share of correct items.
METRICS = ("acc", "exact_match", "em", "f1", "mcc")
BATCH_SIZE = 16
# Of a task's YAML, at most.
DEPTH = 100


@dataclass(frozen=True)
class HarnessTask(Benchmark):
    """A task or group of lm-eval, or a task's YAML file."""

    @property
    def paths(self) -> list[Path]:
        """All files that the task is made of: YAML, the code of its functions, local data."""
        others: dict[Path, None] = {}
        for path, config in self._configs.items():
            others |= dict.fromkeys(_code_files(config, path.parent))
            others |= dict.fromkeys(_data_files(config))
        return [*self._configs, *(path for path in others if path.is_file())]

    @property
    def code(self) -> list[str]:
        """See `Benchmark`: what the files of a task of one's own make lm-eval run."""
        own = {path: one for path, one in self._configs.items() if not _is_installed(path)}
        return [
            f"{code} in {path}"
            for path, config in own.items()
            for code in dict.fromkeys([*_tagged(path), *_scripts(config)])
        ]

    @property
    def description(self) -> dict[str, Any]:
        """See `Benchmark`; of a data set on the hub, only the name is known."""
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
    def _configs(self) -> dict[Path, dict[str, Any]]:
        """The YAML files that the task is made of, read."""
        _ = _version()
        if self._file is not None:
            return _read_configs([self._file], lambda name: _yaml_files(name, self._manager))
        name = _known(self.argument, self._manager)
        return _read_configs(
            _yaml_files(name, self._manager), lambda name: _yaml_files(name, self._manager)
        )

    @cached_property
    def _manager(self) -> Any:
        """What knows lm-eval's tasks, and those in the folder of the file."""
        return _shipped_tasks() if self._file is None else _tasks_with(self._file.parent)

    @cached_property
    def _task(self) -> str:
        """The task's name."""
        if self._file is None:
            return _known(self.argument, self._manager)
        name = _task_name(self._file)
        found = [path for path in _yaml_files(name, self._manager) if path != self._file]
        if found:
            raise LsnsError(f"{found[0]} is a task of the same name as {self._file}; rename one")
        return name

    def run(
        self,
        model: BaseModel,
        *,
        prefix: str,
        batch_size: int | None,
        advance: Advance,
        parts: PartStore | None = None,
    ) -> list[Row]:
        """See `Benchmark`; a row is a document, `score` what lm-eval says of it. No parts."""
        name = self._task
        with _quiet(), _same_random_state():
            results = _evaluate(model, name, self._manager, prefix, batch_size, self.limit)
        advance(self.size)
        rows = [
            _row(self.name, task, sample)
            for task, samples in sorted(results["samples"].items())
            for sample in samples
        ]
        if not rows:
            raise LsnsError(f"lm-eval task {name} has no items")
        return rows


def _evaluate(
    model: BaseModel,
    name: str,
    manager: Any,
    prefix: str,
    batch_size: int | None,
    limit: int | None,
) -> Mapping[str, Any]:
    from lsns.evaluation.scoring import resolve_prefix

    # Untyped: its decorators hide what its functions take.
    lm_eval: Any = import_module("lm_eval")
    models: Any = import_module("lm_eval.models.huggingface")

    front = resolve_prefix(model.tokenizer, prefix)
    options = {} if front.token_id is None else {"prefix_token_id": front.token_id}
    size = batch_size or BATCH_SIZE
    try:
        with model.evaluating(), _sandboxed():
            wrapped = models.HFLM(
                pretrained=model.model, tokenizer=model.tokenizer, batch_size=size, **options
            )
            results = lm_eval.simple_evaluate(
                wrapped, tasks=[name], limit=limit, task_manager=manager, bootstrap_iters=0,
                log_samples=True, batch_size=size,
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
    return results


def _row(benchmark: str, task: str, sample: Mapping[str, Any]) -> Row:
    metric = next((name for name in METRICS if name in sample), None)
    item = f"{task}, item {sample['doc_id']}"
    if metric is None:
        raise LsnsError(f"{item}: none of {', '.join(METRICS)} among its metrics")
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
    }


def _known(name: str, manager: Any) -> str:
    names = list(manager.all_tasks)
    if name not in names:
        near = get_close_matches(name, names, n=3)
        hint = f"; did you mean {', '.join(near)}?" if near else "; see lm-eval ls tasks"
        raise LsnsError(f"lm-eval has no task {name!r}{hint}")
    return name


def _task_name(path: Path) -> str:
    config = _config(path)
    names = (config.get("task"), config.get("group"))
    return next((name for name in names if isinstance(name, str)), path.stem)


@cache
def _shipped_tasks() -> Any:
    return _tasks_with(None)


def _tasks_with(folder: Path | None) -> Any:
    """lm-eval's own tasks, and those in a folder. It reads thousands of files."""
    with _quiet(), _same_random_state():
        from lm_eval.tasks import TaskManager  # type: ignore[import-not-found]

        return TaskManager(include_path=None if folder is None else str(folder))


def _yaml_files(name: str, manager: Any) -> list[Path]:
    """The file of a task or group, or those of a tag's tasks; none for an unknown name."""
    entry = manager.task_index.get(name)
    # Before lm-eval 0.4.13 an entry is a dict, with the tasks of a tag under `task`.
    fields = entry if isinstance(entry, dict) else vars(entry) if entry else {}
    if isinstance(fields.get("yaml_path"), (str, Path)):
        return [Path(fields["yaml_path"]).resolve()]
    members = sorted(fields.get("tags") or fields.get("task") or [])
    return [path for member in members for path in _yaml_files(member, manager)]


def _read_configs(
    starts: Sequence[Path], find: Callable[[str], Sequence[Path]]
) -> dict[Path, dict[str, Any]]:
    """YAML files and those that they include or list, each with its content.

    Args:
        starts: the first ones.
        find: the files of a task that a group lists.
    """
    configs: dict[Path, dict[str, Any]] = {}
    waiting = list(starts)
    while waiting:
        path = waiting.pop()
        if path in configs:
            continue
        config = configs[path] = _config(path)
        waiting += [(path.parent / str(name)).resolve() for name in _listed(config.get("include"))]
        # A group lists its tasks, in many ways; a task has no list. Other words find nothing.
        tasks = config.get("task")
        names = [name for name in _each(tasks) if isinstance(name, str)]
        waiting += [file for name in names if name is not tasks for file in find(name)]
    return configs


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


def _tagged(path: Path) -> Iterator[str]:
    """What a YAML file has that is more than data, such as `!function`, wherever it stands."""
    for event in yaml.parse(_bytes(path), Loader=_Safe):
        tag = getattr(event, "tag", None)
        if tag is not None and tag not in yaml.SafeLoader.yaml_constructors:
            yield f"{tag} {getattr(event, 'value', '')}".strip()


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
    with _quiet(), _same_random_state():
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


def _opened(event: yaml.Event) -> int:
    opens = isinstance(event, yaml.CollectionStartEvent)
    return opens - isinstance(event, yaml.CollectionEndEvent)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise LsnsError(f"{path} cannot be read as YAML ({error})") from None


def _config(path: Path) -> dict[str, Any]:
    text = _bytes(path)
    try:
        # libyaml crashes where Python would say that it is nested too deeply.
        opened = (_opened(event) for event in yaml.parse(text, Loader=_Safe))
        if any(depth > DEPTH for depth in accumulate(opened)):
            raise ValueError("nested too deeply")
        content = yaml.load(text, Loader=_Loader)  # noqa: S506
    except (ValueError, LookupError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise LsnsError(f"{path} cannot be read as YAML ({error})") from None
    if not isinstance(content, dict):
        raise LsnsError(f"{path} is no lm-eval task; expected keys such as task")
    return content


def _version() -> str:
    try:
        return version("lm-eval")
    except PackageNotFoundError:
        raise LsnsError(
            "a benchmark of lm-eval needs lm-eval: pip install 'lsns[harness]'"
        ) from None


@contextmanager
def _same_random_state() -> Iterator[None]:
    """Global generators of Python, numpy and torch as they were."""
    import torch

    python, numbers = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numbers)


@contextmanager
def _sandboxed() -> Iterator[None]:
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
def _quiet() -> Iterator[None]:
    """lm-eval's own messages would come between the lines of a progress bar."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
