"""Difference of means of |x|, over all layers: the t-test's numerator without its denominator."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from lsns.analysis.base import MomentsAnalyzer
from lsns.moments import Moments, mean_difference

Array = np.ndarray[Any, Any]


class MeanAnalyzer(MomentsAnalyzer):
    """Selects by the difference of the means of |activation|, positive minus negative.

    Beside the t-test it shows what standardising by the variance changes; beside NMD, what the
    budget per layer changes.
    """

    name: ClassVar[str] = "mean"

    def score(self, positive: Moments, negative: Moments) -> Float[Array, "n_layers hidden_size"]:
        """Difference of means of |x|."""
        return mean_difference(positive, negative, signed=False)
