"""Build theory-of-mind.csv from the hand-written stories in theory_of_mind.yaml.

Usage: build_theory_of_mind.py [--check]
"""

from __future__ import annotations

import argparse
import csv
import io
import random
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import yaml

SOURCE = Path(__file__).with_name("theory_of_mind.yaml")
TARGET = Path(__file__).parents[2] / "src/lsns/stimuli/data/theory-of-mind.csv"
CONDITIONS = {"belief": "positive", "photograph": "negative"}
INSTRUCTION = "Read the story and say whether the statement is true or false."
SEED = 20240

Pair = dict[str, Any]
Row = tuple[str, str, str]


def draw_answers(pairs: list[Pair], rng: random.Random) -> dict[str, bool]:
    """Draw the appended answer of each pair, True in half of every cell of about x correct.

    One draw serves both stories of a pair, so that the conditions cannot differ in it.
    """
    cells: defaultdict[tuple[str, bool], list[str]] = defaultdict(list)
    for pair in pairs:
        cells[pair["belief"]["about"], pair["belief"]["correct"]].append(pair["pair"])
    answers: dict[str, bool] = {}
    for cell in sorted(cells):
        draws = [True, False] * (len(cells[cell]) // 2)
        rng.shuffle(draws)
        answers.update(zip(cells[cell], draws, strict=True))
    return answers


def item_text(story: str, question: str, answer: bool) -> str:
    """Lay out one item; `answer` is the one drawn, right or wrong."""
    return f"{INSTRUCTION}\nStory: {story}\nStatement: {question}\nAnswer: {answer}"


def build_rows(pairs: list[Pair]) -> list[Row]:
    """Return text, condition and group of all items, pair by pair."""
    answers = draw_answers(pairs, random.Random(SEED))
    rows: list[Row] = []
    for pair in pairs:
        for name, condition in CONDITIONS.items():
            story, question = pair[name]["story"], pair[name]["question"]
            text = item_text(story, question, answers[pair["pair"]])
            rows.append((text, condition, pair["pair"]))
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
    parser = argparse.ArgumentParser(description="Build theory-of-mind.csv.")
    parser.add_argument("--check", action="store_true", help="exit 1 if the file differs")
    check: bool = parser.parse_args().check
    data = render(build_rows(yaml.safe_load(SOURCE.read_text(encoding="utf-8"))))
    if not check:
        TARGET.parent.mkdir(parents=True, exist_ok=True)
        TARGET.write_bytes(data)
    elif not TARGET.is_file() or TARGET.read_bytes() != data:
        print(f"{TARGET.name} differs from what {Path(__file__).name} builds", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
