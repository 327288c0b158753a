"""`evaluate`: conditions x benchmarks, item by item, and what came out: a `Study`.

A cell is a condition on a benchmark. Each is written when it is computed, under a name made of
all that determines it, and until then in parts, so that a run which was stopped goes on, and one
that is finished needs no model.
"""

from __future__ import annotations

import logging
import platform
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsns.errors import LsnsError
from lsns.evaluation import flaws
from lsns.evaluation.benchmark import Benchmark
from lsns.evaluation.benchmarks import check_items, parse_benchmarks
from lsns.evaluation.cells import CellStore
from lsns.evaluation.conditions import (
    Condition,
    Masks,
    MaskSpec,
    Target,
    check_options,
    make_conditions,
    make_targets,
)
from lsns.evaluation.statistics import RESAMPLES, check_resamples
from lsns.evaluation.study import Study
from lsns.evaluation.summary import dissociate, measure_outcome, summarize
from lsns.localization import Localization, localize
from lsns.models.factory import ModelRequest, SharedRequest, check_model
from lsns.models.identity import fingerprint
from lsns.plugins import permit
from lsns.store import digest_of, read_json, write_json
from lsns.terminal import Progress
from lsns.terminal import progress as show_progress

if TYPE_CHECKING:
    import pyarrow as pa

    from lsns.evaluation.scoring import Front
    from lsns.models.base import BaseModel

logger = logging.getLogger(__name__)
PACKAGES = ("lsns", "numpy", "torch", "transformers", "tokenizers", "pyarrow")


def evaluate(
    model: BaseModel | ModelRequest | str,
    masks: Masks,
    benchmarks: str | Sequence[str] = ("minimal-pairs",),
    *,
    controls: str | Sequence[str] | None = None,
    split_outliers: bool = False,
    seeds: int | Sequence[int] = 20,
    modes: str | Sequence[str] = ("zero",),
    prefix: str = "auto",
    limit: int | None = None,
    output_dir: str | Path = "results",
    cache_dir: str | Path | None = None,
    batch_size: int | None = None,
    resamples: int = RESAMPLES,
    allow_code: bool = False,
    progress: bool = False,
) -> Study:
    """Measure what lesions take away, against controls that are alike in all but selectivity.

    Where several masks, benchmarks, controls or modes may be given, one may be given alone. What
    was computed before with the same model, masks and items is read from `output_dir`; with
    nothing left to compute, a model that is given by name is not loaded.

    Args:
        model: from `load_model`, or a name for it.
        masks: each from `localize`, a mask, a mask's file, or `network@percentage` such as
            `language@1` or `language@0.5:nmd`; or from `conditions.make_targets`, used as it is.
            A mapping from names of one's own, which tables and figures show, does as well.
        benchmarks: `minimal-pairs`, `minimal-pairs:PATH`, `blimp` (from the hub), `blimp:FOLDER`,
            `syntaxgym:FOLDER`, `perplexity`, `perplexity:FILE` or `lm-eval:TASK`; `other=` in
            front puts one on the other side of the double dissociation.
        controls: of `uniform`, `layer`, `magnitude`, `least` and `outliers`; None: the first four
            (a mask alone: uniform and layer), as far as there are units for them.
        split_outliers: lesion each mask that has outlier units three times: all of it, these
            alone (`language@1 outliers`), and the rest (`language@1 rest`), each with its own
            controls. Those of the rest have no outliers; of all, some have as many.
        seeds: how many masks of each kind of control are drawn, from seed 42 on; or the seeds.
        modes: `zero`, `mean`, or both.
        prefix: what stands in front of each text; see `scoring.resolve_prefix`.
        limit: items of each paradigm at most, the first ones.
        output_dir: for `items/*.parquet`, `summary.csv` and `study.json`.
        cache_dir: see `localize`.
        batch_size: texts per forward pass; another size changes log-probabilities by rounding, less
            than 1e-4 nats for a sentence in float32.
        resamples: of the bootstrap, at most 100,000.
        allow_code: run code that a task's file (`lm-eval:FILE`) or a mask given as text
            (`language@1:file.py:Class`) names.
        progress: show a bar.

    Raises:
        LsnsError: options, masks, benchmarks or a model that cannot be used, code without
            `allow_code`, or an item that cannot be scored: it is never taken for a wrong one.
            Flaws of published items, such as two equal sentences, are no errors: see `flaws`.
    """
    check_model(model, by_name=True)
    check_resamples(resamples)
    benchmarks, modes = list(_several(benchmarks)), list(_several(modes))
    controls = None if controls is None else list(_several(controls))
    # What can be known to be wrong is said before anything is localized: `masks` may be lazy.
    check_options(controls, seeds, modes)
    store = CellStore(Path(output_dir))
    chosen = parse_benchmarks(benchmarks, limit=limit)
    permit([code for benchmark in chosen for code in benchmark.code], allowed=allow_code)
    # Of a study that was finished, the items need not be read.
    check_items([] if (Path(output_dir) / "study.json").exists() else chosen)
    subject = _Subject(model)
    targets = make_targets(
        masks,
        lambda spec: _find(subject, spec, cache_dir, allow_code, progress),
        split_outliers=split_outliers,
    )
    conditions = make_conditions(targets, controls=controls, seeds=seeds, modes=modes)
    transferred = _transferred(subject, targets)
    front = _front(subject, prefix, Path(output_dir))
    run = _Run(subject, conditions, chosen, front, store, batch_size)
    tables = run.complete(progress=progress)
    flawed = {one.name: _flaws(tables[run.key(conditions[0], one)]) for one in chosen}
    for name, counts in flawed.items():
        if counts:
            logger.warning("%s: scored as they are: %s", name, flaws.described(counts))
    outcomes = [
        measure_outcome(
            benchmark,
            [tables[run.key(condition, benchmark)] for condition in conditions],
            resamples=resamples,
        )
        for benchmark in chosen
    ]
    options = {
        "masks": [target.label for target in targets],
        "benchmarks": benchmarks,
        "controls": controls,
        "split_outliers": split_outliers,
        "seeds": seeds if isinstance(seeds, int) else list(seeds),
        "modes": modes,
        "prefix": prefix,
        "limit": limit,
        "batch_size": batch_size,
        "resamples": resamples,
    }
    found = [summarize(outcome, conditions) for outcome in outcomes]
    study = Study(
        [row for rows, _ in found for row in rows],
        [row for _, rows in found for row in rows],
        *dissociate(outcomes, conditions),
        _manifest(run, targets, options, flawed) | {"transferred": transferred},
        lambda: [(c.columns, b.name, tables[run.key(c, b)]) for c in conditions for b in chosen],
    )
    with store.alone("study", f"the summary in {output_dir}"):
        study.save(output_dir)
    return study


