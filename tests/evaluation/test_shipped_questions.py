"""The rules of sums, beliefs and facts (docs/questions.md), tested on the files that ship."""

from __future__ import annotations

import json
import operator
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from lsns.evaluation.benchmarks import parse_benchmarks

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "benchmarks" / "build_questions.py"
DATA = ROOT / "src" / "lsns" / "evaluation" / "data"
GUIDE = ROOT / "docs" / "questions.md"
STIMULI = ROOT / "src" / "lsns" / "stimuli" / "data"
NAMES = ("sums", "beliefs", "facts")
KEYS = ["sentence_good", "sentence_bad", "UID", "field", "pairID"]
PAIRS = 20

RECORDS = {
    name: [json.loads(line) for line in (DATA / f"{name}.jsonl").read_text("utf-8").splitlines()]
    for name in NAMES
}
PARADIGMS: dict[str, dict[str, list[tuple[str, str]]]] = {}
for name, records in RECORDS.items():
    found: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for record in records:
        found[record["UID"]].append((record["sentence_good"], record["sentence_bad"]))
    PARADIGMS[name] = found
EVERY = [(name, uid) for name in NAMES for uid in PARADIGMS[name]]
KINDS = sorted({uid.rpartition("_")[0] for uid in PARADIGMS["beliefs"]})


def _script() -> ModuleType:
    spec = spec_from_file_location("build_questions", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


WRITER = _script()


def words(text: str) -> list[str]:
    return re.findall(r"[\w']+", text)


def answers(good: str, bad: str) -> tuple[str, str]:
    """The one word in which the two texts of a pair differ, of each."""
    ours, theirs = words(good), words(bad)
    different = [pair for pair in zip(ours, theirs, strict=True) if pair[0] != pair[1]]
    assert len(different) == 1, good
    return different[0]


def story(good: str) -> list[str]:
    """The words of a story before its last statement."""
    sentences = good.rstrip(".").split(". ")
    return words(". ".join(sentences[:-1]))


def test_each_paradigm_has_as_many_pairs_with_the_keys_of_blimp() -> None:
    for name in NAMES:
        assert {len(pairs) for pairs in PARADIGMS[name].values()} == {PAIRS}
        assert all(list(record) == KEYS for record in RECORDS[name])
        numbers = [str(n) for n in range(PAIRS)] * len(PARADIGMS[name])
        assert [record["pairID"] for record in RECORDS[name]] == numbers
    assert [len(PARADIGMS[name]) for name in NAMES] == [17, 14, 15]


def test_no_text_is_there_twice_or_among_the_stimuli() -> None:
    texts = Counter(text for name, uid in EVERY for pair in PARADIGMS[name][uid] for text in pair)
    assert max(texts.values()) == 1
    stimuli = "".join(path.read_text("utf-8") for path in STIMULI.glob("*.csv"))
    assert not [text for text in texts if text in stimuli]


@pytest.mark.parametrize(("name", "uid"), EVERY)
def test_whatever_goes_by_the_answer_is_right_in_half_of_each_couple(name: str, uid: str) -> None:
    found = [answers(*pair) for pair in PARADIGMS[name][uid]]
    assert all(one == other[::-1] for one, other in zip(found[::2], found[1::2], strict=True))


@pytest.mark.parametrize(("name", "uid"), EVERY)
def test_texts_have_a_capital_or_a_figure_and_a_stop_after_words(name: str, uid: str) -> None:
    for text in (text for pair in PARADIGMS[name][uid] for text in pair):
        assert re.fullmatch(r"[A-Z][A-Za-z0-9 ,.]*[a-z0-9]\.|\d[\d +=,-]*\d", text), text
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", text), text


@pytest.mark.parametrize("uid", PARADIGMS["sums"])
def test_sums_are_right_and_their_answers_are_not_in_the_question(uid: str) -> None:
    of = {"add": operator.add, "subtract": operator.sub, "multiply": operator.mul}
    for good, bad in PARADIGMS["sums"][uid]:
        right, wrong = answers(good, bad)
        *_, a, b = numbers(good[: good.rindex(right)])
        assert numbers(right) == [of[uid.split("_")[0]](a, b)]
        assert not {*numbers(right), *numbers(wrong)} & {a, b}
        assert len(str(*numbers(right))) == len(str(*numbers(wrong)))


def numbers(text: str) -> list[int]:
    known: list[str] = WRITER.IN_WORDS
    found = [word.lower() for word in words(text)]
    return [
        int(word) if word.isdigit() else known.index(word)
        for word in found
        if word.isdigit() or word in known
    ]


@pytest.mark.parametrize("uid", PARADIGMS["beliefs"])
def test_first_last_and_most_named_are_each_right_in_half_of_a_paradigm(uid: str) -> None:
    rights: Counter[str] = Counter()
    for good, bad in PARADIGMS["beliefs"][uid]:
        right, wrong = answers(good, bad)
        told = [word for word in story(good) if word in (right, wrong)]
        assert set(told) == {right, wrong}
        rights["first"] += told[0] == right
        rights["last"] += told[-1] == right
        rights["most"] += told.count(right) - told.count(wrong)
    assert rights == {"first": PAIRS // 2, "last": PAIRS // 2, "most": 0}


@pytest.mark.parametrize("kind", KINDS)
def test_each_story_is_told_with_a_false_and_with_a_true_belief(kind: str) -> None:
    false, true = (PARADIGMS["beliefs"][f"{kind}_{held}"] for held in ("false", "true"))
    for ours, theirs in zip(false, true, strict=True):
        assert answers(*ours) == answers(*theirs)[::-1]


@pytest.mark.parametrize("uid", PARADIGMS["facts"])
def test_no_answer_to_a_fact_begins_like_a_word_of_its_question(uid: str) -> None:
    for good, bad in PARADIGMS["facts"][uid]:
        right, wrong = answers(good, bad)
        for answer in (right, wrong):
            others = [word.lower() for word in words(good) if word != right]
            assert not [word for word in others if len(word) > 3 and word[:4] == answer[:4].lower()]


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_has_its_name_its_domain_and_a_limit(name: str) -> None:
    domains = {"sums": "multiple-demand", "beliefs": "theory-of-mind", "facts": "other"}
    [all_of_it] = parse_benchmarks(name)
    [four] = parse_benchmarks(f"language={name}", limit=4)
    assert (all_of_it.name, all_of_it.domain) == (name, domains[name])
    assert (four.name, four.domain) == (name, "language")
    assert all_of_it.size == 2 * len(RECORDS[name])
    assert four.size == 8 * len(PARADIGMS[name])


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_a_rerun_gives_the_same_bytes(hash_seed: str) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--check"],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_check_says_in_one_line_which_file_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(WRITER, "FOLDER", tmp_path)
    assert WRITER.main([]) == 0
    (tmp_path / "beliefs.jsonl").write_bytes(b"\n")
    assert WRITER.main(["--check"]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert "beliefs.jsonl" in line
    for name in ("sums", "facts"):
        assert (tmp_path / f"{name}.jsonl").read_bytes() == (DATA / f"{name}.jsonl").read_bytes()


def test_the_guide_has_a_pair_of_each_paradigm() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| (.+?) \| (\w+) \| \d+ \|", GUIDE.read_text("utf-8"), re.MULTILINE
    )
    pairs = {
        (uid, good, answers(good, bad)[1]): uid
        for name, uid in EVERY
        for good, bad in PARADIGMS[name][uid]
    }
    assert [pairs[row] for row in rows] == [uid for _, uid in EVERY]
