"""How alike two masks are, beside what chance would give. Pure arrays.

Chance gives the dimensions of one mask other names, in every layer the same ones: a dimension
that is selected in one layer is selected in its neighbours too, so that units are no independent
draws, and what counts is how many dimensions agree. As many units stay in each layer, so that masks
that agree on layers alone agree by chance.

Source: "Permutation P-values should never be zero" (https://doi.org/10.2202/1544-6115.1585).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Int

from lsns.errors import LsnsError
from lsns.table import Column

Array = np.ndarray[Any, Any]
PERMUTATIONS = 9999
# Permutations that are held at a time, and their random seed.
_HELD, _SEED = 1000, 0


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """How alike two masks A and B of one model are.

    Attributes:
        shared: number of units in both masks.
        dice: 2 |A and B| / (|A| + |B|); 0 for two empty masks.
        jaccard: |A and B| / |A or B|; 0 for two empty masks.
        phi: Pearson's correlation of the two masks. For masks of one size it is Cohen's kappa,
            which is Dice corrected for chance. For a mask of all units (or none) it is not
            defined: 1 if the masks are equal, else 0.
        dice_chance: expected Dice of two random masks of these sizes.
        jaccard_chance: Jaccard at the expected number of shared units.
        expected: expected number of shared units by chance over all units: |A| |B| / units.
        expected_by_layer: expected number by chance within each layer, summed over layers.
        p_value: share of permutations of the dimensions, the same one in every layer, with at least
            as many shared units; they share `expected_by_layer` on average. At least 0.0001.
    """

    chance: ClassVar = (
        Column("chance", "{expected:.1f}"),
        Column("by layer", "{expected_by_layer:.1f}"),
        Column("p", "{p_value:.2g}"),
    )

    shared: int
    dice: float
    jaccard: float
    phi: float
    dice_chance: float
    jaccard_chance: float
    expected: float
    expected_by_layer: float
    p_value: float


def overlap(
    first: Bool[Array, "n_layers hidden_size"], second: Bool[Array, "n_layers hidden_size"]
) -> Overlap:
    """The overlap of two masks, against chance.

    Raises:
        LsnsError: masks of different shapes.
    """
    (both,) = overlaps({"the first": first, "the second": second}).values()
    return both


def overlaps(
    masks: Mapping[str, Bool[Array, "n_layers hidden_size"]],
) -> dict[tuple[str, str], Overlap]:
    """The overlap of every pair of masks, by their names, in the order of the masks.

    Raises:
        LsnsError: masks of different shapes.
    """
    (first, shape), *others = [(name, units.shape) for name, units in masks.items()]
    for name, other in others:
        if other != shape:
            raise LsnsError(
                f"masks of different models: {first} has {shape[0]} x {shape[1]} units, "
                f"{name} {other[0]} x {other[1]}"
            )
    pairs = {(a, b): (masks[a], masks[b]) for a, b in combinations(masks, 2)}
    p_values = _p_values(list(pairs.values()))
    return {
        names: Overlap(
            shared=int((a & b).sum()),
            **agreement(a, b),
            expected=float(a.sum() * b.sum() / a.size),
            expected_by_layer=float(a.sum(axis=1) @ b.sum(axis=1) / shape[1]),
            p_value=p_value,
        )
        for (names, (a, b)), p_value in zip(pairs.items(), p_values, strict=True)
    }


def agreement(
    first: Bool[Array, "n_layers hidden_size"], second: Bool[Array, "n_layers hidden_size"]
) -> dict[str, float]:
    """Dice, Jaccard, phi and the first two by chance, named as in `Overlap`; no probabilities."""
    a, b, total = int(first.sum()), int(second.sum()), first.size
    shared, expected = int((first & second).sum()), a * b / total
    spread = (a * (total - a) * b * (total - b)) ** 0.5
    both, either = max(a + b, 1), max(a + b - shared, 1)
    same = float(np.array_equal(first, second))
    return {
        "dice": 2 * shared / both,
        "jaccard": shared / either,
        "phi": (shared * total - a * b) / spread if spread else same,
        "dice_chance": 2 * expected / both,
        "jaccard_chance": expected / (a + b - expected) if a + b else 0.0,
    }


def _p_values(pairs: Sequence[tuple[Array, Array]]) -> list[float]:
    """For each pair the share of permutations of the dimensions that share as many units."""
    made = [_shared_by_dimension(*pair) for pair in pairs]
    width, rng = pairs[0][0].shape[1], np.random.default_rng(_SEED)
    as_many = np.ones(len(pairs))
    for start in range(0, PERMUTATIONS, _HELD):
        names = np.tile(np.arange(width), (min(_HELD, PERMUTATIONS - start), 1))
        # A row for each dimension: looking up its new name in all permutations is one step.
        names = np.ascontiguousarray(rng.permuted(names, axis=1, out=names).T)
        for place, (found, counts) in enumerate(made):
            shared = sum(
                (row[new] for row, new in zip(counts, names[: len(counts)], strict=True)),
                np.array(0),
            )
            as_many[place] += np.broadcast_to(shared >= found, names.shape[1:]).sum()
    return (as_many / (1 + PERMUTATIONS)).tolist()


def _shared_by_dimension(first: Array, second: Array) -> tuple[int, Int[Array, "n_used width"]]:
    """How many units they share; and how many each dimension of one would with each of the other.

    Of the mask with fewer dimensions the empty ones are left out: they share nothing.
    """
    few, many = sorted((first, second), key=lambda mask: int(mask.any(axis=0).sum()))
    counts = few[:, few.any(axis=0)].T.astype(np.float32) @ many.astype(np.float32)
    return int((first & second).sum()), counts.astype(np.int32)
