"""`lesion`: switch units off at the output of their blocks, for as long as a context lasts."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float

from lsns.errors import LsnsError
from lsns.mask import UnitMask, as_mask
from lsns.models.base import BaseModel
from lsns.models.factory import check_model
from lsns.models.sites import BLOCK_OUTPUT
from lsns.store import digest_of

if TYPE_CHECKING:
    from lsns.localization import Localization

Array = np.ndarray[Any, Any]
Mode = Literal["zero", "mean"]


@dataclass
class Lesion:
    """A lesion that is attached.

    Attributes:
        mask: the units that are switched off.
        mode: what they are replaced by: `zero`, or their `mean`.
        digest: names what the lesion does: units, mode and values.
        fired: how often the lesion acted, by layer; only layers with selected units.
    """

    mask: UnitMask
    mode: Mode
    digest: str = ""
    fired: dict[int, int] = field(default_factory=dict)


@contextmanager
def lesion(
    model: BaseModel,
    mask: UnitMask | Localization,
    mode: Mode = "zero",
    *,
    means: Float[Array, "n_layers hidden_size"] | None = None,
) -> Generator[Lesion]:
    """Replace the selected units at the output of their blocks, for every token.

    Holds for prompt and generated tokens, with and without the KV cache. Lesions can be nested:
    each adds its units, and where they overlap, the inner one acts last. Nothing is left behind
    at the end, also after an exception.

    Args:
        model: a model from `lsns.load_model`.
        mask: the units, at least one, for a model of this shape; or what `lsns.localize` found.
        mode: `zero` (as published), or `mean`: the mean activation, which keeps a unit's usual
            contribution and takes away only its variation.
        means: the values for mode `mean`, (n_layers, hidden_size), e.g. `Localization.means`.

    Yields:
        A `Lesion`, which counts how often it acted.

    Raises:
        LsnsError: the mask does not fit the model or is empty, mode and means do not fit, or, at
            the end, a block with selected units never ran: an intact model would be reported as
            lesioned.
    """
    check_model(model)
    mask = as_mask(mask)
    values = _values(model, mask, mode, means)
    content = {"mask": mask.digest, "mode": mode, "values": sha256(values.tobytes()).hexdigest()}
    attached = Lesion(mask, mode, digest_of(content))
    changes = {
        layer: _change(attached, layer, mask.units[layer], values[layer])
        for layer in map(int, np.flatnonzero(mask.per_layer))
    }
    attached.fired.update(dict.fromkeys(changes, 0))
    with BLOCK_OUTPUT.writing(model.blocks, changes, lesion=attached):
        yield attached
        _check_fired(attached)


def _change(
    attached: Lesion, layer: int, units: Array, values: Array
) -> Callable[[torch.Tensor], torch.Tensor]:
    placed: dict[tuple[torch.device, torch.dtype], tuple[torch.Tensor, torch.Tensor]] = {}

    def replace(hidden: torch.Tensor) -> torch.Tensor:
        place = (hidden.device, hidden.dtype)
        if place not in placed:
            placed[place] = (
                torch.from_numpy(units).to(hidden.device),
                torch.from_numpy(values).to(*place),
            )
        selected, replacement = placed[place]
        attached.fired[layer] += 1
        # Not a product: 0 times an infinite activation would be NaN.
        return torch.where(selected, replacement, hidden)

    return replace


def _values(model: BaseModel, mask: UnitMask, mode: Mode, means: Array | None) -> Array:
    check_shape(model, mask)
    if mode not in get_args(Mode):
        raise LsnsError(f"no lesion mode {mode!r}; use zero or mean")
    if mode == "zero":
        return np.zeros(mask.units.shape, dtype=np.float32)
    if means is None:
        raise LsnsError("mode 'mean' needs means=, e.g. Localization.means")
    if means.shape != mask.units.shape or not np.isfinite(means).all():
        raise LsnsError(f"means of shape {means.shape} do not fit a mask of {mask.units.shape}")
    return means.astype(np.float32)


def check_shape(model: BaseModel, mask: UnitMask) -> None:
    """Raise an `LsnsError` unless the mask is for a model of this shape and selects a unit."""
    if mask.units.shape != model.shape:
        raise LsnsError(
            f"the mask is for {mask.units.shape[0]} blocks x {mask.units.shape[1]} units, "
            f"{model.label} has {model.num_layers} x {model.hidden_size}"
        )
    if mask.count == 0:
        raise LsnsError("the mask selects no unit; there is nothing to lesion")


def _check_fired(attached: Lesion) -> None:
    silent = [layer for layer, count in attached.fired.items() if count == 0]
    if silent:
        raise LsnsError(
            f"the lesion never acted in {len(silent)} of {len(attached.fired)} blocks (first: "
            f"{silent[0]}): the model did not run them inside the context"
        )
