"""Where words begin and end in a text: at white space, at punctuation, in scripts without spaces at every character.

"Spider-Man", "don't" and "3.5" are one unit each; "red" ends before the comma of "red,hair"; every character of a
Chinese word is a unit, so that any part of it can be named.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass

WITHOUT_SPACES = (
    "CJK", "IDEOGRAPHIC", "HIRAGANA", "KATAKANA", "HALFWIDTH KATAKANA", "BOPOMOFO", "THAI", "LAO", "KHMER", "MYANMAR"
)  # fmt: skip
ENDS_WORDS = re.compile(
    r"""[()\[\]{}<>|";!?“”«»]          # wherever it stands
      | (?<!\d),|,(?!\d)               # but 1,000
      | [、。，；：！？（）【】「」『』《》〈〉｛｝［］…—・·\uff5e]""",
    re.VERBOSE,
)
# So that a word is the same unit in a text and alone, by which name it is found. But 3.5, ../name, embedding:name.
BEFORE_WORDS, AFTER_WORDS = re.compile(r"\A,+"), re.compile(r"(?:(?<=\w)|\A)[.:,]+\Z")


@dataclass(frozen=True)
class Unit:
    """What a word is made of at least. unspaced: of a script without spaces; joined: without anything between it and
    the unit before."""

    text: str
    unspaced: bool = False
    joined: bool = False


def segmented(text: str, edges: Collection[int] = ()) -> tuple[list[Unit], list[int]]:
    """(the units of a text in their order, of each of its characters the unit it belongs to, -1 for none).

    edges: places in the text where a word ends whatever stands there, as where markup was taken out.
    """
    units: list[Unit] = []
    owners = [-1] * len(text)
    end = None  # of the unit before
    for first, last, unspaced in _spans(text, edges):
        without_comma = BEFORE_WORDS.sub("", text[first:last])
        spelling = AFTER_WORDS.sub("", without_comma)
        if not spelling:
            continue
        first = last - len(without_comma)
        units.append(Unit(spelling, unspaced, joined=first == end and first not in edges))
        end = first + len(spelling)
        owners[first:end] = [len(units) - 1] * len(spelling)
    return units, owners


def _spans(text: str, edges: Collection[int]) -> list[tuple[int, int, bool]]:
    """(first, last + 1, of a script without spaces) of what stands between separators and edges."""
    separators = {i for match in ENDS_WORDS.finditer(text) for i in range(*match.span())}
    spans: list[tuple[int, int, bool]] = []
    before = None  # the kind of the character before this one, None between words
    for i, letter in enumerate(text):
        if letter.isspace() or i in separators:
            before = None
            continue
        unspaced = _is_unspaced(letter)
        is_mark = before is not None and unicodedata.category(letter).startswith("M")
        if before is not None and i not in edges and (is_mark or not (before or unspaced)):
            spans[-1] = (spans[-1][0], i + 1, spans[-1][2])
        else:
            spans.append((i, i + 1, unspaced))
        before = unspaced if not is_mark else before
    return spans


def runs(text: str) -> list[str]:
    """The words of a text as a person writes them: units of scripts without spaces joined."""
    written: list[str] = []
    units, _ = segmented(text)
    for i, unit in enumerate(units):
        if i and unit.joined and unit.unspaced and units[i - 1].unspaced:
            written[-1] += unit.text
        else:
            written.append(unit.text)
    return written


def _is_unspaced(letter: str) -> bool:
    return letter.isalpha() and unicodedata.name(letter, "").startswith(WITHOUT_SPACES)
