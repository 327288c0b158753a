"""Build `language.csv`: 240 sentences, each paired with a string of nonwords.

The sentences are read from `sentences.txt`; the nonwords are made here. Every nonword has as many
letters as the sentence's word at the same position.

Method. The frequent English words of `wordfreq` (Zipf >= 3.5, letters a-z only) are split into
clusters of consonants and of vowels: `^ str ea m $`. How many words have each pair of neighbouring
clusters gives a first-order Markov chain, word edges (`^`, `$`) included, so a nonword starts,
continues and ends only with clusters that many English words have at that place. A chain walk is
kept if it is in no wordfreq entry, is not near a frequent word (see `is_wordlike`) and was not used
before. Nearly every string of two or three letters is attested somewhere, so there the rarest
English-like ones are used over and over, in equal shares.

Needs wordfreq 3.1.1 (development only). `--check` writes nothing and exits 1 if the file on disk
differs from what would be written.
"""

from __future__ import annotations

import argparse
import csv
import io
import random
import re
import sys
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from wordfreq import get_frequency_dict, zipf_frequency

ROOT = Path(__file__).resolve().parents[2]
SENTENCES = Path(__file__).with_name("sentences.txt")
TARGET = ROOT / "src" / "lsns" / "stimuli" / "data" / "language.csv"

SEED = 20100
N_SENTENCES = 240
WORDS_PER_SENTENCE = 12
LEXICON_ZIPF = 3.5
COMMON_ZIPF = 4.5
MIN_TYPES = 20  # a pair of clusters in fewer words is often a name, loanword or acronym

ONE_LETTER = ("e", "o", "u")
SHORT_ZIPF = {2: 3.75, 3: 2.5}  # short strings must be rarer than this
SHORT_SHAPE = {
    2: re.compile(r"[^aeiouy][aeiou]|[aeiou][^aeiouyhjq]"),
    3: re.compile(r"[^aeiouy][aeiou][^aeiouychjqvw]|[aeiou][^aeiouy]e"),
}
# Rare strings of two or three letters that are words, names or word endings all the same.
SHORT_STOP_WORDS = (
    "ax ew om ow ox uh age ale ape ate ave awe axe ere eye fid fib fop gad gip hod hup ice ide ife"
    " ire ise ite ize jib jut kex kip lib lop mog nib nog nub ode ole ose rut sog tog tup tut ude"
    " ule use wen zek zax zed yes yel gex wok jed cud cun dud fug sib yat kil kis"
    " lak mok sak"
)
SHORT_STOP = frozenset(SHORT_STOP_WORDS.split())
# Words that wordfreq lacks, found by reading the output.
UNLISTED_WORDS = frozenset(
    ["axer", "cagy", "certe", "redight", "resay", "scaper", "stert", "stot", "voled", "wared"]
)
UGLY = re.compile(
    "fuc|fuk|fuq|shit|cunt|kunt|cock|coc|kok|dick|dik|piss|pis|puss|cum|kum|tits|titt|nig|fag|rape"
    "|arse|ass|anus|anal|slut|whor|porn|penis|vag|wank|twat|sex|turd|crap|damn|boob|butt|pube|homo"
    "|nazi|kike|spic|gook|coon|chink|dyke|gay|jew|negr|semen|scrot|orgas|poo|pee|suck|bitc|paki|wog|wop|jap|zit|shat"
    "|tard|prick|sperm|feces|rectu|vulv|urin"
)
AWKWARD = re.compile(r"(..)\1|[aeiou]{3}|^(tion|sion)|uu|ii|iy|^[aeiou]{2}")


def segments(word: str) -> list[str]:
    """Split a word into its clusters, with `Q` for `qu`; y is a vowel unless before a vowel."""
    pattern = r"(?:[aeiou]|(?<!^)y(?![aeiou]))+|(?:[^aeiouy]|y(?=[aeiou])|^y)+"
    return re.findall(pattern, word.replace("qu", "Q"))


def english_words(lowest_zipf: float) -> list[str]:
    """List the a-z words of wordfreq's large list at or above a Zipf frequency, sorted."""
    words = (w for w in get_frequency_dict("en", "large") if re.fullmatch("[a-z]+", w))
    return sorted(w for w in words if zipf(w) >= lowest_zipf)


def zipf(word: str) -> float:
    """Frequency of a word, log10 per billion words."""
    return zipf_frequency(word, "en", wordlist="large")


class Speller:
    """Spells English-like strings by walking the chain of letter clusters."""

    def __init__(self, words: Iterable[str], rng: random.Random) -> None:
        self.rng = rng
        pairs: Counter[tuple[str, str]] = Counter()
        for word in words:
            path = ["^", *segments(word), "$"]
            pairs.update(pairwise(path))
        self.next: dict[str, dict[str, int]] = {}
        # Sorted, so that the draws do not depend on the order in which words were counted.
        for (left, right), count in sorted(pairs.items()):
            if count >= MIN_TYPES:
                self.next.setdefault(left, {})[right] = count

    def spell(self) -> str:
        """Walk once from `^` to `$`; a dead end gives an empty string."""
        path = ["^"]
        while path[-1] != "$":
            options = self.next.get(path[-1])
            if options is None:
                return ""
            path += self.rng.choices(list(options), weights=list(options.values()))
        return "".join(path[1:-1]).replace("Q", "qu")


def one_letter_changes(word: str) -> set[str]:
    """Patterns that two words share exactly if one differs from the other in at most one letter."""
    return {f"{word[:i]}?{word[i + 1 :]}" for i in range(len(word))}


