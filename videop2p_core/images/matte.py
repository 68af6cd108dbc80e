"""A matte from two places: the edited frames inside, the source's own pixels outside.

Each place is brought to pixels along the edges of the picture that it belongs to, by a guided filter (He et al.,
ECCV 2010): the old thing's along the source frames, the new one's along the edited frames.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

RADIUS, SMOOTHNESS = 4, 1e-3  # of the guided filter, at 128 pixels: pixels, and the variance of an edge

# What of a place belongs to the thing: less where one takes the place of another, as tips and wheels of the old one are
# found less surely than its middle.
KEPT_SHAPE, EXCHANGED = 0.4, 0.35


def along_edges(place: Tensor, frames: Tensor) -> Tensor:
    """A place [frames, rows, columns] at the size of frames [frames, height, width, 3], along their edges:
    [frames, height, width], 0 to 1."""
    from kornia.filters import guided_blur

    guide = rearrange(frames, "frames height width colours -> frames colours height width")
    height, width = guide.shape[-2:]
    soft = F.interpolate(place[:, None].to(guide), size=(height, width), mode="bicubic").clamp(0, 1)
    kernel = 2 * max(round(RADIUS * min(height, width) / 128), 1) + 1  # as wide in a larger picture
    return guided_blur(guide, soft, kernel, SMOOTHNESS)[:, 0].clamp(0, 1)


def things(old: Tensor, new: Tensor, source: Tensor, edited: Tensor, threshold: float) -> Tensor:
    """Where the old and the new thing are: bool [frames, height, width].

    old, new: places [frames, rows, columns]; source, edited: [frames, height, width, 3] of one size
    """
    return torch.maximum(along_edges(old, source), along_edges(new, edited)) > threshold


def feathered(region: Tensor, feather: int) -> Tensor:
    """A region [frames, height, width] that goes from 1 to 0 over so many pixels to either side of its border."""
    if not feather:
        return region
    from kornia.filters import gaussian_blur2d

    blurred = gaussian_blur2d(region[:, None], 2 * feather + 1, (feather / 2, feather / 2), border_type="replicate")
    return rearrange(blurred, "frames 1 height width -> frames height width").clamp(0, 1)


def composite(source: Tensor, edited: Tensor, mask: Tensor) -> Tensor:
    """Frames [frames, height, width, 3], where the mask [frames, height, width] is 0 the source's own, bit for bit."""
    weight = mask[..., None].to(source)
    return torch.where(weight == 0, source, source + weight * (edited.to(source) - source))
