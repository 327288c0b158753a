"""The rules the multiple-demand stimuli obey (docs/stimuli.md)."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from statistics import mean, stdev

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts/stimuli/build_multiple_demand.py"
TARGET = ROOT / "src/lsns/stimuli/data/multiple-demand.csv"
FORMAT = re.compile(r"([1-9]{3}) ([+-]) ([1-9]{3}) =")

Problem = tuple[int, str, int]


def rows() -> list[dict[str, str]]:
    with TARGET.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def problems(condition: str) -> list[Problem]:
    found = [FORMAT.fullmatch(row["text"]) for row in rows() if row["condition"] == condition]
    return [(int(m[1]), m[2], int(m[3])) for m in found if m]


def pairs() -> list[tuple[Problem, Problem]]:
    return list(zip(problems("positive"), problems("negative"), strict=True))


def result(problem: Problem) -> int:
    left, operator, right = problem
    return left + right if operator == "+" else left - right


def column_carries(problem: Problem) -> list[bool]:
    """Work the columns from the units up, as on paper (the script uses remainders)."""
    left, operator, right = problem
    flags: list[bool] = []
    for a, b in zip(map(int, reversed(str(left))), map(int, reversed(str(right))), strict=True):
        carry = int(bool(flags) and flags[-1])
        flags.append(a + b + carry > 9 if operator == "+" else a - b - carry < 0)
    return flags


def test_the_file_has_120_pairs_in_order() -> None:
    expected = [(c, f"{n:03d}") for n in range(1, 121) for c in ("positive", "negative")]
    assert [(row["condition"], row["group"]) for row in rows()] == expected


def test_every_item_has_the_format_and_the_same_length() -> None:
    assert all(FORMAT.fullmatch(row["text"]) for row in rows())
    assert {len(row["text"]) for row in rows()} == {11}


def test_no_item_occurs_twice() -> None:
    everything = problems("positive") + problems("negative")
    swapped = {(min(a, b), o, max(a, b)) if o == "+" else (a, o, b) for a, o, b in everything}
    assert len(set(everything)) == len(swapped) == 240


def test_hard_items_carry_in_units_and_tens() -> None:
    assert all(column_carries(problem) == [True, True, False] for problem in problems("positive"))


def test_easy_items_carry_nowhere() -> None:
    assert all(column_carries(problem) == [False] * 3 for problem in problems("negative"))


@pytest.mark.parametrize("condition", ["positive", "negative"])
def test_half_are_sums_and_half_differences(condition: str) -> None:
    assert Counter(problem[1] for problem in problems(condition)) == {"+": 60, "-": 60}


def test_results_have_three_digits_without_a_zero() -> None:
    results = [result(problem) for problem in problems("positive") + problems("negative")]
    assert all(re.fullmatch("[1-9]{3}", str(value)) for value in results)


def test_no_operand_is_trivial() -> None:
    for left, _, right in problems("positive") + problems("negative"):
        assert left != right
        assert min(len(set(str(left))), len(set(str(right)))) > 1


def test_a_pair_shares_operator_and_first_operand() -> None:
    assert all(hard[:2] == easy[:2] for hard, easy in pairs())
    assert all(0 < abs(hard[2] - easy[2]) < 60 for hard, easy in pairs())


@pytest.mark.parametrize("operator", ["+", "-"])
def test_a_first_operand_serves_one_pair_per_operator(operator: str) -> None:
    lefts = [hard[0] for hard, _ in pairs() if hard[1] == operator]
    assert len(set(lefts)) == len(lefts)


@pytest.mark.parametrize("operator", ["+", "-"])
def test_second_operands_and_results_match_on_average(operator: str) -> None:
    chosen = [pair for pair in pairs() if pair[0][1] == operator]
    for value in (lambda problem: problem[2], result):
        hard, easy = ([value(pair[side]) for pair in chosen] for side in (0, 1))
        assert abs(mean(hard) - mean(easy)) < 1
        assert abs(stdev(hard) / stdev(easy) - 1) < 0.1


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_a_rerun_gives_the_same_bytes(hash_seed: str) -> None:
    command = [sys.executable, str(SCRIPT), "--check"]
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
