"""Build `minimal_pairs.jsonl`: minimal pairs, 80 for each phenomenon of `minimal_pairs.yaml`.

The grammar. `vocabulary` has lists of entries, parted by `;`. An entry has one text for each of the
list's `forms`, parted by `,`; of texts parted by `/` one is drawn. A template is one pair: `{list}`
or `{list.form}` is a slot (`{list2.form}` a second entry of the list), and `[x|y]` is x in the good
sentence and y in the bad one. The templates of a group are filled together, time and again, and the
groups of a phenomenon take turns. Slots named in `shared` have the same entry throughout a group,
which is how contrasts are mirrored: what is good in one pair is bad in the next.

Entries are drawn like cards from a shuffled deck, so that all of a list are used about equally
often. `--check` writes nothing and exits 1 if the file on disk differs from what would be written.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
SOURCE = Path(__file__).with_name("minimal_pairs.yaml")
TARGET = ROOT / "src" / "lsns" / "evaluation" / "data" / "minimal_pairs.jsonl"

SEED = 20251
PAIRS = 80
ATTEMPTS = 1000

SLOT = re.compile(r"\{(?P<key>(?P<list>[a-z_]+)\d?)(?:\.(?P<form>[a-z_]+))?\}")
CONTRAST = re.compile(r"\[([^|\]]*)\|([^|\]]*)\]")

Forms = dict[str, str]  # form -> text; the only form of a list without forms is ""
Vocabulary = Mapping[str, Sequence[Forms]]
Pair = tuple[str, str]


class Deck:
    """The entries of a list in shuffled order, shuffled anew whenever they run out."""

    def __init__(self, entries: Sequence[Forms], rng: random.Random) -> None:
        self.entries, self.rng = entries, rng
        self.pile: list[int] = []

    def draw(self, taken: set[int]) -> int:
        """Draw the index of an entry that is not among those taken."""
        free = next((index for index in self.pile if index not in taken), None)
        if free is None:
            self.pile += self.rng.sample(range(len(self.entries)), len(self.entries))
            return self.draw(taken)
        self.pile.remove(free)
        return free

    def read(self, index: int) -> Forms:
        """Return the forms of an entry, with one text drawn where there are several."""
        forms = self.entries[index]
        return {form: self.rng.choice(text.split("/")) for form, text in forms.items()}


class Writer:
    """Fills the templates of one phenomenon."""

    def __init__(self, vocabulary: Vocabulary, rng: random.Random) -> None:
        self.decks = {name: Deck(entries, rng) for name, entries in vocabulary.items()}

    def fill(self, templates: Sequence[str], shared: Sequence[str]) -> list[Pair]:
        """Fill the templates of a group once."""
        common = self.draw([key for key in slots("".join(templates)) if key in shared], {})
        return [split(write(text, self.draw(slots(text), common))) for text in templates]

    def draw(
        self, keys: Sequence[str], given: Mapping[str, tuple[int, Forms]]
    ) -> dict[str, tuple[int, Forms]]:
        """Draw an entry for each key that has none; keys of one list get different entries."""
        drawn = dict(given)
        for key in keys:
            if key not in drawn:
                deck = self.decks[list_of(key)]
                taken = {i for other, (i, _) in drawn.items() if list_of(other) == list_of(key)}
                index = deck.draw(taken)
                drawn[key] = index, deck.read(index)
        return drawn


def list_of(key: str) -> str:
    """Return the vocabulary list of a slot: `person` of `person2`."""
    return key.rstrip("0123456789")


def slots(text: str) -> list[str]:
    """List the slots of a template, each once, in order."""
    return list(dict.fromkeys(match["key"] for match in SLOT.finditer(text)))


def write(template: str, drawn: Mapping[str, tuple[int, Forms]]) -> str:
    """Put the drawn texts into a template."""
    return SLOT.sub(lambda match: drawn[match["key"]][1][match["form"] or ""], template)


def split(text: str) -> Pair:
    """Return the good and the bad sentence of a filled template."""
    good, bad = CONTRAST.sub(r"\1", text), CONTRAST.sub(r"\2", text)
    return good[0].upper() + good[1:], bad[0].upper() + bad[1:]


def parse_list(source: Any) -> list[Forms]:
    """Read a vocabulary list: its entries, or its forms and entries."""
    forms, entries = "", source
    if isinstance(source, dict):
        forms, entries = source["forms"], source["entries"]
    names = [name.strip() for name in forms.split(",")]
    rows = [[text.strip() for text in entry.split(",")] for entry in entries.split(";")]
    return [dict(zip(names, row, strict=True)) for row in rows]


def write_phenomenon(
    phenomenon: Mapping[str, Any], vocabulary: Vocabulary, seen: set[str]
) -> list[Pair]:
    """Return the pairs of a phenomenon; their sentences are not among those seen, and join them."""
    writer = Writer(vocabulary, random.Random(f"{SEED} {phenomenon['uid']}"))
    pairs: list[Pair] = []
    for templates in cycle(phenomenon["groups"]):
        if len(pairs) >= PAIRS:
            return pairs
        pairs += fill_new(writer, templates, phenomenon.get("shared", []), seen)
    raise ValueError(f"{phenomenon['uid']} has no templates")


def fill_new(
    writer: Writer, templates: Sequence[str], shared: Sequence[str], seen: set[str]
) -> list[Pair]:
    """Fill a group with sentences that are not among those seen, and add them there."""
    for _ in range(ATTEMPTS):
        pairs = writer.fill(templates, shared)
        sentences = {sentence for pair in pairs for sentence in pair}
        if len(sentences) == 2 * len(pairs) and not sentences & seen:
            seen |= sentences
            return pairs
    raise ValueError(f"too few words for {templates[0]}")


def records(grammar: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """Yield the pairs of all phenomena."""
    vocabulary = {name: parse_list(source) for name, source in grammar["vocabulary"].items()}
    seen: set[str] = set()
    for phenomenon in grammar["phenomena"]:
        pairs = write_phenomenon(phenomenon, vocabulary, seen)
        for number, (good, bad) in enumerate(pairs):
            yield {
                "sentence_good": good,
                "sentence_bad": bad,
                "UID": phenomenon["uid"],
                "field": phenomenon["field"],
                "pairID": str(number),
            }


def build() -> bytes:
    """Return the bytes of the file."""
    grammar = yaml.safe_load(SOURCE.read_text(encoding="utf-8"))
    lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records(grammar)]
    return "".join(lines).encode("utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the file, or with --check only compare it."""
    parser = argparse.ArgumentParser(description="Build minimal_pairs.jsonl.")
    parser.add_argument("--check", action="store_true", help="exit 1 if the file differs")
    check: bool = parser.parse_args(arguments).check
    data = build()
    if not check:
        TARGET.parent.mkdir(parents=True, exist_ok=True)
        TARGET.write_bytes(data)
    elif not TARGET.is_file() or TARGET.read_bytes() != data:
        print(f"{TARGET.name} differs from what {Path(__file__).name} builds", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