class Lexicon:
    """Tells strings that look too much like English words, or like nothing printable."""

    def __init__(self, words: Iterable[str]) -> None:
        self.words = frozenset(words)
        self.common = frozenset(w for w in self.words if len(w) >= 4 and zipf(w) >= COMMON_ZIPF)
        long_words = (w for w in self.words if len(w) >= 6)
        self.near = frozenset(p for w in long_words for p in one_letter_changes(w))

    def is_wordlike(self, text: str) -> bool:
        """Whether text holds a word of 5+ letters, opens with a common one or is one letter off."""
        cuts = ((i, j) for i in range(len(text)) for j in range(i + 5, len(text) + 1))
        return (
            any(text[i:j] in self.words for i, j in cuts)
            or text[:4] in self.common
            or not self.near.isdisjoint(one_letter_changes(text))
        )

    def is_nonword(self, text: str) -> bool:
        """Whether text may serve as a nonword of four or more letters."""
        bad_form = UGLY.search(text) or AWKWARD.search(text)
        listed = text in UNLISTED_WORDS or zipf(text) > 0
        return not bad_form and not listed and not self.is_wordlike(text)


def long_nonwords(need: Counter[int], speller: Speller, lexicon: Lexicon) -> dict[int, list[str]]:
    """Make as many different nonwords of each length >= 4 as needed."""
    made: dict[int, list[str]] = {length: [] for length in need if length >= 4}
    used: set[str] = set()
    missing = sum(need[length] for length in made)
    while missing:
        text = speller.spell()
        bucket = made.get(len(text))
        if bucket is None or len(bucket) == need[len(text)] or text in used:
            continue
        if lexicon.is_nonword(text):
            bucket.append(text)
            used.add(text)
            missing -= 1
    return made


def short_nonwords(speller: Speller) -> dict[int, list[str]]:
    """List the usable strings of one to three letters that the chain can spell."""
    spelled = {speller.spell() for _ in range(200_000)}
    short = {n: sorted(s for s in spelled if is_short_nonword(s, n)) for n in SHORT_ZIPF}
    return {1: list(ONE_LETTER), **short}


def is_short_nonword(text: str, length: int) -> bool:
    """Whether text of two or three letters has a plain syllable shape and is rare enough."""
    if len(text) != length or not SHORT_SHAPE[length].fullmatch(text) or text in SHORT_STOP:
        return False
    return not UGLY.search(text) and zipf(text) < SHORT_ZIPF[length]


class Dealer:
    """Deals nonwords of asked lengths: long ones once each, short ones in equal shares."""

    def __init__(self, pools: dict[int, list[str]], rng: random.Random) -> None:
        self.pools = pools
        self.rng = rng
        self.uses: Counter[str] = Counter()

    def deal(self, length: int, taken: list[str]) -> str:
        """Give a least-used nonword of this length that the string does not yet hold."""
        free = [w for w in self.pools[length] if w not in taken] or self.pools[length]
        fewest = min(self.uses[w] for w in free)
        choice = self.rng.choice([w for w in free if self.uses[w] == fewest])
        self.uses[choice] += 1
        return choice

    def string_like(self, sentence: str) -> str:
        """Make the nonword string whose lengths follow the sentence's words."""
        taken: list[str] = []
        for word in sentence.split():
            taken.append(self.deal(len(word), taken))
        return " ".join(taken)


def read_sentences(path: Path = SENTENCES) -> list[str]:
    """Read the sentences, refusing a file that breaks the rules of the set."""
    sentences = path.read_text(encoding="utf-8").splitlines()
    if len(sentences) != N_SENTENCES or len(set(sentences)) != N_SENTENCES:
        raise ValueError(f"{path.name}: expected {N_SENTENCES} different sentences")
    for line in sentences:
        if not re.fullmatch(rf"[a-z]+(?: [a-z]+){{{WORDS_PER_SENTENCE - 1}}}", line):
            raise ValueError(f"{path.name}: not {WORDS_PER_SENTENCE} lower-case words: {line!r}")
    return sentences


def build(sentences: list[str]) -> str:
    """Give the text of the CSV: sentence and nonword string of each pair, one after the other."""
    rng = random.Random(SEED)
    words = english_words(LEXICON_ZIPF)
    speller = Speller(words, rng)
    need = Counter(len(word) for sentence in sentences for word in sentence.split())
    pools = short_nonwords(speller) | long_nonwords(need, speller, Lexicon(words))
    dealer = Dealer(pools, rng)
    rows = [("text", "condition", "group")]
    for number, sentence in enumerate(sentences, start=1):
        rows.append((sentence, "positive", f"{number:03d}"))
        rows.append((dealer.string_like(sentence), "negative", f"{number:03d}"))
    return to_csv(rows)


def to_csv(rows: list[tuple[str, str, str]]) -> str:
    """The rows as CSV."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


def main() -> int:
    """Build the file, or compare."""
    parser = argparse.ArgumentParser(description="Build the language stimuli.")
    parser.add_argument("--check", action="store_true", help="only compare with the file on disk")
    check_only = parser.parse_args().check
    content = build(read_sentences()).encode("utf-8")
    if not check_only:
        TARGET.parent.mkdir(parents=True, exist_ok=True)
        TARGET.write_bytes(content)
    elif not TARGET.exists() or TARGET.read_bytes() != content:
        print(f"{TARGET.relative_to(ROOT)} differs from what build_language.py writes")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
