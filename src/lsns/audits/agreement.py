"""How alike two masks are, or two score maps, and what chance would give. Pure arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Agreement:
    """How alike two masks are.

    Attributes:
        dice: 2 |A and B| / (|A| + |B|).
        jaccard: |A and B| / |A or B|.
        phi: Pearson's correlation of the two masks; for masks of one size it is Cohen's kappa,
            which is Dice corrected for chance. Of a mask of all units it is not defined: 1 if the
            masks are the same, else 0.
        dice_chance: Dice of two random masks of these sizes, expected.
        jaccard_chance: Jaccard at that expected number of shared units.
    """

    dice: float
    jaccard: float
    phi: float
    dice_chance: float
    jaccard_chance: float


def compare_masks(
    first: Bool[Array, "n_layers hidden_size"], second: Bool[Array, "n_layers hidden_size"]
) -> Agreement:
    """The agreement of two masks with at least one unit each."""
    a, b, total = int(first.sum()), int(second.sum()), first.size
    shared, expected = int((first & second).sum()), a * b / total
    spread = (a * (total - a) * b * (total - b)) ** 0.5
    return Agreement(
        dice=2 * shared / (a + b),
        jaccard=shared / (a + b - shared),
        phi=(shared * total - a * b) / spread if spread else float(np.array_equal(first, second)),
        dice_chance=2 * expected / (a + b),
        jaccard_chance=expected / (a + b - expected),
    )


def mean_agreement(parts: Sequence[Agreement]) -> dict[str, float]:
    """The mean of each number."""
    names = ("dice", "jaccard", "phi", "dice_chance", "jaccard_chance")
    return {name: float(np.mean([getattr(part, name) for part in parts])) for name in names}


def correlate(
    first: Float[Array, "n_layers hidden_size"], second: Float[Array, "n_layers hidden_size"]
) -> float:
    """Pearson's correlation of two score maps over all units; 0 if one of them is constant."""
    # From the first unit on, a constant map is exactly zero.
    a, b = first.ravel() - first.flat[0], second.ravel() - second.flat[0]
    a, b = a - a.mean(), b - b.mean()
    spread = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / spread if spread else 0.0


def spearman_brown(r: float) -> float:
    """The reliability of all items, from the correlation of two halves: 2r / (1 + r).

    Source: the prophecy formula of "Some experimental results in the correlation of mental
    abilities" (https://doi.org/10.1111/j.2044-8295.1910.tb00207.x). It is for a correlation: it
    is applied to score maps and to phi, not to Dice. Below 0 it says nothing, and r is returned.
    """
    return 2 * r / (1 + r) if r > 0 else r
