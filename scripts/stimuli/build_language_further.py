"""Build `language-further.csv`: three further conditions out of the pairs of `language.csv`.

- `scrambled`: the words of each sentence in another order.
- `word-lists`: the words of all sentences, dealt so that no list has two words of one sentence.
- `jabberwocky`: each sentence with its content words replaced by nonwords of its own pair, whose
  inflectional endings they take over.

In the first two, no two neighbours are neighbours in that order in any of the sentences, no word
stands beside itself, and as many texts end in a content word as sentences do.

A text that is made from one sentence has the group of that sentence. Word lists have none.

Needs wordfreq 3.1.1 (development only). `--check` writes nothing and exits 1 if the file on disk
differs from what would be written.
"""

from __future__ import annotations

import argparse
import csv
import random
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from build_language import LEXICON_ZIPF, ROOT, TARGET, Lexicon, english_words, to_csv
from scipy.optimize import linear_sum_assignment

FURTHER = TARGET.with_name("language-further.csv")
SEED = 20264
SHUFFLES = 100_000

Words = list[str]
Row = tuple[str, str, str]

# The closed classes of the sentences: what jabberwocky keeps.
FUNCTION = {
    "determiners and quantifiers": "a an the this that these those my your his her its our their"
    " all another any both each either enough every few half less many more most much neither no"
    " none one other others own same several such",
    "pronouns": "i me you he him she it we us they them herself anybody anyone everybody"
    " everything nobody nothing somebody someone something what whatever whatsoever which who"
    " whoever whom",
    "verbs": "are be been being is was were do does did had has have having can could may might"
    " must ought should used will would",
    "prepositions and particles": "about above across after against along among around as at"
    " before behind beneath beside between by down during for from in inside into like of off on"
    " onto out outside over since than through to towards under until up with within without",
    "conjunctions": "although and because but if nor or though unless whether while",
    "adverbs": "again else ever everywhere here how just never not now once only quite"
    " rather so somewhere still there too very when whenever where why yet",
}
FUNCTION_WORDS = frozenset(" ".join(FUNCTION.values()).split())

# Content words that look inflected and are not, or whose ending is no inflection.
UNINFLECTED_WORDS = (
    "bed red bring evening lightning morning ring spring thing wedding always news perhaps upstairs"
    " early family friendly jelly likely silly"
)
UNINFLECTED = frozenset(UNINFLECTED_WORDS.split())
COMPARED_WORDS = (
    "busier closer deeper easier faster further harder higher longer older poorer sooner hardest"
    " simplest smallest youngest"
)
COMPARED = frozenset(COMPARED_WORDS.split())
ENDINGS = ("ing", "ed", "ly", "est", "er", "s")
FLAW = 10  # what it costs, in letters, when a nonword is ill suited
STEM_CHANGING = ("ed", "ing", "er", "est")
# A vowel other than e or y before the ending, or a consonant that English does not double there.
HARD_TO_INFLECT = re.compile("[aiou]$|^[^aeiou]*[aeiou][cfhjkqsvz]$")
UNUSABLE = 1e6
SHORTEST = 3  # letters of a nonword for a content word


@dataclass(frozen=True)
class Pair:
    """A sentence and its string of nonwords, as words."""

    group: str
    sentence: Words
    string: Words


