"""`Study`: what an evaluation found, as a value that is shown and saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsns.evaluation.benchmark import Benchmark
from lsns.evaluation.cells import with_condition
from lsns.evaluation.conditions import Condition
from lsns.evaluation.tables import describe_study, summary_lines
from lsns.store import atomic, write_json
from lsns.table import Table
from lsns.terminal import first_lines, one_line

if TYPE_CHECKING:
    import pyarrow as pa

# What the summary says of its rows in front of them: the model, and where a mask comes from.
ABOUT = (
    *("model", "revision", "dtype", "quantization", "pretrained", "model_seed", "prefix"),
    *("network", "pooling", "max_tokens"),
)


@dataclass(frozen=True, eq=False)
class Study:
    """What an evaluation found.

    Attributes:
        summary: a row for each benchmark and condition: value, difference, rank among controls.
        dissociation: a row for each lesion, if benchmarks are on both sides; else empty.
        manifest: the options, versions, conditions and cells.
    """

    summary: list[dict[str, Any]]
    dissociation: list[dict[str, Any]]
    manifest: Mapping[str, Any]
    _cells: Sequence[tuple[Condition, Benchmark, pa.Table]]

    def items(self) -> pa.Table:
        """All items under all conditions, with the conditions' columns."""
        import pyarrow as pa

        tables = []
        for condition, benchmark, table in self._cells:
            full = with_condition(table, condition.columns)
            name = pa.array([benchmark.name] * full.num_rows, pa.string())
            tables.append(full.set_column(0, "benchmark", name))
        return pa.concat_tables(tables)

    def to_csv(self, path: str | Path) -> Path:
        """Write the summary as CSV: a row for each benchmark and condition, controls too."""
        path = Path(path)
        model = self.manifest["model"]
        about = {
            **{name: model[name] for name in ("revision", "dtype", "quantization", "pretrained")},
            "model": model["name"],
            "model_seed": model["init_seed"],
            "prefix": self.manifest["prefix"]["token"],
        }
        origins = {mask["label"]: _columns_of(mask) for mask in self.manifest["masks"]}
        rows = [about | origins.get(row["target"], {}) | row for row in self.summary]
        own = dict.fromkeys(name for row in self.summary for name in row)
        with atomic(path) as temporary:
            text = Table("", (), rows, names=(*ABOUT, *own)).csv()
            temporary.write_text(text, encoding="utf-8", newline="")
        return path

    def save(self, folder: str | Path) -> Path:
        """Write `summary.csv`, then `study.json`, each in one step.

        Returns:
            The path of `study.json`.
        """
        place = Path(folder) / "study.json"
        self.to_csv(Path(folder) / "summary.csv")
        tables = {"summary": self.summary, "dissociation": self.dissociation}
        write_json(place, {**self.manifest, **tables})
        return place

    def describe(self, columns: int | None = None) -> str:
        """The tables: each condition with its intervals and controls.

        Args:
            columns: that they have to fit in; None: as wide as they are.
        """
        return describe_study(
            self.manifest["about"],
            self.summary,
            self.dissociation,
            resamples=self.manifest["options"]["resamples"],
            columns=columns,
        )

    def __repr__(self) -> str:
        """Which model, and how much was measured, in one line."""
        benchmarks = ", ".join(dict.fromkeys(row["benchmark"] for row in self.summary))
        name = self.manifest["model"]["name"]
        return one_line(f"Study({name}: {len(self.summary)} rows on {benchmarks})")

    def __str__(self) -> str:
        """What each lesion did to each benchmark, in at most ten lines."""
        lines = [one_line(self.manifest["about"]), *summary_lines(self.summary)]
        return first_lines(lines, "see describe()")


def _columns_of(mask: Mapping[str, Any]) -> dict[str, Any]:
    """What the summary says of where a mask comes from; nothing of what its manifest lacks."""
    stimuli, protocol = (mask.get(part) or {} for part in ("stimuli", "protocol"))
    tokens = protocol.get("max_tokens", "")
    return {
        "network": stimuli.get("name"),
        "pooling": protocol.get("pooling"),
        "max_tokens": "whole" if tokens is None else tokens,
    }
