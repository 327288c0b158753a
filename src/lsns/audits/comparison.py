"""`compare`: how many units masks share, pair by pair, against chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from lsns.errors import LsnsError
from lsns.mask import UnitMask, as_mask
from lsns.overlap import Overlap, overlaps
from lsns.table import align_columns
from lsns.terminal import first_lines, one_line

if TYPE_CHECKING:
    from lsns.localization import Localization


@dataclass(frozen=True, kw_only=True)
class MaskPair(Overlap):
    """The overlap of two named masks.

    Attributes:
        first: name of the first mask.
        second: name of the second mask.
        units_first: number of units in the first mask.
        units_second: number of units in the second mask.
    """

    first: str
    second: str
    units_first: int
    units_second: int


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
    found = overlaps({name: mask.units for name, mask in masks.items()})
    pairs = [
        MaskPair(
            first=a,
            second=b,
            units_first=masks[a].count,
            units_second=masks[b].count,
            **vars(both),
        )
        for (a, b), both in found.items()
    ]
    return Comparison(tuple(pairs), {name: _model(mask) for name, mask in masks.items()})


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
