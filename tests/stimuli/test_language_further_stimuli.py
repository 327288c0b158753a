"""The rules that the further conditions of language obey, tested on the file that ships."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from collections import Counter
from itertools import chain, combinations, pairwise
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts" / "stimuli"
SCRIPT = SCRIPTS / "build_language_further.py"
DATA = ROOT / "src" / "lsns" / "stimuli" / "data"
CONDITIONS = ("scrambled", "word-lists", "jabberwocky")
ITEM = re.compile(r"[a-z]+(?: [a-z]+){11}")

Words = list[str]


def read_rows(name: str) -> list[dict[str, str]]:
    with (DATA / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def items(condition: str) -> list[Words]:
    name = "language.csv" if condition in ("positive", "negative") else "language-further.csv"
    wanted = condition if name == "language.csv" else f"further:{condition}"
    return [row["text"].split() for row in read_rows(name) if row["condition"] == wanted]


def words_of(texts: list[Words]) -> Counter[str]:
    return Counter(chain.from_iterable(texts))


@pytest.fixture(scope="module")
def sentences() -> list[Words]:
    return items("positive")


@pytest.fixture(scope="module")
def attested(sentences: list[Words]) -> set[tuple[str, str]]:
    """The neighbours in the sentences."""
    return {pair for sentence in sentences for pair in pairwise(sentence)}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    pytest.importorskip("wordfreq")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS))
        import build_language_further

        return build_language_further


def test_rows_come_condition_by_condition_in_the_order_of_the_sentences() -> None:
    rows = read_rows("language-further.csv")
    numbers = [f"{n:03d}" for n in range(1, 241)]
    groups = {"scrambled": numbers, "word-lists": [""] * 240, "jabberwocky": numbers}
    assert list(rows[0]) == ["text", "condition", "group"]
    assert [(row["condition"], row["group"]) for row in rows] == [
        (f"further:{condition}", group) for condition in CONDITIONS for group in groups[condition]
    ]


def test_items_are_twelve_lower_case_words() -> None:
    texts = [row["text"] for row in read_rows("language-further.csv")]
    assert [text for text in texts if not ITEM.fullmatch(text)] == []


def test_no_item_occurs_twice_nor_in_the_contrast() -> None:
    rows = read_rows("language-further.csv") + read_rows("language.csv")
    assert len({row["text"] for row in rows}) == len(rows)


def test_scrambled_sentences_have_the_words_of_theirs(sentences: list[Words]) -> None:
    scrambled = items("scrambled")
    assert list(map(sorted, scrambled)) == list(map(sorted, sentences))
    assert all(a != b for a, b in zip(scrambled, sentences, strict=True))


def test_word_lists_have_the_words_of_all_sentences(sentences: list[Words]) -> None:
    assert words_of(items("word-lists")) == words_of(sentences)


@pytest.mark.parametrize("condition", ["scrambled", "word-lists"])
def test_no_neighbours_are_neighbours_in_a_sentence(
    condition: str, attested: set[tuple[str, str]]
) -> None:
    pairs = [pair for words in items(condition) for pair in pairwise(words)]
    assert attested.isdisjoint(pairs)
    assert all(a != b for a, b in pairs)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_texts_end_in_a_word_of_the_class_that_the_sentence_ends_in(
    script: ModuleType, sentences: list[Words], condition: str
) -> None:
    for new, old in zip(items(condition), sentences, strict=True):
        assert (new[-1] in script.FUNCTION_WORDS) == (old[-1] in script.FUNCTION_WORDS)


def test_scrambled_words_are_seldom_in_their_places(sentences: list[Words]) -> None:
    """By chance one of the 12 is, and a few more for words that a sentence has twice."""
    both = zip(items("scrambled"), sentences, strict=True)
    in_place = [sum(a == b for a, b in zip(x, y, strict=True)) for x, y in both]
    assert sum(in_place) / len(in_place) < 1.5


def test_no_list_has_two_words_dealt_from_one_sentence(
    script: ModuleType, sentences: list[Words]
) -> None:
    """Shown by words that say which sentence they are of."""
    marked = [[f"{word}/{n}" for word in words] for n, words in enumerate(sentences)]
    dealt = script.deal(marked, script.random.Random(3))
    assert words_of(dealt) == words_of(marked)
    assert {len({word.split("/")[1] for word in words}) for words in dealt} == {12}


def test_no_list_has_two_words_that_only_one_sentence_has(sentences: list[Words]) -> None:
    """The same of the file, for the words whose sentence is known: those that occur once."""
    uses = words_of(sentences)
    home = {w: n for n, words in enumerate(sentences) for w in words if uses[w] == 1}
    for words in items("word-lists"):
        homes = [home[word] for word in words if word in home]
        assert len(set(homes)) == len(homes)


def test_few_lists_have_two_content_words_that_some_sentence_has(
    script: ModuleType, sentences: list[Words]
) -> None:
    """Words recur: these come from two sentences, and a third has both (docs/stimuli.md)."""

    def content_pairs(words: Words) -> set[tuple[str, ...]]:
        return set(combinations(sorted(set(words) - script.FUNCTION_WORDS), 2))

    together = set().union(*map(content_pairs, sentences))
    shared = [pairs & together for pairs in map(content_pairs, items("word-lists"))]
    assert sum(map(bool, shared)) == 11
    assert max(map(len, shared)) == 1


def test_lists_have_about_as_many_content_words_as_sentences(script: ModuleType) -> None:
    counts = [
        len([w for w in words if w not in script.FUNCTION_WORDS]) for words in items("word-lists")
    ]
    assert (min(counts), max(counts)) == (4, 8)


def test_jabberwocky_keeps_the_function_words_in_their_places(
    script: ModuleType, sentences: list[Words]
) -> None:
    kept = script.FUNCTION_WORDS - {"a", "an"}
    words = {word for sentence in sentences for word in sentence}
    assert words >= script.FUNCTION_WORDS
    for new, old in zip(items("jabberwocky"), sentences, strict=True):
        assert [a for a, b in zip(new, old, strict=True) if b in kept] == [
            word for word in old if word in kept
        ]
        assert words.isdisjoint(
            a for a, b in zip(new, old, strict=True) if b not in script.FUNCTION_WORDS
        )


def test_jabberwocky_articles_agree(sentences: list[Words]) -> None:
    for new, old in zip(items("jabberwocky"), sentences, strict=True):
        places = [i for i, word in enumerate(old) if word in ("a", "an")]
        assert [new[i] for i in places] == [
            "an" if new[i + 1][0] in "aeiou" else "a" for i in places
        ]


def test_jabberwocky_takes_the_nonwords_of_its_own_pair_once(
    script: ModuleType, sentences: list[Words]
) -> None:
    for new, old, string in zip(items("jabberwocky"), sentences, items("negative"), strict=True):
        free = list(string)
        for a, b in zip(new, old, strict=True):
            if b not in script.FUNCTION_WORDS:
                ending = script.ending_of(b)
                source = next(word for word in free if script.inflect(word, ending) == a)
                free.remove(source)


def test_jabberwocky_keeps_the_endings(script: ModuleType, sentences: list[Words]) -> None:
    endings: Counter[str] = Counter()
    for new, old in zip(items("jabberwocky"), sentences, strict=True):
        for a, b in zip(new, old, strict=True):
            ending = "" if b in script.FUNCTION_WORDS else script.ending_of(b)
            assert a.endswith(ending)
            endings[ending] += 1
    assert min(endings[ending] for ending in ("s", "ed", "ing", "ly")) > 30


def test_jabberwocky_words_are_in_no_word_list(script: ModuleType, sentences: list[Words]) -> None:
    """As for the strings: four letters and more in none, shorter ones rare."""
    from wordfreq import zipf_frequency

    found = {
        a
        for new, old in zip(items("jabberwocky"), sentences, strict=True)
        for a, b in zip(new, old, strict=True)
        if b not in script.FUNCTION_WORDS
    }
    zipf = {word: zipf_frequency(word, "en", wordlist="large") for word in found}
    assert {len(word) for word in found if zipf[word] > 0} == {3}
    assert max(zipf.values()) < 2.5
    assert not any(re.search("fuck|f.kk|f.ck|shit|cunt|effing", word) for word in found)


def test_the_length_of_jabberwocky_words(script: ModuleType, sentences: list[Words]) -> None:
    longer = [
        len(a) - len(b)
        for new, old in zip(items("jabberwocky"), sentences, strict=True)
        for a, b in zip(new, old, strict=True)
        if b not in script.FUNCTION_WORDS
    ]
    assert sum(d == 0 for d in longer) / len(longer) > 0.7
    assert sum(abs(d) <= 1 for d in longer) / len(longer) > 0.9


@pytest.mark.parametrize(
    ("word", "ending"),
    [
        ("thumbs", "s"),
        ("taxis", "s"),
        ("glass", ""),
        ("octopus", ""),
        ("always", ""),
        ("pressed", "ed"),
        ("red", ""),
        ("running", "ing"),
        ("spring", ""),
        ("softly", "ly"),
        ("family", ""),
        ("older", "er"),
        ("river", ""),
        ("smallest", "est"),
        ("forest", ""),
    ],
)
def test_endings_are_told_from_what_looks_like_them(
    script: ModuleType, word: str, ending: str
) -> None:
    assert script.ending_of(word) == ending


@pytest.mark.parametrize(
    ("stem", "ending", "expected"),
    [
        ("fult", "", "fult"),
        ("fult", "s", "fults"),
        ("dorex", "s", "dorexes"),
        ("graty", "s", "graties"),
        ("fistes", "s", "fistes"),
        ("phimate", "ed", "phimated"),
        ("jop", "ed", "jopped"),
        ("cax", "ed", "caxed"),
        ("graty", "ed", "gratied"),
        ("graty", "ing", "gratying"),
        ("kebing", "ing", "kebing"),
        ("jop", "ing", "jopping"),
        ("graty", "ly", "gratily"),
        ("odell", "ly", "odelly"),
        ("zin", "est", "zinnest"),
    ],
)
def test_endings_are_spelled_as_in_english(
    script: ModuleType, stem: str, ending: str, expected: str
) -> None:
    assert script.inflect(stem, ending) == expected


def test_what_cannot_be_built_is_refused(script: ModuleType) -> None:
    words = ["the", "boy"]
    both = script.Shuffler([words, words[::-1]], script.random.Random(0))
    one = script.Shuffler([words], script.random.Random(0))
    assert one.shuffle(words, ["a"]) == ["boy", "the"]
    for shuffler, last in ((both, "a"), (one, "girl")):
        with pytest.raises(ValueError, match="no order of 'the boy'"):
            shuffler.shuffle(words, [last])
    pair = script.Pair("001", ["the", "boy"], ["zem", "jop"])
    with pytest.raises(ValueError, match="no nonword for each content word of 'the boy'"):
        script.disguise(pair, lambda _: False)


def test_a_rerun_gives_the_same_bytes() -> None:
    pytest.importorskip("wordfreq")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--check"],
        env={**os.environ, "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_check_finds_a_difference(
    script: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(script, "ROOT", tmp_path)
    monkeypatch.setattr(script, "FURTHER", tmp_path / "further.csv")
    monkeypatch.setattr(script, "build", lambda _: "built\n")
    monkeypatch.setattr("sys.argv", ["build_language_further.py", "--check"])
    assert script.main() == 1
    assert "further.csv differs" in capsys.readouterr().out
    assert not (tmp_path / "further.csv").exists()
    monkeypatch.setattr("sys.argv", ["build_language_further.py"])
    assert script.main() == 0
    assert (tmp_path / "further.csv").read_bytes() == b"built\n"
    monkeypatch.setattr("sys.argv", ["build_language_further.py", "--check"])
    assert script.main() == 0


def test_describe_prints_a_row_per_condition() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / "describe.py"), str(DATA / "language-further.csv")],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [row.split(" | ")[1:4] for row in done.stdout.splitlines()[2:]]
    assert rows == [[f"further:{name}", "240", "12.0 (12-12)"] for name in CONDITIONS]
