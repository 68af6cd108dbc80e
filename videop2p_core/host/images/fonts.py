"""A font that has the letters of a text: the one that comes along, else one that is installed on this machine."""

from __future__ import annotations

from functools import cache
from pathlib import Path


def font_file(text: str) -> str:
    """The file of a font that has all letters of the text, or of the one that has the most of them."""
    return _font_file(frozenset(ord(letter) for letter in text if letter.isprintable()))


@cache
def _font_file(letters: frozenset[int]) -> str:
    from matplotlib import get_data_path
    from matplotlib.font_manager import findSystemFonts

    shipped = str(Path(get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"))
    if letters <= _letters_of(shipped):
        return shipped
    # LastResort has a box for every letter there is.
    installed = [file for file in findSystemFonts() if not Path(file).name.startswith("LastResort")]
    return max((shipped, *sorted(installed)), key=lambda file: len(letters & _letters_of(file)))


@cache
def _letters_of(file: str) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(FT2Font(file).get_charmap())
    except (OSError, RuntimeError):  # a file that is no font, or one that FreeType cannot read
        return frozenset()
