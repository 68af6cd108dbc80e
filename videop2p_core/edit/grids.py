"""Maps of the cells of a network on another grid of the same picture, or on its pixels.

A network halves a side rounding up, so that the last cell of an odd one reaches past the picture. A cell covers a whole
number of places, and what is beyond the edge is cut: stretched over the picture, the map would be off by up to a cell.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


def fitted(maps: Tensor, size: Sequence[int], mode: str = "nearest") -> Tensor:
    """Maps [n, channels, rows, columns] at `size` = (rows, columns), finer or coarser; mode: as F.interpolate has it.

    A side that no halvings lead to from the other is scaled as a whole.
    """
    (rows, to_rows), (columns, to_columns) = map(_beyond_the_edge, maps.shape[-2:], size)
    maps = F.pad(maps, (0, columns - maps.shape[-1], 0, rows - maps.shape[-2]), mode="replicate")
    return F.interpolate(maps, size=(to_rows, to_columns), mode=mode)[..., : size[0], : size[1]]


def _beyond_the_edge(cells: int, side: int) -> tuple[int, int]:
    """Both with what the last of the coarser ones covers beyond the edge."""
    coarse, fine, step = min(cells, side), max(cells, side), 1
    while -(-fine // step) > coarse:
        step *= 2
    if -(-fine // step) < coarse:
        return cells, side
    return (cells, coarse * step) if cells == coarse else (coarse * step, side)
