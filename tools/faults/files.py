"""Hostile files and hostile names, as hypothesis draws them: the readers of saved files and of others' checkpoints, and
the names to save and to load by. Each time there must be a value or one sentence, nothing written elsewhere, no code
run and no memory taken. The long form draws ever new ones for ten minutes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..environment import ROOT
from .figures import Figure
from .fuzzed import fuzzed

TESTS = [
    ROOT / "tests" / "core" / "test_fuzz.py",
    *(ROOT / "tests" / "host" / name for name in ("test_hostile_names.py", "test_hostile_files.py")),
]
SHORT, ROUND = 10, 300  # cases of each test
SECONDS = 600


def figures(short: bool) -> Iterator[Figure]:
    return rounds(TESTS, SHORT, 0) if short else rounds(TESTS, ROUND, SECONDS)


def rounds(paths: Sequence[Path], cases: int, seconds: float) -> Iterator[Figure]:
    """The tests in these files with so many cases each, again and again until the time is over or something is wrong:
    a Figure of each test, all its cases together."""
    end = time.monotonic() + seconds
    found: dict[str, list[Figure]] = {}
    while True:
        for figure in fuzzed(paths, cases):
            found.setdefault(figure.what, []).append(figure)
        if time.monotonic() >= end or any(figure.wrong for figures in found.values() for figure in figures):
            break
    for what, figures in found.items():
        wrong = tuple(said for figure in figures for said in figure.wrong)
        yield Figure(what, sum(figure.number for figure in figures), "cases", wrong)
