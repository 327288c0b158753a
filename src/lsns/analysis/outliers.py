"""Outlier dimensions: units whose magnitude dwarfs that of their layer.

A lesion of a few of them can look like a lesion of a network ("massive activations"). They may be
large where the localizer reads, or over all tokens, or at the first position alone: a lesion acts
at all of these.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from lsns.errors import LsnsError

Array = np.ndarray[Any, Any]
THRESHOLD = 10.0
# Where a unit's magnitude is read, in words: an outlier at any of them is one.
PLACES = {
    "pooled": "where the localizer reads",
    "tokens": "over all tokens",
    "first": "at the first position",
}


def outlier_units(
    magnitudes: Float[Array, "n_layers hidden_size"]
    | Mapping[str, Float[Array, "n_layers hidden_size"]],
    *,
    threshold: float = THRESHOLD,
) -> Bool[Array, "n_layers hidden_size"]:
    """Units whose mean |activation| is over `threshold` times the median of their layer.

    Args:
        magnitudes: mean |activation| of every unit; or several, by where it was read, as
            `Localization.sizes`: then units that are outliers in any of them.
        threshold: how many times the median of its layer an outlier's magnitude exceeds.

    Raises:
        LsnsError: a threshold that is not a positive number.
    """
    check_threshold(threshold)
    given = magnitudes.values() if isinstance(magnitudes, Mapping) else [magnitudes]
    over = [sizes > threshold * np.median(sizes, axis=1, keepdims=True) for sizes in given]
    return np.logical_or.reduce(over)


def check_threshold(threshold: float) -> None:
    """Check the threshold of `outlier_units`.

    Raises:
        LsnsError: it is not a finite number above 0.
    """
    if not (math.isfinite(threshold) and threshold > 0):
        raise LsnsError(f"outlier-threshold must be a number above 0; got {threshold}")
