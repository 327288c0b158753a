"""A finished run's folder, as small as it can be and real where it matters.

The masks come from the analyzers, the rows of the study from `summarize`; activations and
benchmark results are drawn, so that no model runs.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lsns import UnitMask
from lsns.analysis import NMDAnalyzer, TTestAnalyzer
from lsns.analysis.outliers import outlier_units
from lsns.analysis.results import save_results
from lsns.evaluation.benchmark import Benchmark
from lsns.evaluation.benchmarks import MinimalPairs, Perplexity
from lsns.evaluation.conditions import Condition
from lsns.evaluation.study import (
    ControlRow,
    DissociationRow,
    InteractionRow,
    Study,
    SummaryRow,
    TrendRow,
)
from lsns.evaluation.summary import Outcome, dissociate, find_trends, summarize
from lsns.lesions.controls import control_mask
from lsns.report.results import Results, ScoredUnits, read_results
from lsns.specs import Expect
from lsns.store import write_json

Array = np.ndarray[Any, Any]
N_LAYERS, HIDDEN_SIZE, N_ITEMS = 12, 96, 40
OUTLIER_DIMENSIONS = (7, 23)
PERCENTAGE, DOSES = 2.0, (1.0, 2.0, 5.0)
SEEDS = range(42, 62)


@dataclass(frozen=True, eq=False)
class Synthetic:
    """What the folder is made from."""

    mask: UnitMask
    nmd: UnitMask
    metadata: dict[str, Any]
    nmd_metadata: dict[str, Any]

    @property
    def magnitudes(self) -> Array:
        return self.metadata["magnitudes"]


def make_manifest(
    method: str = "ttest", *, label: str = "tiny", network: str = "language", selected: int = 23
) -> dict[str, Any]:
    """As `Localization.manifest` has it."""
    return {
        "activations": "0" * 64,
        "computed_with": {"device": "cpu", "python": "3.11.7", "torch": "2.13.0"},
        "model": {
            **{"name": label, "label": label, "dtype": "float32", "pretrained": True},
            **{"layers": N_LAYERS, "hidden_size": HIDDEN_SIZE, "init_seed": None},
            **{"identity": f"local:{label}", "quantization": None},
        },
        "protocol": {
            **{"pooling": "last-token", "max_tokens": 12, "site": "block output"},
            "special_tokens": "as the tokenizer adds them",
        },
        "stimuli": {
            **{"name": network, "positive": N_ITEMS, "negative": N_ITEMS},
            **{"source": "drawn at random", "digest": "1" * 64},
            "examples": {
                "positive": ["the fox jumps over the dog", "a cat sat on the mat"],
                "negative": ["blick the dax <b>wug</b>", 'toma & "fep"'],
                "unconnected words": ["mat on cat", "dog the over"],
            },
        },
        "selection": {
            **{"method": method, "percentage": PERCENTAGE if method == "ttest" else None},
            **{"num_units": None if method == "ttest" else selected, "selected": selected},
            **{"localize_range": "100-100", "per_layer": method == "nmd", "seed": 42},
            **{"exclude_outliers": False, "weakest_t": 4.2, "weakest_score": 4.2},
        },
        "lsns": "0.1.0",
    }


def draw_activations(
    seed: int = 0, *, n_layers: int = N_LAYERS, hidden_size: int = HIDDEN_SIZE
) -> tuple[Array, Array]:
    """Two conditions: units of the later layers rise in the first; two dimensions are huge."""
    rng = np.random.RandomState(seed)
    shape = (n_layers, hidden_size)
    scale = np.exp(0.4 * rng.standard_normal(shape))
    scale[2:, OUTLIER_DIMENSIONS] *= 40
    depth = np.linspace(0, 1, n_layers)[:, None]
    effect = depth * (rng.random_sample(shape) < 0.06) * 1.2
    effect[5:, OUTLIER_DIMENSIONS[0]] = 1.3
    sides = [scale * (2 + gain + rng.standard_normal((N_ITEMS, *shape))) for gain in (effect, 0.0)]
    return sides[0], sides[1]


def make_synthetic(seed: int = 0, *, label: str = "tiny", **shape: int) -> Synthetic:
    """T-test and NMD at the same number of units, on drawn activations."""
    positive, negative = draw_activations(seed, **shape)
    everything = np.concatenate([positive, negative])
    magnitudes = np.abs(everything).mean(axis=0)
    shared = {"magnitudes": magnitudes, "outliers": outlier_units(magnitudes)}
    units, found = TTestAnalyzer({"percentage": PERCENTAGE}).analyze(positive, negative)
    count = int(units.sum())
    nmd, nmd_found = NMDAnalyzer({"num_units": count}).analyze(positive, negative)
    manifests = [make_manifest(name, label=label, selected=count) for name in ("ttest", "nmd")]
    return Synthetic(
        UnitMask(units, manifests[0]),
        UnitMask(nmd, manifests[1]),
        {**found, **shared, "manifest": manifests[0]},
        {**nmd_found, **shared, "manifest": manifests[1]},
    )


def make_conditions(made: Synthetic) -> list[Condition]:
    """Intact; three doses; the outliers of the middle one and the rest; each with controls."""
    ranked = np.argsort(-made.metadata["scores"].ravel(), kind="stable")
    targets: list[tuple[str, float, Array, Any]] = []
    for dose in DOSES:
        units = np.zeros(made.mask.units.size, dtype=bool)
        units[ranked[: int(dose / 100 * units.size)]] = True
        targets.append((f"language@{dose:g}", dose, units.reshape(made.mask.units.shape), "all"))
    assert np.array_equal(targets[1][2], made.mask.units)
    outliers = made.mask.units & made.metadata["outliers"]
    label = f"language@{PERCENTAGE:g}"
    targets.append((f"{label} outliers", PERCENTAGE, outliers, "outliers"))
    targets.append((f"{label} rest", PERCENTAGE, made.mask.units & ~outliers, "rest"))
    conditions = [Condition("intact")]
    for name, percentage, units, part in targets:
        conditions += _of_target(made, name, percentage, UnitMask(units), part)
    return conditions


def _of_target(
    made: Synthetic, name: str, percentage: float, mask: UnitMask, part: Any
) -> list[Condition]:
    shared: dict[str, Any] = {"label": name, "percentage": percentage, "mode": "zero"}
    shared |= {"part": part, "whole": (mask if part == "all" else made.mask).digest}
    shared["series"] = "language" if part == "all" else f"language {part}"
    found = [Condition("lesion", mask=mask, **shared)]
    kinds: tuple[Any, ...] = ("uniform", "layer", "magnitude")
    for kind in kinds[:2] if part == "outliers" else kinds:
        options = {"magnitudes": made.magnitudes} if kind == "magnitude" else {}
        for seed in SEEDS:
            control = control_mask(mask, kind, seed=seed, **options)
            found.append(Condition("control", mask=control, control=kind, seed=seed, **shared))
    least = np.zeros(mask.units.size, dtype=bool)
    least[np.argsort(made.metadata["scores"].ravel())[: mask.count]] = True
    shape = mask.units.shape
    return [
        *found,
        Condition("control", mask=UnitMask(least.reshape(shape)), control="least", **shared),
    ]


def make_outcome(
    benchmark: Benchmark, conditions: Sequence[Condition], magnitudes: Array, seed: int
) -> Outcome:
    """What zeroing costs: the more magnitude is lost, the more."""
    rng = np.random.RandomState(seed)
    lost = np.array([magnitudes[c.mask.units].sum() if c.mask else 0.0 for c in conditions])
    harm = 0.25 * lost / lost.max() + 0.01 * rng.standard_normal(len(lost)) * (lost > 0)
    point = 3.0 + 4 * harm if benchmark.measure == "perplexity" else 0.75 - harm
    noise = 0.05 * rng.standard_normal((6, len(lost)))
    about = benchmark.name, benchmark.domain, benchmark.measure
    chance = 0.0 if benchmark.measure == "perplexity" else 0.5
    return Outcome(*about, 60, 6, point + noise - noise.mean(axis=0), chance)


def make_study(made: Synthetic) -> dict[str, Any]:
    """What `study.json` holds."""
    conditions = make_conditions(made)
    benchmarks = [
        MinimalPairs("minimal-pairs"),
        Perplexity("perplexity"),
        MinimalPairs("arithmetic", domain="other"),
    ]
    outcomes = [
        make_outcome(benchmark, conditions, made.magnitudes, seed)
        for seed, benchmark in enumerate(benchmarks)
    ]
    masks = {c.label: c.mask for c in conditions if c.kind == "lesion" and c.mask}
    found = [summarize(outcome, conditions, 0.1) for outcome in outcomes]
    trends = [row for outcome in outcomes for row in find_trends(outcome, conditions)]
    manifest = {
        "about": "tiny (float32); <eos> in front of each text (--prefix auto)",
        "model": {"name": "tiny"},
        "prefix": {"asked": "auto", "token": "<eos>", "token_id": 0},
        "options": {"seeds": len(SEEDS), "benchmarks": ["minimal-pairs"], "smallest_effect": 0.1},
        "versions": {"python": "3.11.7"},
        "masks": [
            {"label": name, "digest": mask.digest, "units": mask.count}
            for name, mask in masks.items()
        ],
        "benchmarks": [{"name": b.name, "domain": b.domain} for b in benchmarks],
        "cells": [],
    }
    summary = [row for rows, _ in found for row in rows]
    controls = [row for _, rows in found for row in rows]
    found = dissociate(outcomes, conditions, Expect())
    return Study(summary, controls, *found, trends, manifest).to_dict()


def study_of(content: dict[str, Any]) -> Study:
    """A study of what `study.json` holds, with any text in it."""
    kinds = {"summary": SummaryRow, "controls": ControlRow, "dissociation": DissociationRow,
             "dissociation_controls": ControlRow, "interactions": InteractionRow,
             "trends": TrendRow}  # fmt: skip
    tables = [[kind(**row) for row in content[name]] for name, kind in kinds.items()]
    return Study(*tables, {k: v for k, v in content.items() if k not in (*kinds, "format")})


def make_audit(made: Synthetic) -> dict[str, Any]:
    """What `audit.json` holds, in plausible numbers."""
    outliers, units = made.metadata["outliers"], made.mask.units
    selected = int((outliers & units).sum())
    share = made.magnitudes[outliers & units].sum() / made.magnitudes[units].sum()
    return {
        "format": 2,
        "differs": True,
        "manifest": {**made.mask.manifest, "audit": {"permutations": 1000}},
        "reliability": {
            "rows": [
                _reliability_row(split, percentage)
                for split in ("halves", "folds")
                for percentage in (0.5, 1.0, 2.0, 5.0)
            ],
            "scores": [
                {"split": "halves", "n": 20, "r": 0.81, "r_low": 0.76, "r_high": 0.85,
                 "r_corrected": 0.90, "r_shuffled": 0.01},
                {"split": "folds", "n": 10, "r": 0.93, "r_low": 0.91, "r_high": 0.95,
                 "r_corrected": None, "r_shuffled": None},
            ],
        },
        "selectivity": {
            "folds": 10,
            "units": made.mask.count,
            "held_out": {"g": 1.6, "low": 1.1, "high": 2.1, "n_positive": 40, "n_negative": 40},
            "p_value": 0.005,
            "in_sample": {"g": 2.2, "low": 1.7, "high": 2.8, "n_positive": 40, "n_negative": 40},
            "profile": [
                {"condition": "positive", "n": 40, "mean": 0.52, "low": 0.44, "high": 0.60},
                {"condition": "negative", "n": 40, "mean": -0.50, "low": -0.58, "high": -0.41},
                {"condition": "unconnected words", "n": 24, "mean": 0.2, "low": 0.1, "high": 0.3},
            ],
        },
        "calibration": {
            "permutations": 1000, "alpha": 0.05, "threshold": 4.4, "largest": 9.1,
            "weakest": 5.0, "selected": made.mask.count, "above": made.mask.count,
            "units_above": 60, "p_value": 0.000999, "statistic": "ttest",
        },
        "outliers": {
            "threshold": 10.0, "selected": selected, "units": made.mask.count,
            "share": selected / made.mask.count, "magnitude_share": float(share),
            "expected": 0.4, "p_value": 1e-6, "model": int(outliers.sum()),
            "dimensions": [
                {"dimension": dimension, "selected_layers": int(units[:, dimension].sum()),
                 "outlier_layers": int(outliers[:, dimension].sum())}
                for dimension in OUTLIER_DIMENSIONS
            ],
        },
        "confounds": [
            {"measure": "tokens read", "positive": 11.9, "negative": 12.0, "g": -0.3,
             "low": -0.5, "high": -0.1},
            {"measure": "characters read", "positive": 52.0, "negative": 31.0, "g": 2.4,
             "low": 2.1, "high": 2.7},
        ],
        "overlaps": [
            {"name": "mean pooling, 12 tokens", "kind": "protocol", "units": made.mask.count,
             "shared": 6, "dice": 6 / made.mask.count, "jaccard": 0.2, "phi": 0.3,
             "dice_chance": 0.02, "jaccard_chance": 0.01, "expected": 0.46, "p_value": 1e-6,
             "expected_by_layer": 0.9},
            {"name": "last token, whole texts", "kind": "protocol", "units": made.mask.count,
             "shared": 14, "dice": 14 / made.mask.count, "jaccard": 0.5, "phi": 0.6,
             "dice_chance": 0.02, "jaccard_chance": 0.01, "expected": 0.46, "p_value": 1e-16,
             "expected_by_layer": 1.1},
        ],
        "lesions": {"lesions": [], "gaps": [], "interactions": [], "smallest": 0.1},
        "findings": [
            {"rule": "reliability", "level": "good", "source": "a title (10.1000/1)",
             "sentence": "Halves of the items give much the same units (Dice 0.66)."},
            {"rule": "outliers", "level": "bad", "source": "a title (10.1000/2)",
             "sentence": f"{selected} of {made.mask.count} units are outlier dimensions."},
            {"rule": "protocols", "level": "caution", "source": "a title (10.1000/3)",
             "sentence": "Other protocols give other units."},
            {"rule": "lesion", "level": "open", "source": "a title (10.1000/4)",
             "sentence": "There are too few controls for a claim."},
        ],
        "verdict": "open",
        "conclusion": "The units answer to the contrast; what a lesion shows rests on outliers.",
        "missing": {},
    }  # fmt: skip


def _reliability_row(split: str, percentage: float) -> dict[str, Any]:
    dice = 0.5 + 0.05 * percentage + (0.1 if split == "folds" else 0.0)
    halves = split == "halves"
    return {
        **{"split": split, "percentage": percentage, "chosen": percentage == PERCENTAGE},
        **{"units": int(percentage / 100 * N_LAYERS * HIDDEN_SIZE), "n": 20 if halves else 10},
        "items": 40 if halves else 8,
        **{"dice": dice, "dice_low": dice - 0.06, "dice_high": dice + 0.05},
        **{"dice_chance": percentage / 100},
        **{"dice_shuffled": percentage / 100 + 0.004 if halves else None},
        **{"jaccard": dice / (2 - dice), "jaccard_chance": percentage / 200},
        **{"jaccard_shuffled": percentage / 200 if halves else None},
        **{"phi": dice - 0.01},
    }


def make_continuations() -> dict[str, Any]:
    """What `continuations.json` holds; as a model may write it."""
    texts = ("jumps over the lazy dog.", "the the the <b>the</b>", 'leaps & "bounds"\nto the sea')
    conditions = ("intact", "language: 23 of 1152 units zeroed", "random: 23 of 1152 units zeroed")
    return {
        "prompts": [
            {
                "prompt": prompt,
                "conditions": [
                    {"condition": condition, "text": text, "lesion": lesion}
                    for condition, text, lesion in zip(
                        conditions,
                        texts,
                        (None, *({"units": 23, "mask": "0" * 64, "control": None},) * 2),
                        strict=True,
                    )
                ],
            }
            for prompt in ("The quick brown fox", "Once upon a time")
        ]
    }


def large(
    results: Results, n_layers: int = 80, hidden_size: int = 8192, percentage: float = 1.0
) -> Results:
    """Results as they are, of a model of that size."""
    rng = np.random.RandomState(0)
    t_values = 5 * rng.standard_normal((n_layers, hidden_size))
    magnitudes = np.exp(rng.standard_normal(t_values.shape))
    outliers = magnitudes > 10 * np.median(magnitudes, axis=1, keepdims=True)
    p_values = np.exp(-(t_values**2))

    def units_of(scores: Array) -> ScoredUnits:
        units = np.zeros(scores.size, dtype=bool)
        units[np.argsort(-scores.ravel())[: int(percentage / 100 * scores.size)]] = True
        mask = UnitMask(units.reshape(scores.shape), results.manifest)
        return ScoredUnits(mask, scores, t_values, p_values, magnitudes, outliers)

    return replace(results, localization=units_of(t_values), nmd=units_of(np.abs(t_values)))


def write_localization(
    folder: Path, seed: int = 0, *, label: str = "tiny", **shape: int
) -> Synthetic:
    """Write only the two localizations; for figures of several models."""
    made = make_synthetic(seed, label=label, **shape)
    folder.mkdir(parents=True, exist_ok=True)
    save_results(folder / "localization.npz", made.mask.units, made.metadata)
    save_results(folder / "localization-nmd.npz", made.nmd.units, made.nmd_metadata)
    return made


def write_results(folder: Path, seed: int = 0) -> Synthetic:
    """Write a whole results folder."""
    made = write_localization(folder, seed)
    write_json(folder / "audit.json", make_audit(made))
    write_json(folder / "study" / "study.json", make_study(made))
    write_json(folder / "continuations.json", make_continuations())
    write_json(folder / "versions.json", {"python": "3.11.7", "lsns": "0.1.0", "numpy": "2.4.6"})
    (folder / "config.yaml").write_text("model:\n  name: tiny\n", encoding="utf-8")
    (folder / "localization.txt").write_text("model     tiny (float32)\n", encoding="utf-8")
    return made


@pytest.fixture(scope="session")
def _written(tmp_path_factory) -> tuple[Path, Synthetic]:
    folder = tmp_path_factory.mktemp("run") / "results"
    return folder, write_results(folder)


@pytest.fixture
def made(_written: tuple[Path, Synthetic]) -> Synthetic:
    """What the results folder was made from."""
    return _written[1]


@pytest.fixture
def results_folder(_written: tuple[Path, Synthetic], tmp_path: Path) -> Path:
    """A complete results folder of the test's own, to take from and to damage."""
    return Path(shutil.copytree(_written[0], tmp_path / "results"))


@pytest.fixture
def results(results_folder: Path) -> Results:
    """The same, read."""
    return read_results(results_folder)
