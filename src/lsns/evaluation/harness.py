"""lm-eval's tasks on the same model object, so that a lesion that is attached acts.

lm-eval (https://github.com/EleutherAI/lm-evaluation-harness) is an extra. It reseeds the global
random generators; here they are put back as they were.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from lsns.errors import LsnsError
from lsns.evaluation.benchmarks import Advance, Benchmark, Row

if TYPE_CHECKING:
    from lsns.models.base import BaseModel

# The first of these that a task has is its score; all are a share of correct items.
METRICS = ("acc", "exact_match", "em", "f1", "mcc")
BATCH_SIZE = 16


@dataclass(frozen=True)
class HarnessTask(Benchmark):
    """A task or group of lm-eval, or a task's YAML file."""

    @property
    def paths(self) -> list[Path]:
        """The task's own files, if it is given by its YAML file."""
        path = Path(self.argument)
        if path.suffix not in (".yaml", ".yml"):
            return []
        if not path.is_file():
            raise LsnsError(f"no file {path}")
        return [path, *(file for file in _data_files(path) if file.is_file())]

    @property
    def description(self) -> dict[str, Any]:
        """See `Benchmark`; items of a task of lm-eval's are those of its version."""
        name = self.argument if not self.paths else self.paths[0].stem
        return super().description | {"task": name, "lm_eval": _version()}

    @property
    def size(self) -> int:
        """A guess: items are known when they are scored."""
        _ = self._tasks
        return 2 * (self.limit or 500)

    @cached_property
    def _tasks(self) -> tuple[str, Any]:
        """The task's name, and the manager that knows it."""
        _ = _version()
        with _quiet(), _same_random_state():
            from lm_eval.tasks import TaskManager  # type: ignore[import-not-found]

            if not self.paths:
                manager = TaskManager()
                return _known(self.argument, manager), manager
            path = self.paths[0].resolve()
            return _task_name(path), TaskManager(include_path=str(path.parent))

    def run(
        self, model: BaseModel, *, prefix: str, batch_size: int | None, advance: Advance
    ) -> list[Row]:
        """See `Benchmark`; a row is a document, `score` what lm-eval says of it."""
        name, manager = self._tasks
        with _quiet(), _same_random_state():
            results = _evaluate(model, name, manager, prefix, batch_size, self.limit)
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
    from lm_eval import simple_evaluate  # type: ignore[import-not-found]
    from lm_eval.models.huggingface import HFLM  # type: ignore[import-not-found]

    from lsns.evaluation.scoring import resolve_prefix

    front = resolve_prefix(model.tokenizer, prefix)
    options = {} if front.token_id is None else {"prefix_token_id": front.token_id}
    size = batch_size or BATCH_SIZE
    try:
        with model.evaluating():
            wrapped = HFLM(
                pretrained=model.model, tokenizer=model.tokenizer, batch_size=size, **options
            )
            results = simple_evaluate(
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
    return str(_config(path).get("task") or path.stem)


def _data_files(path: Path) -> Iterator[Path]:
    """The local files that a task's YAML names."""
    files = (_config(path).get("dataset_kwargs") or {}).get("data_files") or []
    named = files.values() if isinstance(files, dict) else files
    for entry in [named] if isinstance(named, str) else named:
        for name in [entry] if isinstance(entry, str) else entry:
            yield Path(name)


def _config(path: Path) -> dict[str, Any]:
    class Loader(yaml.SafeLoader):
        """Reads lm-eval's `!function` as a plain word."""

    Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))  # type: ignore[arg-type]
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=Loader)  # noqa: S506
    except (OSError, ValueError, yaml.YAMLError) as error:
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
def _quiet() -> Iterator[None]:
    """lm-eval's own messages would come between the lines of a progress bar."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
