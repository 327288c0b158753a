"""A mask: which units were selected, and the manifest of how."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

# pydantic asks for this one before Python 3.12.
from typing_extensions import TypedDict

from lsns.errors import LsnsError
from lsns.store import manifest_path, read_array, write_array
from lsns.terminal import one_line
from lsns.typed import as_typed

Array = np.ndarray[Any, Any]


class _Model(TypedDict, total=False):
    """The model that was localized."""

    name: str
    label: str
    dtype: str
    pretrained: bool
    init_seed: int | None
    quantization: str | None


class _Stimuli(TypedDict, total=False):
    """The texts."""

    name: str
    positive: int
    negative: int


class _Protocol(TypedDict, total=False):
    """How texts were read."""

    pooling: str
    max_tokens: int | None


class _Selection(TypedDict, total=False):
    """How units were selected."""

    method: str
    percentage: float | None
    num_units: float | None
    localize_range: str | None
    per_layer: bool | None
    exclude_outliers: bool


class _Manifest(TypedDict, total=False):
    """All that determined a localization; empty for a mask of unknown origin."""

    model: _Model
    stimuli: _Stimuli
    protocol: _Protocol
    selection: _Selection
    activations: str
    audit: dict[str, Any]
    run: str


def check_manifest(path: str | Path, manifest: Mapping[str, Any]) -> None:
    """Check what a file says of where a mask comes from.

    Args:
        path: the file, for an error.
        manifest: all that determined the mask, or nothing.

    Raises:
        LsnsError: where in it something else was found than belongs there.
    """
    as_typed(path, dict(manifest), _Manifest)


def as_mask(given: Any) -> UnitMask:
    """The mask that was given, or that of what was found: a `Localization` has one.

    Raises:
        LsnsError: neither.
    """
    mask = given if isinstance(given, UnitMask) else getattr(given, "mask", None)
    if not isinstance(mask, UnitMask):
        raise LsnsError(
            "a mask is an lsns.UnitMask, or what lsns.localize found; found "
            f"{type(given).__name__}; use lsns.UnitMask(array) or lsns.UnitMask.load(path)"
        )
    return mask


@dataclass(frozen=True, eq=False)
class UnitMask:
    """Selected units of a model.

    Raises:
        LsnsError: not an array of 0 and 1 (of any dtype) with two axes.

    Attributes:
        units: bool, shape (n_layers, hidden_size); True where a unit is selected.
        manifest: all that determined the mask; empty for a mask of unknown origin.
    """

    units: Bool[Array, "n_layers hidden_size"]
    manifest: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        units = np.asarray(self.units)
        if units.ndim != 2 or units.dtype.kind not in "bui" or not np.isin(units, (0, 1)).all():
            raise LsnsError(
                f"a mask is an array of 0 and 1 of shape (layers, units); found {units.dtype} of "
                f"shape {units.shape}"
            )
        # A published mask is an array of integers, of which ~ would not be the other units.
        object.__setattr__(self, "units", units.astype(bool))

    @property
    def count(self) -> int:
        """Number of selected units."""
        return int(self.units.sum())

    @property
    def per_layer(self) -> Int[Array, " n_layers"]:
        """Number of selected units in each layer."""
        return self.units.sum(axis=1)

    @property
    def digest(self) -> str:
        """SHA-256 of the shape and the units: equal for equal masks, whatever their origin."""
        content = str(self.units.shape).encode() + np.packbits(self.units).tobytes()
        return hashlib.sha256(content).hexdigest()

    def __repr__(self) -> str:
        """How many units, and of what if the manifest says it, in one line."""
        n_layers, hidden_size = self.units.shape
        stimuli, model = self.manifest.get("stimuli"), self.manifest.get("model")
        of = ""
        if isinstance(stimuli, Mapping) and isinstance(model, Mapping):
            of = f", {stimuli.get('name')} in {model.get('name')}"
        return one_line(
            f"UnitMask({self.count} of {self.units.size} units in {n_layers} layers x "
            f"{hidden_size}{of})"
        )

    def save(self, path: str | Path) -> Path:
        """Write an integer `.npy` (0 and 1) and a `.json` manifest beside it, each in one step.

        The integers are int64, as in the published scripts' files.
        """
        return write_array(Path(path), self.units.astype(np.int64), self.manifest)

    @classmethod
    def load(cls, path: str | Path) -> UnitMask:
        """Read a mask that `save`, or a published script, wrote.

        Raises:
            LsnsError: no such file, not an array of 0 and 1 with two axes, other bytes than its
                manifest was written for, or a manifest that holds something else than it should.
        """
        array, manifest = read_array(Path(path))
        check_manifest(manifest_path(Path(path)), manifest)
        try:
            return cls(array, manifest)
        except LsnsError as error:
            raise LsnsError(f"{path} is no mask: {error}") from None
