"""The items of a localization: their single activations, and the moments of their folds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from lsns.moments import Moments, merge_all

Array = np.ndarray[Any, Any]
# Moments of the positive and of the negative items.
Sides = tuple[Moments, Moments]


@dataclass(frozen=True, eq=False)
class Items:
    """Single activations.

    Attributes:
        rows: activations, shape (n_items, n_layers, hidden_size), memory-mapped or not.
        positive: which items are positive.
        groups: a label for each item; items of a group belong together.
        folds: the fold of each item.
        texts: a number for each item, equal for items with one text, which share group and fold;
            None: all texts differ.
    """

    rows: Float[Array, "n_items n_layers hidden_size"]
    positive: Bool[Array, " n_items"]
    groups: Sequence[str]
    folds: Array
    texts: Array | None = None

    def different(self) -> Items:
        """The first item of every text: what is there twice counts once."""
        if self.texts is None:
            return self
        firsts: list[int] = np.sort(np.unique(self.texts, return_index=True)[1]).tolist()
        if len(firsts) == len(self.texts):
            return self
        groups = [self.groups[i] for i in firsts]
        return Items(self.rows[firsts], self.positive[firsts], groups, self.folds[firsts])


def merge_folds(folds: Sequence[Sides], which: Iterable[int]) -> Sides:
    """The moments of both conditions over some of the folds."""
    positive, negative = zip(*(folds[i] for i in which), strict=True)
    return merge_all(positive), merge_all(negative)
