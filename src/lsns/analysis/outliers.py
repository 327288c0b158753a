"""Outlier dimensions: units whose magnitude dwarfs that of their layer.

A lesion of a few of them can look like a lesion of a network ("massive activations").
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Float

Array = np.ndarray[Any, Any]
THRESHOLD = 10.0


def outlier_units(
    magnitudes: Float[Array, "n_layers hidden_size"], *, threshold: float = THRESHOLD
) -> Bool[Array, "n_layers hidden_size"]:
    """Units whose mean |activation| is over `threshold` times the median of their layer."""
    return magnitudes > threshold * np.median(magnitudes, axis=1, keepdims=True)
