"""Neuron-wise mean difference (NMD): the largest differences of means, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from lsns.analysis.base import MomentsAnalyzer
from lsns.errors import LsnsError
from lsns.moments import Moments, mean_difference

Array = np.ndarray[Any, Any]


class NMDAnalyzer(MomentsAnalyzer):
    """Selects in every layer the units with the largest |mean difference| of the activation.

    The score is not standardised, so dimensions of large magnitude are selected by construction.

    Args:
        config: as for every built-in analyzer; `topk_ratio` is the share of each layer (0.05 is
            5%), default 0.005. A `percentage` means the same, in percent.
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
