"""What is done to the model: nothing, lesions by masks, and lesions by control masks. No torch."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from jaxtyping import Bool, Float

from lsns.analysis.outliers import outlier_units
from lsns.errors import LsnsError
from lsns.lesions.controls import (
    Control,
    Match,
    NoControlError,
    TooFewUnitsError,
    control_mask,
    match_of,
)
from lsns.lesions.decoys import decoy_masks
from lsns.mask import UnitMask, as_mask
from lsns.plugins import names_code

if TYPE_CHECKING:
    from lsns.localization import Localization
    from lsns.magnitudes import Magnitudes

Array = np.ndarray[Any, Any]
logger = logging.getLogger(__name__)
LEAST, DECOY = "least", "decoy"
ALL, OUTLIERS, REST = "all", "outliers", "rest"
Part = Literal["all", "outliers", "rest"]
CONTROLS = (*get_args(Control), DECOY, LEAST)
# Without --controls: of a mask of which nothing else is known, of one that was localized here, and
# of its outlier units alone.
MASK_ALONE = ("uniform", "layer")
USUAL = (*MASK_ALONE, "magnitude", DECOY, LEAST)
OF_OUTLIERS = (*MASK_ALONE, "magnitude", OUTLIERS)
MODES = ("zero", "mean")
# The seeds of a control are this and the ones after it, so that one more seed adds one mask. The
# published controls have 42, 43, 44.
FIRST_SEED = 42
MOST_SEEDS = 10_000
_SPEC = re.compile(r"(?P<network>[a-z-]+)@(?P<percentage>[0-9.]+)(?::(?P<method>.+))?")


class MaskSpec(NamedTuple):
    """A mask as written on the command line: `network@percentage` or `network@percentage:method`.

    Attributes:
        network: the name of a network.
        percentage: percentage of all units.
        method: how units are scored; None: the default.
    """

    network: str
    percentage: float
    method: str | None

    @property
    def code(self) -> list[str]:
        """What scores its units, if that is not installed, in words; see `lsns.plugins.permit`."""
        text = f"mask {self.network}@{self.percentage:g}:{self.method}"
        return [text] if self.method and names_code(self.method) else []


@dataclass(frozen=True, eq=False)
class Target:
    """A mask whose lesion is evaluated.

    Attributes:
        label: its name in tables.
        mask: the mask.
        found: where it comes from; None for a mask alone, which has neither means nor scores.
        barred: units beside its own that its controls must not have, or None.
        kinds: kinds of its controls, if none are asked for by name.
        part: `all` of what was selected, its `outliers` alone, or the `rest`.
        whole: digest of all that was selected; empty: the mask's own.
        series: equal for masks that differ in their number of units alone; empty: the label.
        magnitudes: how large the units of the model are, for a mask alone; None: not known.
    """

    label: str
    mask: UnitMask
    found: Localization | None
    barred: Bool[Array, "n_layers hidden_size"] | None = None
    kinds: tuple[str, ...] = MASK_ALONE
    part: Part = ALL
    whole: str = ""
    series: str = ""
    magnitudes: Magnitudes | None = None

    @property
    def rms(self) -> Float[Array, "n_layers hidden_size"] | None:
        """Root mean square of every unit over all tokens; None: not known."""
        if self.found is not None:
            return self.found.rms
        return None if self.magnitudes is None else np.sqrt(self.magnitudes.mean_square)

    @property
    def outlier_units(self) -> Bool[Array, "n_layers hidden_size"] | None:
        """All outlier units of the model; None: not known."""
        if self.found is not None:
            return self.found.outlier_units
        if self.magnitudes is None:
            return None
        return outlier_units({"tokens": self.magnitudes.mean, "first": self.magnitudes.first})

    @property
    def percentage(self) -> float:
        """As it was asked for, else the share of the units."""
        selection = self.mask.manifest.get("selection") or {}
        asked = selection.get("percentage")
        return float(asked) if asked is not None else 100 * self.mask.count / self.mask.units.size


Mask: TypeAlias = "Localization | UnitMask | Target | str | Path"
Masks: TypeAlias = "Mask | Iterable[Mask] | Mapping[str, Mask]"


@dataclass(frozen=True, eq=False)
class Condition:
    """One state of the model.

    Attributes:
        kind: `intact`, `lesion` or `control`.
        label: name of the target mask; empty for the intact model.
        mask: what is lesioned; None: nothing.
        control: the kind of control; empty if it is none.
        seed: random seed for a control that is drawn.
        percentage: percentage of all units that the target mask has.
        mode: what replaces the units; empty for the intact model.
        means: the values for mode `mean`.
        outlier_units: how many of the mask's units are outliers; None: not known.
        part: what the target mask is of all that was selected.
        whole: digest of all that was selected.
        series: equal for target masks that differ in their number of units alone.
        squares: mean square of every unit over all tokens, by which overlaps of controls weigh in
            `lsns.lesions.controls.effective_number`; None: not known.
    """

    kind: str
    label: str = ""
    mask: UnitMask | None = None
    control: str = ""
    seed: int | None = None
    percentage: float | None = None
    mode: str = ""
    means: Float[Array, "n_layers hidden_size"] | None = None
    outlier_units: int | None = None
    part: Part = ALL
    whole: str = ""
    series: str = ""
    squares: Float[Array, "n_layers hidden_size"] | None = None

    @property
    def network(self) -> str | None:
        """The name of the stimuli that selected its units; None: it does not say."""
        stimuli = {} if self.mask is None else self.mask.manifest.get("stimuli") or {}
        return stimuli.get("name")

    @property
    def columns(self) -> dict[str, Any]:
        """What a row of results says of its condition."""
        return {
            "condition": self.kind,
            "target": self.label,
            "part": self.part,
            "series": self.series,
            "percentage": self.percentage,
            "control": self.control,
            "seed": self.seed,
            "mode": self.mode,
            "mask": self.mask.digest if self.mask else "",
            "whole": self.whole,
            "units": self.mask.count if self.mask else 0,
            "outlier_units": self.outlier_units,
        }

    @property
    def match(self) -> Match | None:
        """How a control's magnitudes compare with those of its mask; None: not known."""
        note = {} if self.mask is None else self.mask.manifest.get("control") or {}
        return Match(**note["match"]) if self.control and "match" in note else None

    def is_control_of(self, lesion: Condition, kind: str) -> bool:
        """Whether it is a control of that kind that the lesion has."""
        mine = (self.kind, self.label, self.mode, self.control)
        return mine == ("control", lesion.label, lesion.mode, kind)

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
    masks: Masks,
    find: Callable[[MaskSpec], Localization],
    *,
    split_outliers: bool = False,
) -> list[Target]:
    """The masks with names; a mask that is given twice is there once.

    Args:
        masks: what `localize` found, masks, paths of mask files, texts such as `language@1`, or
            targets, which are not split again; one, several, or a mapping from names to them.
        find: function that localizes the units of a network, for a text.
        split_outliers: add, behind each mask with outlier units, these alone and the rest of it.

    Raises:
        LsnsError: no mask, one that cannot be read or selects nothing, or a name that is none.
    """
    targets: dict[str, Target] = {}
    for name, given in _named(masks):
        target = given if isinstance(given, Target) else _make_target(given, find)
        target = target if name is None else replace(target, label=name, series=name)
        if target.mask.count == 0:
            raise LsnsError(f"mask {target.label} selects no unit; there is nothing to lesion")
        target = _distinct(target, targets)
        if target.label in targets:
            continue
        targets[target.label] = target
        if split_outliers and not isinstance(given, Target):
            targets[target.label], *parts = _split(target)
            targets |= {part.label: part for part in (_distinct(p, targets) for p in parts)}
    if not targets:
        raise LsnsError("no mask to evaluate; give one, such as language@1")
    return list(targets.values())


