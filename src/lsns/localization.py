"""`localize`: stimuli to activations to moments to scores to a mask, and what of it is kept."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float

from lsns.analysis import METHODS, BaseAnalyzer, MomentsAnalyzer
from lsns.analysis.outliers import outlier_units
from lsns.cache import (
    ActivationStore,
    DamagedFileError,
    prepare_folder,
    results_folder,
    write_array,
)
from lsns.errors import LsnsError
from lsns.mask import UnitMask
from lsns.models.factory import ModelRequest
from lsns.moments import Moments, adjust_p_values, merge_all, welch
from lsns.plugins import ANALYZERS, installed, load_attribute
from lsns.stimuli.contrast import Contrast, parse_pooling
from lsns.stimuli.networks import load_contrast

if TYPE_CHECKING:
    from lsns.models.base import BaseModel

Array = np.ndarray[Any, Any]
logger = logging.getLogger(__name__)

# Raised when extraction changes what it computes.
EXTRACTION = 1
SITE = "block output"
N_FOLDS = 10
BLOCK_ITEMS = 64
# Above this, the single activations are given up once their moments are known.
ACTIVATIONS_LIMIT_BYTES = 4 * 1024**3
UNSET: Any = object()


@dataclass(frozen=True, eq=False)
class Measurement:
    """What a model's units did with a contrast: the moments per fold and condition.

    Attributes:
        folds: (positive, negative) moments of each fold; groups are never split between folds.
        store: the files that they are kept in.
        manifest: what they were computed from and with.
    """

    folds: tuple[tuple[Moments, Moments], ...]
    store: ActivationStore
    manifest: Mapping[str, Any]

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
    def shape(self) -> tuple[int, int]:
        """(n_layers, hidden_size)."""
        n_layers, hidden_size = self.folds[0][0].mean.shape
        return n_layers, hidden_size

    def activations(self) -> Array | None:
        """Single activations (n_items, n_layers, hidden_size), positive first, if kept."""
        return self.store.activations()


@dataclass(frozen=True, eq=False)
class Localization:
    """The units that answer to a contrast.

    Attributes:
        mask: the selected units.
        scores: what they were selected by, shape (n_layers, hidden_size).
        t_values: Welch's t, same shape.
        p_values: two-sided p of that t, adjusted over all units (Benjamini-Hochberg).
        manifest: all that determined the result.
        measurement: the moments that it was computed from.
    """

    mask: UnitMask
    scores: Float[Array, "n_layers hidden_size"]
    t_values: Float[Array, "n_layers hidden_size"]
    p_values: Float[Array, "n_layers hidden_size"]
    manifest: Mapping[str, Any]
    measurement: Measurement

    @property
    def means(self) -> Float[Array, "n_layers hidden_size"]:
        """Mean pooled activation of every unit over all items; for lesions with `mode="mean"`.

        Raises:
            LsnsError: pooling by sum, whose means are not those of a token.
        """
        if self.manifest["protocol"]["pooling"] == "sum":
            raise LsnsError(
                "pooling by sum gives no mean activation of a token; "
                "localize with last-token or mean pooling for a lesion in mode mean"
            )
        return self.measurement.all_items.mean

    @property
    def magnitudes(self) -> Float[Array, "n_layers hidden_size"]:
        """Mean pooled |activation| of every unit over all items."""
        return self.measurement.all_items.abs_mean

    @property
    def outliers(self) -> Bool[Array, "n_layers hidden_size"]:
        """Selected units that are outlier dimensions; see `lsns.analysis.outliers`."""
        return self.mask.units & outlier_units(self.magnitudes)

    def save(self, folder: str | Path | None = None) -> tuple[Path, Path]:
        """Write the mask and the adjusted p-values, each with its manifest beside it.

        Args:
            folder: default: that of the results.

        Returns:
            The two paths, named as the published scripts name them.
        """
        place = prepare_folder(results_folder(folder))
        mask_name, p_name = file_names(self.manifest)
        mask_path, p_path = place / mask_name, place / p_name
        for path in (mask_path, p_path):
            _note_replacement(path, self.manifest)
        self.mask.save(mask_path)
        content = {**self.manifest, "content": "adjusted p-values (Benjamini-Hochberg)"}
        return mask_path, write_array(p_path, self.p_values, content)


def localize(
    model: BaseModel | ModelRequest | str,
    contrast: Contrast | str | Path,
    *,
    method: str = "ttest",
    percentage: float | None = None,
    num_units: int | None = None,
    localize_range: str = "100-100",
    per_layer: bool | None = None,
    pooling: str | None = None,
    max_tokens: int | None = UNSET,
    seed: int = 42,
    cache_dir: str | Path | None = None,
    overwrite: bool = False,
    batch_size: int | None = None,
    progress: bool = False,
) -> Localization:
    """Find the units of a model that answer to a contrast.

    Args:
        model: from `load_model`, or a name for it. A name (or a `ModelRequest`) is loaded only if
            its activations are not cached.
        contrast: from `load_contrast`, or what it takes.
        method: `ttest`, `ttest-signed`, `nmd` or `mean`, or one of your own: see `make_analyzer`.
        percentage: of all units, in percent, rounded down; default 1 (0.5 of each layer for nmd).
        num_units: a number of units instead.
        localize_range: `100-100` highest scores, `0-0` lowest, `x-y` a random draw between those
            percentiles.
        per_layer: the same number of units in every layer; default: False, for nmd True.
        pooling: `last-token`, `mean` or `sum`; default: the contrast's protocol.
        max_tokens: cut texts to their first tokens; None: whole; default: the contrast's protocol.
        seed: of a random draw.
        cache_dir: where results are kept; default `LOC_CACHE`, else `cache`.
        overwrite: run the model again even if its activations are cached.
        batch_size: texts per forward pass; results do not depend on it.
        progress: show a bar while the model runs.

    Returns:
        The mask, scores, adjusted p-values and manifest.

    Raises:
        LsnsError: options, model or stimuli that cannot be used.
    """
    options = {
        "percentage": percentage,
        "num_units": num_units,
        "localize_range": localize_range,
        "per_layer": per_layer,
        "seed": seed,
    }
    analyzer = make_analyzer(method, options)
    stimuli = contrast if isinstance(contrast, Contrast) else load_contrast(contrast)
    measurement = measure(
        ModelRequest(model) if isinstance(model, str) else model,
        stimuli,
        pooling=pooling,
        max_tokens=max_tokens,
        cache_dir=cache_dir,
        overwrite=overwrite,
        batch_size=batch_size,
        progress=progress,
        analyzer=analyzer,
    )
    return select(measurement, analyzer)


def make_analyzer(method: str, options: Mapping[str, Any]) -> BaseAnalyzer:
    """The analyzer of that name; options that can be checked without a model are checked.

    Args:
        method: a built-in method, `module:Class` or `file.py:Class`, or the name of an entry
            point in the group `lsns.analyzers`.
        options: see `BaseAnalyzer`.

    Raises:
        LsnsError: no such method, or not a subclass of `BaseAnalyzer`.
    """
    made = METHODS.get(method)
    if made is None:
        made = load_attribute(method) if ":" in method else installed(ANALYZERS, method)
    if made is None:
        raise LsnsError(
            f"no method {method!r}; use one of {', '.join(METHODS)}, or module:Class for your own"
        )
    if not (isinstance(made, type) and issubclass(made, BaseAnalyzer)):
        raise LsnsError(f"method {method!r} is not a subclass of lsns.BaseAnalyzer")
    analyzer = made(options)
    if isinstance(analyzer, MomentsAnalyzer):
        analyzer.check()
    return analyzer


def select(measurement: Measurement, analyzer: BaseAnalyzer) -> Localization:
    """A localization from what was measured: no model is needed.

    Built-in analyzers need the moments only; one of a user's own gets the single activations.
    """
    if isinstance(analyzer, MomentsAnalyzer):
        units, metadata = analyzer.analyze_moments(measurement.positive, measurement.negative)
    else:
        units, metadata = _analyze_items(measurement, analyzer)
    per_layer = analyzer.per_layer if isinstance(analyzer, MomentsAnalyzer) else None
    selection = {
        "method": analyzer.get_analyzer_name(),
        "percentage": analyzer.config.get("percentage"),
        "num_units": analyzer.config.get("num_units"),
        "localize_range": analyzer.config.get("localize_range") or "100-100",
        "per_layer": per_layer,
        "seed": analyzer.config.get("seed", 42),
        "selected": int(units.sum()),
        "weakest_score": float(metadata["scores"][units].min()),
        "weakest_t": float(metadata["t_values"][units].min()),
    }
    manifest = {**measurement.manifest, "selection": selection, "lsns": version("lsns")}
    return Localization(
        mask=UnitMask(units, manifest),
        scores=metadata["scores"],
        t_values=metadata["t_values"],
        p_values=metadata["adjusted_p_values"],
        manifest=manifest,
        measurement=measurement,
    )


def _analyze_items(
    measurement: Measurement, analyzer: BaseAnalyzer
) -> tuple[Array, dict[str, Any]]:
    """What an analyzer of a user's own makes of the items; scores and p-values added."""
    name = analyzer.get_analyzer_name()
    rows = measurement.activations()
    if rows is None:
        raise LsnsError(
            f"method {name!r} needs single activations, and only their moments were kept"
        )
    n_positive = measurement.manifest["stimuli"]["positive"]
    mask, metadata = analyzer.analyze(np.asarray(rows[:n_positive]), np.asarray(rows[n_positive:]))
    chosen = np.asarray(mask)
    # Ones and zeros in floats are common, and as good.
    units = UnitMask(chosen.astype(bool) if np.isin(chosen, (0, 1)).all() else chosen).units
    if units.shape != measurement.shape or not units.any():
        raise LsnsError(
            f"method {name!r} returned a mask of shape {units.shape} with {int(units.sum())} "
            f"units; a mask of shape {measurement.shape} with at least one was expected"
        )
    t, p = welch(measurement.positive, measurement.negative)
    scores = np.asarray(metadata.get("scores", t))
    return units, {"scores": scores, "t_values": t, "adjusted_p_values": adjust_p_values(p)}


