"""`Subject`: the model that is measured, loaded when it is first needed, here or in a worker."""

from __future__ import annotations

from dataclasses import asdict
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lsns.engines import Engine, engine_of
from lsns.errors import LsnsError
from lsns.models.factory import ModelRequest, SharedRequest
from lsns.models.identity import fingerprint, is_same

if TYPE_CHECKING:
    from lsns.models.base import BaseModel


class Subject:
    """A model, loaded or as asked for, and its fingerprint.

    Args:
        model: from `load_model`, a name for it, or as asked for.
        expected: the fingerprint that it must have, for a worker that loads it anew.
    """

    def __init__(
        self, model: BaseModel | ModelRequest | str, expected: dict[str, Any] | None = None
    ) -> None:
        request = ModelRequest(model) if isinstance(model, str) else model
        if isinstance(request, ModelRequest):
            request = SharedRequest.of(request)
        self.given: BaseModel | ModelRequest = request
        self._expected = expected

    def load(self) -> BaseModel:
        """The model.

        Raises:
            LsnsError: in a worker, it is not the one that the work is about.
        """
        if not isinstance(self.given, ModelRequest):
            return self.given
        model = self.given.load()
        if self._expected is not None:
            if not is_same(fingerprint(model) or {}, self._expected):
                raise LsnsError(
                    f"model {model.name!r} is not the same in a worker: it was changed, or is "
                    "registered by this process alone; use one worker"
                )
            self._expected = None
        return model

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """All of the model that determines results; see `identity.fingerprint`."""
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
