"""`Subject`: the model that is measured, loaded when it is first needed, here or in a worker.

Its fingerprint is all of it that determines a result, and so a part of every key: one for what
localizing measures and for what evaluating scores. No torch here: of a model that is asked for by
name, the files say it.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lsns.engines import Engine, engine_of
from lsns.errors import LsnsError
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


class Subject:
    """A model, loaded or as asked for, and its fingerprint.

    Args:
        model: from `load_model`, a name for it, or as asked for.
        expected: the fingerprint that it must have, for a worker that loads it anew.
    """

    def __init__(
        self, model: BaseModel | ModelRequest | str, expected: dict[str, Any] | None = None
    ) -> None:
        self.given = ModelRequest(model) if isinstance(model, str) else model
        self._expected = expected

    def load(self) -> BaseModel:
        """The model.

        Raises:
            LsnsError: in a worker, it is not the one that the work is about.
        """
        if not isinstance(self.given, ModelRequest):
            return self.given
        expected, self._expected = self._expected, None
        if expected is not None and not self.computes(expected):
            raise LsnsError(
                f"model {self.given.name!r} is not the same in a worker: it was changed, or is "
                "registered by this process alone; use one worker"
            )
        return self.given.load()

    def computes(self, expected: Mapping[str, Any]) -> bool:
        """Whether the model, loaded, has the fingerprint that stands, among others, in a key."""
        here = fingerprint(self.load()) or {}
        return all(expected.get(key) == value for key, value in here.items() if key != "once")

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """All of the model that determines results; see `fingerprint`."""
        return fingerprint(self.given) or fingerprint(self.load()) or {}

    def engine(self, workers: int) -> Engine:
        """What computes with so many workers.

        Raises:
            LsnsError: not a number of workers, or several for a model that is loaded.
        """
        found = engine_of(workers)
        if workers > 1 and not isinstance(self.given, ModelRequest):
            raise LsnsError(
                f"each of {workers} workers loads the model itself; give its name instead of "
                f"{self.given!r}, or use one worker"
            )
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        """Sent to a worker, it is loaded there; `engine` sees that it can be."""
        return Subject, (ModelRequest(**asdict(self.given)), self.fingerprint)  # type: ignore[arg-type]


def _identity_of_request(request: ModelRequest) -> str | None:
    source = request.source()
    if source is None or "torch" not in sys.modules:
        return source and source.identity
    from lsns.models.computation import is_patched

    # The files do not say what a patched class of torch or transformers makes of them.
    return None if is_patched() else source.identity
