"""`localize`: stimuli to activations to moments to scores to a mask, and what of it is kept."""

from __future__ import annotations

import csv
import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float

from lsns.analysis import METHODS, BaseAnalyzer, MomentsAnalyzer
from lsns.analysis.outliers import PLACES, THRESHOLD, check_threshold, outlier_units
from lsns.errors import LsnsError
from lsns.mask import UnitMask
from lsns.measurement import UNSET, Measurement, measure
from lsns.models.factory import ModelRequest, check_model
from lsns.moments import adjust_p_values, welch
from lsns.plugins import ANALYZERS, installed, load_attribute, names_code
from lsns.stimuli.contrast import Contrast
from lsns.stimuli.networks import NETWORKS, load_contrast
from lsns.store import (
    atomic,
    digest_of,
    manifest_path,
    prepare_folder,
    read_json,
    results_folder,
    write_array,
)
from lsns.table import Column, Table, Tabled, make_frame
from lsns.terminal import one_line

if TYPE_CHECKING:
    from lsns.models.base import BaseModel

Array = np.ndarray[Any, Any]
logger = logging.getLogger(__name__)
BAR_WIDTH = 40
ALPHA = 0.05
# Bytes of a part of a file's name, and of a name without its ending: systems take 255.
LONGEST_PART, LONGEST_STEM = 80, 235
# What stands between the parts of a name, or means something to a shell or a file system.
SPECIAL = '/\\:*?"<>|=~'
# The usual seed, of draws and of random weights: what the published names do not tell.
SEED = 42


@dataclass(frozen=True, eq=False)
class Localization(Tabled):
    """The units that answer to a contrast.

    Attributes:
        mask: the selected units.
        scores: what they were selected by, shape (n_layers, hidden_size).
        t_values: Welch's t, same shape.
        p_values: two-sided p of that t, adjusted over all units (Benjamini-Hochberg).
        manifest: all that determined the result.
        measurement: the moments that it was computed from.
        analyzer: what scored and selected the units, with its options.
        outlier_threshold: what counts as an outlier unit; see `lsns.analysis.outliers`.
    """

    mask: UnitMask
    scores: Float[Array, "n_layers hidden_size"]
    t_values: Float[Array, "n_layers hidden_size"]
    p_values: Float[Array, "n_layers hidden_size"]
    manifest: Mapping[str, Any]
    measurement: Measurement
    analyzer: BaseAnalyzer
    outlier_threshold: float = THRESHOLD

    def __repr__(self) -> str:
        """What was found in what, in one line."""
        stimuli, model = self.manifest["stimuli"]["name"], self.manifest["model"]["name"]
        return one_line(
            f"Localization({stimuli} in {model}: {self.mask.count} of {self.mask.units.size} units "
            f"by {self.manifest['selection']['method']})"
        )

    def __str__(self) -> str:
        """What was done and what came out, in eight lines."""
        return "\n".join(_summary(self))

    def to_frame(self) -> Any:
        """All units of the model, selected or not, as a data frame: of pandas, else of pyarrow.

        Returns:
            A row for each unit: layer, unit, t, p (adjusted), magnitude (mean |activation| where
            the localizer reads; magnitude_tokens over all tokens, magnitude_first at the first
            position), outlier and selected.

        Raises:
            LsnsError: neither pandas nor pyarrow is installed.
        """
        return make_frame(_units(self))

    def tables(self) -> list[Table]:
        """The number of selected units in each layer."""
        rows = [{"layer": n, "units": count} for n, count in enumerate(self.mask.per_layer)]
        columns = [Column("layer"), Column("selected units", "{units}")]
        return [Table(repr(self), columns, rows, lead=_summary(self))]

    def describe(self) -> str:
        """What was done and what came out, with a bar for each layer, for a terminal."""
        bars = _bars(self.mask.per_layer.tolist())
        return "\n".join([*_summary(self), "selected units per layer", *bars])

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
        """Mean |activation| of every unit where the localizer reads: pooled, over all items."""
        return self.measurement.all_items.abs_mean

    @property
    def sizes(self) -> dict[str, Float[Array, "n_layers hidden_size"]]:
        """Mean |activation| of every unit at each of three places, at which outliers are counted.

        `pooled`: as `magnitudes`; `tokens`: over all tokens of the texts, whole, behind what stands
        in front of benchmark texts; `first`: at the first position of these.
        """
        return self.measurement.sizes

    @property
    def rms(self) -> Float[Array, "n_layers hidden_size"]:
        """Root mean square of every unit over all tokens: what a lesion in mode `zero` removes."""
        return np.sqrt(self.measurement.magnitudes.mean_square)

    @property
    def outlier_units(self) -> Bool[Array, "n_layers hidden_size"]:
        """All units of the model that are outliers at any place; see `lsns.analysis.outliers`."""
        return outlier_units(self.sizes, threshold=self.outlier_threshold)

    @property
    def outliers(self) -> Bool[Array, "n_layers hidden_size"]:
        """Those of them that are selected."""
        return self.mask.units & self.outlier_units

    @property
    def barred(self) -> Bool[Array, "n_layers hidden_size"] | None:
        """Units that could not be selected, and so must not be in a control, either."""
        return self.outlier_units if self.manifest["selection"]["exclude_outliers"] else None

    def by(self, analyzer: BaseAnalyzer) -> Localization:
        """The units that another analyzer selects of the same activations, by the same bounds."""
        excluded = self.barred is not None
        return select(
            self.measurement, analyzer,
            exclude_outliers=excluded, outlier_threshold=self.outlier_threshold,
        )  # fmt: skip

    def save(self, folder: str | Path | None = None) -> tuple[Path, Path]:
        """Write the mask and the adjusted p-values, each with its manifest beside it.

        Beside the mask a table of all units is written; see `units_path`.

        Args:
            folder: default: that of the results.

        Returns:
            The two paths, named as the published scripts name them. What these names do not tell
            and differs from the published protocol is in the name as well; files of other weights
            or texts under the same name stay, and these get a name of their own.
        """
        place = prepare_folder(results_folder(folder))
        paths = [place / name for name in file_names(self.manifest)]
        if any([_is_of_others(path, self.manifest) for path in paths]):
            paths = [place / name for name in file_names(self.manifest, apart=True)]
        mask_path, p_path = paths
        self.mask.save(mask_path)
        _write_units(units_path(mask_path), self)
        content = {**self.manifest, "content": "adjusted p-values (Benjamini-Hochberg)"}
        return mask_path, write_array(p_path, self.p_values, content)