def make_conditions(
    targets: Sequence[Target],
    *,
    controls: Sequence[str] | None,
    seeds: int | Sequence[int],
    modes: Sequence[str],
    measure: Callable[[], Magnitudes] | None = None,
) -> list[Condition]:
    """The intact model, and for each mask and mode the lesion and its controls.

    Args:
        targets: masks to lesion, as `make_targets` gives them.
        controls: kinds of controls, of `uniform`, `layer`, `magnitude`, `decoy`, `least` and
            `outliers`; None: the usual ones of each target, but for those that it can have none of.
        seeds: number of masks to draw of each kind, or their random seeds.
        modes: what replaces the units: `zero`, `mean`, or both.
        measure: function that measures how large the units of the model are; it is asked for a mask
            alone, whose `magnitude` or `outliers` controls are asked for.

    Raises:
        LsnsError: no such control or mode, no seed, a mask of which too little is known, or too
            few units for a control that was asked for.
    """
    check_options(controls, seeds, modes)
    chosen = _seeds(seeds)
    conditions = [Condition("intact")]
    wanted = set(controls or ()) & {"magnitude", OUTLIERS}
    for target in targets:
        if wanted and target.found is None and measure is not None:
            target = replace(target, magnitudes=measure())
        drawn = _all_controls(target, controls, chosen)
        for mode in dict.fromkeys(modes):
            conditions += _of_target(target, mode, drawn)
    return conditions


