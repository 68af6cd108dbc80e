"""What the text fields of an edit say."""

from __future__ import annotations

import math
from collections.abc import Iterator

from .curves import KeyFrames
from .prompt import shortened

WINDOW = "window"
AUTO = "auto"  # in a field of blend words: those that change
FULL_WIDTH = str.maketrans("，、：＠", ",,:@")  # as written in Chinese and Japanese


def parse_words(text: str) -> tuple[str, ...]:
    """Words, or several words in a row, separated by commas or lines."""
    parts = (part.strip() for line in text.translate(FULL_WIDTH).splitlines() for part in line.split(","))
    return tuple(part for part in parts if part)


def parse_guidance(text: str) -> float | KeyFrames | None:
    """'2.5', or over the steps '5 @ 0, 2.5 @ 0.3' (0 the first step, 1 the last); None for no text."""
    if not text.strip():
        return None
    curve = _curve(text)
    if curve is None:
        raise ValueError(f"'{shortened(text)}' is no guidance: write a number, or '5 @ 0, 2.5 @ 0.3' over the steps")
    return curve


def parse_weights(text: str) -> dict[str, float | KeyFrames]:
    """'origami: 2, red: 0.5', or over the steps 'origami: 1 @ 0, 2.5 @ 0.5', separated by commas or lines."""
    return {word: _weight(entry, curve) for entry, word, curve in _entries(text) if not _is_window(curve)}


def parse_windows(text: str) -> dict[str, tuple[float, float]]:
    """'robot: window 0.1 - 0.6' among the same entries: the shares of the run in which the word is edited."""
    return {word: _window(entry, value) for entry, word, value in _entries(text) if _is_window(value)}


def word_entries(text: str) -> tuple[str, ...]:
    """The entries of such a field, each of one word: the later points of a curve go with the first."""
    entries: list[str] = []
    for part in parse_words(text):
        if entries and "@" in part and ":" not in part:
            entries[-1] += f", {part}"
        else:
            entries.append(part)
    return tuple(entries)


def _entries(text: str) -> Iterator[tuple[str, str, str]]:
    """(entry, word, what is said of it)"""
    for entry in word_entries(text):
        word, colon, value = (part.strip() for part in entry.rpartition(":"))
        if not (word and colon):
            raise _no_entry(entry)
        yield entry, word, value


def _is_window(value: str) -> bool:
    return value.split(" ")[0] == WINDOW


def _weight(entry: str, text: str) -> float | KeyFrames:
    curve = _curve(text)
    if curve is None:
        raise _no_entry(entry)
    return curve


def _window(entry: str, value: str) -> tuple[float, float]:
    ends = value.removeprefix(WINDOW).split("-")
    try:
        start, end = (0.0, *map(float, ends))[-2:]
    except ValueError:
        raise _no_entry(entry) from None
    if len(ends) > 2 or not 0 <= start <= end <= 1:
        raise ValueError(
            f"'{shortened(entry)}' is no window: write shares of the run between 0 and 1, the start first, as in "
            "'robot: window 0.1 - 0.6'"
        )
    return start, end


def _no_entry(entry: str) -> ValueError:
    return ValueError(
        f"'{shortened(entry)}' is no word with a weight: write each as 'origami: 2', 'origami: 1 @ 0, 2.5 @ 0.5' or "
        "'robot: window 0.1 - 0.6'"
    )


def _curve(text: str) -> float | KeyFrames | None:
    """A number, or numbers at shares of the run; None where it is neither."""
    points = []
    for entry in parse_words(text):
        value, at, position = (part.strip() for part in entry.partition("@"))
        try:
            points.append((float(position) if at else 0.0, float(value)))
        except ValueError:
            return None
    if not points or not all(math.isfinite(number) for point in points for number in point):
        return None
    return points[0][1] if len(points) == 1 else KeyFrames(tuple(points))
