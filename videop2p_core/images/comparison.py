"""Two clips in one view. Frames are [frames, height, width, 3], values 0 to 1."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor

from .crop import as_decoded


def side_by_side(before: Tensor, after: Tensor) -> Tensor:
    """[frames, height, 2 width, 3]: the one to the left of the other."""
    return rearrange([before, after], "clips frames height width colour -> frames height (clips width) colour")


def wipe(before: Tensor, after: Tensor, position: float) -> Tensor:
    """[frames, height, width, 3]: the one up to `position` of the width (0 to 1), the other from there on."""
    border = round(position * before.shape[2])
    return torch.cat([before[:, :, :border], after[:, :, border:]], dim=2)


def difference(before: Tensor, after: Tensor, gain: float) -> Tensor:
    """[frames, height, width, 3]: gain · |after - before|, at most 1."""
    return (gain * (after - before).abs()).clamp(max=1)


def even(frames: Tensor) -> Tensor:
    """[frames, height, width, 3] with even sides, as video encoders want them: the last row or column twice."""
    for axis in (1, 2):
        if frames.shape[axis] % 2:
            frames = torch.cat([frames, frames.narrow(axis, frames.shape[axis] - 1, 1)], dim=axis)
    return frames


def matched(before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """Both in colour, at the size of the first, or what a VAE encodes of it where the other was decoded of that; a
    single frame serves all of the other's.

    Raises ValueError for two clips of unequal numbers of frames.
    """
    before, after = coloured(before), coloured(after)
    counts = len(before), len(after)
    if counts[0] != counts[1] and 1 not in counts:
        raise ValueError(
            f"the before video has {counts[0]} frames, the after video {counts[1]}: connect clips of equal length, or "
            "a single frame to compare all with"
        )
    before, after = as_decoded(before, after.shape[1:3]), as_decoded(after, before.shape[1:3])
    after = resized(after.to(before), before.shape[1:3])
    before, after = (clip.expand(max(counts), -1, -1, -1) for clip in (before, after))
    return before, after


def coloured(images: Tensor) -> Tensor:
    """[frames, height, width, 3] of images with any channels: grey is repeated, alpha left out."""
    grey = images.shape[-1] < 3
    return repeat(images[..., 0], "... -> ... colour", colour=3) if grey else images[..., :3]


def resized(images: Tensor, size: Sequence[int]) -> Tensor:
    """Images [frames, any height, any width, 3] at size (height, width)."""
    if images.shape[1:3] == tuple(size):
        return images
    columns = rearrange(images, "frames height width colour -> frames colour height width")
    columns = columns.to(torch.promote_types(images.dtype, torch.float32))  # torch has no such filter in halves
    columns = F.interpolate(columns, size=tuple(size), mode="bilinear", antialias=True)
    return rearrange(columns, "frames colour height width -> frames height width colour").to(images)
