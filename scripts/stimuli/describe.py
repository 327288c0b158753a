"""Print a Markdown table of statistics of stimulus files.

Usage: `python scripts/stimuli/describe.py FILE... [--tokenizer FOLDER]`. A file is a CSV with the
columns `text,condition,group`; each of its conditions is one row of the table. Token counts need
`--tokenizer` (special tokens are left out), Zipf frequencies need wordfreq.
"""

from __future__ import annotations

import argparse
import csv
import re
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

CUT = 12  # tokens that are read of an item by default

CountTokens = Callable[[str], int]
Zipf = Callable[[str], float]

HEADER = (
    "file",
    "condition",
    "items",
    "words per item",
    "letters per word",
    "characters per item",
    "tokens per item",
    f"items over {CUT} tokens",
    "Zipf of words",
)


def read_conditions(path: Path) -> dict[str, list[str]]:
    """Read a stimulus file into its texts by condition, in the file's order."""
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames is None or not {"text", "condition"} <= set(reader.fieldnames):
            raise SystemExit(f"{path}: needs the columns text and condition")
        conditions: dict[str, list[str]] = {}
        for row in reader:
            conditions.setdefault(row["condition"], []).append(row["text"])
    return conditions


def words_of(text: str) -> list[str]:
    """Split a text at white space and drop the punctuation around words."""
    stripped = (re.sub(r"^\W+|\W+$", "", part) for part in text.split())
    return [word for word in stripped if word]


def spread(values: Sequence[float]) -> str:
    """Mean and range, such as `12.0 (12-12)`."""
    return f"{statistics.mean(values):.1f} ({min(values)}-{max(values)})"


def token_cells(texts: list[str], count: CountTokens | None) -> tuple[str, str]:
    """Describe the tokens per item and the share of items that the cut shortens."""
    if count is None:
        return "n/a", "n/a"
    counts = [count(text) for text in texts]
    cut = sum(n > CUT for n in counts) / len(counts)
    mean, sd = statistics.mean(counts), statistics.pstdev(counts)
    return f"{mean:.1f}, sd {sd:.1f} ({min(counts)}-{max(counts)})", f"{cut:.1%}"


def describe(texts: list[str], count: CountTokens | None, zipf: Zipf | None) -> list[str]:
    """Give the cells of one condition, from `items` on."""
    words = [words_of(text) for text in texts]
    flat = [word for item in words for word in item]
    return [
        str(len(texts)),
        spread([len(item) for item in words]),
        f"{statistics.mean(len(word) for word in flat):.2f}",
        spread([len(text) for text in texts]),
        *token_cells(texts, count),
        f"{statistics.mean(map(zipf, flat)):.2f}" if zipf else "n/a",
    ]


def load_counter(folder: Path | None) -> CountTokens | None:
    """Make a function that counts tokens; transformers is imported only if it is asked for."""
    if folder is None:
        return None
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    return lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"])


def load_zipf() -> Zipf | None:
    """Make a function that looks up Zipf frequencies, if wordfreq is installed."""
    try:
        from wordfreq import zipf_frequency
    except ImportError:
        return None
    return lambda word: zipf_frequency(word, "en", wordlist="large")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Describe stimulus files in a Markdown table.")
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--tokenizer", type=Path, help="folder of a transformers tokenizer")
    arguments = parser.parse_args()
    count, zipf = load_counter(arguments.tokenizer), load_zipf()
    print(f"| {' | '.join(HEADER)} |")
    print("|" + "---|" * len(HEADER))
    for path in arguments.files:
        for condition, texts in read_conditions(path).items():
            cells = [path.stem, condition, *describe(texts, count, zipf)]
            print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
