"""The verdict on studies whose truth is planted: how often it says what.

Each study has stimuli, units that answer to them or do not, a mask of the top percent, its lesion
and controls of every kind, and two benchmarks whose answers follow from what the lesions take. All
that judges them is the package's own; only activations and answers are drawn. Run it as

    python benchmarks/verdict.py --studies 200

and it prints a line for each kind of world.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lsns.analysis.methods import TTestAnalyzer
from lsns.analysis.outliers import outlier_units
from lsns.analysis.shuffles import shuffle_labels
from lsns.audits.confounds import Confound
from lsns.audits.items import Items
from lsns.audits.lesions import find_evidence
from lsns.audits.outliers import audit_outliers
from lsns.audits.selectivity import SHUFFLES, measure_selectivity
from lsns.audits.verdict import Finding, Parts, Verdict, decide, judge
from lsns.evaluation.conditions import Condition
from lsns.evaluation.study import Study
from lsns.evaluation.summary import Outcome, dissociate, summarize
from lsns.lesions.controls import NoControlError, control_mask
from lsns.mask import UnitMask
from lsns.moments import Moments
from lsns.specs import Expect, StudySpec

Array = np.ndarray[Any, Any]
SHAPE = (6, 500)
SIZE = SHAPE[0] * SHAPE[1]
SELECTED = 30
ITEMS, FOLDS = 60, 10
# Paradigms and items of each, as in the benchmarks that ship.
PARADIGMS, ANSWERS = 30, 20
# What a lesion of any unit takes of any ability.
ANYWHERE = 0.0005


@dataclass(frozen=True, eq=False)
class World:
    """What is true.

    Attributes:
        answering: how many units answer to the stimuli.
        effect: by how many standard deviations.
        takes: what each answering unit takes of language when it is lesioned (a rate: what is left
            is the exponential of minus the sum).
        takes_all: what it takes of every other ability.
        outliers: how many of the answering units are outliers; what they take goes with their
            squared magnitude, of language and all else alike.
        factor: their magnitude, in medians of their layer.
        able: share correct of the intact model.
        confound: how far the conditions differ in something else, in standard deviations.
        good: what a verdict may say beside `open`.
    """

    answering: int = 45
    effect: float = 1.2
    takes: float = 0.02
    takes_all: float = 0.0
    outliers: int = 0
    factor: float = 1.0
    able: float = 0.85
    confound: float = 0.0
    good: Verdict = "network"


WORLDS: dict[str, World] = {
    "honest, local": World(),
    "honest, distributed": World(answering=900, effect=0.8, takes=0.015),
    "outliers above the threshold": World(
        takes=0.0, takes_all=0.0, outliers=5, factor=20, good="artefact"
    ),
    "outliers below the threshold": World(
        takes=0.0, takes_all=0.0, outliers=5, factor=9, good="artefact"
    ),
    "generic damage": World(takes_all=0.02, good="artefact"),
    "confounded contrast": World(confound=1.5, good="open"),
    "untrained model": World(answering=300, takes=0.0, able=0.5, good="open"),
    "no effect": World(answering=0, good="nothing"),
}


@dataclass(eq=False)
class Draw:
    """A study that is drawn from a world: units, activations, and what lesions take."""

    world: World
    rng: np.random.Generator
    sizes: Array = field(init=False)
    answering: Array = field(init=False)
    rows: Array = field(init=False)
    rates: tuple[Array, Array] = field(init=False)

    def __post_init__(self) -> None:
        world, rng = self.world, self.rng
        self.sizes = rng.lognormal(0.0, 0.4, SHAPE)
        order = rng.permutation(SIZE)
        self.answering = np.zeros(SIZE, dtype=bool)
        self.answering[order[: world.answering]] = True
        large = order[: world.outliers]
        medians = np.repeat(np.median(self.sizes, axis=1), SHAPE[1])
        self.sizes.flat[large] = world.factor * medians[large]
        self.answering = self.answering.reshape(SHAPE)
        noise = rng.normal(0.0, 1.0, (2 * ITEMS, *SHAPE))
        noise[:ITEMS] += world.effect * self.answering
        self.rows = self.sizes * (1 + 0.2 * noise)
        squared = np.zeros(SIZE)
        if world.outliers:
            squared = 0.7 * self.sizes.ravel() ** 2 / (self.sizes.flat[large] ** 2).sum()
        common = ANYWHERE + squared.reshape(SHAPE)
        own = common + world.takes * self.answering
        self.rates = own, common + world.takes_all * self.answering

    @property
    def positive(self) -> Array:
        """Which items are positive."""
        return np.arange(2 * ITEMS) < ITEMS

    def select(self, positive: Array) -> Array:
        """The units of the highest t for these labels."""
        sides = Moments.of(self.rows[positive]), Moments.of(self.rows[~positive])
        analyzer = TTestAnalyzer({"num_units": SELECTED})
        return analyzer.select(analyzer.score(*sides))

    def outcome(self, name: str, which: int, conditions: list[Condition]) -> Outcome:
        """The answers to a benchmark under every condition, all to the same questions."""
        able = 0.5 + 2 * (self.world.able - 0.5) * self.rng.beta(6, 6, PARADIGMS)
        able = np.minimum(able, 1.0)
        luck = self.rng.random((PARADIGMS, ANSWERS))
        values = np.empty((PARADIGMS, len(conditions)))
        for place, condition in enumerate(conditions):
            taken = 0.0 if condition.mask is None else self.rates[which][condition.mask.units].sum()
            share = 0.5 + (able - 0.5) * np.exp(-taken)
            # Part of an answer is up to the lesion's own noise.
            own = np.where(self.rng.random(luck.shape) < 0.3, self.rng.random(luck.shape), luck)
            values[:, place] = (own < share[:, None]).mean(axis=1)
        domain = ("language", "other")[which]
        return Outcome(name, domain, "accuracy", PARADIGMS * ANSWERS, PARADIGMS, values, 0.5)


def findings(
    world: World, seed: int, controls: int = 20, shuffles: int = SHUFFLES
) -> tuple[Finding, ...]:
    """What the package finds in a study that is drawn from a world."""
    draw = Draw(world, np.random.default_rng(seed))
    mask = UnitMask(draw.select(draw.positive), {"stimuli": {"name": "language"}})
    outliers = outlier_units(draw.sizes)
    conditions = [Condition("intact"), *_lesioned(draw, mask, mask, "all", outliers, controls)]
    rest = mask.units & ~outliers
    if (mask.units & outliers).any() and rest.any():
        part = UnitMask(rest, mask.manifest)
        conditions += _lesioned(draw, part, mask, "rest", outliers, controls)
    outcomes = [draw.outcome(name, i, conditions) for i, name in enumerate(("pairs", "facts"))]
    smallest = StudySpec.smallest_effect
    found = [summarize(outcome, conditions, smallest) for outcome in outcomes]
    study = Study(
        [row for rows, _ in found for row in rows], [row for _, rows in found for row in rows],
        *dissociate(outcomes, conditions, Expect()), [], {"options": {"smallest_effect": smallest}},
    )  # fmt: skip
    folds = np.tile(np.arange(FOLDS), 2 * ITEMS // FOLDS)
    items = Items(draw.rows, draw.positive, [str(n) for n in range(2 * ITEMS)], folds)
    sides = [
        tuple(
            Moments.of(draw.rows[(folds == f) & (draw.positive == side)]) for side in (True, False)
        )
        for f in range(FOLDS)
    ]
    analyzer = TTestAnalyzer({"num_units": SELECTED})
    confounds = () if not world.confound else (
        Confound("tokens", 12.0, 10.0, world.confound, world.confound - 0.3, world.confound + 0.3),
    )  # fmt: skip
    parts = Parts(
        selectivity=measure_selectivity(sides, items, analyzer, shuffles=shuffles),  # type: ignore[arg-type]
        outliers=audit_outliers(
            mask.units, dict.fromkeys(("pooled", "tokens", "first"), draw.sizes)
        ),
        confounds=confounds,
        lesions=find_evidence(study, mask.digest, "language"),
    )
    return judge(parts)


def _lesioned(
    draw: Draw, mask: UnitMask, whole: UnitMask, part: Any, outliers: Array, controls: int
) -> list[Condition]:
    """The lesion by a mask and its controls."""
    barred = outliers if part == "rest" else None
    made = Condition(
        "lesion", label=part, mask=mask, percentage=1.0, mode="zero", part=part,
        whole=whole.digest, series=part, squares=draw.sizes**2,
        outlier_units=int((mask.units & outliers).sum()),
    )  # fmt: skip

    def control(kind: str, drawn: UnitMask, seed: int) -> Condition:
        held = int((drawn.units & outliers).sum())
        return replace(
            made, kind="control", mask=drawn, control=kind, seed=seed, outlier_units=held
        )

    found = [made]
    kinds: list[Any] = ["uniform", "layer", "magnitude"]
    kinds += ["outliers"] * bool(made.outlier_units)
    for kind in kinds:
        for seed in range(controls):
            try:
                units = control_mask(
                    mask, kind, seed=seed, magnitudes=draw.sizes, barred=barred,
                    outliers=outliers, outside=False,
                )  # fmt: skip
            except NoControlError:
                break
            found.append(control(kind, units, seed))
    groups = [str(n) for n in range(2 * ITEMS)]
    for seed in range(controls):
        (labels,) = shuffle_labels(draw.positive, groups, 1, seed=seed)
        units = draw.select(labels)
        if barred is not None:
            units = units & ~barred
        found.append(control("decoy", UnitMask(units, mask.manifest), seed))
    return found


def confusion(
    studies: int, controls: int, shuffles: int, tell: Callable[[str], None]
) -> dict[str, Counter[str]]:
    """How often each verdict is said of studies of each world."""
    found: dict[str, Counter[str]] = {}
    for name, world in WORLDS.items():
        found[name] = Counter(
            decide(findings(world, seed, controls, shuffles)) for seed in range(studies)
        )
        cells = "  ".join(f"{found[name][one]:>8}" for one in VERDICTS)
        tell(f"{name:<30}  {cells}")
    return found


VERDICTS: tuple[Verdict, ...] = ("network", "artefact", "nothing", "open")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--controls", type=int, default=20)
    parser.add_argument("--shuffles", type=int, default=SHUFFLES)
    options = parser.parse_args()
    print(f"{'planted':<30}  " + "  ".join(f"{one:>8}" for one in VERDICTS))
    confusion(
        options.studies, options.controls, options.shuffles, lambda line: print(line, flush=True)
    )


if __name__ == "__main__":
    main()
