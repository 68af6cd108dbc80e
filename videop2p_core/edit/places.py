"""Where the old and the new thing are, as sharp as a thing: a word's maps spread by what looks like what.

A word's map says where, not how far. Self-attention says which places look alike: with A its mean over heads and layers
at low noise, A^2 m reaches to the edges of the thing (DiffSegmenter, arXiv 2309.02773; method after arXiv 2303.04761,
section 3.2, whose masks it takes the place of).
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor

from .grids import fitted

LARGEST = 32 * 32  # places of a frame whose maps are formed: 4 MiB a frame


def affinity(q: Tensor, k: Tensor, heads: int) -> Tensor:
    """How much each place of a frame looks at each other one, the mean over the heads, in float32.

    q, k [frames, places, heads * dim_head] -> [frames, places, places]
    """
    maps = []
    for query, key in zip(q.float(), k.float(), strict=True):  # all heads of all frames would be gigabytes
        query, key = (rearrange(x, "places (heads dim) -> heads places dim", heads=heads) for x in (query, key))
        maps.append((query @ key.mT / query.shape[-1] ** 0.5).softmax(dim=-1).mean(dim=0))
    return torch.stack(maps)


def spread(maps: Tensor, affinities: Tensor, grid: tuple[int, int]) -> Tensor:
    """A^2 m of each frame, from 0 to 1.

    maps [frames, any rows, any columns], affinities [frames, places, places] of a grid of (rows, columns)
    -> [frames, rows, columns]
    """
    word = fitted(maps[:, None].float(), grid, "bilinear")[:, 0]
    word = rearrange(word, "frames rows columns -> frames (rows columns) 1")
    place = (affinities @ (affinities @ word))[..., 0]
    low, high = place.amin(dim=1, keepdim=True), place.amax(dim=1, keepdim=True)
    place = (place - low) / (high - low).clamp(min=torch.finfo(place.dtype).tiny)
    return rearrange(place, "frames (rows columns) -> frames rows columns", rows=grid[0])
