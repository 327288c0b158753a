"""Parts of an audit by their numbers, for tests of what follows from them."""

from __future__ import annotations

from typing import Any

from lsns.audits.outliers import OutlierAudit
from lsns.audits.selectivity import Effect, Selectivity


def make_outliers(selected: int, *, p: float = 1e-17, dimensions: Any = ()) -> OutlierAudit:
    """So many of 172 units are outliers."""
    return OutlierAudit(
        threshold=10.0, selected=selected, units=172, share=selected / 172,
        magnitude_share=0.5 * (selected > 0), expected=0.9, p_value=p, model=93,
        dimensions=dimensions,
    )  # fmt: skip


def make_selectivity(p: float, high: float) -> Selectivity:
    """A held-out effect with this p, and this upper end of its interval."""
    held = Effect(high - 0.2, high - 0.4, high, 40, 40)
    return Selectivity(folds=10, units=172, held_out=held, in_sample=held, profile=(), p_value=p)
