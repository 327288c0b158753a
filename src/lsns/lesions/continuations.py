"""A prompt continued under several conditions: intact, lesioned, and with control lesions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from lsns.lesions.controls import Control, control_mask
from lsns.mask import UnitMask

if TYPE_CHECKING:
    from lsns.lesions.ablation import Mode
    from lsns.localization import Localization
    from lsns.models.base import BaseModel

Array = np.ndarray[Any, Any]
REPLACED = {"zero": "zeroed", "mean": "set to their mean"}


@dataclass(frozen=True)
class Continuation:
    """What a model made of a prompt under one condition.

    Attributes:
        condition: name of the condition.
        text: continuation, without the prompt.
        mask: units that were lesioned; None for the intact model.
    """

    condition: str
    text: str
    mask: UnitMask | None


def continue_under_lesions(
    model: BaseModel,
    prompt: str,
    networks: Sequence[str],
    *,
    find: Callable[[str], Localization],
    control_for: str = "language",
    control: Control = "uniform",
    control_seed: int | None = None,
    seed: int = 42,
    mode: Mode = "zero",
    **sampling: Any,
) -> list[Continuation]:
    """Continue a prompt once for each condition.

    Args:
        model: from `load_model`.
        prompt: text to continue.
        networks: for each condition a network's name, `random` (a control for `control_for`), or
            `none`.
        find: function from a network's name to its localization; asked once for each that is
            needed.
        control_for: network that `random` is a control for.
        control: kind of control, as for `control_mask`.
        control_seed: random seed for the control; None: `seed`.
        seed: random seed for sampled tokens.
        mode: what replaces a unit: `zero`, or its `mean` activation.
        **sampling: other options of `generate`.
    """
    localization = cache(find)
    drawn_with = seed if control_seed is None else control_seed
    sampling["seed"] = seed
    continuations = []
    for name in networks:
        if name == "none":
            continuations.append(continue_prompt(model, prompt, **sampling))
            continue
        source = localization(control_for if name == "random" else name)
        condition, mask = source.manifest["stimuli"]["name"], source.mask
        if name == "random":
            condition = f"random control for {condition} ({control}, seed {drawn_with})"
            mask = control_mask(
                mask, control, seed=drawn_with, magnitudes=source.rms, barred=source.barred,
                outliers=source.outlier_units,
            )  # fmt: skip
        means = source.means if mode == "mean" else None
        continuations.append(
            continue_prompt(model, prompt, condition, mask, mode, means=means, **sampling)
        )
    return continuations


def continue_prompt(
    model: BaseModel,
    prompt: str,
    condition: str = "intact",
    mask: UnitMask | None = None,
    mode: Mode = "zero",
    *,
    means: Array | None = None,
    **sampling: Any,
) -> Continuation:
    """Continue a prompt under one condition.

    Args:
        model: from `load_model`.
        prompt: text to continue.
        condition: name of the condition; what is lesioned is added to it.
        mask: units that are lesioned; None: the model stays intact.
        mode: what replaces a unit, as for `lesion`.
        means: mean activation of every unit, for mode `mean`.
        **sampling: options of `generate`.
    """
    from lsns.lesions.ablation import lesion

    if mask is None:
        return Continuation(condition, model.generate(prompt, **sampling), None)
    with lesion(model, mask, mode, means=means):
        text = model.generate(prompt, **sampling)
    lesioned = f"{mask.count} of {mask.units.size} units {REPLACED[mode]}"
    return Continuation(f"{condition}: {lesioned}", text, mask)
