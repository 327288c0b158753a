"""`Study`: what an evaluation found, in rows; how they are shown, written and read back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lsns.errors import LsnsError
from lsns.evaluation.cells import parquet_module, with_condition
from lsns.evaluation.conditions import CONTROLS, OUTLIERS, Part
from lsns.evaluation.expectation import harms
from lsns.evaluation.statistics import ENOUGH_CONTROLS
from lsns.specs import Expect
from lsns.store import atomic, write_json
from lsns.table import Column, Table, Tabled
from lsns.terminal import first_lines, one_line
from lsns.typed import as_typed, read_object

if TYPE_CHECKING:
    import pyarrow as pa

# Of study.json; another one when what it says means something else.
FORMAT = 2
# In words, where the name of a kind of controls is no adjective.
_WORDS = {OUTLIERS: "as many outliers"}
Outcome = Literal["more", "less", "equivalent", "open"]
_OF_MODEL = ("revision", "dtype", "quantization", "pretrained")


class _Compared:
    """A row with a difference, its interval, and the smallest difference that counts."""

    measure: str
    within: float | None
    smallest: float | None

    @property
    def ends(self) -> tuple[float | None, float | None]:
        """The interval of the difference."""
        raise NotImplementedError

    @property
    def sign(self) -> int:
        """Which way is worse for the model: -1 for accuracy, 1 for perplexity."""
        return 1 if self.measure == "perplexity" else -1

    @property
    def outcome(self) -> Outcome:
        """Whether the two differ by as much as counts, and which way; `open`: it was not shown."""
        if self.within is not None and self.smallest is not None and self.within <= self.smallest:
            return "equivalent"
        low, high = self.ends
        if low is not None and high is not None and not low <= 0 <= high:
            return "more" if self.sign * low > 0 else "less"
        return "open"

    @property
    def words(self) -> str:
        """The outcome for people; perplexity in logarithms, all else in points."""
        if self.within is None or self.smallest is None:
            return ""
        if self.outcome == "equivalent":
            return f"equivalent within {_amount(self.within, self.measure)}"
        if self.outcome == "open":
            bound = _amount(self.within, self.measure)
            return f"not told apart; up to {bound} is not excluded"
        return f"told apart: {self.outcome} harm"


@dataclass(frozen=True)
class SummaryRow(_Compared):
    """A condition on a benchmark.

    Attributes:
        benchmark: its name.
        domain: what the benchmark asks for: one of the three networks, or `other`.
        measure: `accuracy` or `perplexity`.
        items: how many; of SyntaxGym, an item with all its predictions.
        paradigms: how many.
        condition: `intact`, `lesion` or `control`.
        target: what the lesioned mask is called; of a control, the mask that it is a control of.
            Empty for the intact model, as all that follows is up to the units.
        part: `all` of what was selected, its `outliers` alone, or the `rest`.
        series: equal for masks that differ in their number of units alone.
        percentage: of all units, as it was asked for, that the target has.
        control: the kind of control; empty if it is none.
        seed: of a control that is drawn.
        mode: what replaces the units, `zero` or `mean`.
        mask: digest of what is lesioned.
        whole: digest of all that was selected, of which the target is a part.
        units: how many are lesioned.
        outlier_units: how many of these are outliers; None: not known.
        value: a share correct, or perplexity; mean over paradigms.
        low: lower end of its 95% interval; None, as for all intervals: one item alone was scored.
        high: upper end.
        difference: to the intact model; for perplexity, the log of the ratio. None for itself.
        difference_low: lower end of its 95% interval.
        difference_high: upper end.
        within: the least bound that the lesion is shown to be equivalent to no lesion within: two
            one-sided tests at 5%.
        detectable: the true difference that would be told from none in 80 of 100 such studies.
        smallest: the smallest difference that counts, in these units.
    """

    benchmark: str
    domain: str
    measure: str
    items: int
    paradigms: int
    condition: Literal["intact", "lesion", "control"]
    target: str
    part: Part
    series: str
    percentage: float | None
    control: str
    seed: int | None
    mode: str
    mask: str
    whole: str
    units: int
    outlier_units: int | None
    value: float
    low: float | None
    high: float | None
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    within: float | None = None
    detectable: float | None = None
    smallest: float | None = None

    @property
    def ends(self) -> tuple[float | None, float | None]:
        """The interval of the difference to the intact model."""
        return self.difference_low, self.difference_high

    @property
    def effect(self) -> tuple[float, float, float]:
        """The difference to the intact model, and the ends of its interval.

        The ends are infinite where one item alone was scored.

        Raises:
            LsnsError: it is the intact model itself.
        """
        low, high = self.difference_low, self.difference_high
        if self.difference is None:
            raise LsnsError(f"{self.benchmark}: there is no difference of {self.condition}")
        return self.difference, -inf if low is None else low, inf if high is None else high


@dataclass(frozen=True)
class ControlRow(_Compared):
    """The controls of one kind that a lesion has on a benchmark.

    Attributes:
        benchmark: its name; empty for the gap between language and other benchmarks.
        measure: `accuracy`, `perplexity`, or `gap`.
        target: what the lesioned mask is called.
        part: what of the selected units is lesioned.
        mode: what replaces the units.
        kind: of the controls.
        n: how many.
        distinct: how many different masks these are: of few units there are few.
        outliers: how many of their units are outliers, on average; None: not known.
        match: how much of the mask's summed squared magnitude they have, on average, as a ratio;
            None: not known.
        effective: how many masks that share no unit they are worth; None: not known.
        mean: of their values.
        min: the lowest of these.
        max: the highest.
        p: (1 + controls at least as harmful as the lesion) / (1 + controls); None for the least
            selective units, which are one mask and no draw.
        note: what speaks against a claim: few controls, or repeated ones.
        beside: difference of the lesion to the mean of the controls, on the same items; for
            perplexity, the log of the ratio. None for gaps, as all that follows.
        beside_low: lower end of its 95% interval, over paradigms and draws.
        beside_high: upper end.
        within: the least bound that the lesion is shown to be equivalent to its controls within:
            two one-sided tests at 5%.
        detectable: the true difference that would be told from none in 80 of 100 such studies.
        smallest: the smallest difference that counts, in these units.
    """

    benchmark: str
    measure: str
    target: str
    part: Part
    mode: str
    kind: str
    n: int
    distinct: int
    outliers: float | None
    match: float | None
    effective: float | None
    mean: float
    min: float
    max: float
    p: float | None
    note: str
    beside: float | None = None
    beside_low: float | None = None
    beside_high: float | None = None
    within: float | None = None
    detectable: float | None = None
    smallest: float | None = None

    @property
    def ends(self) -> tuple[float | None, float | None]:
        """The interval of the difference to the mean of the controls."""
        return self.beside_low, self.beside_high


@dataclass(frozen=True)
class DissociationRow:
    """What a lesion takes of what it should harm, and of what it should spare.

    Each is the share that is lost of what the intact model does above chance, on average over
    benchmarks: 0.2 is a fifth of its ability.

    Attributes:
        target: what the lesioned mask is called.
        part: what of the selected units is lesioned.
        percentage: of all units, as it was asked for.
        mode: what replaces the units.
        mask: digest of what is lesioned.
        units: how many these are.
        harm: names of the benchmarks that it should harm.
        spare: names of those that it should spare.
        harmed: the share lost of the former.
        harmed_low: lower end of its 95% interval.
        harmed_high: upper end.
        spared: the share lost of the latter.
        spared_low: lower end of its 95% interval.
        spared_high: upper end.
        gap: harmed less spared.
        gap_low: lower end of its 95% interval.
        gap_high: upper end.
    """

    target: str
    part: Part
    percentage: float | None
    mode: str
    mask: str
    units: int
    harm: str
    spare: str
    harmed: float
    harmed_low: float | None
    harmed_high: float | None
    spared: float
    spared_low: float | None
    spared_high: float | None
    gap: float
    gap_low: float | None
    gap_high: float | None


@dataclass(frozen=True)
class InteractionRow:
    """A double dissociation: two masks that should each harm what the other should spare.

    Attributes:
        first: what the one mask is called.
        second: what the other is called.
        mode: what replaces the units.
        interaction: how much more the first takes than the second of what the first should harm,
            less the same of what the second should harm; in shares of the intact model's ability.
        interaction_low: lower end of its 95% interval.
        interaction_high: upper end.
    """

    first: str
    second: str
    mode: str
    interaction: float
    interaction_low: float | None
    interaction_high: float | None


@dataclass(frozen=True)
class TrendRow:
    """Whether the difference to intact grows with the number of lesioned units.

    Attributes:
        benchmark: its name.
        series: the masks, which differ in their number of units alone.
        mode: what replaces the units.
        percentages: the doses, of all units.
        slope: change of the difference for a doubling of the dose, mean over paradigms.
        slope_low: lower end of its 95% interval.
        slope_high: upper end.
        p: two-sided, by t over paradigms.
    """

    benchmark: str
    series: str
    mode: str
    percentages: tuple[float, ...]
    slope: float
    slope_low: float | None
    slope_high: float | None
    p: float


@dataclass(frozen=True)
class _Model:
    name: str = ""


@dataclass(frozen=True)
class _Saved:
    """What is used of study.json."""

    summary: list[SummaryRow]
    controls: list[ControlRow]
    dissociation: list[DissociationRow]
    dissociation_controls: list[ControlRow]
    about: str
    interactions: list[InteractionRow]
    trends: list[TrendRow]
    model: _Model | None = None
    run: str | None = None


_TABLES = (
    "summary", "controls", "dissociation", "dissociation_controls", "interactions", "trends"
)  # fmt: skip


@dataclass(frozen=True, repr=False)
class Study(Tabled):
    """What an evaluation found.

    Attributes:
        summary: a row for each benchmark and condition.
        controls: a row for each lesion on each benchmark and each kind of its controls.
        dissociation: a row for each lesion, if benchmarks are on both sides; else empty.
        dissociation_controls: a row for each of these and each kind of its controls.
        interactions: a row for each two masks that should each harm what the other should spare.
        trends: a row for each series of three doses or more, on each benchmark.
        manifest: the options, versions, conditions and cells.
    """

    summary: Sequence[SummaryRow]
    controls: Sequence[ControlRow]
    dissociation: Sequence[DissociationRow]
    dissociation_controls: Sequence[ControlRow]
    interactions: Sequence[InteractionRow]
    trends: Sequence[TrendRow]
    manifest: Mapping[str, Any]
    # Of each cell its condition's columns, the benchmark's name and the items.
    _cells: Callable[[], Iterable[tuple[Mapping[str, Any], str, pa.Table]]] = field(
        default=tuple, compare=False
    )

    def items(self) -> pa.Table:
        """All items under all conditions, with the conditions' columns."""
        import pyarrow as pa

        tables = []
        for columns, benchmark, table in self._cells():
            full = with_condition(table, columns)
            name = pa.array([benchmark] * full.num_rows, pa.string())
            tables.append(full.set_column(0, "benchmark", name))
        return pa.concat_tables(tables)

    def to_frame(self) -> Any:
        """The summary as a data frame: of pandas, or of pyarrow where there is no pandas."""
        return Table("summary", (), self.summary).to_frame()

    def to_csv(self, path: str | Path) -> Path:
        """Write the summary as CSV: a row for each benchmark and condition, controls too."""
        model = self.manifest["model"]
        about = {"model": model["name"]}
        about |= {name: model[name] for name in _OF_MODEL}
        about |= {"model_seed": model["init_seed"], "prefix": self.manifest["prefix"]["token"]}
        origins = {mask["label"]: _origin(mask) for mask in self.manifest["masks"]}
        rows = [about | origins.get(row.target, {}) | asdict(row) for row in self.summary]
        return _write_csv(path, rows, (*about, *_origin({}), *_names(SummaryRow)))

    def to_dict(self) -> dict[str, Any]:
        """What `save` writes: lists, dictionaries and plain values."""
        tables = {name: [asdict(row) for row in getattr(self, name)] for name in _TABLES}
        return {**self.manifest, "format": FORMAT, **tables}

    def save(self, folder: str | Path) -> Path:
        """Write `summary.csv` and `controls.csv`, then `study.json`, each in one step.

        Returns:
            The path of `study.json`.
        """
        place = Path(folder) / "study.json"
        self.to_csv(Path(folder) / "summary.csv")
        _write_csv(Path(folder) / "controls.csv", self.controls, _names(ControlRow))
        write_json(place, self.to_dict())
        return place

    @classmethod
    def load(cls, folder: str | Path) -> Study:
        """Read what `save`, or `lsns evaluate`, wrote.

        Args:
            folder: with `study.json`, and the items that it names.

        Raises:
            LsnsError: no finished study, a damaged one, or one of an earlier version.
        """
        place = Path(folder) / "study.json"
        content = read_object(place, FORMAT)
        if content is None:
            raise LsnsError(
                f"{folder} holds no finished study (study.json); run lsns evaluate -o {folder}"
            )
        found = as_typed(place, content, _Saved)
        _check_effects(place, found.summary)
        manifest = {k: v for k, v in content.items() if k not in (*_TABLES, "format")}
        tables: Any = {name: getattr(found, name) for name in _TABLES}
        cells = partial(_read_cells, Path(folder), manifest)
        return cls(**tables, manifest=manifest, _cells=cells)

    def expects_harm(self, row: SummaryRow, network: str | None) -> bool | None:
        """Whether lesions of a network should harm a row's benchmark; None: nothing is expected.

        Args:
            row: any row of the benchmark.
            network: name of the stimuli that selected the units; None: the mask does not say.
        """
        said = (self.manifest.get("options") or {}).get("expect") or {}
        expect = Expect(**{side: tuple(names) for side, names in said.items()})
        return harms(expect, network, row.benchmark, row.domain)

    def controls_of(self, row: SummaryRow | DissociationRow) -> list[ControlRow]:
        """The controls of a lesion, a row for each kind.

        Args:
            row: the lesion on a benchmark, or its dissociation.
        """
        benchmark = row.benchmark if isinstance(row, SummaryRow) else ""
        if isinstance(row, SummaryRow) and row.condition != "lesion":
            return []
        rows = self.controls if benchmark else self.dissociation_controls
        key = (benchmark, row.target, row.mode)
        return [one for one in rows if (one.benchmark, one.target, one.mode) == key]

    def tables(self) -> list[Table]:
        """A table for each benchmark, and those of dissociations and trends if there are any."""
        about = self.manifest["about"]
        names = dict.fromkeys(row.benchmark for row in self.summary)
        tables = [self._benchmark(about, name) for name in names]
        further = (self._dissociation(about), *self._further())
        return [*tables, *(table for table in further if table.rows)]

    def describe(self, columns: int | None = None) -> str:
        """The tables: each condition with its intervals and controls.

        Args:
            columns: of the terminal that they have to fit in; None: as wide as they are.
        """
        return "\n\n".join([*(table.text(columns) for table in self.tables()), self._foot()])

    def __repr__(self) -> str:
        """Which model, and how much was measured, in one line."""
        benchmarks = ", ".join(dict.fromkeys(row.benchmark for row in self.summary))
        name = self.manifest["model"]["name"]
        return one_line(f"Study({name}: {len(self.summary)} rows on {benchmarks})")

    def __str__(self) -> str:
        """What each lesion did to each benchmark, in at most ten lines."""
        lines = [one_line(self.manifest["about"])]
        for row in self.summary:
            value = f"{row.value:.{_digits(row.measure)}f}"
            if row.condition == "intact":
                lines.append(one_line(f"{row.benchmark}: {row.measure} {value}, intact"))
            elif row.condition == "lesion":
                lines.append("  " + one_line(f"{value} ({row.difference:+.4f}) under {_name(row)}"))
        return first_lines(lines, "see describe()")

    def _benchmark(self, about: str, name: str) -> Table:
        rows = [row for row in self.summary if row.benchmark == name]
        first = rows[0]
        unit = "windows" if first.measure == "perplexity" else "items"
        kind = "paradigm" if first.paradigms == 1 else "paradigms"
        shown = [
            one
            for row in rows
            if row.condition != "control"
            for one in (row, *self.controls_of(row))
        ]
        return Table(
            f"{name}: {first.measure}, {first.items} {unit} in {first.paradigms} {kind}",
            _columns(_digits(first.measure), outliers=_knows_outliers(rows)),
            shown,
            lead=[about],
        )

    def _dissociation(self, about: str) -> Table:
        known = {row.kind for row in self.dissociation_controls if row.p is not None}
        columns = [Column("condition", _name)]
        for side in ("harmed", "spared", "gap"):
            columns.append(Column(side, f"{{{side}:+.3f}}"))
            columns.append(Column("95%", f"{{{side}_low:+.3f}} to {{{side}_high:+.3f}}", "-"))
        columns += [
            Column(f"p of gap, {_WORDS.get(kind, kind)}", self._p_of_gap(kind))
            for kind in CONTROLS
            if kind in known
        ]
        sides = dict.fromkeys((row.harm, row.spare) for row in self.dissociation)
        lead = [about, *(f"should harm: {harm}; should spare: {spare}" for harm, spare in sides)]
        title = "share lost of what the intact model does above chance"
        return Table(title, columns, self.dissociation, lead=lead)

    def _further(self) -> Iterator[Table]:
        columns = [
            Column("mask", "{first} ({mode})"),
            Column("against", "{second}"),
            Column("interaction", "{interaction:+.3f}"),
            Column("95%", "{interaction_low:+.3f} to {interaction_high:+.3f}", "-"),
        ]
        title = "double dissociations: mask x domain, in shares lost"
        yield Table(title, columns, self.interactions)
        columns = [
            Column("masks", "{series} ({mode})"),
            Column("benchmark"),
            Column("for a doubling", "{slope:+.4f}"),
            Column("95%", "{slope_low:+.4f} to {slope_high:+.4f}", "-"),
            Column("p", "{p:.2g}"),
        ]
        yield Table("trends over doses: change of the difference", columns, self.trends)

    def _p_of_gap(self, kind: str) -> Callable[[DissociationRow], str]:
        def show(row: DissociationRow) -> str:
            found = [one for one in self.controls_of(row) if one.kind == kind]
            return _p(found[0], f"n {found[0].n}") if found else "-"

        return show

    def _foot(self) -> str:
        lines = [
            "value: mean over paradigms; 95%: t over paradigms (one paradigm: over items); "
            "difference: to intact, on the same items",
            "mean, range: of the controls' values; p: (1 + controls at least as harmful) / "
            "(1 + controls); lesion - controls: over paradigms and draws",
        ]
        if _knows_outliers(self.summary):
            lines.append(
                "outliers: units of the mask whose mean |activation| is over --outlier-threshold "
                "times the median of their layer; of controls, how many on average"
            )
        if any(row.measure == "perplexity" for row in self.summary):
            lines.append("perplexity: the difference is the log of the ratio to intact")
        seen = [
            f"{row.target} on {row.benchmark} {_amount(row.detectable, row.measure)}"
            for row in self.summary
            if row.condition == "lesion" and row.detectable is not None
        ]
        if seen:
            lines.append(f"would be seen in 80 of 100 such studies: {'; '.join(seen[:6])}")
        if self.manifest.get("unable"):
            named = ", ".join(self.manifest["unable"])
            lines.append(f"no better than guessing, intact, so that nothing can be lost: {named}")
        drawn = [row.n for row in self.controls if row.p is not None]
        if drawn:
            lines.append(f"the least p that these controls allow: {1 / (1 + min(drawn)):.3g}")
        if any(row.n < ENOUGH_CONTROLS and row.p is not None for row in self.controls):
            lines.append(f"few controls: fewer than {ENOUGH_CONTROLS}, too few for a claim")
        return "\n".join(lines)