def _of_target(
    target: Target, mode: str, drawn: Sequence[tuple[str, int | None, UnitMask]]
) -> list[Condition]:
    means = _means(target, mode)
    outliers, rms = target.outlier_units, target.rms
    squares = None if rms is None else np.square(rms)

    def condition(what: str, mask: UnitMask, **control: Any) -> Condition:
        return Condition(
            what,
            label=target.label,
            mask=mask,
            percentage=target.percentage,
            mode=mode,
            means=means,
            outlier_units=None if outliers is None else int((mask.units & outliers).sum()),
            part=target.part,
            whole=target.whole or target.mask.digest,
            series=target.series or target.label,
            squares=squares,
            **control,
        )

    controls = [condition("control", mask, control=kind, seed=s) for kind, s, mask in drawn]
    return [condition("lesion", target.mask), *controls]


def check_options(
    controls: Sequence[str] | None, seeds: int | Sequence[int], modes: Sequence[str]
) -> None:
    """Raise an `LsnsError` for what is wrong whatever the masks are; see `make_conditions`."""
    _check(controls or (), CONTROLS, "control")
    _check(modes, MODES, "mode")
    if not modes:
        raise LsnsError(f"no mode; use {' or '.join(MODES)}")
    _seeds(seeds)


def _least_selective(
    found: Localization,
    mask: UnitMask | None = None,
    barred: Bool[Array, "n_layers hidden_size"] | None = None,
) -> UnitMask:
    """As many units as the mask has, of the lowest scores among the others; ties by unit index.

    In every layer as many as the mask has there, if it was selected layer by layer.

    Args:
        found: localization, with the scores.
        mask: mask to draw a control of, if it is a part of the one that was found.
        barred: further units that are not taken.

    Raises:
        TooFewUnitsError: too few units outside the mask.
    """
    mask = found.mask if mask is None else mask
    taken = mask.units if barred is None else mask.units | barred
    scores = np.where(taken, np.inf, found.scores)
    if found.manifest["selection"]["per_layer"]:
        rows = [_lowest(row, int(count)) for row, count in zip(scores, mask.per_layer, strict=True)]
        units = np.stack(rows)
    else:
        units = _lowest(scores.ravel(), mask.count).reshape(scores.shape)
    if (units & taken).any():
        raise TooFewUnitsError(
            f"{mask.count} units are selected, too many for a control of that size"
        )
    match = asdict(match_of(mask.units, units, found.rms))
    note = {"kind": LEAST, "of": mask.digest, "match": match}
    return UnitMask(units, {**mask.manifest, "control": note})


def _lowest(scores: Array, count: int) -> Bool[Array, " n"]:
    units = np.zeros(scores.shape, dtype=bool)
    units[np.argsort(scores, kind="stable")[:count]] = True
    return units


def _named(masks: Masks) -> Iterator[tuple[str | None, Mask]]:
    """Each mask, with the name that it was given, if any."""
    if isinstance(masks, Mapping):
        yield from ((_check_name(name), mask) for name, mask in masks.items())
    elif isinstance(masks, (str, Path, Target)) or not isinstance(masks, Iterable):
        yield None, masks
    else:
        yield from ((None, mask) for mask in masks)


def _check_name(name: object) -> str:
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        raise LsnsError(f"a mask's name is one printable line; got {name!r}")
    return name


def _distinct(target: Target, others: Mapping[str, Target]) -> Target:
    """The target under a label that no other mask has."""
    while others.get(target.label, target).mask.digest != target.mask.digest:
        mark = f"#{target.mask.digest[:8]}"
        series = (target.series or target.label) + mark
        target = replace(target, label=target.label + mark, series=series)
    return target


def _make_target(
    given: Localization | UnitMask | str | Path, find: Callable[[MaskSpec], Localization]
) -> Target:
    if isinstance(given, UnitMask):
        return Target(f"mask {given.digest[:8]}", given, None)
    if isinstance(given, (str, Path)):
        spec = parse_spec(str(given))
        if isinstance(spec, Path):
            return _of_file(spec)
        given = find(spec)
    as_mask(given)
    selection, network = given.manifest["selection"], given.manifest["stimuli"]["name"]
    share, number = selection["percentage"], selection["num_units"]
    amount = f"{share:g}" if share is not None else f"{number} units" if number else "default"
    method = "" if selection["method"] == "ttest" else f":{selection['method']}"
    place = selection["localize_range"]
    ranged = "" if place == "100-100" else f" {place}"
    without = " without outliers" if selection["exclude_outliers"] else ""
    how = f"{method}{ranged}{without}"
    label, series = f"{network}@{amount}{how}", f"{network}{how}"
    return Target(label, given.mask, given, given.barred, USUAL, series=series)


