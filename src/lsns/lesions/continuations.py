"""A prompt continued under several conditions: intact, lesioned, and with control lesions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lsns.lesions.controls import Control, control_mask
from lsns.mask import UnitMask

if TYPE_CHECKING:
    from lsns.lesions.ablation import Mode
    from lsns.localization import Localization
    from lsns.models.base import BaseModel

REPLACED = {"zero": "zeroed", "mean": "set to their mean"}


@dataclass(frozen=True)
class Continuation:
    """What a model made of a prompt under one condition.

    Attributes:
        condition: in words.
        text: the continuation, without the prompt.
        mask: what was lesioned; None for the intact model.
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
    max_new_tokens: int = 20,
    temperature: float | None = None,
) -> list[Continuation]:
    """Continue a prompt once per condition.

    Args:
        model: from `load_model`.
        prompt: the text to continue.
        networks: for each condition a network's name, `random` (a control for `control_for`), or
            `none`.
        find: the localization of a network by name; asked only for what is needed.
        control_for: which network `random` is a control for.
        control: see `control_mask`.
        control_seed: of the control; default: `seed`.
        seed: of the sampling.
        mode: see `lesion`.
        max_new_tokens: see `generate`.
        temperature: see `generate`.
    """
    found: dict[str, Localization] = {}
    drawn_with = seed if control_seed is None else control_seed

    def localization(name: str) -> Localization:
        if name not in found:
            found[name] = find(name)
        return found[name]

    continuations = []
    for name in networks:
        source = None if name == "none" else localization(control_for if name == "random" else name)
        mask = None if source is None else source.mask
        if source is not None and name == "random":
            mask = _control(source, control, drawn_with)
        with _condition(model, mask, source, mode):
            text = model.generate(
                prompt, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed
            )
        label = "intact"
        if source is not None and mask is not None:
            of = source.manifest["stimuli"]["name"]
            label = _random_label(of, control, drawn_with) if name == "random" else of
            label += f": {mask.count} of {mask.units.size} units {REPLACED[mode]}"
        continuations.append(Continuation(label, text, mask))
    return continuations


def _control(source: Localization, kind: Control, seed: int) -> UnitMask:
    return control_mask(
        source.mask,
        kind,
        seed=seed,
        magnitudes=source.magnitudes,
        barred=source.barred,
        outliers=source.outlier_units if kind == "outliers" else None,
    )


def _condition(
    model: BaseModel, mask: UnitMask | None, source: Localization | None, mode: Mode
) -> AbstractContextManager[Any]:
    from lsns.lesions.ablation import lesion

    if mask is None or source is None:
        return nullcontext()
    return lesion(model, mask, mode, means=source.means if mode == "mean" else None)


def _random_label(network: str, control: str, seed: int) -> str:
    return f"random control for {network} ({control}, seed {seed})"
