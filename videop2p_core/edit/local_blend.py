"""LocalBlend: where the words of the edit look, the target is kept; elsewhere the source comes back.

Prompt-to-Prompt (arXiv 2208.01626, section 3.2), per frame as in Video-P2P (arXiv 2303.04761, section 3.2). The word
maps are those of the layers at one resolution, averaged over layers and heads and summed over the steps so far. As
the maps are linear in V, a layer's word maps are its (edited) attention of `Blend.source` or `Blend.target` in the
place of V: no attention map need exist.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from torch import Tensor

from ..finite import check_finite_input
from ..images.crop import FACTORS, as_decoded
from .grids import fitted

WORDS, SUBTRACTED = 0, 1  # the two groups of words


@dataclass(frozen=True)
class Blend:
    """The words whose maps make the mask.

    source: [N_source, 2], 1 at the tokens of the words to blend (column 0) and to subtract (column 1).
    target: [N_target, 2], the same for the target prompt.
    threshold: what a map divided by its frame's maximum must exceed to count, for the words to blend.
    subtract_threshold: the same for the words to subtract.
    start: the fraction of the steps from which the blend acts.
    freeze: the fraction of the steps from which the mask stays as it is, so that the source is looked at no more.
    """

    source: Tensor
    target: Tensor
    threshold: float = 0.3
    subtract_threshold: float = 0.3
    start: float = 0.2
    freeze: float = 1.0

    def acts(self, step: int, steps: int) -> bool:
        return step >= int(self.start * steps)

    def looks(self, step: int, steps: int) -> bool:
        """Whether this step's maps count. The first step's always do: there must be some."""
        return step == 0 or step < int(self.freeze * steps)


def word_columns(tokens: int, words: Iterable[int], subtracted: Iterable[int] = ()) -> Tensor:
    """[tokens, 2]: 1 at the token positions of the words to blend and of the words to subtract."""
    columns = torch.zeros(tokens, 2)
    columns[list(words), WORDS] = 1
    columns[list(subtracted), SUBTRACTED] = 1
    return columns


def blend_grid(height: int, width: int, least: int = 10) -> tuple[int, int]:
    """The cells (rows, columns) of the layers that feed the mask of a latent of height x width.

    A quarter of the latent's resolution, as published for 64x64; the next finer level where that has under `least`
    cells on its short side, as far as the latent's own. Each halving rounds up, as a strided convolution does.
    """
    half = (height + 1) // 2, (width + 1) // 2
    quarter = (half[0] + 1) // 2, (half[1] + 1) // 2
    return next((grid for grid in (quarter, half) if min(grid) >= least), (height, width))


def check_grid(grid: tuple[int, int], layers: Iterable[tuple[int, int]]) -> None:
    """Whether any of the layers, by the cells that each works on, feeds the mask."""
    if grid not in layers:
        raise ValueError(
            f"no cross attention of this model works on {grid[0]}x{grid[1]} cells, so it has no word maps to blend by: "
            "take larger frames, or name no words to blend"
        )


def step_maps(layers: Sequence[Tensor], grid: tuple[int, int]) -> Tensor:
    """Word maps of one step and branch: the mean over layers and heads.

    layers: probabilities [frames, heads, rows x columns of the grid, groups], summed over the tokens of each group.
    Returns [frames, groups, rows, columns]. The cumulative map is the sum of these over the steps so far.
    """
    maps = [reduce(layer.float(), "frames heads cells groups -> frames groups cells", "mean") for layer in layers]
    return rearrange(
        sum(maps[1:], maps[0]) / len(maps), "frames groups (rows columns) -> frames groups rows columns", rows=grid[0]
    )


def threshold_maps(maps: Tensor, size: tuple[int, int], threshold: float, pool: bool = True) -> Tensor:
    """Where a map [frames, rows, columns] exceeds a share of its frame's maximum: bool [frames, height, width].

    3x3 max-pool (`pool`), nearest resize to `size` = (height, width), divide by the maximum, compare.
    """
    maps = maps[:, None]
    if pool:
        maps = F.max_pool2d(maps, kernel_size=3, stride=1, padding=1)
    maps = fitted(maps, size)[:, 0]
    return maps / maps.amax((1, 2), keepdim=True) > threshold  # an all-zero map gives NaN, which exceeds nothing


def local_mask(blend: Blend, source: Tensor, target: Tensor, size: tuple[int, int]) -> Tensor:
    """The mask [frames, height, width], 1 where the target is kept: (source OR target) words AND NOT subtracted ones.

    source, target: cumulative maps [frames, 2, rows, columns] of the branches; size: the latent's (height, width).
    """

    def union(group: int, threshold: float, pool: bool) -> Tensor:
        return threshold_maps(source[:, group], size, threshold, pool) | threshold_maps(
            target[:, group], size, threshold, pool
        )

    mask = union(WORDS, blend.threshold, pool=True)
    # A subtracted region is taken as it is: pooling would let it eat into its neighbour.
    return (mask & ~union(SUBTRACTED, blend.subtract_threshold, pool=False)).float()


def checked_mask(mask: Tensor) -> Tensor:
    """The mask [masks, height, width] as numbers, what is beyond 0 and 1 taken for these. Raises ValueError where it is
    none."""
    if mask.ndim != 3 or not mask.numel():
        raise ValueError(f"the mask has shape {list(mask.shape)}: give [frames, height, width], at least one of each")
    mask = mask.float()
    check_finite_input(mask, "the mask holds", "make it anew")
    return mask.clamp(0, 1)


def fit_mask(mask: Tensor, frames: int, size: tuple[int, int]) -> Tensor:
    """A mask [frames or 1, any height, any width], values 0 to 1, at the latent's size: [frames, height, width]; of one
    of the frames' size the part that a VAE encodes."""
    if mask.ndim != 3 or mask.shape[0] not in (1, frames):
        raise ValueError(
            f"the mask has shape {list(mask.shape)}, the clip {frames} frames: give [frames, height, width] with one "
            "mask for each frame, or a single one for all"
        )
    for factor in FACTORS:
        mask = as_decoded(mask, [factor * side for side in size])
    return F.interpolate(checked_mask(mask)[:, None], size=size, mode="area")[:, 0].expand(frames, *size)


def blend_latents(source: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """z_source + mask (z_target - z_source).

    source, target: latents [frames, channels, height, width]; mask: [frames, height, width].
    """
    return source + mask[:, None].to(target) * (target - source)
