"""MASKs as inputs: one for each frame, at a size."""

from collections.abc import Sequence

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ...edit.local_blend import checked_mask


def one_for_each(masks: Tensor, frames: int, subject: str) -> Tensor:
    """[frames, height, width] of a MASK of any leading axes, a single one repeated, values 0 to 1.

    subject: how the sentence begins that a ValueError says where there are others: 'there are', 'the old place has'
    """
    masks = checked_mask(rearrange(masks, "... height width -> (...) height width") if masks.ndim > 1 else masks)
    if len(masks) not in (1, frames):
        raise ValueError(
            f"{subject} {len(masks)} masks for {frames} frames: connect one for each frame, or a single one for all"
        )
    return masks.expand(frames, -1, -1)


def resized_masks(masks: Tensor, size: Sequence[int]) -> Tensor:
    """Masks [frames, any height, any width] at size (height, width)."""
    if masks.shape[1:] == tuple(size):
        return masks
    return F.interpolate(masks[:, None], size=tuple(size), mode="bilinear", antialias=True)[:, 0]
