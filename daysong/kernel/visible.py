"""Tells visible text from blank text: characters without ink, alone or together, count as none."""

from __future__ import annotations

import unicodedata

# Spaces, line and paragraph separators, controls, formats, and halves of characters.
_INVISIBLE_CATEGORIES = frozenset({"Zs", "Zl", "Zp", "Cc", "Cf", "Cs"})

# Inclusive ranges that those categories miss: fillers, variation selectors, blank letters and symbols, and code points
# that Unicode reserves as invisible (Default_Ignorable_Code_Point). The categories of reserved code
# points differ between versions of Unicode, and an unassigned one elsewhere may be an emoji newer than ours.
_BLANK_RANGES = (
    (0x034F, 0x034F),  # combining grapheme joiner
    (0x115F, 0x1160),  # Hangul fillers
    (0x17B4, 0x17B5),  # Khmer inherent vowels
    (0x180B, 0x180F),  # Mongolian variation selectors
    (0x2065, 0x2065),
    (0x2800, 0x2800),  # Braille pattern without dots
    (0x3164, 0x3164),  # Hangul filler
    (0xFE00, 0xFE0F),  # variation selectors
    (0xFFA0, 0xFFA0),  # halfwidth Hangul filler
    (0xFDD0, 0xFDEF),  # never characters
    (0xFFF0, 0xFFF8),
    (0xFFFE, 0xFFFF),  # never characters
    (0x16FE4, 0x16FE4),  # Khitan filler
    (0x1D159, 0x1D159),  # musical null notehead
    (0xE0000, 0xE0FFF),  # tags and more variation selectors
)
_BLANK = frozenset(chr(point) for first, last in _BLANK_RANGES for point in range(first, last + 1))

# Characters trimmed from the ends. Not joiners, direction marks, tags and variation selectors, which adjacent
# characters need, such as the emoji of a flag.
_TRIMMED = frozenset("\u00ad\u180e\u200b\u2060\u2800\u3164\ufeff\uffa0")


def is_visible(character: str) -> bool:
    """Return whether a character is visible by itself."""
    return unicodedata.category(character) not in _INVISIBLE_CATEGORIES and character not in _BLANK


def shows(text: str) -> bool:
    """Return whether `text` has a visible character."""
    return any(map(is_visible, set(text)))


def trimmed(text: str) -> str:
    """Return `text` without blank characters at its ends; an empty string when nothing in it is visible."""
    if not shows(text):
        return ""
    return text.strip(_ENDS)


def _is_trimmed(character: str) -> bool:
    return character.isspace() or character in _TRIMMED or unicodedata.category(character) == "Cc"


# Every trimmed character, so that one `strip` suffices. There is no space or control character after U+3000.
_ENDS = "".join(_TRIMMED.union(filter(_is_trimmed, map(chr, range(0x3001)))))
