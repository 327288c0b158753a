"""Texts of a model, a file or a user: with what is not seen in them written out, and cut short."""

from __future__ import annotations

import unicodedata

# Characters of a name beside axes, in a hover label, in a sentence or in a cell of a table.
LONGEST_NAME, LONGEST_HOVER, LONGEST_WORDS = 44, 80, 200
# Format characters that are letters' company and are drawn, or join what is drawn.
_JOINING = {"\u200c", "\u200d"}
_DRAWN = {*map(chr, range(0x600, 0x606)), "\u06dd", "\u070f", "\u0890", "\u0891", "\u08e2"}
_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def visible_text(text: str) -> str:
    """The text with characters that are not seen, or that turn others around, written out.

    >>> visible_text("a" + chr(0x202E) + "b")
    'a⟨U+202E⟩b'

    Line feeds and tabs stay, and so do the joiners that scripts and emoji need.
    """
    return text.translate({ord(c): f"⟨U+{ord(c):04X}⟩" for c in set(text) if _is_hidden(c)})


def _is_hidden(character: str) -> bool:
    kept = character in "\n\t" or character in _JOINING or character in _DRAWN
    return not kept and unicodedata.category(character) in _HIDDEN


def shorten(text: str, length: int = LONGEST_WORDS) -> str:
    """One visible line of at most `length` characters."""
    line = " ".join(visible_text(text[: 4 * length]).split())
    whole = len(line) <= length and len(text) <= 4 * length
    return line if whole else line[: length - 1].rstrip() + "…"


def shorten_middle(text: str, length: int = LONGEST_WORDS) -> str:
    """One visible line of a name that differs from others at its end, as those of parts do.

    >>> shorten_middle("a very long name of stimuli@1 outliers", 26)
    'a very long…li@1 outliers'
    """
    line = " ".join(visible_text(text).split())
    if len(line) <= length:
        return line
    end = length // 2
    return f"{line[: length - end - 1].rstrip()}…{line[-end:].lstrip()}"