def _of_file(path: Path) -> Target:
    target = Target(path.stem if len(path.stem) <= 24 else _short(path), UnitMask.load(path), None)
    if (target.mask.manifest.get("selection") or {}).get("exclude_outliers"):
        logger.warning(
            "%s was selected without outlier units, and its controls may have some: a mask's file "
            "does not say which they are; localize it here (as in language@1) for fair ones",
            target.label,
        )
    return target


def _split(target: Target) -> list[Target]:
    """The target, its outlier units alone, and the rest of it; where it cannot be, it is said."""
    found = target.found
    if found is None:
        logger.warning(
            "%s is not split: a mask alone does not say what is an outlier", target.label
        )
        return [target]
    # Where outliers are barred, the others are drawn with none already.
    kinds = target.kinds if found.barred is not None else (*target.kinds, OUTLIERS)
    whole = replace(target, kinds=kinds)
    outliers, all_units = found.outliers, found.mask.units
    count = int(outliers.sum())
    if count in (0, found.mask.count):
        which = "all" if count else "none"
        logger.warning("%s is not split: %s of its units are outliers", target.label, which)
        return [whole]
    rest = all_units & ~outliers
    return [
        whole,
        # The rest could have no outliers, so its controls must not, either.
        _part(target, OUTLIERS, outliers, barred=None, kinds=OF_OUTLIERS),
        _part(target, REST, rest, barred=found.outlier_units, kinds=USUAL),
    ]


def _part(
    target: Target, part: Part, units: Array, *, barred: Array | None, kinds: tuple[str, ...]
) -> Target:
    threshold = None if target.found is None else float(target.found.outlier_threshold)
    note = {"units": part, "of": target.mask.digest, "outlier_threshold": threshold}
    return replace(
        target,
        label=f"{target.label} {part}",
        mask=UnitMask(units, {**target.mask.manifest, "part": note}),
        barred=barred,
        kinds=kinds,
        part=part,
        whole=target.mask.digest,
        series=f"{target.series or target.label} {part}",
    )


def _short(path: Path) -> str:
    return f"{path.stem[:12]}…{path.stem[-11:]}"


def _all_controls(
    target: Target, controls: Sequence[str] | None, seeds: Sequence[int]
) -> list[tuple[str, int | None, UnitMask]]:
    """Kind, seed and mask of each; a kind that nobody asked for is left out if it cannot be."""
    drawn: list[tuple[str, int | None, UnitMask]] = []
    for kind in dict.fromkeys(target.kinds if controls is None else controls):
        try:
            drawn += _controls_of_kind(target, kind, seeds)
        except NoControlError as error:
            if controls is not None:
                raise LsnsError(f"{target.label}: control {kind!r}: {error}") from None
            logger.warning("%s has no controls of kind %s: %s", target.label, kind, error)
    return drawn


def _controls_of_kind(
    target: Target, kind: str, seeds: Sequence[int]
) -> list[tuple[str, int | None, UnitMask]]:
    found, rms = target.found, target.rms
    known = MASK_ALONE if rms is None else get_args(Control)
    if found is None and kind not in known:
        raise LsnsError(
            f"control {kind!r} needs to know more of {target.label} than a mask says; "
            "localize it here (as in language@1) or leave that control out"
        )
    if found is not None and kind == LEAST:
        return [(kind, None, _least_selective(found, target.mask, target.barred))]
    if found is not None and kind == DECOY:
        masks = decoy_masks(found, target.mask, seeds, barred=target.barred)
        return [(kind, seed, mask) for seed, mask in zip(seeds, masks, strict=True)]
    # Magnitudes beside every kind, so that its manifest says how well it matches.
    arrays = {"magnitudes": rms, "outliers": target.outlier_units}
    # The mask's own units may be drawn, or p would be too small; see `control_mask`.
    options: Any = {"kind": kind, "barred": target.barred, "outside": False, **arrays}
    return [(kind, seed, control_mask(target.mask, seed=seed, **options)) for seed in seeds]


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
    count = seeds if isinstance(seeds, int) else len(seeds)
    if count < 1:
        raise LsnsError(f"seeds must be at least 1; got {seeds}; for no controls, ask for none")
    if count > MOST_SEEDS:
        raise LsnsError(f"seeds must be at most {MOST_SEEDS:,}; got {count}")
    if isinstance(seeds, int):
        return list(range(FIRST_SEED, FIRST_SEED + seeds))
    strange = next((s for s in seeds if not isinstance(s, Integral) or not 0 <= s < 1 << 32), None)
    if strange is not None:
        raise LsnsError(f"a seed must be a whole number below 2**32; got {strange!r}")
    return list(dict.fromkeys(seeds))


def _check(given: Sequence[str], known: Sequence[str], what: str) -> None:
    for name in given:
        if name not in known:
            raise LsnsError(f"no {what} {name!r}; use one of {', '.join(known)}")
