"""The fingerprint of a model: all of it that determines a result, and so a part of every key.

One for what localizing measures and for what evaluating scores. No torch here: of a model that is
asked for by name, the files say it.
"""

from __future__ import annotations

import secrets
import sys
from typing import TYPE_CHECKING, Any

from lsns.models.factory import ModelRequest

if TYPE_CHECKING:  # torch is imported when a model is made, not before
    from lsns.models.base import BaseModel


def fingerprint(model: BaseModel | ModelRequest) -> dict[str, Any] | None:
    """All of a model that determines its results, as plain values.

    Equal for a model that is loaded and for the same one as asked for, and for the same files in
    a folder and from the hub. One that does not compute the same twice has another each time, so
    that nothing is found under it.

    Args:
        model: loaded, or as asked for.

    Returns:
        `model` is its identity; None if the model has to be loaded to know it.
    """
    if isinstance(model, ModelRequest):
        identity = _identity_of_request(model)
        if identity is None:
            return None
        dtype, blocks, lesions = model.dtype, model.blocks, []
    else:
        identity = model.identity
        dtype, blocks, lesions = model.dtype_name, model.blocks_path, model.active_lesions
    return {
        "model": identity,
        "pretrained": model.pretrained,
        "init_seed": None if model.pretrained else model.seed,
        "dtype": dtype,
        "quantization": model.quantization,
        "blocks": blocks,
        "lesions": lesions,
        **({"once": secrets.token_hex(16)} if identity is None else {}),
    }


def is_same(here: dict[str, Any], there: dict[str, Any]) -> bool:
    """Whether two fingerprints, the second perhaps among other things, are of one computation."""
    return all(there.get(key) == value for key, value in here.items() if key != "once")


def _identity_of_request(request: ModelRequest) -> str | None:
    source = request.source()
    if source is None or source.identity is None:
        return None
    if "torch" in sys.modules:
        from lsns.models.computation import is_patched

        # The files do not say what a patched class of torch or transformers makes of them.
        return None if is_patched() else source.identity
    return source.identity
