"""`evaluate`: conditions x benchmarks, item by item, and what came out: a `Study`.

A cell is a condition on a benchmark. Each is written when it is computed, under a name made of
all that determines it, and until then in parts, so that a run which was stopped goes on, and one
that is finished needs no model.
"""

from __future__ import annotations

import logging
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lsns.engines import Engine
from lsns.errors import LsnsError
from lsns.evaluation import flaws
from lsns.evaluation.benchmark import Benchmark, Row
from lsns.evaluation.benchmarks import check_items, parse_benchmarks
from lsns.evaluation.cells import parquet_module, read_cell, write_cell
from lsns.evaluation.conditions import (
    Condition,
    Masks,
    MaskSpec,
    Target,
    check_options,
    make_conditions,
    make_targets,
)
from lsns.evaluation.expectation import check_expected
from lsns.evaluation.scoring import as_scores, sequences_of
from lsns.evaluation.study import Study
from lsns.evaluation.summary import dissociate, find_trends, measure_outcome, summarize
from lsns.localization import Localization, localize
from lsns.magnitudes import Magnitudes, measure_magnitudes
from lsns.models.factory import ModelRequest, check_model
from lsns.models.subject import Subject
from lsns.plugins import permit
from lsns.specs import Expect, StudySpec
from lsns.stimuli.networks import load_contrast
from lsns.store import (
    Store,
    digest_of,
    locked,
    prepare_folder,
    read_json,
    results_folder,
    write_json,
)
from lsns.work import Chunk, run

if TYPE_CHECKING:
    import pyarrow as pa

    from lsns.evaluation.scoring import Front
    from lsns.models.base import BaseModel

