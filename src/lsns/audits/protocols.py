"""How much of a mask depends on the protocol: the masks of other methods, poolings and cuts.

Other methods are scored from the moments that are there. Another pooling, or texts cut elsewhere,
is another pass of the model, unless it is cached: what that would cost is known beforehand.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

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
    kind: Literal["method", "protocol"]
    units: int


@dataclass(frozen=True)
class _Protocol:
    """How texts are read: how tokens become one vector, and how many are read (None: all)."""

    pooling: str
    max_tokens: int | None

    @property
    def words(self) -> str:
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
        if name != own:
            words = f"{name} on the same activations"
            with suppress(LsnsError):
                overlaps.append(_compare(found, found.measurement, made(options), words, "method"))
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
        model: model that was localized; None: no protocol can be looked up.
        run: run the model for the protocols that are not cached, after saying what it costs.
        batch_size: texts in a forward pass; None: chosen by the length of the texts.
        progress: show bars while the model runs.
    """
    analyzer, contrast = found.analyzer, found.measurement.contrast
    if model is None or not isinstance(analyzer, MomentsAnalyzer):
        return []
    options: dict[str, Any] = {"cache_dir": found.measurement.store.folder.parents[1]}
    known = {p: cached(model, contrast, **vars(p), **options) for p in _other_protocols(found)}
    missing = [p for p, there in known.items() if there is None]
    if run and missing:
        logger.info(_describe_cost(found, missing))
        loaded = model if not hasattr(model, "load") else model.load()  # type: ignore[union-attr]
        for p in missing:
            known[p] = measure(
                loaded, contrast, **vars(p), **options, batch_size=batch_size, progress=progress
            )
    return [
        _compare(found, there, analyzer, p.words, "protocol")
        for p, there in known.items()
        if there is not None
    ]


def _other_protocols(found: Localization) -> Iterator[_Protocol]:
    """Each pooling on cut and on whole texts, but the localization's own."""
    own = found.manifest["protocol"]
    cut = own["max_tokens"] or found.measurement.contrast.max_tokens or CUT
    for pooling in dict.fromkeys([own["pooling"], *POOLINGS]):
        for max_tokens in (cut, None):
            if (pooling, max_tokens) != (own["pooling"], own["max_tokens"]):
                yield _Protocol(pooling, max_tokens)


def _describe_cost(found: Localization, protocols: list[_Protocol]) -> str:
    """What running the model for these protocols costs, in tokens."""
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


def _compare(
    found: Localization,
    measurement: Measurement,
    analyzer: MomentsAnalyzer,
    name: str,
    kind: Literal["method", "protocol"],
) -> ProtocolOverlap:
    other = select(
        measurement,
        analyzer,
        exclude_outliers=found.barred is not None,
        outlier_threshold=found.outlier_threshold,
    ).mask
    both = overlap(found.mask.units, other.units)
    return ProtocolOverlap(name=name, kind=kind, units=other.count, **vars(both))
