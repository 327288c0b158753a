"""`measure`: stimuli to activations to moments per fold, from the cache or by running the model."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from lsns.analysis import BaseAnalyzer, MomentsAnalyzer
from lsns.chunks import plan_chunks
from lsns.engines import Engine
from lsns.errors import LsnsError
from lsns.magnitudes import Magnitudes, known_magnitudes, measure_magnitudes
from lsns.models.factory import ModelRequest
from lsns.models.source import ModelSource
from lsns.models.subject import Subject, fingerprint
from lsns.moments import Moments, merge_all
from lsns.stimuli.contrast import Contrast, parse_pooling
from lsns.store import DamagedFileError, Store, digest_of, prepare_folder, results_folder
from lsns.terminal import one_line
from lsns.work import Chunk, run

if TYPE_CHECKING:
    from pathlib import Path

    from lsns.activations import ReadText
    from lsns.models.base import BaseModel

Array = np.ndarray[Any, Any]
logger = logging.getLogger(__name__)

# Raised when extraction changes what it computes.
EXTRACTION = 4
SITE = "block output"
N_FOLDS = 10
BLOCK_ITEMS = 64
# Above this, the single activations are given up once their moments are known.
ACTIVATIONS_LIMIT_BYTES = 4 * 1024**3
UNSET: Any = object()


@dataclass(frozen=True)
class _Running:
    """How the model is run, which decides on no result."""

    engine: Engine
    batch_size: int | None
    progress: bool


@dataclass(frozen=True, eq=False)
class Measurement:
    """What a model's units did with a contrast: the moments per fold and condition.

    Attributes:
        folds: (positive, negative) moments of each fold; groups are never split between folds.
        store: the files that they are kept in.
        manifest: what they were computed from and with.
        contrast: the stimuli.
        magnitudes: how large the units are over all tokens of the texts.
    """

    folds: tuple[tuple[Moments, Moments], ...]
    store: Store
    manifest: Mapping[str, Any]
    contrast: Contrast
    magnitudes: Magnitudes

    @cached_property
    def items(self) -> Mapping[str, Any]:
        """What is known of each item, positive ones first, in lists by name.

        `fold`, `tokens` (that are read), `whole` (tokens of the whole text), `special` (special
        ones among those read) and `ends_special` (1 where the last token read is a special one).
        """
        return self.store.manifest["items"]

    @property
    def different_texts(self) -> list[tuple[int, int]]:
        """How many different positive and negative texts each fold holds."""
        counts = [[0, 0] for _ in self.folds]
        for place, first in enumerate(self.contrast.firsts):
            if place == first:
                counts[self.items["fold"][place]][place >= len(self.contrast.positive)] += 1
        return [(positive, negative) for positive, negative in counts]

    @cached_property
    def positive(self) -> Moments:
        """Moments of all positive items."""
        return merge_all(fold[0] for fold in self.folds)

    @cached_property
    def negative(self) -> Moments:
        """Moments of all negative items."""
        return merge_all(fold[1] for fold in self.folds)

    @cached_property
    def all_items(self) -> Moments:
        """Moments of all items."""
        return self.positive.merge(self.negative)

    @property
    def sizes(self) -> dict[str, Array]:
        """Mean |activation| of every unit, by where it was read: see `lsns.analysis.outliers`."""
        pooled, whole = self.all_items.abs_mean, self.magnitudes
        return {"pooled": pooled, "tokens": whole.mean, "first": whole.first}

    @property
    def shape(self) -> tuple[int, int]:
        """(n_layers, hidden_size)."""
        n_layers, hidden_size = self.folds[0][0].mean.shape
        return n_layers, hidden_size

    def __repr__(self) -> str:
        """What was measured, in one line."""
        n_layers, hidden_size = self.shape
        model, protocol = self.manifest["model"]["name"], self.manifest["protocol"]
        tokens = protocol["max_tokens"]
        return one_line(
            f"Measurement({self.contrast.name} in {model}: {self.positive.n} positive and "
            f"{self.negative.n} negative items, {n_layers} layers x {hidden_size} units, "
            f"{protocol['pooling']}, {'whole texts' if tokens is None else f'{tokens} tokens'})"
        )

    def activations(self) -> Array | None:
        """Single activations (n_items, n_layers, hidden_size), positive first, if kept.

        Raises:
            LsnsError: the file is damaged.
        """
        return _read_rows(self.store)


def measure(
    model: BaseModel | ModelRequest,
    contrast: Contrast,
    *,
    pooling: str | None = None,
    max_tokens: int | None = UNSET,
    cache_dir: str | Path | None = None,
    overwrite: bool = False,
    batch_size: int | None = None,
    workers: int = 1,
    progress: bool = False,
    analyzer: BaseAnalyzer | None = None,
) -> Measurement:
    """The moments of all units for a contrast: from the cache, else by running the model.

    Args:
        model: loaded, or as asked for.
        contrast: the stimuli.
        pooling: `last-token`, `mean` or `sum`; default: the contrast's protocol.
        max_tokens: cut texts to their first tokens; None: whole; default: the contrast's protocol.
        cache_dir: where results are kept; default `LOC_CACHE`, else `cache`.
        overwrite: run the model again even if its activations are cached.
        batch_size: texts per forward pass; None: as many as fit a fixed number of tokens.
        workers: processes that run the model; several need a model that is not loaded yet.
        progress: show a bar while the model runs.
        analyzer: checked against the model's shape before the model runs.
    """
    protocol = _protocol(contrast, pooling, max_tokens)
    _check_at_least_one("batch-size", batch_size)
    subject = Subject(model)
    running = _Running(subject.engine(workers), batch_size, progress)
    folder = prepare_folder(results_folder(cache_dir))
    if isinstance(model, ModelRequest) and not overwrite:
        found = cached(model, contrast, pooling=pooling, max_tokens=max_tokens, cache_dir=folder)
        if found is not None:
            return found
    loaded = subject.load()
    if isinstance(analyzer, MomentsAnalyzer):
        analyzer.count(loaded.shape)
    # Once: a model in memory runs for it.
    computed = fingerprint(loaded) or {}
    store = _store(folder, _describe(computed, contrast, protocol))
    with store.alone(f"{contrast.name} in {loaded.name}"):
        if overwrite:
            store.discard()
        folds = _load(store)
        if folds is None:
            _fill(store, subject, contrast, protocol, running)
            folds = _load(store)
    if folds is None:
        raise LsnsError(f"{store.folder} was changed while it was written; run again")
    sizes = measure_magnitudes(
        folder, computed, contrast.texts, subject, running.engine,
        overwrite=overwrite, progress=progress,
    )  # fmt: skip
    found = Measurement(folds, store, store.manifest["run"], contrast, sizes)
    return _as_asked(found, loaded, contrast)


def cached(
    model: BaseModel | ModelRequest,
    contrast: Contrast,
    *,
    pooling: str | None = None,
    max_tokens: int | None = UNSET,
    cache_dir: str | Path | None = None,
) -> Measurement | None:
    """What `measure` would return without running the model; None if it would run it."""
    protocol, computed = _protocol(contrast, pooling, max_tokens), fingerprint(model)
    if computed is None:
        return None
    folder = results_folder(cache_dir)
    store = _store(folder, _describe(computed, contrast, protocol))
    folds, sizes = _load(store), known_magnitudes(folder, computed, contrast.texts)
    if folds is None or sizes is None:
        return None
    found = Measurement(folds, store, store.manifest["run"], contrast, sizes)
    return _as_asked(found, model, contrast)


def further_activations(
    measurement: Measurement,
    model: BaseModel | ModelRequest | None = None,
    *,
    batch_size: int | None = None,
    progress: bool = False,
) -> dict[str, Array] | None:
    """Pooled activations of a contrast's further conditions, by the protocol of the measurement.

    Args:
        measurement: of the contrast.
        model: run if they are not cached; None: it is not run.
        batch_size: see `localize`.
        progress: see `localize`.

    Returns:
        Per further condition (n_texts, n_layers, hidden_size); None if they are not cached and
        there is no model to run.
    """
    texts = measurement.contrast.further_texts
    if not texts:
        return {}
    folder, of = measurement.store.folder.parents[1], measurement.store.manifest["of"]
    store = _store(folder, {**of, "further": [list(pair) for pair in texts.items()]})
    if not store.manifest:
        if model is None:
            return None
        subject = Subject(model)
        if not subject.computes(of):
            raise LsnsError(
                f"model {model.name!r} does not compute what was measured: it was changed, or "
                "is another; give the one that was localized"
            )
        joined = [text for condition in texts.values() for text in condition]
        running = _Running(subject.engine(1), batch_size, progress)
        _fill_further(store, subject, joined, of["protocol"], running)
    rows = _read_rows(store)
    ends = np.cumsum([len(condition) for condition in texts.values()])[:-1]
    return None if rows is None else dict(zip(texts, np.split(rows, ends), strict=True))


def _fill_further(
    store: Store,
    subject: Subject,
    texts: Sequence[str],
    protocol: Mapping[str, Any],
    running: _Running,
) -> None:
    from lsns.activations import read_texts

    tokens = [text.ids for text in read_texts(subject.load(), texts, protocol["max_tokens"])]
    with store.alone(f"further conditions in {subject.given.name}"):
        if not store.manifest:
            _fill_rows(store, subject, tokens, protocol["pooling"], running)
            # Only single activations are read: of these conditions nothing is merged.
            store.finish({"n": np.array([len(texts)])}, {"items": {"texts": list(texts)}})


def _read_rows(store: Store) -> Array | None:
    try:
        return store.activations()
    except DamagedFileError as error:
        raise LsnsError(
            f"cached file {error} is damaged; remove {store.folder} and run again"
        ) from None


def _protocol(contrast: Contrast, pooling: str | None, max_tokens: int | None) -> dict[str, Any]:
    _check_at_least_one("max-tokens", None if max_tokens is UNSET else max_tokens)
    return {
        "pooling": parse_pooling(pooling or contrast.pooling),
        "max_tokens": contrast.max_tokens if max_tokens is UNSET else max_tokens,
        "special_tokens": "as the tokenizer adds them",
        "site": SITE,
    }


def _describe(
    computed: Mapping[str, Any], contrast: Contrast, protocol: Mapping[str, Any]
) -> dict[str, Any]:
    """All that determines the activations, from the fingerprint of the model on."""
    # Only where it changes the folds: what was measured of other stimuli stays known.
    joined = contrast.groups != contrast.given_groups
    return {
        "extraction": EXTRACTION,
        "folds": N_FOLDS,
        **computed,
        "stimuli": contrast.digest,
        "contrast": contrast.name,
        "protocol": dict(protocol),
        **({"groups": "joined by equal texts"} if joined else {}),
    }


def _store(folder: Path, description: Mapping[str, Any]) -> Store:
    return Store(folder / "activations", description)


def _load(store: Store) -> tuple[tuple[Moments, Moments], ...] | None:
    if not store.manifest:
        return None
    try:
        return _unpack(store.moments())
    except DamagedFileError as error:
        logger.warning("cached file %s is damaged; made again", error)
        if not _mend(store):
            store.discard()
            return None
        return _unpack(store.moments())


def _as_asked(
    found: Measurement, model: BaseModel | ModelRequest, contrast: Contrast
) -> Measurement:
    """The same measurement under the names of this run.

    The same weights or texts may have been measured under other names, which are no part of the
    key: a copied folder, a file that was moved.
    """
    named = model.source() if isinstance(model, ModelRequest) else model
    if named is None:
        # A registered model is always loaded, and never found in the cache as it was asked for.
        raise LsnsError(f"model {model.name!r} has no files to be known by; load it first")
    of = found.store.manifest["of"]
    commit = named.revision if isinstance(named, ModelSource) else named.commit
    asked = {"name": model.name, "label": named.label, "revision": model.revision}
    asked |= {"commit": commit, "blocks": of["blocks"], "lesions": of["lesions"]}
    manifest = {
        **found.manifest,
        "magnitudes": dict(found.magnitudes.manifest),
        "model": {**found.manifest["model"], **asked},
        "stimuli": found.manifest["stimuli"]
        | {
            "source": contrast.source,
            "repeated": contrast.repeated,
            "examples": contrast.examples,
        },
    }
    return replace(found, manifest=manifest, contrast=contrast)


def _mend(store: Store) -> bool:
    """Compute damaged moments again from the activations, if those are sound."""
    try:
        rows = store.activations()
    except DamagedFileError:
        return False
    manifest = store.manifest
    if rows is None:
        return False
    store.finish(_moments_by_fold(rows, manifest["items"]), _details(manifest))
    return True


def _details(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {"run": manifest["run"], "items": manifest["items"]}


def _fill(
    store: Store,
    subject: Subject,
    contrast: Contrast,
    protocol: Mapping[str, Any],
    running: _Running,
) -> None:
    from lsns.activations import read_texts

    model = subject.load()
    texts = read_texts(model, contrast.texts, protocol["max_tokens"])
    tokens = [text.ids for text in texts]
    rows = _fill_rows(store, subject, tokens, protocol["pooling"], running)
    items = _items(contrast, texts)
    details = {"run": _run_manifest(model, contrast, protocol, store), "items": items}
    moments = _moments_by_fold(rows, items)
    store.finish(moments, details, rows=rows.nbytes <= ACTIVATIONS_LIMIT_BYTES)


def _fill_rows(
    store: Store, subject: Subject, tokens: Sequence[list[int]], pooling: str, running: _Running
) -> Array:
    from lsns.activations import Extraction

    model = subject.load()
    planned = plan_chunks(tokens)
    tasks = [[tokens[index] for index in indexes] for indexes in planned]
    chunks = [Chunk(task, len(task), store, digest_of({"tokens": task})) for task in tasks]
    run(
        running.engine, Extraction(subject, pooling, running.batch_size), chunks,
        folder=store.folder, at_once=running.batch_size or 0, shown=running.progress,
    )  # fmt: skip
    rows = (
        (indexes, store.part(chunk.name)) for indexes, chunk in zip(planned, chunks, strict=True)
    )
    return store.write_rows((len(tokens), *model.shape), rows)


def _run_manifest(
    model: BaseModel, contrast: Contrast, protocol: Mapping[str, Any], store: Store
) -> dict[str, Any]:
    import platform

    packages = ("lsns", "numpy", "torch", "transformers")
    return {
        "model": {
            "name": model.name,
            "label": model.label,
            "revision": model.revision,
            "identity": store.description["model"],
            "pretrained": model.pretrained,
            "init_seed": None if model.pretrained else model.seed,
            "dtype": model.dtype_name,
            # What auto came to.
            "precision": model.precision,
            "quantization": model.quantization,
            "layers": model.num_layers,
            "hidden_size": model.hidden_size,
        },
        "stimuli": {
            "name": contrast.name,
            "source": contrast.source,
            "digest": contrast.digest,
            "positive": len(contrast.positive),
            "negative": len(contrast.negative),
        },
        "protocol": dict(protocol),
        "activations": store.key,
        "computed_with": {
            "device": str(model.device),
            "python": platform.python_version(),
            **{package: version(package) for package in packages},
        },
    }


def _items(contrast: Contrast, texts: Sequence[ReadText]) -> dict[str, Any]:
    """What is known of each item; see `Measurement.items`."""
    return {
        "fold": fold_of_items(contrast.groups, N_FOLDS),
        "positive": len(contrast.positive),
        "tokens": [len(text.ids) for text in texts],
        "whole": [text.whole for text in texts],
        "special": [text.special for text in texts],
        "ends_special": [int(text.ends_special) for text in texts],
        "order": [int(i) for i in np.argsort(np.array(contrast.texts, dtype=object))],
    }


def fold_of_items(groups: Sequence[str], n_folds: int) -> list[int]:
    """A fold for each item, drawn once and for all; items of a group share one."""
    names = sorted(set(groups))
    ranks = np.random.RandomState(0).permutation(len(names))
    fold = {name: int(rank) % n_folds for name, rank in zip(names, ranks, strict=True)}
    return [fold[group] for group in groups]


def _moments_by_fold(rows: Array, items: Mapping[str, Any]) -> dict[str, Array]:
    """Moments of each (fold, condition), stacked: arrays (n_folds, 2, n_layers, hidden_size)."""
    positive = np.arange(len(rows)) < items["positive"]
    # Summed in the order of the texts: shuffled stimuli give the same bytes.
    order = np.array(items["order"])
    folds = np.array(items["fold"])[order]
    parts = [
        _moments_of(rows, order[(folds == fold) & (positive[order] == condition)])
        for fold in range(N_FOLDS)
        for condition in (True, False)
    ]
    names = ("mean", "m2", "abs_mean", "abs_m2")
    stacked = {name: np.stack([getattr(part, name) for part in parts]) for name in names}
    shaped = {name: a.reshape(N_FOLDS, 2, *rows.shape[1:]) for name, a in stacked.items()}
    return {"n": np.array([part.n for part in parts]).reshape(N_FOLDS, 2), **shaped}


def _moments_of(rows: Array, indexes: Array) -> Moments:
    blocks = [indexes[start : start + BLOCK_ITEMS] for start in range(0, len(indexes), BLOCK_ITEMS)]
    empty = Moments.zeros((rows.shape[1], rows.shape[2]))
    return merge_all([empty, *(Moments.of(rows[block]) for block in blocks)])


def _unpack(arrays: Mapping[str, Array]) -> tuple[tuple[Moments, Moments], ...]:
    def one(fold: int, condition: int) -> Moments:
        fields = (arrays[name][fold, condition] for name in ("mean", "m2", "abs_mean", "abs_m2"))
        return Moments(int(arrays["n"][fold, condition]), *fields)

    return tuple((one(fold, 0), one(fold, 1)) for fold in range(len(arrays["n"])))


def _check_at_least_one(option: str, number: int | None) -> None:
    if number is not None and number < 1:
        raise LsnsError(f"{option} must be at least 1; got {number}")
