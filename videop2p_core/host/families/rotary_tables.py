"""Rotary tables that two calls of a network share while both are under way.

Each call makes its own, as large as several of the tensors that go from block to block; source and target, which go in
step, have the same where their frame rate is one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from weakref import ref

import torch
from torch import Tensor

Table = tuple[Any, ...]  # as a host makes it: one tensor or two, and how they are laid out


@dataclass(frozen=True)
class Lent:
    """A table, for as long as a call has it. grid: the positions that it was made of; settings: what else; parts: each
    gives one of the table's, None for a tensor that is gone."""

    grid: Tensor
    settings: dict[str, Any]
    parts: tuple[Callable[[], Any], ...]

    @property
    def table(self) -> Table | None:
        table = tuple(part() for part in self.parts)
        return None if any(part is None for part in table) else table

    def is_of(self, grid: Tensor, settings: dict[str, Any]) -> bool:
        alike = self.settings == settings and self.grid.shape == grid.shape and self.grid.device == grid.device
        return alike and torch.equal(self.grid, grid)


@dataclass
class SharedTables:
    """An object patch on the method of a network that makes a table of positions. make: the method."""

    make: Callable[..., Table]
    lent: list[Lent] = field(default_factory=list)

    def __call__(self, grid: Tensor, **settings: Any) -> Table:
        self.lent = [one for one in self.lent if one.table]
        for one in self.lent:
            table = one.table
            if table and one.is_of(grid, settings):
                return table
        table = self.make(grid, **settings)
        self.lent.append(Lent(grid, settings, tuple(map(_weakly, table))))
        return table


def _weakly(part: Any) -> Callable[[], Any]:
    return ref(part) if isinstance(part, Tensor) else lambda: part
