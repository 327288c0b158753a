"""`BaseAnalyzer`: activations in two conditions to a mask, and what built-in ones share."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float

from lsns.analysis.results import load_results, save_results
from lsns.analysis.selection import PercentileRange, count_units, select_units
from lsns.errors import LsnsError
from lsns.moments import Moments, adjust_p_values, welch

Array = np.ndarray[Any, Any]
Metadata = dict[str, Any]


class BaseAnalyzer(ABC):
    """An analysis method; subclass it for one of your own.

    Args:
        config: options of the method. Built-in analyzers take `percentage` or `num_units`,
            `localize_range`, `per_layer` and `seed`.
    """

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        self.config: dict[str, Any] = dict(config or {})

    @abstractmethod
    def analyze(
        self,
        positive_activations: Float[Array, "n_positive n_layers hidden_size"],
        negative_activations: Float[Array, "n_negative n_layers hidden_size"],
    ) -> tuple[Bool[Array, "n_layers hidden_size"], Metadata]:
        """A mask of the selected units, and what is to be known of it (arrays as arrays)."""

    @abstractmethod
    def get_analyzer_name(self) -> str:
        """The name of the method."""

    def save_results(self, mask: Array, metadata: Mapping[str, Any], path: str | Path) -> Path:
        """Write what `analyze` returned as one `.npz`: arrays as arrays, nothing pickled."""
        return save_results(path, mask, metadata)

    @staticmethod
    def load_results(path: str | Path) -> tuple[Array, Metadata]:
        """Read what `save_results` wrote: the mask and its metadata."""
        return load_results(path)


class MomentsAnalyzer(BaseAnalyzer):
    """An analyzer that needs moments only, so that it works from the cache without a model.

    A subclass supplies `score` and, for the p-values, whether it looks at x or at |x|.
    """

    name: ClassVar[str]
    signed: ClassVar[bool] = False
    options: ClassVar[frozenset[str]] = frozenset(
        {"percentage", "num_units", "localize_range", "per_layer", "seed"}
    )
    default_percentage: ClassVar[float] = 1.0
    default_per_layer: ClassVar[bool] = False

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        super().__init__(config)
        unknown = sorted(set(self.config) - self.options)
        if unknown:
            known = ", ".join(sorted(self.options))
            raise LsnsError(f"{self.name} has no option {unknown[0]!r}; it has {known}")

    @abstractmethod
    def score(self, positive: Moments, negative: Moments) -> Float[Array, "n_layers hidden_size"]:
        """One number per unit; the highest are selected by default."""

    def get_analyzer_name(self) -> str:
        """The name of the method."""
        return self.name

    def analyze(
        self,
        positive_activations: Float[Array, "n_positive n_layers hidden_size"],
        negative_activations: Float[Array, "n_negative n_layers hidden_size"],
    ) -> tuple[Bool[Array, "n_layers hidden_size"], Metadata]:
        """Select units.

        Args:
            positive_activations: activations of the positive items, at least two.
            negative_activations: activations of the negative items, at least two.

        Returns:
            The mask, and the metadata that `analyze_moments` describes.

        Raises:
            LsnsError: too few items, a value that is not finite, or shapes of different models.
        """
        for condition, x in (
            ("positive", positive_activations),
            ("negative", negative_activations),
        ):
            if x.ndim != 3 or len(x) < 2 or not np.isfinite(x).all():
                raise LsnsError(
                    f"{condition} activations must be finite, of shape (items >= 2, layers, units);"
                    f" found {x.shape}"
                )
        shapes = positive_activations.shape, negative_activations.shape
        if shapes[0][1:] != shapes[1][1:]:
            raise LsnsError(
                "positive and negative activations are of different models: (items, layers, units) "
                f"{shapes[0]} and {shapes[1]}"
            )
        return self.analyze_moments(
            Moments.of(positive_activations), Moments.of(negative_activations)
        )

    def analyze_moments(
        self,
        positive: Moments,
        negative: Moments,
        *,
        barred: Bool[Array, "n_layers hidden_size"] | None = None,
    ) -> tuple[Bool[Array, "n_layers hidden_size"], Metadata]:
        """Select units.

        Args:
            positive: moments of the positive items, at least two.
            negative: moments of the negative items, at least two.
            barred: units that are not selected whatever their score.

        Returns:
            The mask, and metadata: `scores`, `t_values`, `p_values` (two-sided, of Welch's test)
            and `adjusted_p_values` (Benjamini-Hochberg over all units), each of the shape of the
            mask; `num_units`, and `weakest_score`, the lowest score that was selected.
        """
        scores = self.score(positive, negative)
        t, p = welch(positive, negative, signed=self.signed)
        mask = self.select(scores, barred=barred)
        return mask, {
            "method": self.name,
            "num_units": int(mask.sum()),
            "weakest_score": float(scores[mask].min()),
            "scores": scores,
            "t_values": t,
            "p_values": p,
            "adjusted_p_values": adjust_p_values(p),
        }

    def select(
        self,
        scores: Float[Array, "n_layers hidden_size"],
        *,
        barred: Bool[Array, "n_layers hidden_size"] | None = None,
    ) -> Bool[Array, "n_layers hidden_size"]:
        """A mask of exactly as many units as the options ask for.

        Args:
            scores: one finite number for each unit.
            barred: units that are not selected whatever their score.
        """
        return select_units(
            scores,
            self.count(scores.shape),
            localize_range=self.config.get("localize_range") or "100-100",
            per_layer=self.per_layer,
            seed=42 if self.config.get("seed") is None else self.config["seed"],
            barred=barred,
        )

    def check(self) -> None:
        """Check what can be checked of the options before a model's shape is known."""
        PercentileRange.parse(self.config.get("localize_range") or "100-100")
        percentage, num_units = self.config.get("percentage"), self.config.get("num_units")
        if num_units is not None and num_units < 1:
            raise LsnsError(f"num-units must be at least 1; got {num_units}")
        if percentage is not None or num_units is not None:
            count_units(sys.maxsize, percentage=percentage, num_units=num_units)

    def count(self, shape: tuple[int, int]) -> int:
        """How many units are selected of a model of that shape."""
        n_layers, hidden_size = shape
        num_units = self.config.get("num_units")
        percentage = self.config.get("percentage")
        if percentage is None and num_units is None:
            percentage = self.default_percentage
        if num_units is None and self.per_layer:
            return n_layers * count_units(hidden_size, percentage=percentage)
        return count_units(n_layers * hidden_size, percentage=percentage, num_units=num_units)

    @property
    def per_layer(self) -> bool:
        """Whether units are selected layer by layer, equally many in each."""
        chosen = self.config.get("per_layer")
        return self.default_per_layer if chosen is None else bool(chosen)
