"""Outlier dimensions: units whose magnitude dwarfs that of their layer.

A lesion of a few of them can look like a lesion of a network ("massive activations").
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from lsns.errors import LsnsError

Array = np.ndarray[Any, Any]
THRESHOLD = 10.0


def outlier_units(
    magnitudes: Float[Array, "n_layers hidden_size"], *, threshold: float = THRESHOLD
) -> Bool[Array, "n_layers hidden_size"]:
    """Units whose mean |activation| is over `threshold` times the median of their layer.

    Raises:
        LsnsError: a threshold that is not a positive number.
    """
    check_threshold(threshold)
    return magnitudes > threshold * np.median(magnitudes, axis=1, keepdims=True)


def check_threshold(threshold: float) -> None:
    """Check the threshold of `outlier_units`.

    Raises:
        LsnsError: it is not a finite number above 0.
    """
    if not (math.isfinite(threshold) and threshold > 0):
        raise LsnsError(f"outlier-threshold must be a number above 0; got {threshold}")
