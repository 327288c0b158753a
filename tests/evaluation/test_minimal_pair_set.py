"""The rules the minimal pairs obey (docs/minimal-pairs.md), tested on the file that ships."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "benchmarks" / "build_minimal_pairs.py"
TARGET = ROOT / "src" / "lsns" / "evaluation" / "data" / "minimal_pairs.jsonl"
GUIDE = ROOT / "docs" / "minimal-pairs.md"
KEYS = ["sentence_good", "sentence_bad", "UID", "field", "pairID"]
FIELDS = {"morphology", "syntax", "semantics"}

# Both sentences have the same words.
ORDER = {
    "island_adjunct",
    "island_subject_relative",
    "inversion_relative",
    "inversion_embedded",
    "adjective_order",
    "adverb_placement",
    "ellipsis_noun",
    "npi_any",
    "npi_scope",
}
# What decides between the two words is not next to them: their neighbours are balanced too.
DISTANT = {
    "agreement_prepositional",
    "agreement_object_relative",
    "determiner_noun_adjective",
    "reflexive_number",
    "reflexive_gender",
    "irregular_participle",
    "principle_a_command",
    "principle_a_domain",
    "filler_gap_complementizer",
    "filler_gap_question",
    "tense_adverb",
}
# What decides is next to them.
LOCAL = {
    "agreement_simple",
    "determiner_noun",
    "auxiliary_form",
    "pronoun_case",
    "transitivity",
    "passive_intransitive",
    "verb_complement",
    "existential_there",
    "mass_count",
    "relative_animacy",
}
# Words of grammar, of time and of place, which many pairs of a phenomenon may share.
GRAMMAR = (
    "a after ago all almost always and any anybody are as at before behind beside by can did during"
    " ever every five for four from had has have herself himself how in is last many much must near"
    " never next no nobody not of often on one rarely several should sometimes that the themselves"
    " there these they this those three to tomorrow too two was were what when where which who why"
    " will with yesterday"
)
GRAMMAR_WORDS = frozenset(GRAMMAR.split())
MOST_USES = 8


def read_records() -> list[dict[str, str]]:
    lines = TARGET.read_bytes().decode("utf-8").removesuffix("\n").split("\n")
    return [json.loads(line) for line in lines]


RECORDS = read_records()
PHENOMENA: dict[str, list[tuple[str, str]]] = defaultdict(list)
for record in RECORDS:
    PHENOMENA[record["UID"]].append((record["sentence_good"], record["sentence_bad"]))


def words(sentence: str) -> list[str]:
    return re.findall(r"\w+", sentence)


def changes(uid: str) -> list[tuple[str, str, str, str]]:
    """Per pair of a phenomenon: word before, good word, bad word, word after."""
    found: list[tuple[str, str, str, str]] = []
    for good, bad in PHENOMENA[uid]:
        ours, theirs = (["^", *words(sentence), "$"] for sentence in (good, bad))
        places = [i for i, both in enumerate(zip(ours, theirs, strict=True)) if both[0] != both[1]]
        assert len(places) == 1, good
        place = places[0]
        found.append((ours[place - 1], ours[place], theirs[place], ours[place + 1]))
    return found


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_minimal_pairs", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_there_are_thirty_phenomena_of_eighty_pairs() -> None:
    assert len(PHENOMENA) == 30
    assert {len(pairs) for pairs in PHENOMENA.values()} == {80}
    assert set(PHENOMENA) == ORDER | DISTANT | LOCAL


def test_the_records_have_the_keys_of_blimp_and_are_numbered() -> None:
    assert all(list(record) == KEYS for record in RECORDS)
    assert {record["field"] for record in RECORDS} == FIELDS
    assert len({(record["UID"], record["field"]) for record in RECORDS}) == len(PHENOMENA)
    assert [record["pairID"] for record in RECORDS] == [str(n) for n in range(80)] * 30


def test_no_sentence_is_there_twice() -> None:
    sentences = Counter(
        sentence for pairs in PHENOMENA.values() for pair in pairs for sentence in pair
    )
    assert max(sentences.values()) == 1


def test_sentences_are_plain_with_a_capital_and_a_stop() -> None:
    for record in RECORDS:
        for key in KEYS[:2]:
            assert re.fullmatch(r"[A-Z][A-Za-z]*(?: [A-Za-z]+)+[.?]", record[key]), record[key]


def test_the_two_sentences_end_alike() -> None:
    assert all(good[-1] == bad[-1] for pairs in PHENOMENA.values() for good, bad in pairs)


@pytest.mark.parametrize("uid", sorted(ORDER))
def test_a_pair_of_order_has_the_same_words(uid: str) -> None:
    for good, bad in PHENOMENA[uid]:
        assert words(good.lower()) != words(bad.lower())
        assert sorted(words(good.lower())) == sorted(words(bad.lower()))


@pytest.mark.parametrize("uid", sorted(DISTANT | LOCAL))
def test_each_word_of_a_contrast_is_as_often_the_good_one(uid: str) -> None:
    contrasts = Counter((good, bad) for _, good, bad, _ in changes(uid))
    assert contrasts == Counter((bad, good) for _, good, bad, _ in changes(uid))


@pytest.mark.parametrize("uid", sorted(DISTANT))
def test_a_distant_contrast_is_balanced_given_its_neighbors(uid: str) -> None:
    contrasts = Counter(changes(uid))
    assert contrasts == Counter((left, bad, good, right) for left, good, bad, right in changes(uid))


def is_plural(noun: str) -> bool:
    return noun.endswith("s") or noun in {"children", "women"}


def test_subject_and_attractor_are_crossed_in_number() -> None:
    after_preposition = [
        (is_plural(words(good)[1]), is_plural(change[0]))
        for (good, _), change in zip(
            PHENOMENA["agreement_prepositional"], changes("agreement_prepositional"), strict=True
        )
    ]
    in_relative = [
        (is_plural(words(good)[1]), is_plural(words(good)[4]))
        for good, _ in PHENOMENA["agreement_object_relative"]
    ]
    for cells in (Counter(after_preposition), Counter(in_relative)):
        assert sorted(cells.values()) == [20, 20, 20, 20]


@pytest.mark.parametrize("uid", sorted(PHENOMENA))
def test_content_words_vary(uid: str) -> None:
    uses = Counter(word for good, _ in PHENOMENA[uid] for word in set(words(good.lower())))
    often = {word for word, count in uses.items() if count > MOST_USES}
    assert often <= GRAMMAR_WORDS


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


def test_check_says_in_one_line_that_the_file_differs(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script.TARGET = tmp_path / "minimal_pairs.jsonl"
    script.TARGET.write_bytes(TARGET.read_bytes().replace(b"\n", b"\r\n"))
    assert script.main(["--check"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert script.main([]) == 0
    assert script.TARGET.read_bytes() == TARGET.read_bytes()


def test_the_guide_has_a_pair_and_the_kind_of_each_phenomenon() -> None:
    row = re.compile(r"^\| `(\w+)` \| (.+?) \| (.+?) \| (\w+) \|", re.MULTILINE)
    rows = row.findall(GUIDE.read_text(encoding="utf-8"))
    assert all((good, bad) in PHENOMENA[uid] for uid, good, bad, _ in rows)
    kinds = {"order": ORDER, "distant": DISTANT, "local": LOCAL}
    for kind, uids in kinds.items():
        assert {uid for uid, _, _, its_kind in rows if its_kind == kind} == uids
    assert len(rows) == len(PHENOMENA)
