"""What else differs between the conditions: length, tokens, cuts, special tokens, frequency."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float

from lsns.audits.selectivity import hedges_g
from lsns.stimuli.contrast import Contrast
from lsns.table import Column

Array = np.ndarray[Any, Any]
# A difference of half a standard deviation can be seen with the bare eye: a medium effect in
# "A power primer" (https://doi.org/10.1037/0033-2909.112.1.155).
MEDIUM = 0.5


@dataclass(frozen=True)
class Confound:
    """Something of the texts, in both conditions.

    Attributes:
        measure: name of what is measured.
        positive: mean over positive items.
        negative: mean over negative items.
        g: Hedges' g; None where neither condition varies and they differ: they are apart.
        low: lower end of the 95% interval of g; None where g is.
        high: upper end of it; None where g is.
    """

    columns: ClassVar = (
        Column("measure"),
        Column("positive", "{positive:.2f}"),
        Column("negative", "{negative:.2f}"),
        Column("g", "{g:+.2f}", "apart"),
        Column("95%", "{low:+.2f} to {high:+.2f}"),
        Column("", lambda row: "differs" if row.differs else ""),
    )

    measure: str
    positive: float
    negative: float
    g: float | None
    low: float | None
    high: float | None

    @property
    def differs(self) -> bool:
        """Whether the difference is medium or larger."""
        return self.g is None or abs(self.g) >= MEDIUM


def audit_confounds(
    contrast: Contrast, items: Mapping[str, Sequence[int]], pooling: str
) -> list[Confound]:
    """Compare the conditions in all that can be told from the texts and their tokens.

    Args:
        contrast: stimuli whose texts are compared.
        items: numbers of tokens of each text, as in `Measurement.items`.
        pooling: how tokens became one vector: `last-token`, `mean` or `sum`.
    """
    # A text that is there twice is one text.
    different = np.unique(contrast.firsts)
    positive = different < len(contrast.positive)
    return [
        _compare(name, values[different], positive)
        for name, values in _measures(contrast, items, pooling)
    ]


def _measures(
    contrast: Contrast, items: Mapping[str, Sequence[int]], pooling: str
) -> Iterator[tuple[str, Array]]:
    read, whole = np.array(items["tokens"], float), np.array(items["whole"], float)
    words = np.array([len(text.split()) for text in contrast.texts], float)
    letters = np.array([len(text) for text in contrast.texts], float)
    yield "words", words
    yield "characters", letters
    yield "tokens of the whole text", whole
    yield "tokens read", read
    yield "texts cut short", (whole > read).astype(float)
    yield "tokens per word", whole / words
    if pooling == "last-token":
        yield "pooled token is a special one", np.array(items["ends_special"], float)
    else:
        yield "special tokens among those pooled", np.array(items["special"], float) / read
    frequency = _zipf()
    if frequency is not None:
        yield "word frequency (Zipf)", np.array([frequency(text) for text in contrast.texts])


def _compare(measure: str, values: Float[Array, " n"], positive: Bool[Array, " n"]) -> Confound:
    first, second = values[positive], values[~positive]
    means = float(first.mean()), float(second.mean())
    # The values and not their means, which differ in their last digits.
    if np.ptp(first) == 0 and np.ptp(second) == 0 and first[0] != second[0]:
        return Confound(measure, *means, None, None, None)
    effect = hedges_g(first, second)
    return Confound(measure, *means, effect.g, effect.low, effect.high)


def _zipf() -> Callable[[str], float] | None:
    """The mean frequency of a text's words, log10 per billion words; None without wordfreq."""
    try:
        from wordfreq import zipf_frequency  # pyright: ignore[reportMissingImports]
    except ImportError:
        return None
    return lambda text: float(np.mean([zipf_frequency(word, "en") for word in text.split()]))