def measure(
    model: BaseModel | ModelRequest,
    contrast: Contrast,
    *,
    pooling: str | None = None,
    max_tokens: int | None = UNSET,
    cache_dir: str | Path | None = None,
    overwrite: bool = False,
    batch_size: int | None = None,
    progress: bool = False,
    analyzer: BaseAnalyzer | None = None,
) -> Measurement:
    """The moments of all units for a contrast: from the cache, else by running the model.

    Args:
        model: loaded, or as asked for.
        contrast: the stimuli.
        pooling: see `localize`.
        max_tokens: see `localize`.
        cache_dir: see `localize`.
        overwrite: see `localize`.
        batch_size: see `localize`.
        progress: see `localize`.
        analyzer: checked against the model's shape before the model runs.
    """
    protocol: dict[str, Any] = {
        "pooling": parse_pooling(pooling or contrast.pooling),
        "max_tokens": contrast.max_tokens if max_tokens is UNSET else max_tokens,
        "special_tokens": "as the tokenizer adds them",
        "site": SITE,
    }
    _check_at_least_one("max-tokens", protocol["max_tokens"])
    _check_at_least_one("batch-size", batch_size)
    folder = prepare_folder(results_folder(cache_dir))
    description = _describe(model, contrast, protocol)
    if description is not None and not overwrite:
        found = _load(ActivationStore(folder, description))
        if found is not None:
            return _as_asked(found, model, contrast)
    loaded = model.load() if isinstance(model, ModelRequest) else model
    if isinstance(analyzer, MomentsAnalyzer):
        analyzer.count(loaded.shape)
    store = ActivationStore(folder, _describe(loaded, contrast, protocol) or {})
    with store.lock():
        if overwrite:
            store.discard()
        found = _load(store)
        if found is None:
            _fill(store, loaded, contrast, protocol, batch_size=batch_size, progress=progress)
            found = _load(store)
    if found is None:
        raise LsnsError(f"{store.folder} was changed while it was written; run again")
    return _as_asked(found, loaded, contrast)


