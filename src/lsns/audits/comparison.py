"""`compare`: how many units masks share, pair by pair, against chance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from lsns.errors import LsnsError
from lsns.mask import UnitMask, as_mask
from lsns.overlap import Overlap, overlaps
from lsns.table import Column, Table, Tabled
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

    columns: ClassVar = (
        Column("masks", "{first} and {second}"),
        Column("units", "{units_first}, {units_second}"),
        Column("shared"),
        Column("Dice", "{dice:.3f}"),
        Column("Jaccard", "{jaccard:.3f}"),
        *Overlap.chance,
    )

    first: str
    second: str
    units_first: int
    units_second: int


@dataclass(frozen=True)
class Comparison(Tabled):
    """The overlap of every pair of masks.

    Attributes:
        pairs: one for each pair, in the order in which the masks were given.
        models: model and dtype by the name of the mask, from its manifest; "not known" without one.
    """

    pairs: tuple[MaskPair, ...]
    models: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """The comparison as lists, dictionaries and plain values."""
        return asdict(self)

    def __repr__(self) -> str:
        """The names of the masks, in one line."""
        return one_line(f"Comparison({len(self.pairs)} pairs of {', '.join(self.models)})")

    def __str__(self) -> str:
        """The table, in at most ten lines."""
        return first_lines(self.describe().split("\n"), "see describe()")

    def describe(self, columns: int | None = None) -> str:
        """The table, for a terminal.

        Args:
            columns: width of the terminal that it has to fit in; None: any width.
        """
        return self.tables()[0].text(columns)

    def tables(self) -> list[Table]:
        """One table, with a row for each pair."""
        notes = []
        if len(set(self.models.values())) > 1:
            notes += [f"{name}: {model}" for name, model in self.models.items()]
        if len(self.pairs) > 1:
            notes.append(f"{len(self.pairs)} pairs; p is not corrected for their number")
        return [Table("", MaskPair.columns, self.pairs, notes=notes)]


def compare(masks: Mapping[str, UnitMask | Localization]) -> Comparison:
    """The overlap of every pair of masks of models of one shape.

    Args:
        masks: at least two masks by name, each with at least one unit, or what `localize` found;
            across networks, methods, percentages, seeds or checkpoints.

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