logger = logging.getLogger(__name__)
Array = np.ndarray[Any, Any]
# Raised when scoring changes what it computes.
EVALUATION = 3
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
    expect: Expect | Mapping[str, Sequence[str]] | None = None,
    smallest_effect: float = StudySpec.smallest_effect,
    allow_code: bool = False,
    workers: int = 1,
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
        benchmarks: `minimal-pairs`, `minimal-pairs:PATH`, `beliefs`, `sums`, `facts`, `blimp`
            (from the hub), `blimp:FOLDER`, `syntaxgym:FOLDER`, `perplexity`, `perplexity:FILE` or
            `lm-eval:TASK`; `language=`, `theory-of-mind=`, `multiple-demand=` or `other=` in front
            says what one asks for; language is one side of the double dissociation.
        controls: of `uniform`, `layer`, `magnitude`, `decoy`, `least` and `outliers`; None: the
            first five (a mask alone: uniform and layer), as far as there are units for them. For
            magnitude or outliers of a mask alone the model reads the built-in language stimuli.
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
        expect: which benchmarks the lesions should `harm` and which they should `spare`, by their
            names; None: by the network of each mask.
        smallest_effect: the smallest difference that counts, as a share of what the intact model
            does above chance; for perplexity, of the logarithm.
        allow_code: run code that a task's file (`lm-eval:FILE`) or a mask given as text
            (`language@1:file.py:Class`) names.
        workers: processes of this machine that run the model, each with a copy of it; several need
            the model's name. Results are the same bytes.
        progress: show a bar.

    Raises:
        LsnsError: options, masks, benchmarks or a model that cannot be used, code without
            `allow_code`, or an item that cannot be scored: it is never taken for a wrong one.
            Flaws of published items, such as two equal sentences, are no errors: see `flaws`.
    """
    check_model(model, by_name=True)
    check_smallest(smallest_effect)
    expected = expect if isinstance(expect, Expect) else _expected(expect or {})
    benchmarks, modes = list(_several(benchmarks)), list(_several(modes))
    controls = None if controls is None else list(_several(controls))
    # What can be known to be wrong is said before anything is localized: `masks` may be lazy.
    check_options(controls, seeds, modes)
    parquet_module()
    folder = _prepared(Path(output_dir) / "items")
    chosen = parse_benchmarks(benchmarks, limit=limit)
    check_expected(expected, [benchmark.name for benchmark in chosen])
    permit([code for benchmark in chosen for code in benchmark.code], allowed=allow_code)
    # Of a study that was finished, the items need not be read.
    check_items([] if (Path(output_dir) / "study.json").exists() else chosen)
    subject = Subject(model)
    engine = subject.engine(workers)
    targets = make_targets(
        masks,
        lambda spec: _find(subject, spec, cache_dir, allow_code, workers, progress),
        split_outliers=split_outliers,
    )
    conditions = make_conditions(
        targets,
        controls=controls,
        seeds=seeds,
        modes=modes,
        measure=cache(lambda: _magnitudes(subject, cache_dir, engine, progress)),
    )
    transferred = _transferred(subject, targets)
    front = _front(subject, prefix, Path(output_dir))
    cells = _Run(subject, conditions, chosen, front, folder, engine, batch_size)
    tables = cells.complete(progress=progress)
    flawed = {one.name: _flaws(tables[cells.key(conditions[0], one)]) for one in chosen}
    for name, counts in flawed.items():
        if counts:
            logger.warning("%s: scored as they are: %s", name, flaws.described(counts))
    outcomes = [
        measure_outcome(
            benchmark,
            [tables[cells.key(condition, benchmark)] for condition in conditions],
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
        "expect": {side: list(names) for side, names in expected.but().items()},
        "smallest_effect": smallest_effect,
    }
    found = [summarize(outcome, conditions, smallest_effect) for outcome in outcomes]
    study = Study(
        [row for rows, _ in found for row in rows],
        [row for _, rows in found for row in rows],
        *dissociate(outcomes, conditions, expected),
        [row for outcome in outcomes for row in find_trends(outcome, conditions)],
        _manifest(cells, targets, options, flawed)
        | {"transferred": transferred, "unable": [one.benchmark for one in outcomes if one.unable]},
        lambda: [(c.columns, b.name, tables[cells.key(c, b)]) for c in conditions for b in chosen],
    )
    with locked(folder / "study.lock", f"the summary in {output_dir}", once=True):
        study.save(output_dir)
    return study


def check_smallest(share: float) -> None:
    """Raise an `LsnsError` for a smallest effect that is no share."""
    if not 0 < share <= 0.5:
        raise LsnsError(f"smallest-effect must be above 0 and at most 0.5; got {share}")


def _expected(expect: Mapping[str, Sequence[str]]) -> Expect:
    unknown = next((name for name in expect if name not in ("harm", "spare")), None)
    if unknown is not None:
        raise LsnsError(f"expect has no {unknown!r}; use harm and spare")
    return Expect(**{side: tuple(_several(names)) for side, names in expect.items()})


def _prepared(folder: Path) -> Path:
    try:
        return prepare_folder(folder)
    except LsnsError as error:
        raise LsnsError(f"output: {str(error).partition(';')[0]}; choose another") from None


def _several(given: str | Sequence[str]) -> Sequence[str]:
    """What was given, in a list if it is one alone."""
    return [given] if isinstance(given, str) else given


def _words(subject: Subject) -> str:
    """The model, for people."""
    given, description = subject.given, subject.fingerprint
    details = [description["dtype"]]
    details += [f"{description['quantization']} weights"] * bool(given.quantization)
    seed = description["init_seed"]
    details += [] if seed is None else [f"random weights, seed {seed}"]
    return f"{given.name} ({', '.join(details)})"


class _Work(NamedTuple):
    """What a worker is given of a cell: the benchmark as a whole, or some sequences.

    Attributes:
        condition: the place of the condition.
        words: names the cell in errors.
        benchmark: scored in one piece; None: sequences are.
        sequences: token ids.
        names: what errors call each sequence.
    """

    condition: int
    words: str
    benchmark: Benchmark | None = None
    sequences: Sequence[tuple[int, ...]] = ()
    names: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class _Scoring:
    """Scores work of one condition: a function of `work.run`, here or in a worker."""

    subject: Subject
    conditions: Sequence[Condition]
    prefix: str
    batch_size: int | None

    def __call__(self, works: Sequence[_Work]) -> list[Any]:
        """The rows of a benchmark, or the log-probabilities of all tokens of sequences, joined."""
        from lsns.models.forward import forward_pass

        first, model = works[0], self.subject.load()
        # Under a lesion it would be found out each time.
        forward_pass(model)
        try:
            with self._state(model, self.conditions[first.condition]):
                if first.benchmark is not None:
                    size = self.batch_size
                    return [first.benchmark.run(model, prefix=self.prefix, batch_size=size)]
                return self._scored(model, works)
        except LsnsError as error:
            raise LsnsError(f"{first.words}: {error}") from error

    def _state(self, model: BaseModel, condition: Condition) -> AbstractContextManager[Any]:
        from lsns.lesions.ablation import lesion

        if condition.mask is None:
            return nullcontext()
        mode: Any = condition.mode
        return lesion(model, condition.mask, mode, means=condition.means)

    def _scored(self, model: BaseModel, works: Sequence[_Work]) -> list[Any]:
        from lsns.evaluation.logprobs import chunk_logprobs

        names: dict[tuple[int, ...], str] = {}
        for one in works:
            names.update(zip(one.sequences, one.names, strict=True))
        chunks = [one.sequences for one in works]
        scored = chunk_logprobs(model, chunks, names=names, batch_size=self.batch_size)
        return [np.concatenate(values) for values in scored]


class _Cell:
    """A condition on a benchmark, whose rows are written when all its chunks are there."""

    def __init__(self, run: _Run, condition: Condition, benchmark: Benchmark) -> None:
        self.condition, self.benchmark = condition, benchmark
        self.description = run.description(condition, benchmark)
        self.store = run.store(condition, benchmark)
        self.words = f"{benchmark.name} under {condition.words}"

    def chunks(self, place: int, plan: _Plan | None) -> list[Chunk]:
        """What is to be computed; `place` is that of the condition."""
        shown = f"{self.condition.words}, {self.benchmark.name}"
        if plan is None:
            whole = _Work(place, self.words, self.benchmark)
            return [Chunk(whole, self.benchmark.size, self.store, words=shown)]
        return [
            Chunk(
                _Work(place, self.words, None, chunk, [plan.names[one] for one in chunk]),
                sum(plan.counts[one] for one in chunk),
                self.store,
                digest_of({"sequences": chunk}),
                shown,
            )
            for chunk in plan.chunks
        ]

    def write(self, rows: Sequence[Row], note: Mapping[str, Any]) -> pa.Table:
        """Write the rows; the parts are not needed any more."""
        path = self.store.path("parquet")
        table = write_cell(path, self.description, rows, self.condition.columns, note)
        self.store.drop_parts()
        return table


class _Plan:
    """What is scored of a benchmark, under every condition."""

    def __init__(self, model: BaseModel, benchmark: Benchmark, prefix: str) -> None:
        from lsns.evaluation.logprobs import plan_sequences

        self._benchmark = benchmark
        try:
            self._tokens = benchmark.tokens(model, prefix)
            self._sequences = sequences_of(model, self._tokens)
        except LsnsError as error:
            raise LsnsError(f"{benchmark.name}: {error}") from error
        self.chunks = plan_sequences(model, self._sequences)
        self.counts = Counter(self._sequences)
        names = [one.name for one in self._tokens]
        self.names = dict(zip(self._sequences, names, strict=True))

    def rows(self, found: Sequence[Array]) -> list[Row]:
        """The rows from the log-probabilities of each chunk."""
        values: dict[tuple[int, ...], Array] = {}
        for chunk, joined in zip(self.chunks, found, strict=True):
            ends = np.cumsum([len(sequence) - 1 for sequence in chunk])[:-1]
            values.update(zip(chunk, np.split(joined, ends), strict=True))
        logprobs = [values[sequence] for sequence in self._sequences]
        return self._benchmark.named_rows(as_scores(self._tokens, logprobs))


@dataclass(frozen=True, eq=False)
class _Run:
    """What is to be computed."""

    subject: Subject
    conditions: Sequence[Condition]
    benchmarks: Sequence[Benchmark]
    front: Front | _KnownFront
    folder: Path
    engine: Engine
    batch_size: int | None

    def description(self, condition: Condition, benchmark: Benchmark) -> dict[str, Any]:
        return {
            **self.subject.fingerprint,
            **condition.content,
            "benchmark": benchmark.digest,
            "prefix": [self.front.token, self.front.token_id],
        }

    def store(self, condition: Condition, benchmark: Benchmark) -> Store:
        description = self.description(condition, benchmark)
        return Store(self.folder, {"evaluation": EVALUATION, **description})

    def key(self, condition: Condition, benchmark: Benchmark) -> str:
        return self.store(condition, benchmark).folder.name

    def complete(self, *, progress: bool) -> dict[str, pa.Table]:
        """The rows of every cell, by key: those that are there, and the others computed."""
        cells: dict[str, _Cell] = {}
        for condition in self.conditions:
            for benchmark in self.benchmarks:
                # Of conditions that do the same, the first gives the cell its columns.
                cells.setdefault(self.key(condition, benchmark), _Cell(self, condition, benchmark))
        found = _finished(cells)
        if len(found) < len(cells):
            what = f"the study in {self.folder.parent}"
            with locked(self.folder / "study.lock", what, once=True):
                # Another run may have computed some since.
                missing = {key: cell for key, cell in cells.items() if key not in found}
                found |= _finished(missing)
                found |= self._compute(cells, found, progress=progress)
        return found

    def _compute(
        self, cells: Mapping[str, _Cell], found: Mapping[str, pa.Table], *, progress: bool
    ) -> dict[str, pa.Table]:
        missing = {key: cell for key, cell in cells.items() if key not in found}
        if not missing:
            return {}
        if found:
            logger.info("%d of %d cells are there", len(found), len(cells))
        # All that can be wrong with the input is found before the long work.
        model = self.subject.load()
        _check_shapes(model, self.conditions)
        plans = {
            one: None if one.whole else _Plan(model, one, self.front.asked)
            for one in dict.fromkeys(cell.benchmark for cell in missing.values())
        }
        # Known by themselves: they have no equals.
        conditions = list(dict.fromkeys(cell.condition for cell in missing.values()))
        chunks: list[Chunk] = []
        keys: list[str] = []
        results: dict[str, dict[int, Any]] = {key: {} for key in missing}
        for key, cell in missing.items():
            cell.store.sweep()
            new = cell.chunks(conditions.index(cell.condition), plans[cell.benchmark])
            chunks += new
            keys += [key] * len(new)
        counts, tables = Counter(keys), dict[str, Any]()
        note = {"device": str(model.device), "batch_size": self.batch_size, **_versions()}

        def take(place: int, result: Any) -> None:
            key = keys[place]
            results[key][place] = result
            if len(results[key]) == counts[key]:
                of_cell = results.pop(key)
                values = [of_cell[one] for one in sorted(of_cell)]
                plan = plans[missing[key].benchmark]
                rows = values[0] if plan is None else plan.rows(values)
                tables[key] = missing[key].write(rows, note)

        run(
            self.engine,
            _Scoring(self.subject, conditions, self.front.asked, self.batch_size),
            chunks,
            take,
            folder=self.folder,
            at_once=self.batch_size or 0,
            shown=progress,
        )
        return tables


def _finished(cells: Mapping[str, _Cell]) -> dict[str, pa.Table]:
    """The tables of those cells that are there."""
    found = {key: read_cell(cell.store.path("parquet")) for key, cell in cells.items()}
    for key, cell in cells.items():
        if found[key] is not None:
            # A run that was killed right after writing the cell left them.
            cell.store.drop_parts()
    return {key: table for key, table in found.items() if table is not None}


@dataclass(frozen=True)
class _KnownFront:
    """A `scoring.Front` as an earlier run wrote it down: no tokenizer is needed."""

    asked: str
    token: str | None
    token_id: int | None


def _front(subject: Subject, prefix: str, folder: Path) -> Front | _KnownFront:
    """What the prefix means for the model's tokenizer, remembered beside the results."""
    memo = folder / "prefixes.json"
    model = digest_of(subject.fingerprint)
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