def _several(given: str | Sequence[str]) -> Sequence[str]:
    """What was given, in a list if it is one alone."""
    return [given] if isinstance(given, str) else given


class _Subject:
    """The model that is evaluated, loaded when it is first needed."""

    def __init__(self, model: BaseModel | ModelRequest | str) -> None:
        request = ModelRequest(model) if isinstance(model, str) else model
        if isinstance(request, ModelRequest):
            request = SharedRequest.of(request)
        self.given: BaseModel | ModelRequest = request

    def load(self) -> BaseModel:
        return self.given.load() if isinstance(self.given, ModelRequest) else self.given

    @cached_property
    def description(self) -> dict[str, Any]:
        """All of the model that determines results."""
        return fingerprint(self.given) or fingerprint(self.load()) or {}

    @property
    def words(self) -> str:
        """For people."""
        details = [self.description["dtype"]]
        details += [f"{self.description['quantization']} weights"] * bool(self.given.quantization)
        seed = self.description["init_seed"]
        details += [] if seed is None else [f"random weights, seed {seed}"]
        return f"{self.given.name} ({', '.join(details)})"


@dataclass(frozen=True, eq=False)
class _Run:
    """What is to be computed."""

    subject: _Subject
    conditions: Sequence[Condition]
    benchmarks: Sequence[Benchmark]
    front: Front | _KnownFront
    store: CellStore
    batch_size: int | None

    def description(self, condition: Condition, benchmark: Benchmark) -> dict[str, Any]:
        return {
            **self.subject.description,
            **condition.content,
            "benchmark": benchmark.digest,
            "prefix": [self.front.token, self.front.token_id],
        }

    def key(self, condition: Condition, benchmark: Benchmark) -> str:
        return self.store.path(self.description(condition, benchmark)).stem

    def complete(self, *, progress: bool) -> dict[str, pa.Table]:
        """The rows of every cell, by key: those that are there, and the others computed."""
        found: dict[str, pa.Table] = {}
        missing: dict[str, tuple[Condition, Benchmark]] = {}
        for condition in self.conditions:
            for benchmark in self.benchmarks:
                key = self.key(condition, benchmark)
                if key in found or key in missing:
                    continue
                table = self.store.load(self.description(condition, benchmark))
                if table is None:
                    missing[key] = (condition, benchmark)
                else:
                    found[key] = table
        if missing:
            if found:
                logger.info("%d of %d cells are there", len(found), len(found) + len(missing))
            found |= self._compute(missing, len(found), progress=progress)
        return found

    def _compute(
        self, missing: Mapping[str, tuple[Condition, Benchmark]], ready: int, *, progress: bool
    ) -> dict[str, pa.Table]:
        # All that can be wrong with the input is found before the long work.
        total = sum(benchmark.size for _, benchmark in missing.values())
        model = self.subject.load()
        _prepare(model, self.conditions)
        found: dict[str, pa.Table] = {}
        words = [
            f"{condition.words}, {benchmark.name}" for condition, benchmark in missing.values()
        ]
        bars = show_progress(total, words=f"1/{len(missing)} {words[0]}", shown=progress)
        with self._interruptible(missing.values(), ready), bars as bar:
            for place, (key, (condition, benchmark)) in enumerate(missing.items(), start=1):
                bar.describe(f"{place}/{len(missing)} {words[place - 1]}")
                found[key] = self._complete_cell(model, condition, benchmark, bar)
        return found

    def _complete_cell(
        self, model: BaseModel, condition: Condition, benchmark: Benchmark, bar: Progress
    ) -> pa.Table:
        before = bar.n
        what = f"{benchmark.name} under {condition.words} in {self.store.folder.parent}"
        with self.store.alone(self.key(condition, benchmark), what):
            # Another run may have computed it since.
            table = self.store.load(self.description(condition, benchmark))
            if table is None:
                table = self._compute_cell(model, condition, benchmark, bar)
        bar.update(benchmark.size - (bar.n - before))
        return table

    def _compute_cell(
        self, model: BaseModel, condition: Condition, benchmark: Benchmark, bar: Progress
    ) -> pa.Table:
        from lsns.lesions.ablation import lesion

        description = self.description(condition, benchmark)
        parts = self.store.parts(description)
        if parts.count:
            name = f"{benchmark.name} under {condition.words}"
            logger.info("%s: %d parts are there from an earlier run", name, parts.count)
        state: Any = nullcontext()
        if condition.mask is not None:
            mode: Any = condition.mode
            state = lesion(model, condition.mask, mode, means=condition.means)
        try:
            with state:
                rows = benchmark.run(
                    model, prefix=self.front.asked, batch_size=self.batch_size,
                    advance=bar.update, parts=parts,
                )  # fmt: skip
        except LsnsError as error:
            raise LsnsError(f"{benchmark.name} under {condition.words}: {error}") from error
        return self.store.save(
            description,
            rows,
            condition.columns,
            {"device": str(model.device), "batch_size": self.batch_size, **_versions()},
        )

    @contextmanager
    def _interruptible(
        self, missing: Collection[tuple[Condition, Benchmark]], ready: int
    ) -> Iterator[None]:
        try:
            yield
        except KeyboardInterrupt:
            cells = [self.description(*cell) for cell in missing]
            unfinished = [cell for cell in cells if not self.store.path(cell).exists()]
            parts = self.store.parts(unfinished[0]).count if unfinished else 0
            total = ready + len(cells)
            raise KeyboardInterrupt(
                f"interrupted: {total - len(unfinished)} of {total} cells"
                f"{f' and {parts} parts of the next' if parts else ''} are kept in "
                f"{self.store.folder}; the same command goes on from there"
            ) from None