def file_names(manifest: Mapping[str, Any]) -> tuple[str, str]:
    """The names of a run's mask and p-value files: those of the published scripts.

    They name a run for its reader. They are never looked up: what determines a result is more
    than fits a name, and is in the manifest.
    """
    selection, model = manifest["selection"], manifest["model"]
    method = selection["method"]
    # The published names know one method; the others must not overwrite its files.
    extra = "" if method == "ttest" else f"_method={re.sub(r'[^A-Za-z0-9.-]+', '-', method)}"
    extra += "_perlayer=True" if selection["per_layer"] and method != "nmd" else ""
    network, pooling = manifest["stimuli"]["name"], manifest["protocol"]["pooling"]
    start = f"{model['label']}_network={network}_pooling={pooling}"
    mask = (
        f"{start}_range={selection['localize_range']}_perc={selection['percentage']}"
        f"_nunits={selection['num_units']}_pretrained={model['pretrained']}{extra}.npy"
    )
    return mask, f"{start}_pretrained={model['pretrained']}{extra}_pvalues.npy"


def _describe(
    model: BaseModel | ModelRequest, contrast: Contrast, protocol: Mapping[str, Any]
) -> dict[str, Any] | None:
    """All that determines the activations; None if the model's identity is not known yet."""
    if isinstance(model, ModelRequest):
        source = model.source()
        identity, dtype = (source.identity if source else None), model.dtype
        blocks, lesions = model.blocks, []
    else:
        identity, dtype = model.identity, model.dtype_name
        blocks, lesions = model.blocks_path, list(model.active_lesions)
    if identity is None:
        return None
    return {
        "extraction": EXTRACTION,
        "folds": N_FOLDS,
        "model": identity,
        "pretrained": model.pretrained,
        "init_seed": None if model.pretrained else model.seed,
        "dtype": dtype,
        "quantization": model.quantization,
        "blocks": blocks,
        "lesions": lesions,
        "stimuli": contrast.digest,
        "contrast": contrast.name,
        "protocol": dict(protocol),
    }


