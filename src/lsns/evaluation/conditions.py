"""What is done to the model: nothing, lesions by masks, and lesions by control masks. No torch."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import numpy as np
from jaxtyping import Bool, Float

from lsns.errors import LsnsError
from lsns.lesions.controls import Control, control_mask
from lsns.mask import UnitMask

if TYPE_CHECKING:
    from lsns.localization import Localization

Array = np.ndarray[Any, Any]
LEAST = "least"
CONTROLS = (*get_args(Control), LEAST)
MODES = ("zero", "mean")
# The seeds of a control are this and the ones after it, so that one more seed adds one mask. The
# published controls have 42, 43, 44.
FIRST_SEED = 42
_SPEC = re.compile(r"(?P<network>[a-z-]+)@(?P<percentage>[0-9.]+)(?::(?P<method>.+))?")


class MaskSpec(NamedTuple):
    """A mask as written on the command line: `network@percentage` or `network@percentage:method`.

    Attributes:
        network: the name of a network.
        percentage: of the units.
        method: how units are scored; None: the default.
    """

    network: str
    percentage: float
    method: str | None


@dataclass(frozen=True, eq=False)
class Target:
    """A mask whose lesion is evaluated.

    Attributes:
        label: what it is called in tables.
        mask: the mask.
        found: where it comes from; None for a mask alone, which has neither means nor scores.
    """

    label: str
    mask: UnitMask
    found: Localization | None

    @property
    def percentage(self) -> float:
        """As it was asked for, else the share of the units."""
        selection = self.mask.manifest.get("selection") or {}
        asked = selection.get("percentage")
        return float(asked) if asked is not None else 100 * self.mask.count / self.mask.units.size


@dataclass(frozen=True, eq=False)
class Condition:
    """One state of the model.

    Attributes:
        kind: `intact`, `lesion` or `control`.
        label: of the target mask; empty for the intact model.
        mask: what is lesioned; None: nothing.
        control: the kind of control; empty if it is none.
        seed: of a control that is drawn.
        percentage: of the target mask.
        mode: what replaces the units; empty for the intact model.
        means: the values for mode `mean`.
    """

    kind: str
    label: str = ""
    mask: UnitMask | None = None
    control: str = ""
    seed: int | None = None
    percentage: float | None = None
    mode: str = ""
    means: Float[Array, "n_layers hidden_size"] | None = None

    @property
    def columns(self) -> dict[str, Any]:
        """What a row of results says of its condition."""
        return {
            "condition": self.kind,
            "target": self.label,
            "percentage": self.percentage,
            "control": self.control,
            "seed": self.seed,
            "mode": self.mode,
            "mask": self.mask.digest if self.mask else "",
            "units": self.mask.count if self.mask else 0,
        }

    @property
    def content(self) -> dict[str, Any]:
        """All of it that changes what the model does: equal for equal lesions of any origin."""
        if self.mask is None:
            return {"mask": None}
        means = None
        if self.means is not None:
            values = np.ascontiguousarray(self.means[self.mask.units], dtype=np.float32)
            means = hashlib.sha256(values.tobytes()).hexdigest()
        return {"mask": self.mask.digest, "mode": self.mode, "means": means}

    @property
    def words(self) -> str:
        """For people."""
        if self.kind == "intact":
            return "intact"
        drawn = "" if self.seed is None else f" {self.seed}"
        control = f", control {self.control}{drawn}" if self.control else ""
        return f"{self.label} {self.mode}{control}"


def parse_spec(text: str) -> MaskSpec | Path:
    """`language@1`, `language@0.5:nmd`, or a mask's file.

    Raises:
        LsnsError: neither a file nor of that form.
    """
    if Path(text).is_file():
        return Path(text)
    found = _SPEC.fullmatch(text)
    if found is None:
        raise LsnsError(
            f"no mask {text!r}: there is no such file; or give a network and a percentage, "
            "as in language@1 or language@0.5:nmd"
        )
    try:
        return MaskSpec(found["network"], float(found["percentage"]), found["method"])
    except ValueError:
        raise LsnsError(f"mask {text!r}: {found['percentage']!r} is not a percentage") from None


def make_targets(
    masks: Iterable[Localization | UnitMask | str | Path],
    find: Callable[[MaskSpec], Localization],
) -> list[Target]:
    """The masks with names; a mask that is given twice is there once.

    Args:
        masks: from `localize`, masks, files, or what `parse_spec` reads.
        find: how a network's units are found.

    Raises:
        LsnsError: no mask, or one that cannot be read or selects nothing.
    """
    targets: dict[str, Target] = {}
    for given in masks:
        target = _make_target(given, find)
        if target.mask.count == 0:
            raise LsnsError(f"mask {target.label} selects no unit; there is nothing to lesion")
        known = targets.get(target.label)
        if known is not None and known.mask.digest != target.mask.digest:
            name = f"{target.label}#{target.mask.digest[:8]}"
            target = Target(name, target.mask, target.found)
        targets.setdefault(target.label, target)
    if not targets:
        raise LsnsError("no mask to evaluate; give one, such as language@1")
    return list(targets.values())


def make_conditions(
    targets: Sequence[Target],
    *,
    controls: Sequence[str] | None,
    seeds: int | Sequence[int],
    modes: Sequence[str],
) -> list[Condition]:
    """The intact model, and for each mask and mode the lesion and its controls.

    Args:
        targets: from `make_targets`.
        controls: of `CONTROLS`; None: all that what is known of a mask allows.
        seeds: how many masks of each kind are drawn, or their seeds.
        modes: of `MODES`.

    Raises:
        LsnsError: no such control or mode, no seed, or a mask of which too little is known.
    """
    check_options(controls, seeds, modes)
    chosen = _seeds(seeds)
    conditions = [Condition("intact")]
    for target in targets:
        masks = list(_control_masks(target, controls, chosen))
        for mode in dict.fromkeys(modes):
            means = _means(target, mode)
            shared: dict[str, Any] = {
                "label": target.label,
                "percentage": target.percentage,
                "mode": mode,
            }
            conditions.append(Condition("lesion", mask=target.mask, means=means, **shared))
            conditions += [
                Condition("control", mask=mask, control=kind, seed=seed, means=means, **shared)
                for kind, seed, mask in masks
            ]
    return conditions


def check_options(
    controls: Sequence[str] | None, seeds: int | Sequence[int], modes: Sequence[str]
) -> None:
    """Raise an `LsnsError` for what is wrong whatever the masks are; see `make_conditions`."""
    _check(controls or (), CONTROLS, "control")
    _check(modes, MODES, "mode")
    if not modes:
        raise LsnsError(f"no mode; use {' or '.join(MODES)}")
    _seeds(seeds)


def least_selective(found: Localization) -> UnitMask:
    """As many units as the mask has, of the lowest scores among the others; ties by unit index.

    In every layer as many as the mask has there, if it was selected layer by layer.

    Raises:
        LsnsError: too few units outside the mask.
    """
    mask = found.mask
    scores = np.where(mask.units, np.inf, found.scores)
    if found.manifest["selection"]["per_layer"]:
        rows = [_lowest(row, int(count)) for row, count in zip(scores, mask.per_layer, strict=True)]
        units = np.stack(rows)
    else:
        units = _lowest(scores.ravel(), mask.count).reshape(scores.shape)
    if (units & mask.units).any():
        raise LsnsError(f"{mask.count} units are selected, too many for a control of that size")
    return UnitMask(units, {**mask.manifest, "control": {"kind": LEAST, "of": mask.digest}})


def _lowest(scores: Array, count: int) -> Bool[Array, " n"]:
    units = np.zeros(scores.shape, dtype=bool)
    units[np.argsort(scores, kind="stable")[:count]] = True
    return units


def _make_target(
    given: Localization | UnitMask | str | Path, find: Callable[[MaskSpec], Localization]
) -> Target:
    if isinstance(given, UnitMask):
        return Target(f"mask {given.digest[:8]}", given, None)
    if isinstance(given, (str, Path)):
        spec = parse_spec(str(given))
        if isinstance(spec, Path):
            return Target(
                spec.stem if len(spec.stem) <= 24 else _short(spec), UnitMask.load(spec), None
            )
        given = find(spec)
    selection, network = given.manifest["selection"], given.manifest["stimuli"]["name"]
    share, number = selection["percentage"], selection["num_units"]
    amount = f"{share:g}" if share is not None else f"{number} units" if number else "default"
    method = "" if selection["method"] == "ttest" else f":{selection['method']}"
    place = selection["localize_range"]
    ranged = "" if place == "100-100" else f" {place}"
    return Target(f"{network}@{amount}{method}{ranged}", given.mask, given)


def _short(path: Path) -> str:
    return f"{path.stem[:12]}…{path.stem[-11:]}"


def _control_masks(
    target: Target, controls: Sequence[str] | None, seeds: Sequence[int]
) -> Iterator[tuple[str, int | None, UnitMask]]:
    found = target.found
    known = CONTROLS if found is not None else ("uniform", "layer")
    for kind in dict.fromkeys(known if controls is None else controls):
        if kind not in known:
            raise LsnsError(
                f"control {kind!r} needs to know more of {target.label} than a mask says; "
                "localize it here (as in language@1) or leave that control out"
            )
        if kind == LEAST and found is not None:
            yield kind, None, least_selective(found)
            continue
        for seed in seeds:
            magnitudes = found.magnitudes if found is not None and kind == "magnitude" else None
            yield kind, seed, control_mask(target.mask, kind, seed=seed, magnitudes=magnitudes)  # type: ignore[arg-type]


def _means(target: Target, mode: str) -> Array | None:
    if mode == "zero":
        return None
    if target.found is None:
        raise LsnsError(
            f"mode mean needs the units' mean activations, which {target.label}, a mask alone, "
            "does not carry; localize it here (as in language@1) or use mode zero"
        )
    return target.found.means


def _seeds(seeds: int | Sequence[int]) -> list[int]:
    chosen = list(range(FIRST_SEED, FIRST_SEED + seeds)) if isinstance(seeds, int) else list(seeds)
    if not chosen:
        raise LsnsError(f"seeds must be at least 1; got {seeds}; for no controls, ask for none")
    return list(dict.fromkeys(chosen))


def _check(given: Sequence[str], known: Sequence[str], what: str) -> None:
    for name in given:
        if name not in known:
            raise LsnsError(f"no {what} {name!r}; use one of {', '.join(known)}")