@dataclass(frozen=True)
class _KnownFront:
    """A `scoring.Front` as an earlier run wrote it down: no tokenizer is needed."""

    asked: str
    token: str | None
    token_id: int | None


def _front(subject: _Subject, prefix: str, folder: Path) -> Front | _KnownFront:
    """What the prefix means for the model's tokenizer, remembered beside the results."""
    memo = folder / "prefixes.json"
    model = digest_of(subject.description)
    if isinstance(subject.given, ModelRequest):
        match _remembered(memo, model).get(prefix):
            case [str() | None as token, int() | None as token_id]:
                return _KnownFront(prefix, token, token_id)
            case _:
                pass
    from lsns.evaluation.scoring import resolve_prefix

    front = resolve_prefix(subject.load().tokenizer, prefix)
    known = {**_remembered(memo, model), prefix: [front.token, front.token_id]}
    write_json(memo, {**read_json(memo), model: known})
    return front


def _remembered(memo: Path, model: str) -> dict[str, Any]:
    known = read_json(memo).get(model)
    return known if isinstance(known, dict) else {}


def _transferred(subject: _Subject, targets: Sequence[Target]) -> list[str]:
    """The labels of masks that come from another model than is evaluated, which is said.

    To use a base model's mask in the model that was tuned from it makes sense; a mix-up does not.
    Models are told apart by their identities: the same files in a folder and from the hub have
    one.
    """
    described = subject.description
    here = {
        "identity": described["model"],
        "pretrained": described["pretrained"],
        "init_seed": described["init_seed"],
    }
    origins = {target.label: _origin(target) for target in targets}
    labels = [
        label
        for label, origin in origins.items()
        if any(origin.get(key, value) != value for key, value in here.items())
    ]
    if labels:
        names = dict.fromkeys(str(origins[label].get("name", "unknown")) for label in labels)
        logger.warning(
            "masks from another model (%s) than the one evaluated (%s), used as they are: %s",
            ", ".join(names),
            subject.given.name,
            ", ".join(labels),
        )
    return labels


