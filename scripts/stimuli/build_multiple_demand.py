"""Build multiple-demand.csv: hard and easy three-digit sums and differences, in pairs.

The two items of a pair share the operator and the first operand; only the second operand
differs, by less than WINDOW. Hard items carry (borrow) in the units and in the tens, easy
items in no column.

Usage: build_multiple_demand.py [--check]
"""

from __future__ import annotations

import argparse
import csv
import io
import random
import sys
from itertools import cycle, islice
from pathlib import Path

TARGET = Path(__file__).parents[2] / "src/lsns/stimuli/data/multiple-demand.csv"
SEED = 20241
PAIRS = 120
# The nearest partners pile up on a few digits (second operands ending in 11, results ending in
# 99), so a partner is drawn from a window, and only where the window offers enough of them.
WINDOW = 60
CHOICES = 10

Problem = tuple[int, str, int]
Row = tuple[str, str, str]


def result(problem: Problem) -> int:
    """Return the sum or difference."""
    left, operator, right = problem
    return left + right if operator == "+" else left - right


def carries(problem: Problem) -> tuple[bool, bool, bool]:
    """Say for units, tens and hundreds whether the column carries (borrows)."""
    left, operator, right = problem
    flags: list[bool] = []
    for place in (10, 100, 1000):
        a, b = left % place, right % place
        flags.append(a + b >= place if operator == "+" else a < b)
    return flags[0], flags[1], flags[2]


def is_plain(number: int) -> bool:
    """Accept three-digit numbers without a zero and not of one repeated digit."""
    digits = str(number)
    return len(digits) == 3 and "0" not in digits and len(set(digits)) > 1


PLAIN = [number for number in range(100, 1000) if is_plain(number)]


def is_usable(problem: Problem) -> bool:
    """Keep the result to three digits without a zero, and the operands apart."""
    left, _, right = problem
    outcome = result(problem)
    return left != right and 100 < outcome < 1000 and "0" not in str(outcome)


def is_hard(problem: Problem) -> bool:
    """Carry in both units and tens."""
    return is_usable(problem) and carries(problem) == (True, True, False)


def is_easy(problem: Problem) -> bool:
    """Carry nowhere."""
    return is_usable(problem) and carries(problem) == (False, False, False)


def draw_hard(operator: str, rng: random.Random) -> Problem:
    """Draw one hard problem, all being equally likely."""
    while True:
        problem = rng.choice(PLAIN), operator, rng.choice(PLAIN)
        if is_hard(problem):
            return problem


def easy_partners(hard: Problem) -> list[Problem]:
    """List the easy problems with the same first operand and a near second one."""
    left, operator, right = hard
    near = [number for number in PLAIN if abs(number - right) < WINDOW]
    problems = [(left, operator, number) for number in near]
    return [problem for problem in problems if is_easy(problem)]


def draw_partner(hard: Problem, drift: int, rng: random.Random) -> Problem | None:
    """Draw an easy partner on the side that brings the summed difference back to zero."""
    partners = easy_partners(hard)
    if len(partners) < CHOICES:
        return None
    fitting = [easy for easy in partners if drift * (easy[2] - hard[2]) <= 0]
    return rng.choice(fitting) if fitting else None


def draw_pairs(operator: str, count: int, rng: random.Random) -> list[tuple[Problem, Problem]]:
    """Draw pairs of a hard and an easy problem, each first operand in one pair only."""
    pairs: dict[int, tuple[Problem, Problem]] = {}
    drift = 0
    while len(pairs) < count:
        hard = draw_hard(operator, rng)
        easy = draw_partner(hard, drift, rng)
        if easy is not None and hard[0] not in pairs:
            pairs[hard[0]] = hard, easy
            drift += easy[2] - hard[2]
    return list(pairs.values())


def build_rows() -> list[Row]:
    """Return text, condition and group of all items, sums and differences in turn."""
    rng = random.Random(SEED)
    drawn = {operator: iter(draw_pairs(operator, PAIRS // 2, rng)) for operator in "+-"}
    rows: list[Row] = []
    for number, operator in enumerate(islice(cycle("+-"), PAIRS), start=1):
        for problem, condition in zip(next(drawn[operator]), ("positive", "negative"), strict=True):
            left, sign, right = problem
            rows.append((f"{left} {sign} {right} =", condition, f"{number:03d}"))
    return rows


def render(rows: list[Row]) -> bytes:
    """Return the rows as the bytes of the CSV file."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("text", "condition", "group"))
    writer.writerows(rows)
    return buffer.getvalue().encode("utf-8")


def main() -> int:
    """Write the file, or with --check only compare it."""
    parser = argparse.ArgumentParser(description="Build multiple-demand.csv.")
    parser.add_argument("--check", action="store_true", help="exit 1 if the file differs")
    check: bool = parser.parse_args().check
    data = render(build_rows())
    if not check:
        TARGET.parent.mkdir(parents=True, exist_ok=True)
        TARGET.write_bytes(data)
    elif not TARGET.is_file() or TARGET.read_bytes() != data:
        print(f"{TARGET.name} differs from what {Path(__file__).name} builds", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