def read_pairs(path: Path = TARGET) -> list[Pair]:
    """Read sentence and string of each group, in the order of the file."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    texts = {(row["group"], row["condition"]): row["text"].split() for row in rows}
    groups = list(dict.fromkeys(row["group"] for row in rows))
    return [Pair(group, texts[group, "positive"], texts[group, "negative"]) for group in groups]


# Scrambled sentences and word lists.


class Shuffler:
    """Shuffles words until none has the neighbour that it has in a sentence.

    The last word is of a class, function or content, that is given: the last token may be all
    that is read of a text, and sentences seldom end in a function word.
    """

    def __init__(self, sentences: Iterable[Words], rng: random.Random) -> None:
        self.attested = {pair for sentence in sentences for pair in pairwise(sentence)}
        self.rng = rng

    def shuffle(self, words: Words, like: Words) -> Words:
        """Give an order that ends like another text, every fitting one being equally likely."""
        for _ in range(SHUFFLES):
            order = self.rng.sample(words, len(words))
            alike = (order[-1] in FUNCTION_WORDS) == (like[-1] in FUNCTION_WORDS)
            if alike and not any(a == b or (a, b) in self.attested for a, b in pairwise(order)):
                return order
        raise ValueError(f"no order of {' '.join(words)!r} without neighbours of a sentence")


def deal(sentences: list[Words], rng: random.Random) -> list[Words]:
    """Deal every word to a list, no two words of a sentence to the same one.

    The sentences stand in a circle in random order, each a shuffled deck of its words. For its
    first word a list reaches a number of places ahead, for its second another number, and so on;
    all lists reach alike. Function words lie on top, so that a list has about as many as sentences.
    """
    decks = [rng.sample(sentence, len(sentence)) for sentence in sentences]
    decks = [sorted(deck, key=lambda word: word not in FUNCTION_WORDS) for deck in decks]
    rng.shuffle(decks)
    reaches = rng.sample(range(len(decks)), len(decks[0]))
    return [
        [decks[(i + reach) % len(decks)][place] for place, reach in enumerate(reaches)]
        for i in range(len(decks))
    ]


# Jabberwocky.


def ending_of(word: str) -> str:
    """Name the inflectional ending of a content word, or the `ly` of an adverb; else ``.

    >>> [ending_of(word) for word in ("thumbs", "glass", "pressed", "red", "softly", "river")]
    ['s', '', 'ed', '', 'ly', '']
    """
    if word in UNINFLECTED or (re.search("(ss|us|is)$", word) and word != "taxis"):
        return ""
    found = next((ending for ending in ENDINGS if word.endswith(ending)), "")
    return "" if found in ("er", "est") and word not in COMPARED else found


def inflect(stem: str, ending: str) -> str:
    """Add an ending by the rules of English spelling.

    >>> [inflect(stem, "s") for stem in ("fult", "dorex", "graty")]
    ['fults', 'dorexes', 'graties']
    >>> [inflect(stem, "ed") for stem in ("phimate", "fult", "jop", "graty")]
    ['phimated', 'fulted', 'jopped', 'gratied']
    >>> [inflect(stem, "ing") for stem in ("phimate", "fult", "jop", "graty")]
    ['phimating', 'fulting', 'jopping', 'gratying']
    """
    if not ending or ending_of(stem) == ending:
        return stem
    if ending == "s":
        stem, ending = (stem, "es") if re.search("(s|x|z|ch|sh)$", stem) else (stem, "s")
    elif ending == "ly":
        stem = re.sub("ll$", "l", stem)
    else:
        stem = re.sub("e$", "", stem)
        stem = re.sub("^([^aeiou]*[aeiou])([bdglmnprt])$", r"\1\2\2", stem)
    if ending != "ing":
        stem = re.sub("(?<=[^aeiou])y$", "ie" if ending == "s" else "i", stem)
    return stem + ending


def misfit(word: str, nonword: str) -> int:
    """Count the letters by which the inflected nonword misses the word's length, and flaws."""
    ending, own = ending_of(word), ending_of(nonword)
    flaws = [
        len(nonword) < SHORTEST,
        own not in ("", ending),
        ending in STEM_CHANGING and HARD_TO_INFLECT.search(nonword) is not None,
    ]
    return abs(len(inflect(nonword, ending)) - len(word)) + FLAW * sum(flaws)


def disguise(pair: Pair, is_nonword: Callable[[str], bool]) -> Words:
    """Replace the content words by nonwords of the pair's string, those that fit best in sum."""
    words = list(pair.sentence)
    content = [i for i, word in enumerate(words) if word not in FUNCTION_WORDS]
    table = [costs(i, pair, is_nonword) for i in content]
    for k, j in zip(*linear_sum_assignment(table), strict=True):
        if table[k][j] == UNUSABLE:
            raise ValueError(f"no nonword for each content word of {' '.join(words)!r}")
        i = content[k]
        words[i] = inflect(pair.string[j], ending_of(words[i]))
    return agree(words)


def costs(i: int, pair: Pair, is_nonword: Callable[[str], bool]) -> list[float]:
    """Give what each nonword of the pair's string costs in place of word i of its sentence."""
    word = pair.sentence[i]
    # Squared, so that no word pays for the others; among equals, what stands near its own place.
    return [
        misfit(word, nonword) ** 2 + abs(i - j) / 1000
        if is_nonword(inflect(nonword, ending_of(word)))
        else UNUSABLE
        for j, nonword in enumerate(pair.string)
    ]


def agree(words: Words) -> Words:
    """Make `a` or `an` of each indefinite article, by the letter that follows it.

    >>> agree(["a", "olon", "an", "fult"])
    ['an', 'olon', 'a', 'fult']
    """
    following = [*words[1:], ""]
    return [
        ("an" if after[:1] in set("aeiou") else "a") if word in ("a", "an") else word
        for word, after in zip(words, following, strict=True)
    ]


# The file.


def build(pairs: list[Pair]) -> str:
    """Give the text of the CSV: one condition after the other, in the order of the sentences."""
    rng = random.Random(SEED)
    sentences = [pair.sentence for pair in pairs]
    shuffler = Shuffler(sentences, rng)
    lexicon = Lexicon(english_words(LEXICON_ZIPF))
    used = {word for pair in pairs for word in pair.string}

    def is_nonword(text: str) -> bool:
        return text in used or lexicon.is_nonword(text)

    rows: list[Row] = [("text", "condition", "group")]
    for pair in pairs:
        rows.append(row("scrambled", shuffler.shuffle(pair.sentence, pair.sentence), pair.group))
    for words, sentence in zip(deal(sentences, rng), sentences, strict=True):
        rows.append(row("word-lists", shuffler.shuffle(words, sentence)))
    rows += [row("jabberwocky", disguise(pair, is_nonword), pair.group) for pair in pairs]
    return to_csv(rows)


def row(condition: str, words: Words, group: str = "") -> Row:
    """Make the row of a text."""
    return " ".join(words), f"further:{condition}", group


def main() -> int:
    """Build the file, or compare."""
    parser = argparse.ArgumentParser(description="Build the further conditions of language.")
    parser.add_argument("--check", action="store_true", help="only compare with the file on disk")
    check_only = parser.parse_args().check
    content = build(read_pairs()).encode("utf-8")
    if not check_only:
        FURTHER.write_bytes(content)
    elif not FURTHER.exists() or FURTHER.read_bytes() != content:
        print(f"{FURTHER.relative_to(ROOT)} differs from what {Path(__file__).name} writes")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
