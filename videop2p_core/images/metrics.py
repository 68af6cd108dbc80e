"""What an edit did to a clip, as numbers. Frames are [frames, height, width, channels], values 0 to 1."""

from __future__ import annotations

import math

import torch.nn.functional as F
from einops import rearrange, reduce
from torch import Tensor

HIGHEST = 100.0  # dB, of frames that are the same
WINDOW = 11  # pixels, of SSIM's Gaussian


def psnr(a: Tensor, b: Tensor, mask: Tensor | None = None) -> float:
    """Peak signal-to-noise ratio in dB; of the masked region alone where a mask [frames, height, width] is given, as
    the paper measures what an edit must not change (arXiv 2303.04761, section 4)."""
    error = masked_mean((a.float() - b.float()).square().mean(dim=-1), mask)
    return min(-10 * math.log10(error), HIGHEST) if error else HIGHEST


def ssim(a: Tensor, b: Tensor, mask: Tensor | None = None) -> float:
    """Structural similarity, at most 1 (Wang et al. 2004, Gaussian window of deviation 1.5); of the masked region alone
    where a mask [frames, height, width] is given. A place at the region's border sees a little of what is beyond."""
    from kornia.metrics import ssim as ssim_map

    if min(a.shape[1:3]) <= WINDOW // 2:
        raise ValueError(f"the frames are smaller than SSIM's window: it takes {WINDOW // 2 + 1} pixels a side or more")
    a, b = (rearrange(frames.float(), "frames height width colour -> frames colour height width") for frames in (a, b))
    similarity = reduce(ssim_map(a, b, WINDOW), "frames colour height width -> frames height width", "mean")
    return masked_mean(similarity, mask)


def masked_mean(values: Tensor, mask: Tensor | None = None) -> float:
    """The mean of values [frames, height, width], weighted by a mask of the same shape where one is given."""
    weight = values.new_ones(values.shape) if mask is None else mask.to(values)
    total = weight.sum().item()
    if not total:
        raise ValueError("the mask is empty: there is nothing to compare")
    return (values * weight).sum().item() / total


def frame_consistency(features: Tensor) -> float:
    """The mean cosine between the features [frames, channels] of consecutive frames: 1 where a clip stands still."""
    _check_several(features)
    return F.cosine_similarity(features[1:].float(), features[:-1].float(), dim=-1).mean().item()


def object_semantic_variance(features: Tensor) -> float:
    """How much an object's features [frames, channels] vary: their variance over the frames, summed over the channels
    (arXiv 2303.04761, section 4). In the features' units, so to be compared within one feature extractor alone."""
    _check_several(features)
    return features.float().var(dim=0, unbiased=False).sum().item()


def clip_score(features: Tensor, text: Tensor) -> float:
    """100 times the mean cosine between frames' features [frames, channels] and a text's [1, channels], both in CLIP's
    common space (arXiv 2104.08718 without its factor and its cut below 0)."""
    return 100 * F.cosine_similarity(features.float(), text.to(features.device).float(), dim=-1).mean().item()


def _check_several(features: Tensor) -> None:
    if len(features) < 2:
        raise ValueError("there are fewer than two frames to compare with each other: connect a longer clip")
