"""T-test beside NMD at the same number of units: where they look, and how far they agree.

On a model's activations, or on synthetic ones in which the selective units are known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float

from lsns.analysis import NMDAnalyzer, TTestAnalyzer
from lsns.analysis.selection import random_state
from lsns.lesions.continuations import Continuation, continue_prompt
from lsns.localization import Localization
from lsns.mask import UnitMask
from lsns.overlap import overlap

if TYPE_CHECKING:
    from lsns.models.base import BaseModel

Array = np.ndarray[Any, Any]
# Selective units in each layer of the synthetic model: most in a few layers in the middle.
PLANTED = (0, 0, 4, 12, 28, 44, 32, 14, 6, 4, 0, 0)
HIDDEN_SIZE = 256
ITEMS = 120
# In standard deviations: of a unit's mean from 0, and of the planted difference.
BASELINE = 2.0
EFFECT = 1.0
# How much units differ in magnitude (of the logarithm).
SPREAD = 0.5


@dataclass(frozen=True, eq=False)
class _Planted:
    """Synthetic activations with known selective units.

    Attributes:
        positive: activations in the positive condition, (n_items, n_layers, hidden_size).
        negative: activations in the negative condition, of that shape too.
        units: which units are selective.
    """

    positive: Float[Array, "n_items n_layers hidden_size"]
    negative: Float[Array, "n_items n_layers hidden_size"]
    units: Bool[Array, "n_layers hidden_size"]


def _plant(seed: int = 42) -> _Planted:
    """Synthetic activations: planted units are farther from 0 in the positive condition.

    Units differ in magnitude, as those of models do, so that a difference of means, which is not
    standardised, sees large ones first.
    """
    rng = random_state(seed)
    shape = (len(PLANTED), HIDDEN_SIZE)
    units = np.zeros(shape, dtype=bool)
    for layer, count in enumerate(PLANTED):
        units[layer, rng.choice(HIDDEN_SIZE, size=count, replace=False)] = True
    scale = np.exp(SPREAD * rng.standard_normal(shape)) * rng.choice([-1, 1], size=shape)
    positive, negative = (
        scale * (BASELINE + effect + rng.standard_normal((ITEMS, *shape)))
        for effect in (EFFECT * units, 0.0)
    )
    return _Planted(positive, negative, units)


def _select_planted(planted: _Planted, percentage: float) -> tuple[UnitMask, UnitMask]:
    """What T-test and NMD select of synthetic activations; NMD's number of units for both."""
    data = planted.positive, planted.negative
    nmd = UnitMask(NMDAnalyzer({"percentage": percentage}).analyze(*data)[0])
    return UnitMask(TTestAnalyzer({"num_units": nmd.count}).analyze(*data)[0]), nmd


def localize_both(
    find: Callable[..., Localization], percentage: float
) -> tuple[Localization, Localization]:
    """Localize by T-test and by NMD; NMD's number of units (a percentage of each layer) for both.

    Args:
        find: `localize` with all but the selection given.
        percentage: percentage of the units of each layer that NMD selects.
    """
    nmd = find(method="nmd", percentage=percentage, num_units=None)
    return find(method="ttest", percentage=None, num_units=nmd.mask.count), nmd


def continue_three_ways(
    model: BaseModel,
    prompt: str,
    ttest: Localization,
    nmd: Localization,
    *,
    max_new_tokens: int = 20,
) -> list[Continuation]:
    """Continuations of a prompt: intact, and with the units of either method zeroed."""
    conditions = (("intact", None), ("T-test", ttest.mask), ("NMD", nmd.mask))
    return [
        continue_prompt(model, prompt, name, mask, max_new_tokens=max_new_tokens)
        for name, mask in conditions
    ]


def describe_synthetic(seed: int, percentage: float) -> str:
    """What both methods find of planted units.

    Args:
        seed: random seed for the synthetic activations.
        percentage: percentage of the units of each layer that NMD selects.
    """
    planted = _plant(seed)
    masks = _select_planted(planted, percentage)
    return f"{_describe_methods(*masks)}\n\n{_describe_recovery(planted, *masks)}"


def describe_both(ttest: Localization, nmd: Localization) -> str:
    """What both methods find of a model, and how many outlier dimensions they select."""
    return (
        f"{_describe_methods(ttest.mask, nmd.mask)}\n"
        f"outliers   {int(ttest.outliers.sum())} of the units by T-test, {int(nmd.outliers.sum())} "
        "by NMD (mean |activation| over 10 times the layer's median)"
    )


def _describe_methods(ttest: UnitMask, nmd: UnitMask) -> str:
    """The table of units per layer, how they are spread, and the overlap against chance."""
    both = overlap(ttest.units, nmd.units)
    chance = (
        f"{both.expected:.1f} expected by chance over all units",
        f"{both.expected_by_layer:.1f} expected by chance within each layer, dimensions permuted "
        f"(p = {both.p_value:.2g})",
    )
    return "\n".join(
        [
            _table(ttest.per_layer.tolist(), nmd.per_layer.tolist()),
            "",
            f"per layer  T-test {_range(ttest)}, NMD {_range(nmd)}",
            f"overlap    {both.shared} units in both",
            *(f"           {line}" for line in chance),
        ]
    )


def _describe_recovery(planted: _Planted, ttest: UnitMask, nmd: UnitMask) -> str:
    """How many of the planted units either method found."""
    lines = [f"{'':<11}{'found':<9}{'recall':<10}precision"]
    total = int(planted.units.sum())
    for name, mask in (("T-test", ttest), ("NMD", nmd)):
        found = int((mask.units & planted.units).sum())
        recall, precision = found / total, found / mask.count
        lines.append(f"{name:<11}{found:<9}{recall:<10.3f}{precision:.3f}")
    reach = int(np.minimum(planted.units.sum(axis=1), nmd.per_layer).sum())
    lines.append(
        f"NMD takes {_range(nmd)} of a layer: at most {reach} of {total} were in its reach"
    )
    return "\n".join(lines)


def _table(ttest: list[int], nmd: list[int]) -> str:
    rows = [(str(layer), t, n) for layer, (t, n) in enumerate(zip(ttest, nmd, strict=True))]
    rows.append(("Total", sum(ttest), sum(nmd)))
    lines = [f"{'Layer':<7}{'T-test':<9}{'NMD':<7}Difference"]
    lines += [f"{name:<7}{t:<9}{n:<7}{f'{t - n:+d}' if t != n else 0}" for name, t, n in rows]
    return "\n".join(lines)


def _range(mask: UnitMask) -> str:
    low, high = int(mask.per_layer.min()), int(mask.per_layer.max())
    return f"{low} units" if low == high else f"{low} to {high} units"