def _amount(value: float, measure: str) -> str:
    return f"{value:.3f} in log" if measure == "perplexity" else f"{100 * value:.1f} points"


def _columns(digits: int, *, outliers: bool) -> list[Column]:
    """Of a table in which a lesion's row is followed by those of its controls."""
    form = f".{digits}f"
    return [
        Column("condition", _name),
        *[Column("outliers", _outliers)] * outliers,
        Column("value", f"{{value:{form}}}"),
        Column("95%", f"{{low:{form}}} to {{high:{form}}}"),
        Column("difference", "{difference:+.4f}"),
        Column("95%", "{difference_low:+.4f} to {difference_high:+.4f}"),
        Column("n"),
        Column("mean", f"{{mean:{form}}}"),
        Column("range", lambda row: _spread(row, form)),
        Column("p", lambda row: _p(row) if isinstance(row, ControlRow) else ""),
        Column("lesion - controls", "{beside:+.4f}"),
        Column("95%", "{beside_low:+.4f} to {beside_high:+.4f}"),
        Column("", lambda row: row.words if isinstance(row, ControlRow) else ""),
    ]


def _name(row: SummaryRow | ControlRow | DissociationRow) -> str:
    if isinstance(row, ControlRow):
        return f"  {_WORDS.get(row.kind, f'{row.kind} controls')}"
    if isinstance(row, SummaryRow) and row.condition == "intact":
        return "intact"
    return f"{row.target} {row.mode} ({row.units} units)"


