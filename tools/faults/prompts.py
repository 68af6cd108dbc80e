"""Prompts of any text and settings of any number, from a single word to whole edits on the demo model: a result without
NaN, or one sentence. The long form tries over twenty thousand cases in some ten minutes, the short a few of each."""

from __future__ import annotations

from collections.abc import Iterator

from .figures import Figure
from .fuzzed import fuzzed

# How many cases each test of a file draws: of matrices, of tokenizers, of whole edits, of pictures.
LONG = {
    "tests/core/test_any_prompt.py": 2000,
    "tests/host/test_any_prompt.py": 400,
    "tests/host/test_any_edit.py": 500,
    "tests/host/test_any_picture.py": 100,
}
SHORT = 2


def figures(short: bool) -> Iterator[Figure]:
    if short:
        yield from fuzzed(list(LONG), SHORT)
        return
    for path, cases in LONG.items():
        yield from fuzzed([path], cases)