def _load(store: ActivationStore) -> Measurement | None:
    if not store.manifest:
        return None
    try:
        folds = _unpack(store.moments())
    except DamagedFileError as error:
        logger.warning("cached file %s is damaged; made again", error)
        if not _mend(store):
            store.discard()
            return None
        folds = _unpack(store.moments())
    return Measurement(folds, store, store.manifest["run"])


def _as_asked(
    found: Measurement, model: BaseModel | ModelRequest, contrast: Contrast
) -> Measurement:
    """The same measurement under the names of this run.

    The same weights or texts may have been measured under other names, which are no part of the
    key: a copied folder, a file that was moved.
    """
    named = model.source() if isinstance(model, ModelRequest) else model
    # A request that was found in the cache has a source: a registered model is always loaded.
    assert named is not None
    names = {"name": model.name, "label": named.label}
    manifest = {
        **found.manifest,
        "model": {**found.manifest["model"], **names},
        "stimuli": {**found.manifest["stimuli"], "source": contrast.source},
    }
    return replace(found, manifest=manifest)


def _mend(store: ActivationStore) -> bool:
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
    store: ActivationStore,
    model: BaseModel,
    contrast: Contrast,
    protocol: Mapping[str, Any],
    *,
    batch_size: int | None,
    progress: bool,
) -> None:
    from lsns.activations import fill_rows, tokenize

    tokens = tokenize(model.tokenizer, contrast.texts, max_tokens=protocol["max_tokens"])
    rows, done = store.open_rows((len(tokens), *model.shape))
    ready = int(np.count_nonzero(done))
    if ready:
        logger.info("%d of %d texts are there from an earlier run", ready, len(tokens))
    with _interruptible(store, done), _bar(len(tokens), ready, shown=progress) as bar:
        fill_rows(
            model,
            tokens,
            rows,
            done,
            pooling=protocol["pooling"],
            batch_size=batch_size,
            advance=bar.update,
        )
    items = _items(contrast, tokens)
    details = {"run": _run_manifest(model, contrast, protocol, store.key), "items": items}
    keep = rows.nbytes <= ACTIVATIONS_LIMIT_BYTES
    moments = _moments_by_fold(rows, items)
    if not keep:
        store.drop_rows()
    store.finish(moments, details)


def _run_manifest(
    model: BaseModel, contrast: Contrast, protocol: Mapping[str, Any], key: str
) -> dict[str, Any]:
    import platform

    packages = ("lsns", "numpy", "torch", "transformers")
    return {
        "model": {
            "name": model.name,
            "label": model.label,
            "identity": model.identity,
            "pretrained": model.pretrained,
            "init_seed": None if model.pretrained else model.seed,
            "dtype": model.dtype_name,
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
        "activations": key,
        "computed_with": {
            "device": str(model.device),
            "python": platform.python_version(),
            **{package: version(package) for package in packages},
        },
    }


def _items(contrast: Contrast, tokens: Sequence[Sequence[int]]) -> dict[str, Any]:
    """What is known of each item: its fold, and its number of tokens."""
    return {
        "fold": fold_of_items(contrast.groups, N_FOLDS),
        "positive": len(contrast.positive),
        "tokens": [len(ids) for ids in tokens],
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


@contextmanager
def _interruptible(store: ActivationStore, done: Array) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"interrupted: {int(np.count_nonzero(done))} of {len(done)} texts are kept in "
            f"{store.folder}; the same command goes on from there"
        ) from None


@contextmanager
def _bar(total: int, ready: int, *, shown: bool) -> Iterator[Any]:
    from tqdm import tqdm

    with tqdm(
        total=total, initial=ready, unit="text", desc="texts", disable=not shown, mininterval=0.5
    ) as bar:
        yield bar


def _check_at_least_one(option: str, number: int | None) -> None:
    if number is not None and number < 1:
        raise LsnsError(f"{option} must be at least 1; got {number}")


def _note_replacement(path: Path, manifest: Mapping[str, Any]) -> None:
    from lsns.cache import manifest_path, read_json

    before = read_json(manifest_path(path))
    if before and before.get("activations") != manifest["activations"]:
        logger.warning(
            "%s came from another run (stimuli %s, model %s); it is replaced",
            path.name,
            before.get("stimuli", {}).get("source", "unknown"),
            before.get("model", {}).get("name", "unknown"),
        )