def _outliers(row: SummaryRow | ControlRow) -> str:
    if isinstance(row, ControlRow):
        return "" if row.outliers is None else f"{row.outliers:.1f}"
    return "" if row.outlier_units is None else str(row.outlier_units)


def _spread(row: SummaryRow | ControlRow, form: str) -> str:
    if isinstance(row, SummaryRow) or row.n == 1:
        return ""
    return f"{row.min:{form}} to {row.max:{form}}"


def _p(row: ControlRow, number: str = "") -> str:
    if row.p is None:
        return "-"
    note = ", ".join(part for part in (number, row.note) if part)
    return f"{row.p:.3f}" + (f" ({note})" if note else "")


def _digits(measure: str) -> int:
    return 2 if measure == "perplexity" else 4


def _knows_outliers(rows: Sequence[SummaryRow]) -> bool:
    return any(row.outlier_units is not None for row in rows)


def _names(kind: type[SummaryRow] | type[ControlRow]) -> list[str]:
    return [one.name for one in fields(kind)]


def _origin(mask: Mapping[str, Any]) -> dict[str, Any]:
    """Where a mask comes from, in columns; nothing of what its manifest lacks."""
    stimuli, protocol = (mask.get(part) or {} for part in ("stimuli", "protocol"))
    tokens = protocol.get("max_tokens", "")
    return {
        "network": stimuli.get("name"),
        "pooling": protocol.get("pooling"),
        "max_tokens": "whole" if tokens is None else tokens,
    }


