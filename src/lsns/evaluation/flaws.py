"""Flaws that published benchmarks have: such items are scored as they are, counted, and said.

Only what cannot be scored stops a run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping

EQUAL = "equal sentences"
BLANKS = "blanks at an end"
SAME = "the sentences of an earlier item"
NAMESAKE = "the name of an earlier item"
CONDITION = "one condition twice"
TIE = "a tie under the intact model"
# What is done about it, where that is no matter of course.
_DONE = {EQUAL: ": a tie", TIE: ": half correct", NAMESAKE: ": numbered", CONDITION: ": the last"}
_BETWEEN = "; "


def counted(flaws: Iterable[str | None], ties: int = 0) -> dict[str, int]:
    """How many items have each flaw; an item with two counts for both.

    Args:
        flaws: the flaws of each item, as `Seen` gives them; None: the item has none.
        ties: number of items without a preference under the intact model.
    """
    found = Counter(flaw for text in flaws if text for flaw in text.split(_BETWEEN))
    return dict(sorted(found.items())) | ({TIE: ties} if ties else {})


def described(counts: Mapping[str, int]) -> str:
    """Counts in words, such as `2 items with equal sentences: a tie`.

    Args:
        counts: number of items with each flaw, from `counted`.
    """
    return ", ".join(
        f"{n} item{'s' * (n != 1)} with {flaw}{_DONE.get(flaw, '')}" for flaw, n in counts.items()
    )


class Seen:
    """The items of a paradigm that were read: tells those of one name apart, and finds flaws."""

    def __init__(self) -> None:
        self._times: Counter[str] = Counter()
        self._names: set[str] = set()
        self._contents: set[Hashable] = set()

    def __call__(
        self, name: str, content: Hashable, flaws: Mapping[str, bool]
    ) -> tuple[str, str | None]:
        """A name that no earlier item has, and the item's flaws as a text; None: it has none.

        Args:
            name: what the file calls the item; the second `3` becomes `3 (2)`.
            content: the item's sentences.
            flaws: whether the item has each flaw that it can have by itself.
        """
        made = name
        while made in self._names:
            self._times[name] += 1
            made = f"{name} ({self._times[name] + 1})"
        found = {**flaws, SAME: content in self._contents, NAMESAKE: made != name}
        self._names.add(made)
        self._contents.add(content)
        return made, _BETWEEN.join(flaw for flaw, there in found.items() if there) or None
