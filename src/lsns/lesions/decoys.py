"""Decoys: what the same selection finds where there is nothing to find, for labels are shuffled.

A decoy passes through all that the mask passed through: the same items, method, amount and bars.
Under the hypothesis that the labels mean nothing the mask is one of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float

from lsns.analysis import MomentsAnalyzer
from lsns.analysis.shuffles import Centered, shuffle_labels, shuffled_moments
from lsns.errors import LsnsError
from lsns.lesions.controls import NoControlError, match_of
from lsns.mask import UnitMask

if TYPE_CHECKING:
    from lsns.localization import Localization

Array = np.ndarray[Any, Any]
# Shuffles whose scores are held at a time.
_HELD = 64


def decoy_masks(
    found: Localization,
    mask: UnitMask,
    seeds: Sequence[int],
    *,
    barred: Bool[Array, "n_layers hidden_size"] | None = None,
) -> list[UnitMask]:
    """As many units as the mask has, selected as it was, under labels that are shuffled.

    No model is needed. Labels move within groups that hold both conditions, and items of the same
    text move as one.

    Args:
        found: the localization that the mask, or all that it is a part of, comes from.
        mask: the mask.
        seeds: random seed of each shuffle.
        barred: units that are not selected.

    Returns:
        A mask for each seed; it depends on no other seed. It may be the very mask, where a method
            selects the same units whatever the labels are.

    Raises:
        NoControlError: single activations were not kept, the method selects its units itself,
            labels cannot be shuffled, or too few units may be selected.
    """
    analyzer, rows = found.analyzer, found.measurement.activations()
    if not isinstance(analyzer, MomentsAnalyzer):
        name = analyzer.get_analyzer_name()
        raise NoControlError(f"method {name!r} selects its units itself, and is not run again")
    if rows is None:
        raise NoControlError("single activations were not kept, so that labels can be shuffled")
    if mask.digest != found.mask.digest:
        amount = {"percentage": None, "num_units": mask.count, "per_layer": analyzer.per_layer}
        analyzer = type(analyzer)({**analyzer.config, **amount})
    try:
        scores = _shuffled_scores(rows, _labels(found, seeds), analyzer)
        selected = [analyzer.select(one, barred=barred) for one in scores]
    except LsnsError as error:
        raise NoControlError(str(error)) from None
    return [_decoy(found, mask, *pair) for pair in zip(selected, seeds, strict=True)]


def _decoy(found: Localization, mask: UnitMask, units: Array, seed: int) -> UnitMask:
    note: dict[str, Any] = {"kind": "decoy", "seed": seed, "of": mask.digest}
    note["match"] = asdict(match_of(mask.units, units, found.rms))
    return UnitMask(units, {**mask.manifest, "control": note})


def _labels(found: Localization, seeds: Sequence[int]) -> Bool[Array, "n_seeds n_items"]:
    contrast = found.measurement.contrast
    positive = np.arange(len(contrast.texts)) < len(contrast.positive)
    texts = np.array(contrast.firsts)
    draws = [shuffle_labels(positive, contrast.groups, 1, seed=s, texts=texts) for s in seeds]
    return np.concatenate(draws)


def _shuffled_scores(
    rows: Float[Array, "n_items n_layers hidden_size"],
    labels: Bool[Array, "n_shuffles n_items"],
    analyzer: MomentsAnalyzer,
) -> Iterator[Float[Array, "n_layers hidden_size"]]:
    """The scores of all units under each shuffle, in the order of the shuffles."""
    for start in range(0, len(labels), _HELD):
        some = labels[start : start + _HELD]
        scores: Array = np.empty((len(some), *rows.shape[1:]))
        for layer in range(rows.shape[1]):
            items = Centered(np.asarray(rows[:, layer, :]))
            for which, positive, negative in shuffled_moments(items, some):
                scores[which, layer] = analyzer.score(positive, negative)
        yield from scores
