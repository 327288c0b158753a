"""`compare`: how many units masks share, pair by pair, against chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

from lsns.audits.agreement import compare_masks
from lsns.errors import LsnsError
from lsns.mask import UnitMask, as_mask
from lsns.overlap import overlap
from lsns.table import align_columns
from lsns.terminal import first_lines, one_line

if TYPE_CHECKING:
    from lsns.localization import Localization


@dataclass(frozen=True)
class MaskPair:
    """Two masks.

    Attributes:
        first: the name of the one.
        second: of the other.
        units_first: units of the one.
        units_second: of the other.
        shared: by both.
        dice: 2 shared / (units_first + units_second).
        jaccard: shared / units in either.
        expected: shared by chance.
        p_value: of at least as many by chance (hypergeometric, one-sided).
        expected_by_layer: by chance, given how many units each has in every layer.
        p_value_by_layer: of at least as many by that chance.
    """

    first: str
    second: str
    units_first: int
    units_second: int
    shared: int
    dice: float
    jaccard: float
    expected: float
    p_value: float
    expected_by_layer: float
    p_value_by_layer: float


@dataclass(frozen=True)
class Comparison:
    """All pairs of masks.

    Attributes:
        pairs: in the order in which the masks were given.
        models: of each mask, what its manifest says; "not known" without one.
    """

    pairs: tuple[MaskPair, ...]
    models: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """In lists, dictionaries and plain values."""
        return asdict(self)

    def __repr__(self) -> str:
        """Which masks, in one line."""
        return one_line(f"Comparison({len(self.pairs)} pairs of {', '.join(self.models)})")

    def __str__(self) -> str:
        """The table, in at most ten lines."""
        return first_lines(self.describe().split("\n"), "see describe()")

    def describe(self, columns: int | None = None) -> str:
        """The table, for a terminal.

        Args:
            columns: that it has to fit in; None: as wide as it is.
        """
        head = ("masks", "units", "shared", "Dice", "Jaccard", "chance", "p", "by layer", "p")
        rows: list[Sequence[str]] = [head, *(_cells(pair) for pair in self.pairs)]
        lines = align_columns(rows, columns)
        if len(set(self.models.values())) > 1:
            lines += [one_line(f"{name}: {model}") for name, model in self.models.items()]
        if len(self.pairs) > 1:
            lines.append(f"{len(self.pairs)} pairs; p is not corrected for their number")
        return "\n".join(lines)


def compare(masks: Mapping[str, UnitMask | Localization]) -> Comparison:
    """The overlap of every pair of masks of models of one shape.

    Args:
        masks: by name, at least two, each with at least one unit, or what `localize` found; across
            networks, methods, percentages, seeds or checkpoints.

    Raises:
        LsnsError: not a mapping from names to masks, fewer than two masks, an empty one, or masks
            of different shapes.
    """
    if not isinstance(masks, Mapping):
        raise LsnsError(
            f"compare takes a mapping from names to masks, such as {{'a': mask, 'b': other}}; "
            f"found {type(masks).__name__}"
        )
    masks = {str(name): as_mask(mask) for name, mask in masks.items()}
    if len(masks) < 2:
        raise LsnsError(f"{len(masks)} mask to compare; give at least two different ones")
    for name, mask in masks.items():
        if mask.count == 0:
            raise LsnsError(f"mask {name} selects no unit; there is nothing to compare")
    shapes = {name: mask.units.shape for name, mask in masks.items()}
    (first, shape), *others = shapes.items()
    for name, other in others:
        if other != shape:
            raise LsnsError(
                f"masks of different models: {first} has {shape[0]} x {shape[1]} units, "
                f"{name} {other[0]} x {other[1]}"
            )
    pairs = [_pair(a, masks[a], b, masks[b]) for a, b in combinations(masks, 2)]
    return Comparison(tuple(pairs), {name: _model(mask) for name, mask in masks.items()})


def _pair(first: str, one: UnitMask, second: str, other: UnitMask) -> MaskPair:
    chance, agreement = overlap(one.units, other.units), compare_masks(one.units, other.units)
    return MaskPair(
        first,
        second,
        one.count,
        other.count,
        chance.shared,
        agreement.dice,
        agreement.jaccard,
        chance.expected,
        chance.p_value,
        chance.expected_by_layer,
        chance.p_value_by_layer,
    )


def _model(mask: UnitMask) -> str:
    model = mask.manifest.get("model") or {}
    return f"{model['name']} ({model['dtype']})" if model else "not known"


def _cells(pair: MaskPair) -> Sequence[str]:
    return (
        f"{pair.first} and {pair.second}",
        f"{pair.units_first}, {pair.units_second}",
        str(pair.shared),
        f"{pair.dice:.3f}",
        f"{pair.jaccard:.3f}",
        f"{pair.expected:.1f}",
        f"{pair.p_value:.2g}",
        f"{pair.expected_by_layer:.1f}",
        f"{pair.p_value_by_layer:.2g}",
    )
