"""How the two halves of a prediction are put together."""

import math

import torch
from einops import rearrange
from torch import Tensor


def classifier_free_guidance(uncond: Tensor, cond: Tensor, cfg: float) -> Tensor:
    """(arXiv 2207.12598): of denoised latents [frames, ...] as well as of noise."""
    return uncond + cfg * (cond - uncond)


def proximal(guidance: Tensor, *, quantile: float = 0.7, soft: bool = False) -> Tensor:
    """The target's guidance direction with its small entries removed (proximal guidance, arXiv 2306.05414).

    guidance [frames, ...] is text minus null prediction, in noise or in denoised latents (the threshold scales with
    it). Per frame, with q the quantile of |d|: hard keeps d where |d| > q, soft is d - clamp(d, -q, q).
    """
    if not 0 <= quantile <= 1:
        raise ValueError(f"the proximal quantile is {quantile}; it must lie between 0 and 1")
    # torch.quantile computes in float64, which Metal has none of.
    ranked = rearrange(guidance.abs().float(), "frames ... -> frames (...)").sort(dim=1).values
    place = quantile * (ranked.shape[1] - 1)
    threshold = torch.lerp(ranked[:, math.floor(place)], ranked[:, math.ceil(place)], place % 1)
    threshold = threshold.to(guidance.dtype).reshape(-1, *(1,) * (guidance.ndim - 1))  # [frames, 1, ...]
    if soft:
        return guidance - guidance.clamp(-threshold, threshold)
    return torch.where(guidance.abs() > threshold, guidance, 0)
