"""docs/paper.md: the tables that `dev.py paper --docs` writes into it."""

from __future__ import annotations

import re
from statistics import fmean
from typing import Any

from ...tools.environment import ROOT
from .claims import Row, findings

FILE = ROOT / "docs" / "paper.md"
COMPARISONS, TUNINGS = "comparisons", "tunings"
# Of each figure: its column, and how it is written.
COLUMNS = {
    "words": ("words", "{:.1f}"),
    "changed": ("changed word", "{:.1f}"),
    "background": ("masked PSNR, dB", "{:.2f}"),
    "distance": ("distance", "{:.4f}"),
    "variance": ("OSV", "{:.3f}"),
    "flicker": ("flicker", "{:.2f}"),
    "reconstruction": ("reconstruction, dB", "{:.2f}"),
    "accepted": ("accepted", "{:.2f}"),
    "seconds": ("seconds", "{:.1f}"),
}
LEFT_OUT = {COMPARISONS: ("seconds",), TUNINGS: ("reconstruction",)}


def means(rows: list[Row]) -> dict[str, dict[str, float | None]]:
    """Of each method the mean of each figure over the clips that have it."""
    return {
        name: {figure: _mean([getattr(row[name], figure) for row in rows]) for figure in COLUMNS} for name in rows[0]
    }


def _mean(values: list[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return fmean(there) if there else None


def table(part: str, rows: list[Row]) -> str:
    """A row for each method."""
    shown = {figure: column for figure, column in COLUMNS.items() if figure not in LEFT_OUT[part]}
    lines = [["", *(heading for heading, _ in shown.values())], ["---"] * (len(shown) + 1)]
    for name, figures in means(rows).items():
        values = [(figures[figure], form) for figure, (_, form) in shown.items()]
        lines.append([name, *("" if value is None else form.format(value) for value, form in values)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def section(part: str, settings: dict[str, Any], rows: list[Row]) -> str:
    """What is measured, the table, and of the comparisons what it says of the paper's claims."""
    settings_shown = ", ".join(f"{name} {value}" for name, value in settings.items())
    claims = [f"* {result.sentence()}\n" for result in findings(rows)] if part == COMPARISONS else []
    return f"Measured: {settings_shown}.\n\n{table(part, rows)}" + ("\n" if claims else "") + "".join(claims)


def with_section(text: str, part: str, written: str) -> str:
    """The page with what is between the part's marks replaced."""
    begin, end = (f"<!-- {part} {word} -->\n" for word in ("begin", "end"))
    marked = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if not marked.search(text):
        raise ValueError(f"docs/paper.md has no marks of its {part}: put '{begin.strip()}' and '{end.strip()}' there")
    return marked.sub(lambda _: f"{begin}\n{written}\n{end}", text, count=1)


def write(part: str, written: str) -> None:
    FILE.write_text(with_section(FILE.read_text(encoding="utf-8"), part, written), encoding="utf-8")
