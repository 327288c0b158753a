"""How often the audit's 95% intervals hold the truth, and its p-values are below 0.05.

    python benchmarks/coverage.py --studies 1000
    python benchmarks/coverage.py --studies 100 --items 24 --shuffles 199

Simulated studies of 3,000 units with independent noise, of which some answer, and 1% are selected
by Welch's t. The truth is the mean held-out g over all studies of a condition: what a sample of
that size is expected to show. And masks whose dimensions recur in neighbouring layers, made
independently of each other: how often they are alike, with dimensions permuted, and with units
taken as independent.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
from scipy.stats import hypergeom

from lsns.analysis import TTestAnalyzer
from lsns.audits.items import Items
from lsns.audits.selectivity import SHUFFLES, measure_selectivity
from lsns.moments import Moments
from lsns.overlap import overlap

UNITS, FOLDS = 3000, 10
# Units that answer, and by how many standard deviations.
CONDITIONS = {
    "no effect": (0, 0.0),
    "30 units, d 0.3": (30, 0.3),
    "30 units, d 0.6": (30, 0.6),
    "30 units, d 0.8": (30, 0.8),
    "900 units, d 0.8": (900, 0.8),
}


def study(rng: np.random.Generator, items: int, condition: str, shuffles: int) -> list[float]:
    """g, its interval, the half width of the textbook's, and p, of one simulated study."""
    answering, effect = CONDITIONS[condition]
    # Far from 0, where |x| is x.
    rows = rng.normal(30, 1, (2 * items, 1, UNITS))
    rows[:items, 0, :answering] += effect
    positive, folds = np.arange(2 * items) < items, np.tile(np.arange(items) % FOLDS, 2)
    sides = [
        (Moments.of(rows[(folds == f) & positive]), Moments.of(rows[(folds == f) & ~positive]))
        for f in range(FOLDS)
    ]
    made = Items(rows, positive, [str(i) for i in range(2 * items)], folds)
    analyzer = TTestAnalyzer({"percentage": 1})
    seed = int(rng.integers(2**31))
    found = measure_selectivity(sides, made, analyzer, shuffles=shuffles, seed=seed)
    held = found.held_out
    textbook = 1.96 * (2 / items + held.g**2 / (4 * items)) ** 0.5
    return [held.g, held.low, held.high, textbook, found.p_value]


def selectivity(sizes: list[int], studies: int, shuffles: int) -> Iterator[str]:
    """A row for each number of items and condition."""
    yield f"selectivity: {studies} studies, {shuffles} shuffles"
    yield "items a side  condition           g      covered  textbook  width needed  p <= 0.05"
    for place, (items, condition) in enumerate((n, c) for n in sizes for c in CONDITIONS):
        rng = np.random.default_rng([items, place])
        drawn = np.array([study(rng, items, condition, shuffles) for _ in range(studies)])
        g, low, high, textbook, p = drawn.T
        truth, needed = g.mean(), 1.96 * g.std(ddof=1)
        covered = ((low <= truth) & (truth <= high)).mean()
        plain = (np.abs(g - truth) <= textbook).mean()
        yield (
            f"{items:<12}  {condition:<16}  {truth:5.2f}  {covered:7.3f}  {plain:8.3f}  "
            f"{((high - low) / 2).mean():5.2f} {needed:6.2f}  {(p <= 0.05).mean():9.3f}"
        )


def recurring(rng: np.random.Generator) -> np.ndarray:
    """Dimensions at random, each selected in three to nine of twelve layers in a row."""
    units = np.zeros((12, 150), dtype=bool)
    for dimension in rng.permutation(150)[:15]:
        start = rng.integers(0, 10)
        units[start : start + rng.integers(3, 10), dimension] = True
    return units


def overlaps(pairs: int) -> Iterator[str]:
    """How often masks that have nothing to do with each other are alike."""
    rng = np.random.default_rng(0)
    permuted, independent = [], []
    for _ in range(pairs):
        first, second = recurring(rng), recurring(rng)
        both = overlap(first, second)
        tail = hypergeom.sf(both.shared - 1, first.size, first.sum(), second.sum())
        permuted.append(both.p_value <= 0.05)
        independent.append(tail <= 0.05)
    yield f"overlap of unrelated masks whose dimensions recur: {pairs} pairs, share with p <= 0.05"
    yield f"dimensions permuted {np.mean(permuted):.3f}, "
    yield f"units independent   {np.mean(independent):.3f}"


def main() -> None:
    """Print both tables, row by row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--items", type=int, nargs="+", default=[24, 60, 240])
    parser.add_argument("--shuffles", type=int, default=SHUFFLES)
    parser.add_argument("--pairs", type=int, default=1000)
    options = parser.parse_args()
    for line in overlaps(options.pairs) if options.pairs else ():
        print(line, flush=True)
    for line in selectivity(options.items, options.studies, options.shuffles):
        print(line, flush=True)


if __name__ == "__main__":
    main()
