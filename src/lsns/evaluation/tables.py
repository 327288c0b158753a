"""The tables of a study, as lines for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lsns.evaluation.benchmark import DOMAINS, LANGUAGE
from lsns.evaluation.conditions import CONTROLS, OUTLIERS
from lsns.evaluation.summary import FEW
from lsns.table import align_columns
from lsns.terminal import one_line

Row = Mapping[str, Any]
HEAD = ("condition", "outliers", "value", "95%", "difference", "95%", "n", "mean", "range", "p")
# In words, where the name of a kind of controls is no adjective.
WORDS = {OUTLIERS: "as many outliers"}


def describe_study(
    model: str,
    summary: Sequence[Row],
    dissociation: Sequence[Row],
    *,
    resamples: int,
    columns: int | None = None,
) -> str:
    """A table for each benchmark, and that of the double dissociation if there is one.

    Args:
        model: what every table says of the model and the prefix.
        summary: see `summary.summarize`.
        dissociation: see `summary.dissociate`.
        resamples: of the bootstrap.
        columns: that the tables have to fit in; None: as wide as they are.
    """
    about = one_line(model)
    names = list(dict.fromkeys(row["benchmark"] for row in summary))
    parts = [
        _benchmark(about, [row for row in summary if row["benchmark"] == name], columns)
        for name in names
    ]
    if dissociation:
        parts.append(_dissociation(about, summary, dissociation, columns))
    return "\n\n".join([*parts, _foot(summary, resamples)])


def summary_lines(summary: Sequence[Row]) -> list[str]:
    """A line for each benchmark and lesion, without controls: what it was, and is under it."""
    lines: list[str] = []
    for row in summary:
        digits = 2 if row["measure"] == "perplexity" else 4
        value = f"{row['value']:.{digits}f}"
        if row["condition"] == "intact":
            lines.append(one_line(f"{row['benchmark']}: {row['measure']} {value}, intact"))
        elif row["condition"] != "control":
            lines.append("  " + one_line(f"{value} ({row['difference']:+.4f}) under {_name(row)}"))
    return lines


def _benchmark(model: str, rows: Sequence[Row], columns: int | None) -> str:
    first = rows[0]
    unit = "windows" if first["measure"] == "perplexity" else "items"
    kind = "paradigm" if first["paradigms"] == 1 else "paradigms"
    title = one_line(
        f"{first['benchmark']}: {first['measure']}, {first['items']} {unit} "
        f"in {first['paradigms']} {kind}"
    )
    lines: list[Sequence[str]] = [HEAD]
    for row in rows:
        if row["condition"] != "control":
            lines += _lines(row)
    if not _knows_outliers(rows):
        lines = [[line[0], *line[2:]] for line in lines]
    return "\n".join([title, model, *align_columns(lines, columns)])


def _knows_outliers(rows: Sequence[Row]) -> bool:
    return any(row.get("outlier_units") is not None for row in rows)


def _lines(row: Row) -> list[Sequence[str]]:
    digits = 2 if row["measure"] == "perplexity" else 4
    name = "intact" if row["condition"] == "intact" else _name(row)
    known = row.get("outlier_units")
    cells = [name, "" if known is None else str(known)]
    cells += [f"{row['value']:.{digits}f}", _range(row["low"], row["high"], digits)]
    if "difference" in row:
        ends = _range(row["difference_low"], row["difference_high"], 4, sign=True)
        cells += [f"{row['difference']:+.4f}", ends]
    return [cells, *(_control(row, kind, digits) for kind in CONTROLS if f"{kind}_n" in row)]


def _control(row: Row, kind: str, digits: int) -> Sequence[str]:
    spread = ""
    if row[f"{kind}_n"] > 1:
        spread = _range(row[f"{kind}_min"], row[f"{kind}_max"], digits)
    mean = f"{row[f'{kind}_mean']:.{digits}f}"
    outliers = row.get(f"{kind}_outliers")
    return [
        f"  {WORDS.get(kind, f'{kind} controls')}",
        "" if outliers is None else f"{outliers:.1f}",
        "",
        "",
        "",
        "",
        str(row[f"{kind}_n"]),
        mean,
        spread,
        _p(row, kind),
    ]


def _p(row: Row, kind: str, *, count: bool = False) -> str:
    if f"{kind}_p" not in row:
        return "-"
    number = f"n {row[f'{kind}_n']}" if count else ""
    note = ", ".join(part for part in (number, row[f"{kind}_note"]) if part)
    return f"{row[f'{kind}_p']:.3f}" + (f" ({note})" if note else "")


def _dissociation(
    model: str, summary: Sequence[Row], rows: Sequence[Row], columns: int | None
) -> str:
    sides = {
        side: ", ".join(
            dict.fromkeys(
                f"{row['benchmark']} ({row['items']} items)"
                for row in summary
                if row["domain"] == side and row["measure"] == "accuracy"
            )
        )
        for side in DOMAINS
    }
    title = f"differences to intact, language ({sides[LANGUAGE]}) against others ({sides['other']})"
    kinds = [kind for kind in CONTROLS if any(f"{kind}_p" in row for row in rows)]
    head = ["condition", *(word for side in (*DOMAINS, "gap") for word in (side, "95%"))]
    named = (f"p of gap, {WORDS.get(kind, kind)}" for kind in kinds)
    lines: list[Sequence[str]] = [[*head, *named]]
    for row in rows:
        cells = [_name(row)]
        for side in (*DOMAINS, "gap"):
            ends = _range(row[f"{side}_low"], row[f"{side}_high"], 4, sign=True)
            cells += [f"{row[side]:+.4f}", ends]
        lines.append([*cells, *(_p(row, kind, count=True) for kind in kinds)])
    return "\n".join([title, model, *align_columns(lines, columns)])


def _name(row: Row) -> str:
    return f"{row['target']} {row['mode']} ({row['units']} units)"


def _range(low: float, high: float, digits: int, *, sign: bool = False) -> str:
    plus = "+" if sign else ""
    return f"{low:{plus}.{digits}f} to {high:{plus}.{digits}f}"


def _foot(summary: Sequence[Row], resamples: int) -> str:
    lines = [
        f"value: mean over paradigms; 95%: bootstrap, {resamples} resamples of paradigms and of "
        "items within; difference: to intact, on the same resamples",
        "mean, range: of the controls' values; p: (1 + controls at least as harmful) / "
        "(1 + controls)",
    ]
    if _knows_outliers(summary):
        lines.append(
            "outliers: units of the mask whose mean |activation| is over --outlier-threshold times "
            "the median of their layer; of controls, how many on average"
        )
    if any(row["measure"] == "perplexity" for row in summary):
        lines.append("perplexity: the difference is the log of the ratio to intact")
    if any(FEW in str(row.get(f"{kind}_note", "")) for row in summary for kind in CONTROLS):
        lines.append(f"{FEW}: fewer than 20, too few for a claim")
    return "\n".join(lines)
