"""Statistics of benchmark results: intervals over paradigms, and lesions beside their controls.

What is drawn from a population are the paradigms (of a benchmark that has one: its items), so
intervals are those of t over their means. The bootstrap that draws paradigms and then items counts
the variance of items twice, and is too narrow with few paradigms; t is neither. Pure arrays, and
nothing is drawn.

Sources: "Bootstrap Methods and their Application" (https://doi.org/10.1017/CBO9780511802843),
chapter 3, on the two stages; "The generalization of `Student's' problem when several different
population variances are involved" (https://doi.org/10.1093/biomet/34.1-2.28) and "An approximate
distribution of estimates of variance components" (https://doi.org/10.2307/3002019) for the degrees
of freedom of sums of variances.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from lsns.errors import LsnsError

Array = np.ndarray[Any, Any]
LEVEL = 0.95
# Equivalence is two one-sided tests at 5%: an interval of 90%. "Equivalence Tests"
# (https://doi.org/10.1177/1948550617697177).
EQUIVALENCE_LEVEL = 0.90
# With fewer, the smallest p that could be reached is 0.05 or more.
ENOUGH_CONTROLS = 20
# Means over paradigms differ in their last digits by the order of the sum: still ties.
TIE = 1e-9


@dataclass(frozen=True)
class Estimate:
    """A mean, its standard error and the degrees of freedom of that.

    Attributes:
        value: the mean.
        error: its standard error; infinite where one unit alone was drawn.
        freedom: degrees of freedom of the error.
    """

    value: float
    error: float
    freedom: float

    @classmethod
    def of(cls, values: Float[Array, " n"]) -> Estimate:
        """The mean of units that were drawn independently."""
        n = len(values)
        if n < 2:
            return cls(float(np.mean(values)), np.inf, 1.0)
        # From the first value on: values that are all the same have an error of exactly zero.
        error = float(np.std(values - values[0], ddof=1)) / n**0.5
        return cls(float(np.mean(values)), error, n - 1.0)

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """The lower and the upper end of the t interval."""
        from scipy.special import stdtrit

        if not np.isfinite(self.error):
            return -np.inf, np.inf
        half = float(stdtrit(self.freedom, (1 + level) / 2)) * self.error
        return self.value - half, self.value + half

    def within(self) -> float:
        """The least bound that the value is shown to be equivalent to zero within, at 5%."""
        return max(abs(end) for end in self.interval(EQUIVALENCE_LEVEL))

    def detectable(self, power: float = 0.8) -> float:
        """The true value that would be told from zero, two-sided at 5%, with this probability."""
        from scipy.special import stdtrit

        if not np.isfinite(self.error):
            return np.inf
        steps = stdtrit(self.freedom, (1 + LEVEL) / 2) + stdtrit(self.freedom, power)
        return float(steps) * self.error

    def __sub__(self, other: Estimate) -> Estimate:
        """The difference of two independent means."""
        return combine([self, other], [1.0, -1.0])


def combine(parts: Sequence[Estimate], weights: Sequence[float]) -> Estimate:
    """A weighted sum of independent means, with Welch's and Satterthwaite's degrees of freedom."""
    variances = [(w * part.error) ** 2 for w, part in zip(weights, parts, strict=True)]
    value = sum(w * part.value for w, part in zip(weights, parts, strict=True))
    return Estimate(value, *_summed(variances, [part.freedom for part in parts]))


def paradigm_values(
    values: Float[Array, "n_items n_conditions"],
    weights: Float[Array, " n_items"],
    paradigms: Int[Array, " n_items"],
) -> Float[Array, "n_units n_conditions"]:
    """Values of the units that were drawn, whose mean over units is the result.

    With two paradigms or more, each paradigm's sum(values) / sum(weights). With one, a value for
    each item: the ratio R of its paradigm, plus its own part in the error of R, so that the
    standard error of the mean is that of a ratio (its linearization).

    Args:
        values: with weights of 1, the items' scores; for perplexity, a window's summed surprisal.
        weights: 1, or the number of tokens of each window.
        paradigms: the paradigm of each item, from 0.
    """
    groups = [np.flatnonzero(paradigms == paradigm) for paradigm in np.unique(paradigms)]
    ratios = [values[group].sum(axis=0) / weights[group].sum() for group in groups]
    if len(groups) > 1:
        return np.stack(ratios)
    return ratios[0] + (values - ratios[0] * weights[:, None]) / weights.mean()


def beside_controls(
    lesion: Float[Array, " n_units"], controls: Float[Array, "n_units n_controls"]
) -> Estimate:
    """The paired difference of a lesion to the mean of its controls, over paradigms and draws.

    Both are samples: paradigms (or items) of those there might be, and control masks of those that
    might have been drawn. So the variance is that of the rows' means, plus that of the columns',
    less what both hold of their interaction.

    Args:
        lesion: values under the lesion.
        controls: values under each control; one alone (no draw) adds no variance of its own.
    """
    n, k = controls.shape
    differences = lesion[:, None] - controls
    rows, columns = differences.mean(axis=1), differences.mean(axis=0)
    by_row = Estimate.of(rows)
    if n < 2 or k < 2:
        return by_row
    value = by_row.value
    rest = differences - rows[:, None] - columns + value
    mixed = float((rest**2).sum()) / ((n - 1) * (k - 1)) / (n * k)
    by_column = Estimate.of(columns).error ** 2
    variances = [by_row.error**2, by_column, -mixed]
    error, freedom = _summed(variances, [n - 1.0, k - 1.0, (n - 1.0) * (k - 1.0)])
    # Of three estimates, a sum may come out smaller than a part.
    least = max(by_row.error, by_column**0.5)
    return Estimate(value, max(error, least), max(freedom, 1.0))


def lost_share(
    intact: Float[Array, " n_units"], lesion: Float[Array, " n_units"], chance: float
) -> Float[Array, " n_units"] | None:
    """The share of what the intact model does above chance that a lesion takes away.

    Raw accuracies of two benchmarks cannot be compared: one that starts nearer to chance has less
    to lose. The share is that of the means, (intact - lesion) / (intact - chance), with each unit's
    part in its error, the intact model's included (the linearization of a ratio).

    Args:
        intact: values of the intact model.
        lesion: values under the lesion, of the same units.
        chance: the value that guessing has.

    Returns:
        Values whose mean is the share; None where the intact model is not shown to be better than
        chance: there is nothing to lose.
    """
    room = Estimate.of(intact - chance)
    if not room.interval()[0] > 0:
        return None
    share = float(np.mean(intact - lesion)) / room.value
    return share + ((intact - lesion) - share * (intact - chance)) / room.value


def empirical_p(harm: float, controls: Sequence[float]) -> float:
    """How rare a harm is among controls, one-sided; ties count against the mask.

    Args:
        harm: harm of the mask's lesion; larger is worse for the model.
        controls: harms of the control lesions.

    Returns:
        (1 + controls at least as harmful) / (1 + controls), which is never 0.

    Raises:
        LsnsError: no controls.
    """
    if not len(controls):
        raise LsnsError("no controls; a p needs at least one")
    as_harmful = int(np.sum(np.asarray(controls) >= harm - TIE))
    return (1 + as_harmful) / (1 + len(controls))


def trend(
    values: Float[Array, "n_units n_doses"], doses: Sequence[float]
) -> tuple[Estimate, float] | None:
    """Whether harm grows with the dose: the slope over the logarithm of the dose, by unit.

    Args:
        values: of each paradigm (or item) at each dose.
        doses: percentages of units, at least three different ones.

    Returns:
        The mean slope for a doubling of the dose, and its two-sided p by t; None with fewer doses.
    """
    from scipy.special import stdtr

    steps = np.log2(np.asarray(doses, dtype=np.float64))
    if len(set(doses)) < 3:
        return None
    steps = steps - steps.mean()
    slope = Estimate.of(values @ steps / (steps @ steps))
    if slope.error == 0:
        return slope, 1.0 if slope.value == 0 else 0.0
    return slope, float(2 * stdtr(slope.freedom, -abs(slope.value / slope.error)))


def _summed(variances: Sequence[float], freedoms: Sequence[float]) -> tuple[float, float]:
    """The error of a sum of variances, and its degrees of freedom."""
    total = sum(variances)
    if not np.isfinite(total):
        return np.inf, 1.0
    if total <= 0:
        return 0.0, float(max(freedoms))
    parts = (v**2 / freedom for v, freedom in zip(variances, freedoms, strict=True))
    return total**0.5, total**2 / sum(parts)
