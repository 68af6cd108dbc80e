"""What a section of `dev.py faults` reports."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """wrong: a sentence for each of the number of cases that did not hold. said: what else was measured."""

    what: str
    number: int
    unit: str
    wrong: tuple[str, ...] = ()
    said: str = ""

    def __str__(self):
        return f"{self.what:52} {self.number:6} {self.unit}, {len(self.wrong)} wrong{self.said and f': {self.said}'}"
