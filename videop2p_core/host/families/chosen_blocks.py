"""Which blocks of a video model make the word maps of a mask."""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from einops import rearrange
from torch import Tensor

from ...edit.prompt import shortened


@dataclass(frozen=True)
class ChosenBlocks:
    """The cross-attention layers that make word maps. grid: (rows, columns) of the places of a frame."""

    grid: tuple[int, int]
    layers: frozenset[str]

    def feed(self, layer: Hashable, options: dict[str, Any]) -> bool:
        return layer in self.layers

    def by_frame(self, probabilities: Tensor, options: dict[str, Any]) -> Tensor:
        """[1, heads, places of all frames, groups] -> [frames, heads, places, groups]"""
        rows, columns = self.grid
        return rearrange(probabilities, "1 heads (f places) groups -> f heads places groups", places=rows * columns)


def chosen_numbers(choice: str, blocks: int) -> list[int]:
    """The blocks of a choice such as '8-20, 24' (counted from 0) among so many; by default the middle half: the first
    blocks look at single places, the last ones at how they are drawn.

    Raises ValueError, in a sentence, for what is no choice of the network's blocks.
    """
    if not choice.strip():
        return list(range(blocks // 4, max(3 * blocks // 4, 1)))
    last, numbers = blocks - 1, []
    for part in choice.split(","):
        match = re.fullmatch(r"\s*(\d{1,9})\s*(?:-\s*(\d{1,9})\s*)?", part)
        start, end = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not start <= end <= last:
            raise ValueError(
                f"'{shortened(part)}' names no blocks of this model: write their numbers from 0 to {last} as '8-20, 24'"
            )
        numbers += range(start, end + 1)
    return numbers