def _transferred(subject: Subject, targets: Sequence[Target]) -> list[str]:
    """The labels of masks that come from another model than is evaluated, which is said.

    To use a base model's mask in the model that was tuned from it makes sense; a mix-up does not.
    Models are told apart by their identities: the same files in a folder and from the hub have
    one.
    """
    described = subject.fingerprint
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
    subject: Subject,
    spec: MaskSpec,
    cache_dir: str | Path | None,
    allow_code: bool,
    workers: int,
    progress: bool,
) -> Localization:
    permit(spec.code, allowed=allow_code)
    return localize(
        subject.given,
        spec.network,
        percentage=spec.percentage,
        method=spec.method or "ttest",
        cache_dir=cache_dir,
        workers=workers,
        progress=progress,
    )


def _magnitudes(
    subject: Subject, cache_dir: str | Path | None, engine: Engine, progress: bool
) -> Magnitudes:
    """How large the units of the model are over the built-in language stimuli."""
    folder, texts = prepare_folder(results_folder(cache_dir)), load_contrast("language").texts
    return measure_magnitudes(
        folder, subject.fingerprint, texts, subject, engine, progress=progress
    )


def _check_shapes(model: BaseModel, conditions: Sequence[Condition]) -> None:
    from lsns.lesions.ablation import check_shape

    for condition in conditions:
        if condition.mask is not None:
            try:
                check_shape(model, condition.mask)
            except LsnsError as error:
                raise LsnsError(f"{condition.label}: {error}") from None


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{p: version(p) for p in PACKAGES}}


def _flaws(intact: pa.Table) -> dict[str, int]:
    """How many items have which flaw; a row of SyntaxGym is one prediction of an item."""
    rows = intact.select(["paradigm", "item", "flaw", "logp_good", "correct"]).to_pylist()
    ties = sum(row["correct"] is None and row["logp_good"] is not None for row in rows)
    items = {(row["paradigm"], row["item"]): row["flaw"] for row in rows}
    return flaws.counted(items.values(), ties)


def _manifest(
    cells: _Run,
    targets: Sequence[Target],
    options: Mapping[str, Any],
    flawed: Mapping[str, Mapping[str, int]],
) -> dict[str, Any]:
    front = cells.front
    shown = "nothing" if front.token is None else front.token
    return {
        "about": f"{_words(cells.subject)}; {shown} in front of each text (--prefix {front.asked})",
        "model": {
            "name": cells.subject.given.name,
            "revision": cells.subject.given.revision,
            **cells.subject.fingerprint,
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
            for b in cells.benchmarks
        ],
        "cells": [
            {**c.columns, "benchmark": b.name, "file": f"items/{cells.key(c, b)}.parquet"}
            for c in cells.conditions
            for b in cells.benchmarks
        ],
    }
