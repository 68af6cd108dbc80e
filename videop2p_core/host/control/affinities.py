"""What looks like what in each frame of a branch, as its self-attention reports it."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ...edit.local_blend import WORDS
from ...edit.places import LARGEST, affinity, spread
from ..model.context_passes import merged

Grid = tuple[int, int]  # (rows, columns)


@dataclass
class Affinities:
    """Of the finest layers whose maps may be formed: of this step so far, and the mean over the steps."""

    passes: dict[Any, tuple[Any, dict[Grid, list[Tensor]]]] = field(default_factory=dict)
    grid: Grid | None = None
    total: Tensor | None = None  # [frames, places, places]
    steps: int = 0

    def add(self, q: Tensor, k: Tensor, options: dict[str, Any]) -> None:
        """q, k [frames, places, channels] of a layer."""
        rows, columns = options["activations_shape"][-2:]
        if rows * columns == q.shape[1] <= LARGEST:
            window = options.get("context_window")
            _, grids = self.passes.setdefault(window and window.key, (window, {}))
            grids.setdefault((rows, columns), []).append(affinity(q, k, options["n_heads"]))

    def end_step(self) -> None:
        if not self.passes:
            return
        self.grid = finest = max(max(grids) for _, grids in self.passes.values())
        maps = merged((window, torch.stack(grids[finest]).mean(dim=0)) for window, grids in self.passes.values())
        self.total = maps if self.total is None else self.total + maps
        self.steps, self.passes = self.steps + 1, {}


def sharpened(maps: Tensor, affinities: Affinities) -> Tensor | None:
    """Word maps [frames, words, rows, columns] after `places.spread`; None where nothing tells what looks alike."""
    if affinities.total is None or affinities.grid is None:
        return None
    mean = affinities.total / affinities.steps
    return torch.stack([spread(word, mean, affinities.grid) for word in maps.unbind(dim=1)], dim=1)


def places_of(maps: Tensor | None, affinities: Affinities) -> Tensor | None:
    """Where the words of word maps [frames, groups, rows, columns] are: [frames, rows, columns], 0 to 1; None without
    either."""
    sharp = None if maps is None else sharpened(maps[:, WORDS : WORDS + 1], affinities)
    return None if sharp is None else sharp[:, 0]