def localize(
    model: BaseModel | ModelRequest | str,
    contrast: Contrast | str | Path | Any,
    *,
    method: str = "ttest",
    percentage: float | None = None,
    num_units: int | None = None,
    localize_range: str = "100-100",
    per_layer: bool | None = None,
    exclude_outliers: bool = False,
    outlier_threshold: float = THRESHOLD,
    pooling: str | None = None,
    max_tokens: int | None = UNSET,
    seed: int = 42,
    cache_dir: str | Path | None = None,
    overwrite: bool = False,
    batch_size: int | None = None,
    workers: int = 1,
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
        exclude_outliers: do not select outlier units; there are as many units as without it.
        outlier_threshold: how many times the median of its layer an outlier's mean |activation|
            exceeds.
        pooling: `last-token`, `mean` or `sum`; default: the contrast's protocol.
        max_tokens: cut texts to their first tokens; None: whole; default: the contrast's protocol.
        seed: of a random draw.
        cache_dir: where results are kept; default `LOC_CACHE`, else `cache`.
        overwrite: run the model again even if its activations are cached.
        batch_size: texts per forward pass; another size changes activations in their last digits,
            by rounding, and a mask only where two scores are as close as that.
        workers: processes of this machine that run the model, each with a copy of it; several need
            the model's name. Results are the same bytes.
        progress: show a bar while the model runs.

    Returns:
        The mask, scores, adjusted p-values and manifest.

    Raises:
        LsnsError: options, model or stimuli that cannot be used.
    """
    check_model(model, by_name=True)
    options = {
        "percentage": percentage,
        "num_units": num_units,
        "localize_range": localize_range,
        "per_layer": per_layer,
        "seed": seed,
    }
    analyzer = make_analyzer(method, options)
    _check_outlier_options(analyzer, exclude_outliers, outlier_threshold)
    stimuli = contrast if isinstance(contrast, Contrast) else load_contrast(contrast)
    if stimuli.repeated:
        logger.warning(
            "%d of %d texts repeat another one: p-values count them as if they did not",
            stimuli.repeated,
            len(stimuli.texts),
        )
    measurement = measure(
        ModelRequest(model) if isinstance(model, str) else model,
        stimuli,
        pooling=pooling,
        max_tokens=max_tokens,
        cache_dir=cache_dir,
        overwrite=overwrite,
        batch_size=batch_size,
        workers=workers,
        progress=progress,
        analyzer=analyzer,
    )
    return select(
        measurement,
        analyzer,
        exclude_outliers=exclude_outliers,
        outlier_threshold=outlier_threshold,
    )


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
        made = load_attribute(method) if names_code(method) else installed(ANALYZERS, method)
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


def select(
    measurement: Measurement,
    analyzer: BaseAnalyzer,
    *,
    exclude_outliers: bool = False,
    outlier_threshold: float = THRESHOLD,
) -> Localization:
    """A localization from what was measured: no model is needed.

    Built-in analyzers need the moments only; one of a user's own gets the single activations.

    Args:
        measurement: from `measure`.
        analyzer: from `make_analyzer`.
        exclude_outliers: see `localize`.
        outlier_threshold: see `localize`.
    """
    _check_outlier_options(analyzer, exclude_outliers, outlier_threshold)
    barred = None
    if exclude_outliers:
        barred = outlier_units(measurement.sizes, threshold=outlier_threshold)
    if isinstance(analyzer, MomentsAnalyzer):
        moments = measurement.positive, measurement.negative
        units, metadata = analyzer.analyze_moments(*moments, barred=barred)
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
        "exclude_outliers": exclude_outliers,
        **({"outlier_threshold": float(outlier_threshold)} if exclude_outliers else {}),
        "selected": int(units.sum()),
        "weakest_score": float(metadata["scores"][units].min()),
        "weakest_t": float(metadata["t_values"][units].min()),
    }
    manifest = {**measurement.manifest, "selection": selection, "lsns": version("lsns")}
    scores, t_values = metadata["scores"], metadata["t_values"]
    return Localization(
        UnitMask(units, manifest), scores, t_values, metadata["adjusted_p_values"],
        manifest, measurement, analyzer, outlier_threshold,
    )  # fmt: skip


def _check_outlier_options(analyzer: BaseAnalyzer, exclude: bool, threshold: float) -> None:
    check_threshold(threshold)
    if exclude and not isinstance(analyzer, MomentsAnalyzer):
        raise LsnsError(
            f"method {analyzer.get_analyzer_name()!r} selects its units itself, so outlier units "
            f"cannot be excluded; use one of {', '.join(METHODS)} or leave out exclude-outliers"
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


def file_names(manifest: Mapping[str, Any], *, apart: bool = False) -> tuple[str, str]:
    """The names of a run's mask and p-value files: those of the published scripts.

    They name a run for its reader: whatever option differs from the published ones is in the
    name. They are never looked up: what determines a result is in the manifest.

    Args:
        manifest: of the localization.
        apart: with a digest of the weights and texts, which have the same names as others.
    """
    selection, model = manifest["selection"], manifest["model"]
    network, protocol = manifest["stimuli"]["name"], manifest["protocol"]
    start = [("network", network), ("pooling", protocol["pooling"])]
    chosen = [
        ("range", selection["localize_range"]),
        ("perc", selection["percentage"]),
        ("nunits", selection["num_units"]),
    ]
    end = [("pretrained", model["pretrained"]), *_unusual(manifest)]
    end += [("run", digest_of(_content(manifest))[:8])] if apart else []
    return (
        f"{_stem(model['label'], [*start, *chosen, *end, *_unusual_draw(selection)])}.npy",
        f"{_stem(model['label'], [*start, *end])}_pvalues.npy",
    )


def units_path(mask_path: Path) -> Path:
    """The table of units beside a mask's file: the same name, ending in `_units.csv`."""
    return mask_path.with_name(f"{mask_path.name.removesuffix(mask_path.suffix)}_units.csv")


def _units(found: Localization) -> dict[str, Array]:
    """What is known of each unit of the model, selected or not, layer by layer."""
    layers, units = np.indices(found.mask.units.shape)
    columns = {
        "layer": layers,
        "unit": units,
        "t": found.t_values,
        "p": found.p_values,
        "magnitude": found.magnitudes,
        "magnitude_tokens": found.sizes["tokens"],
        "magnitude_first": found.sizes["first"],
        "outlier": found.outlier_units,
        "selected": found.mask.units,
    }
    return {name: column.ravel() for name, column in columns.items()}


def _write_units(path: Path, found: Localization) -> None:
    """A row for each unit; numbers with all their digits, 0 and 1 for no and yes."""
    columns = _units(found)
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        values = ((c.astype(int) if c.dtype == bool else c).tolist() for c in columns.values())
        writer.writerows(zip(*values, strict=True))


def _stem(label: str, parts: Sequence[tuple[str, object]]) -> str:
    words = [_name_part(label), *(f"{key}={_name_part(value)}" for key, value in parts)]
    return _shortened("_".join(words), LONGEST_STEM)


def _name_part(text: object) -> str:
    """A text as a part of a file's name.

    What cannot stand there is replaced, and then the text's digest follows, so that two texts never
    become one. Most texts stay as they are.

    >>> _name_part("gpt2"), _name_part("../gpt2")
    ('gpt2', '-.-gpt2~6e499fa7')
    """
    given = str(text)
    kept = "".join(c if c.isprintable() and c not in SPECIAL else "-" for c in given)
    return _shortened(f"-{kept[1:]}" if kept.startswith(".") else kept, LONGEST_PART, given)


def _shortened(text: str, longest: int, given: str | None = None) -> str:
    """The text, if it is not empty, as it was given, and not too long; else with a digest."""
    encoded, given = text.encode(), text if given is None else given
    if text and text == given and len(encoded) <= longest:
        return text
    digest = hashlib.sha256(given.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{encoded[: longest - 9].decode('utf-8', 'ignore')}~{digest}"


def _unusual(manifest: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """What differs from the published protocol, which the published names do not tell."""
    selection, model, stimuli = manifest["selection"], manifest["model"], manifest["stimuli"]
    method, known = selection["method"], NETWORKS.get(stimuli["name"])
    if model["init_seed"] not in (None, SEED):
        yield "seed", model["init_seed"]
    dtype = model.get("precision", "auto") if model["dtype"] == "auto" else model["dtype"]
    if dtype != "float32":
        yield "dtype", dtype
    for name in ("quantization", "revision", "blocks"):
        if model.get(name) is not None:
            yield name, model[name]
    if model.get("lesions"):
        yield "lesions", digest_of({"lesions": model["lesions"]})[:8]
    if known is not None and stimuli["digest"] != load_contrast(stimuli["name"]).digest:
        yield "stimuli", stimuli["digest"][:8]
    tokens = manifest["protocol"]["max_tokens"]
    if tokens != (known and known["max_tokens"]):
        yield "tokens", "whole" if tokens is None else tokens
    # The published names know one method; the others must not overwrite its files.
    if method != "ttest":
        yield "method", method
    if selection["per_layer"] is not None and selection["per_layer"] != (method == "nmd"):
        yield "perlayer", selection["per_layer"]
    if selection["exclude_outliers"]:
        yield "excludeoutliers", str(selection["outlier_threshold"]).removesuffix(".0")


def _unusual_draw(selection: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """The seed of a random draw; a method of one's own may draw as well."""
    by_rank = selection["method"] in METHODS and selection["localize_range"] in ("100-100", "0-0")
    if not by_rank and selection["seed"] != SEED:
        yield "draw", selection["seed"]


def _content(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What the names of a model and a network stand for; empty if it is not said."""
    with suppress(KeyError, TypeError):
        return {"model": manifest["model"]["identity"], "stimuli": manifest["stimuli"]["digest"]}
    return {}


def _is_of_others(path: Path, manifest: Mapping[str, Any]) -> bool:
    """Whether a file is there of other weights or texts with the same names, which is said."""
    before = _content(read_json(manifest_path(path)))
    if not before or None in before.values() or before == _content(manifest):
        return False
    logger.warning("%s came from another run, of other weights or texts; it stays", path.name)
    return True


def _summary(found: Localization) -> list[str]:
    """What was done and what came out, a line for each."""
    manifest = found.manifest
    model, stimuli, protocol = manifest["model"], manifest["stimuli"], manifest["protocol"]
    selection, total, tokens = manifest["selection"], found.mask.units.size, protocol["max_tokens"]
    n_layers, hidden_size = found.mask.units.shape
    weights = "" if model["pretrained"] else f", random weights (seed {model['init_seed']})"
    counts = f"{stimuli['positive']} positive, {stimuli['negative']} negative"
    repeated = stimuli.get("repeated")
    words = f"{repeated} texts repeat another one; p-values count them as if they did not"
    read = "whole texts" if tokens is None else f"{tokens} tokens"
    lines = [
        ("model", f"{model['name']} ({model['dtype']}{weights})"),
        ("units", f"{n_layers} blocks x {hidden_size} = {total}"),
        ("stimuli", f"{stimuli['name']}: {counts} ({stimuli['source']})"),
        *([("", words)] if repeated else []),
        ("protocol", f"{protocol['pooling']}, {read}"),
        ("selected", f"{found.mask.count} units: {_selection_words(selection)}"),
        (
            "t",
            f"weakest selected {selection['weakest_t']:.3f}, largest {found.t_values.max():.2f}",
        ),
        (f"p < {ALPHA:.2f}", _significant_words(found)),
        ("outliers", _outlier_words(found)),
    ]
    return [f"{name:<9} {one_line(value)}" for name, value in lines]


def _selection_words(selection: dict[str, object]) -> str:
    percentage, num_units = selection["percentage"], selection["num_units"]
    if num_units is not None:
        amount = f"{num_units} asked for"
    else:
        amount = "the default percentage" if percentage is None else f"{percentage:g}%"
    where = "of every layer" if selection["per_layer"] else "over all layers"
    places = {"100-100": "highest", "0-0": "lowest"}
    chosen = str(selection["localize_range"])
    place = places.get(chosen, f"drawn from percentiles {chosen}, seed {selection['seed']}")
    return f"{amount} {where}, {place} by {selection['method']}"


def _significant_words(found: Localization) -> str:
    """How many units differ either way: the test is two-sided, and selection mostly is not."""
    higher, lower = (
        int(np.count_nonzero((found.p_values < ALPHA) & side))
        for side in (found.t_values > 0, found.t_values < 0)
    )
    return f"{higher} units higher in positive items, {lower} lower (adjusted over all units)"


def _outlier_words(found: Localization) -> str:
    over = f"over {found.outlier_threshold:g} times the layer's median"
    if found.barred is not None:
        all_of_them = int(found.barred.sum())
        return f"none selected: all {all_of_them} are excluded (mean |activation| {over})"
    units, sizes = found.mask.units, found.sizes
    if not found.outliers.any():
        return f"none selected (mean |activation| {over})"
    places = {
        place: outlier_units(one, threshold=found.outlier_threshold) for place, one in sizes.items()
    }
    where = ", ".join(f"{(units & places[name]).sum()} {PLACES[name]}" for name in places)
    share = sizes["tokens"][found.outliers].sum() / sizes["tokens"][units].sum()
    return (
        f"{found.outliers.sum()} of the selected units ({where}), with {share:.0%} of their "
        f"|activation| ({over}): a lesion may show these, not a network"
    )


def _bars(counts: Sequence[int]) -> list[str]:
    largest = max(counts)
    return [
        f"{layer:>4} {count:>5} {'█' * max(round(BAR_WIDTH * count / largest), count > 0)}".rstrip()
        for layer, count in enumerate(counts)
    ]
