"""Noise levels of Stable Diffusion 1.x, from its betas as the papers write them."""

import torch


def alphas_cumprod(dtype=torch.float64):
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=dtype) ** 2
    return torch.cumprod(1 - betas, dim=0)


def sigmas_of(alphas):
    """sigma = sqrt((1 - a) / a)."""
    return ((1 - alphas) / alphas).sqrt()