def _origin(target: Target) -> Mapping[str, Any]:
    """What a mask's manifest says of its model; nothing if it has none."""
    model = target.mask.manifest.get("model")
    return model if isinstance(model, Mapping) else {}


def _find(
    subject: _Subject,
    spec: MaskSpec,
    cache_dir: str | Path | None,
    allow_code: bool,
    progress: bool,
) -> Localization:
    permit(spec.code, allowed=allow_code)
    return localize(
        subject.given,
        spec.network,
        percentage=spec.percentage,
        method=spec.method or "ttest",
        cache_dir=cache_dir,
        progress=progress,
    )


def _prepare(model: BaseModel, conditions: Sequence[Condition]) -> None:
    from lsns.lesions.ablation import check_shape
    from lsns.models.forward import forward_pass

    for condition in conditions:
        if condition.mask is not None:
            try:
                check_shape(model, condition.mask)
            except LsnsError as error:
                raise LsnsError(f"{condition.label}: {error}") from None
    # Under a lesion it would be found out each time.
    forward_pass(model)


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{p: version(p) for p in PACKAGES}}


def _flaws(intact: pa.Table) -> dict[str, int]:
    """How many items have which flaw; a row of SyntaxGym is one prediction of an item."""
    rows = intact.select(["paradigm", "item", "flaw", "logp_good", "correct"]).to_pylist()
    ties = sum(row["correct"] is None and row["logp_good"] is not None for row in rows)
    items = {(row["paradigm"], row["item"]): row["flaw"] for row in rows}
    return flaws.counted(items.values(), ties)


def _manifest(
    run: _Run,
    targets: Sequence[Target],
    options: Mapping[str, Any],
    flawed: Mapping[str, Mapping[str, int]],
) -> dict[str, Any]:
    front = run.front
    shown = "nothing" if front.token is None else front.token
    return {
        "about": f"{run.subject.words}; {shown} in front of each text (--prefix {front.asked})",
        "model": {
            "name": run.subject.given.name,
            "revision": run.subject.given.revision,
            **run.subject.description,
        },
        "prefix": {"asked": front.asked, "token": front.token or "", "token_id": front.token_id},
        "options": dict(options),
        "versions": _versions(),
        "masks": [
            {**t.mask.manifest, "label": t.label, "digest": t.mask.digest, "units": t.mask.count}
            for t in targets
        ],
        "benchmarks": [
            {
                "name": b.name,
                "digest": b.digest,
                "domain": b.domain,
                "flaws": flawed[b.name],
                **b.description,
            }
            for b in run.benchmarks
        ],
        "cells": [
            {**c.columns, "benchmark": b.name, "file": f"items/{run.key(c, b)}.parquet"}
            for c in run.conditions
            for b in run.benchmarks
        ],
    }
