"""Welch's t: of |x| as in the published localizer, or of x itself."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from lsns.analysis.base import MomentsAnalyzer
from lsns.moments import Moments, welch_t

Array = np.ndarray[Any, Any]


class TTestAnalyzer(MomentsAnalyzer):
    """Selects by Welch's t of |activation|, positive against negative, over all layers.

    Source: "The LLM Language Network" (arXiv 2411.02280).
    """

    name: ClassVar[str] = "ttest"

    def score(self, positive: Moments, negative: Moments) -> Float[Array, "n_layers hidden_size"]:
        """Welch's t."""
        return welch_t(positive, negative, signed=self.signed)


class SignedTTestAnalyzer(TTestAnalyzer):
    """Selects by Welch's t of the activation itself: a unit must rise, not grow in size."""

    name: ClassVar[str] = "ttest-signed"
    signed: ClassVar[bool] = True
