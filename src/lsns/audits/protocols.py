"""How much of a mask depends on the protocol: the masks of other methods, poolings and cuts.

Other methods are scored from the moments that are there. Another pooling, or texts cut elsewhere,
is another pass of the model, unless it is cached: what that would cost is known beforehand.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from lsns.analysis import METHODS, MomentsAnalyzer
from lsns.errors import LsnsError
from lsns.localization import Localization, select
from lsns.measurement import Measurement, cached, measure
from lsns.overlap import Overlap, overlap
from lsns.table import Column

if TYPE_CHECKING:
    from lsns.models.base import BaseModel
    from lsns.models.factory import ModelRequest

logger = logging.getLogger(__name__)
POOLINGS = ("last-token", "mean")
# Where the published language localizer cuts its texts.
CUT = 12


@dataclass(frozen=True, kw_only=True)
class ProtocolOverlap(Overlap):
    """The overlap with the mask of another method or protocol, which has as many units.

    Attributes:
        name: the other method, or the other protocol, in words.
        kind: `method` or `protocol`.
        units: number of units in the other mask.
    """

    columns: ClassVar = (
        Column("units shared with", "{name}"),
        Column("units"),
        Column("shared"),
        Column("Dice", "{dice:.3f}"),
        *Overlap.chance,
    )

    name: str
    kind: str
    units: int


@dataclass(frozen=True)
class Protocol:
    """How texts are read.

    Attributes:
        pooling: of the tokens.
        max_tokens: that are read; None: all.
    """

    pooling: str
    max_tokens: int | None

    @property
    def words(self) -> str:
        """For people."""
        cut = "whole texts" if self.max_tokens is None else f"{self.max_tokens} tokens"
        return f"{self.pooling}, {cut}"


def compare_methods(found: Localization) -> list[ProtocolOverlap]:
    """The overlap with every other built-in method at the same number of units: no model.

    Units come from the same percentiles. A method is left out where it cannot select as many, as
    layer by layer without outliers.
    """
    own, asked = found.analyzer.get_analyzer_name(), found.manifest["selection"]
    options = {
        "num_units": found.mask.count,
        "localize_range": asked["localize_range"],
        "seed": asked["seed"],
    }
    overlaps = []
    for name, made in METHODS.items():
        if name == own:
            continue
        with suppress(LsnsError):
            units = _reselect(found, found.measurement, made(options))
            overlaps.append(_compare(found, units, f"{name} on the same activations", "method"))
    return overlaps


def compare_protocols(
    found: Localization,
    model: BaseModel | ModelRequest | None,
    *,
    run: bool,
    batch_size: int | None = None,
    progress: bool = False,
) -> list[ProtocolOverlap]:
    """The overlap with the masks of the other protocols.

    Args:
        found: the localization.
        model: that was localized; None: no protocol can be looked up.
        run: run the model for the protocols that are not cached, after saying what it costs.
        batch_size: see `localize`.
        progress: see `localize`.
    """
    analyzer = found.analyzer
    if model is None or not isinstance(analyzer, MomentsAnalyzer):
        return []
    contrast, options = found.measurement.contrast, _cache_options(found)
    protocols = [p for p in other_protocols(found)]
    known = {p: cached(model, contrast, **vars(p), **options) for p in protocols}
    missing = [p for p, there in known.items() if there is None]
    if run and missing:
        logger.info(describe_cost(found, missing))
        loaded = model if not hasattr(model, "load") else model.load()  # type: ignore[union-attr]
        for p in missing:
            known[p] = measure(
                loaded, contrast, **vars(p), **options, batch_size=batch_size, progress=progress
            )
    return [
        _compare(found, _reselect(found, there, analyzer), p.words, "protocol")
        for p, there in known.items()
        if there is not None
    ]


def other_protocols(found: Localization) -> Iterator[Protocol]:
    """Each pooling on cut and on whole texts, but the localization's own."""
    own = found.manifest["protocol"]
    cut = own["max_tokens"] or found.measurement.contrast.max_tokens or CUT
    for pooling in dict.fromkeys([own["pooling"], *POOLINGS]):
        for max_tokens in (cut, None):
            if (pooling, max_tokens) != (own["pooling"], own["max_tokens"]):
                yield Protocol(pooling, max_tokens)


def describe_cost(found: Localization, protocols: list[Protocol]) -> str:
    """What running the model for these protocols costs, in tokens, for people."""
    items = found.measurement.items
    read, whole = sum(items["tokens"]), items["whole"]
    tokens = sum(
        min(n, n if p.max_tokens is None else p.max_tokens) for p in protocols for n in whole
    )
    names = "; ".join(p.words for p in protocols)
    return (
        f"{len(protocols)} more passes over {len(whole)} texts ({names}): "
        f"{tokens} tokens, {tokens / read:.1f} times what this localization read"
    )


def _reselect(found: Localization, measurement: Measurement, analyzer: MomentsAnalyzer) -> Any:
    excluded = found.barred is not None
    return select(
        measurement,
        analyzer,
        exclude_outliers=excluded,
        outlier_threshold=found.outlier_threshold,
    ).mask.units


def _compare(found: Localization, units: Any, name: str, kind: str) -> ProtocolOverlap:
    both = overlap(found.mask.units, units)
    return ProtocolOverlap(name=name, kind=kind, units=int(units.sum()), **vars(both))


def _cache_options(found: Localization) -> dict[str, Any]:
    return {"cache_dir": found.measurement.store.folder.parents[1]}
