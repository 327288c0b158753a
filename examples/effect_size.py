"""An analysis method of one's own: the standardised difference of means (Cohen's d) of |x|.

lsns localize --model-name smollm2-135m --method examples/effect_size.py:EffectSizeAnalyzer
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lsns import BaseAnalyzer
from lsns.analysis.selection import count_units, select_units


class EffectSizeAnalyzer(BaseAnalyzer):
    """Selects by Cohen's d, with the variance pooled over both conditions."""

    def analyze(
        self, positive_activations: np.ndarray, negative_activations: np.ndarray
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Arrays (n_items, n_layers, hidden_size) to a mask (n_layers, hidden_size)."""
        positive = np.abs(positive_activations.astype(np.float64))
        negative = np.abs(negative_activations.astype(np.float64))
        spread = np.sqrt((positive.var(axis=0, ddof=1) + negative.var(axis=0, ddof=1)) / 2)
        difference = positive.mean(axis=0) - negative.mean(axis=0)
        scores = np.divide(difference, spread, out=np.zeros_like(spread), where=spread > 0)
        k = count_units(scores.size, percentage=self.config.get("percentage") or 1.0)
        return select_units(scores, k), {"scores": scores}

    def get_analyzer_name(self) -> str:
        """The name of the method."""
        return "effect-size"
