"""How much of a mask is outlier dimensions, and in how many layers each recurs.

Source: "Massive Activations in Large Language Models" (arXiv 2402.17762): a few dimensions, the
same ones in most layers, are far larger than all others, and setting them to zero breaks a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float

from lsns.analysis.outliers import PLACES, THRESHOLD, outlier_units
from lsns.overlap import overlap
from lsns.table import Column, Table

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class OutlierDimension:
    """A hidden dimension with an outlier unit in the mask.

    Attributes:
        dimension: index in the residual stream.
        selected_layers: number of layers in which it is an outlier and selected.
        outlier_layers: number of layers in which it is an outlier.
    """

    columns: ClassVar = (
        Column("dimension"),
        Column("selected in layers", "{selected_layers}"),
        Column("outlier in layers", "{outlier_layers}"),
    )

    dimension: int
    selected_layers: int
    outlier_layers: int


@dataclass(frozen=True)
class OutlierPlace:
    """Outlier units by where their magnitude was read.

    Attributes:
        place: `pooled` (where the localizer reads), `tokens` (over all tokens of ordinary text) or
            `first` (the first position, where the prefix of benchmark texts stands).
        selected: number of outlier units there that are in the mask.
        model: number of outlier units there in the model.
    """

    place: str
    selected: int
    model: int


@dataclass(frozen=True)
class OutlierAudit:
    """Outlier dimensions in a mask.

    Attributes:
        threshold: an outlier's mean |activation| is over so many times the median of its layer, at
            any of the places.
        selected: number of outlier units in the mask.
        units: number of units in the mask.
        share: outlier units as a share of the mask's units.
        magnitude_share: their share of the mask's summed mean |activation| over all tokens.
        expected: expected number of outlier units in a random mask with as many units per layer.
        p_value: probability of at least as many, the mask's dimensions permuted (see `Overlap`).
        model: number of outlier units in the model.
        dimensions: dimensions of the outlier units in the mask, those selected in most layers
            first.
        places: how many are outliers at which place.
    """

    threshold: float
    selected: int
    units: int
    share: float
    magnitude_share: float
    expected: float
    p_value: float
    model: int
    dimensions: tuple[OutlierDimension, ...]
    places: tuple[OutlierPlace, ...] = ()

    def table(self) -> Table:
        """A row for each dimension."""
        title = (
            f"outlier dimensions (mean |activation| over {self.threshold:g} times the layer's "
            "median)"
        )
        lead = (
            f"{self.selected} of {self.units} selected units ({self.share:.1%}), with "
            f"{self.magnitude_share:.1%} of their magnitude; chance {self.expected:.2f}, "
            f"p {self.p_value:.2g}; {self.model} in the model"
        )
        where = ", ".join(f"{one.selected} {PLACES[one.place]}" for one in self.places)
        leads = [lead, f"of these, outliers {where}"] if where else [lead]
        return Table(title, OutlierDimension.columns, self.dimensions, lead=leads)


def audit_outliers(
    mask: Bool[Array, "n_layers hidden_size"],
    sizes: Mapping[str, Float[Array, "n_layers hidden_size"]],
    *,
    threshold: float = THRESHOLD,
) -> OutlierAudit:
    """Count outlier units in a mask, and the dimensions that they are made of.

    Args:
        mask: selected units.
        sizes: mean |activation| of every unit by place, as `Localization.sizes`.
        threshold: how many times the median of its layer an outlier's magnitude exceeds.
    """
    places = {name: outlier_units(one, threshold=threshold) for name, one in sizes.items()}
    outliers = np.logical_or.reduce(list(places.values()))
    magnitudes = sizes["tokens"]
    both = mask & outliers
    chance = overlap(mask, outliers)
    selected, everywhere = both.sum(axis=0), outliers.sum(axis=0)
    magnitude = float(magnitudes[mask].sum())
    order = sorted(np.flatnonzero(selected).tolist(), key=lambda i: (-selected[i], i))
    return OutlierAudit(
        threshold=threshold,
        selected=int(both.sum()),
        units=int(mask.sum()),
        share=float(both.sum() / mask.sum()),
        # Units that are always zero have no magnitude to share.
        magnitude_share=float(magnitudes[both].sum()) / magnitude if magnitude > 0 else 0.0,
        expected=chance.expected_by_layer,
        p_value=chance.p_value,
        model=int(outliers.sum()),
        dimensions=tuple(OutlierDimension(i, int(selected[i]), int(everywhere[i])) for i in order),
        places=tuple(
            OutlierPlace(name, int((mask & units).sum()), int(units.sum()))
            for name, units in places.items()
        ),
    )
