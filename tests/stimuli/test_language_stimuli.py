"""The rules that the language stimuli obey, tested on the file that ships."""

from __future__ import annotations

import csv
import importlib.util
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
LANGUAGE = ROOT / "src" / "lsns" / "stimuli" / "data" / "language.csv"
SCRIPTS = ROOT / "scripts" / "stimuli"
PUBLISHED = ROOT.parent / "shared" / "data" / "langloc"
ITEM = re.compile(r"[a-z]+(?: [a-z]+){11}")

# Words of grammar and of everyday reference, which any set of sentences repeats.
FREQUENT = (
    "a about after again all an and any anyone are as at be because been before being both but by"
    " can could did do does down each every everything for from had has have having he her him his"
    " how i if in into is it its last left many may me might more most much must my never no nobody"
    " none not nothing of off often on once one only or other our out over people she should since"
    " so some somebody someone still such than that the their them there these they this those"
    " three through to too two under unless until up us very was we were what when where whether"
    " which while who whole whom why will with without would you your"
)
FUNCTION_WORDS = frozenset(FREQUENT.split())


def read_rows() -> list[dict[str, str]]:
    with LANGUAGE.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def load_script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def sentences() -> list[str]:
    return [row["text"] for row in read_rows() if row["condition"] == "positive"]


@pytest.fixture(scope="module")
def strings() -> list[str]:
    return [row["text"] for row in read_rows() if row["condition"] == "negative"]


def windows(text: str, size: int) -> Iterator[tuple[str, ...]]:
    words = text.split()
    return (tuple(words[i : i + size]) for i in range(len(words) - size + 1))


def test_rows_come_pair_by_pair() -> None:
    rows = read_rows()
    pairs = [(row["group"], row["condition"]) for row in rows]
    conditions = ("positive", "negative")
    assert list(rows[0]) == ["text", "condition", "group"]
    assert pairs == [(f"{n:03d}", condition) for n in range(1, 241) for condition in conditions]


def test_items_are_twelve_lower_case_words() -> None:
    assert [row["text"] for row in read_rows() if not ITEM.fullmatch(row["text"])] == []


def test_no_item_occurs_twice() -> None:
    texts = [row["text"] for row in read_rows()]
    assert len(set(texts)) == len(texts)


def test_nonwords_are_as_long_as_the_words(sentences: list[str], strings: list[str]) -> None:
    lengths = [[len(word) for word in text.split()] for text in sentences]
    assert lengths == [[len(word) for word in text.split()] for text in strings]


def test_sentences_open_differently(sentences: list[str]) -> None:
    openings = [tuple(sentence.split()[:3]) for sentence in sentences]
    assert len(set(openings)) == len(openings)
    assert max(Counter(opening[0] for opening in openings).values()) <= 30


def test_no_content_word_is_overused(sentences: list[str]) -> None:
    uses = Counter(word for sentence in sentences for word in set(sentence.split()))
    assert [w for w, n in uses.items() if n > 6 and w not in FUNCTION_WORDS] == []


def test_long_nonwords_are_used_once(strings: list[str]) -> None:
    uses = Counter(word for text in strings for word in text.split() if len(word) >= 4)
    assert [word for word, n in uses.items() if n > 1] == []


@pytest.mark.parametrize("length", [1, 2, 3])
def test_short_nonwords_are_used_evenly(strings: list[str], length: int) -> None:
    uses = Counter(word for text in strings for word in text.split() if len(word) == length)
    assert max(uses.values()) - min(uses.values()) <= 1


def test_no_word_of_the_sentences_is_a_nonword(sentences: list[str], strings: list[str]) -> None:
    assert set(" ".join(sentences).split()).isdisjoint(" ".join(strings).split())


def test_long_nonwords_are_in_no_word_list(strings: list[str]) -> None:
    wordfreq = pytest.importorskip("wordfreq")
    words = {word for text in strings for word in text.split() if len(word) >= 4}
    zipf = {w: wordfreq.zipf_frequency(w, "en", wordlist="large") for w in words}
    assert sorted(word for word, value in zipf.items() if value > 0) == []


@pytest.mark.parametrize(("length", "limit"), [(2, 3.75), (3, 2.5)])
def test_short_nonwords_are_rare(strings: list[str], length: int, limit: float) -> None:
    wordfreq = pytest.importorskip("wordfreq")
    words = {word for text in strings for word in text.split() if len(word) == length}
    assert max(wordfreq.zipf_frequency(w, "en", wordlist="large") for w in words) < limit


def test_the_file_is_what_the_script_writes() -> None:
    pytest.importorskip("wordfreq")
    script = load_script("build_language")
    assert script.build(script.read_sentences()).encode("utf-8") == LANGUAGE.read_bytes()


def test_bad_sentence_files_are_refused(tmp_path: Path, sentences: list[str]) -> None:
    pytest.importorskip("wordfreq")
    script = load_script("build_language")
    file = tmp_path / "sentences.txt"
    for bad in (sentences[:-1], [*sentences[:-1], "too short"], [*sentences[:-1], sentences[0]]):
        file.write_text("\n".join(bad), encoding="utf-8")
        with pytest.raises(ValueError, match=r"sentences\.txt"):
            script.read_sentences(file)


def test_nothing_is_copied_from_the_published_set(sentences: list[str]) -> None:
    files = sorted(PUBLISHED.glob("*.csv"))
    if not files:
        pytest.skip(f"the published stimuli are not at {PUBLISHED}")
    published: set[tuple[str, ...]] = set()
    for path in files:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                text = " ".join(row[f"stim{i}"] for i in range(2, 14)).lower()
                published.update(windows(text, 6))
    assert published
    assert [s for s in sentences if not published.isdisjoint(windows(s, 6))] == []


def test_describe_prints_a_row_per_condition(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["describe.py", str(LANGUAGE)])
    load_script("describe").main()
    rows = capsys.readouterr().out.splitlines()[2:]
    assert [row.split(" | ")[1:4] for row in rows] == [
        ["positive", "240", "12.0 (12-12)"],
        ["negative", "240", "12.0 (12-12)"],
    ]
