"""The rules the theory-of-mind stimuli obey (docs/stimuli.md)."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts/stimuli/build_theory_of_mind.py"
TARGET = ROOT / "src/lsns/stimuli/data/theory-of-mind.csv"
SOURCE = ROOT / "scripts/stimuli/theory_of_mind.yaml"
PAIRS: list[dict[str, Any]] = yaml.safe_load(SOURCE.read_text(encoding="utf-8"))
CONDITIONS = {"belief": "positive", "photograph": "negative"}
LAYOUT = re.compile(
    r"Read the story and say whether the statement is true or false\.\n"
    r"Story: (?P<story>[^\n]+)\nStatement: (?P<question>[^\n]+)\nAnswer: (?P<answer>True|False)"
)
# Stems: a word of a photograph story may not begin with one of these.
MENTAL = (
    "aim|assum|attent|aware|believ|belief|certain|confus|convinc|curious|decid|decision|deceiv|"
    "desir|disappoint|doubt|dream|expect|fear|feel|felt|figur|forg[eo]|guess|happy|heard|hears|"
    "hope|hoping|idea|ignor|imagin|inten|judg|knew|know|learn|like[ds]|look|mean[st]|memor|mind|"
    "mistak|notic|opinion|perceiv|plan|prefer|pretend|realis|realiz|recall|recogni|regret|rely|"
    "relied|rememb|sad|saw|seem|sees|seen|sure|surpris|suspect|think|thought|trust|unaware|"
    r"understand|understood|want|watch(?!es)|wish|wonder|worr|see\b|hear\b|like\b"
)
MENTAL_WORD = re.compile(rf"\b(?:{MENTAL})\w*", re.IGNORECASE)


def rows() -> list[dict[str, str]]:
    with TARGET.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def words(text: str) -> int:
    return len(text.split())


def test_the_file_has_24_pairs_in_order() -> None:
    expected = [(c, f"{n:02d}") for n in range(1, 25) for c in ("positive", "negative")]
    assert [(row["condition"], row["group"]) for row in rows()] == expected


def test_the_file_holds_the_stories_in_one_layout() -> None:
    stories = [
        (pair[name]["story"], pair[name]["question"]) for pair in PAIRS for name in CONDITIONS
    ]
    matches = [LAYOUT.fullmatch(row["text"]) for row in rows()]
    assert [(m["story"], m["question"]) for m in matches if m] == stories


def test_nothing_occurs_twice() -> None:
    for part in ("story", "question"):
        texts = [pair[name][part] for pair in PAIRS for name in CONDITIONS]
        assert len(set(texts)) == len(texts) == 48


@pytest.mark.parametrize("part", ["story", "question"])
def test_the_lengths_match(part: str) -> None:
    counts = [[words(pair[name][part]) for name in CONDITIONS] for pair in PAIRS]
    belief, photograph = (sum(column) for column in zip(*counts, strict=True))
    assert all(abs(a - b) <= 1 for a, b in counts)
    assert abs(belief - photograph) <= 0.01 * max(belief, photograph)


def test_stories_have_30_to_45_words_and_2_to_4_sentences() -> None:
    stories = [pair[name]["story"] for pair in PAIRS for name in CONDITIONS]
    assert all(30 <= words(story) <= 45 for story in stories)
    assert all(2 <= len(re.findall(r'[.!?]"?(?= |$)', story)) <= 4 for story in stories)


def test_a_pair_shares_statement_type_and_correct_answer() -> None:
    for pair in PAIRS:
        belief, photograph = pair["belief"], pair["photograph"]
        assert belief["about"] == photograph["about"]
        assert belief["correct"] is photograph["correct"]


@pytest.mark.parametrize("name", list(CONDITIONS))
def test_half_of_each_statement_type_is_correct(name: str) -> None:
    cells = Counter((pair[name]["about"], pair[name]["correct"]) for pair in PAIRS)
    assert cells == {
        ("representation", True): 8,
        ("representation", False): 8,
        ("reality", True): 4,
        ("reality", False): 4,
    }


@pytest.mark.parametrize("name", list(CONDITIONS))
def test_the_appended_answer_is_crossed_with_the_correct_one(name: str) -> None:
    of_condition = [row for row in rows() if row["condition"] == CONDITIONS[name]]
    answers = [row["text"].endswith("Answer: True") for row in of_condition]
    items = [pair[name] for pair in PAIRS]
    cells = Counter((i["about"], i["correct"], a) for i, a in zip(items, answers, strict=True))
    assert len(cells) == 8
    assert all(count == (4 if cell[0] == "representation" else 2) for cell, count in cells.items())


def test_a_pair_shares_the_appended_answer() -> None:
    answers = [row["text"].rsplit(" ", 1)[1] for row in rows()]
    assert answers[::2] == answers[1::2]


@pytest.mark.parametrize("part", ["story", "question"])
def test_photograph_items_have_no_mental_state_word(part: str) -> None:
    found = {pair["pair"]: MENTAL_WORD.findall(pair["photograph"][part]) for pair in PAIRS}
    assert not any(found.values()), {pair: hits for pair, hits in found.items() if hits}


def test_the_mental_state_list_catches_belief_statements() -> None:
    about = [pair["belief"] for pair in PAIRS if pair["belief"]["about"] == "representation"]
    hits = [bool(MENTAL_WORD.search(item["question"])) for item in about]
    assert sum(hits) >= 12


def test_text_is_plain() -> None:
    for row in rows():
        assert row["text"].isascii()
        assert row["text"] == row["text"].strip()
        assert "  " not in row["text"]


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