def _write_csv(path: str | Path, rows: Sequence[Any], names: Sequence[str]) -> Path:
    with atomic(Path(path)) as temporary:
        text = Table("", (), rows, names=names).csv()
        temporary.write_text(text, encoding="utf-8", newline="")
    return Path(path)


def _check_effects(place: Path, rows: Sequence[SummaryRow]) -> None:
    """What a type cannot say: effects have an intact row that they are differences to."""
    whole = {row.benchmark for row in rows if row.condition == "intact"}
    for number, row in enumerate(rows):
        needed = ("percentage", "difference")
        lacking = next((name for name in needed if getattr(row, name) is None), None)
        if row.condition != "intact" and lacking:
            raise LsnsError(f"{place} is damaged: 'summary', row {number}: {lacking} is None")
        if row.benchmark not in whole:
            raise LsnsError(f"{place} is damaged: {row.benchmark!r} has no intact row"[:200])


def _read_cells(
    folder: Path, manifest: Mapping[str, Any]
) -> Iterable[tuple[Mapping[str, Any], str, pa.Table]]:
    for cell in manifest["cells"]:
        path = folder / "items" / Path(cell["file"]).name
        try:
            table = parquet_module().read_table(path)
        except (OSError, ValueError) as error:
            raise LsnsError(f"{path} could not be read ({type(error).__name__})") from None
        yield cell, cell["benchmark"], table
