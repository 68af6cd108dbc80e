"""What an edit did to a clip, as numbers. Frames are [frames, height, width, channels], values 0 to 1."""

from __future__ import annotations

import math

from torch import Tensor

HIGHEST = 100.0  # dB, of frames that are the same


def psnr(a: Tensor, b: Tensor, mask: Tensor | None = None) -> float:
    """Peak signal-to-noise ratio in dB; of the masked region alone where a mask [frames, height, width] is given, as
    the paper measures what an edit must not change (arXiv 2303.04761, section 4)."""
    error = (a.float() - b.float()).square().mean(dim=-1)
    weight = error.new_ones(error.shape) if mask is None else mask.to(error)
    total = weight.sum().item()
    if not total:
        raise ValueError("the mask is empty: there is nothing to compare")
    mean = (error * weight).sum().item() / total
    return min(-10 * math.log10(mean), HIGHEST) if mean else HIGHEST
