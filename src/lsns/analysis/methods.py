"""The built-in methods: Welch's t (of |x| as published, or of x), NMD, and the mean of |x|."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from lsns.analysis.base import MomentsAnalyzer
from lsns.errors import LsnsError
from lsns.moments import Moments, mean_difference, welch_t

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


class NMDAnalyzer(MomentsAnalyzer):
    """Neuron-wise mean difference: in every layer the units with the largest |mean difference|.

    The score is not standardised, so dimensions of large magnitude are selected by construction.

    Args:
        config: options of every built-in analyzer, and `topk_ratio`, the share of each layer that
            is selected (0.05 is 5%), default 0.005. It may also be given in percent, as
            `percentage`.

    Raises:
        LsnsError: a share out of bounds, or beside a percentage.
    """

    name: ClassVar[str] = "nmd"
    signed: ClassVar[bool] = True
    options: ClassVar[frozenset[str]] = MomentsAnalyzer.options | {"topk_ratio"}
    default_percentage: ClassVar[float] = 0.5
    default_per_layer: ClassVar[bool] = True

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        super().__init__(config)
        ratio = self.config.pop("topk_ratio", None)
        if ratio is None:
            return
        if not 0 < ratio <= 1:
            raise LsnsError(f"topk_ratio must be above 0 and at most 1; got {ratio}")
        if self.config.get("percentage") is not None:
            raise LsnsError("give either topk_ratio or percentage, and not both")
        # As it would be written: 0.07 * 100 is 7.000000000000001 in floats.
        self.config["percentage"] = float(f"{ratio * 100:.12g}")

    def score(self, positive: Moments, negative: Moments) -> Float[Array, "n_layers hidden_size"]:
        """|mean difference| of the activation."""
        return np.abs(mean_difference(positive, negative, signed=True))


class MeanAnalyzer(MomentsAnalyzer):
    """Selects by the difference of the means of |activation|, positive minus negative.

    Beside the t-test it shows what standardising by the variance changes; beside NMD, what the
    budget per layer changes.
    """

    name: ClassVar[str] = "mean"

    def score(self, positive: Moments, negative: Moments) -> Float[Array, "n_layers hidden_size"]:
        """Difference of means of |x|."""
        return mean_difference(positive, negative, signed=False)


METHODS: dict[str, type[MomentsAnalyzer]] = {
    method.name: method
    for method in (TTestAnalyzer, SignedTTestAnalyzer, NMDAnalyzer, MeanAnalyzer)
}
