"""Noise that knows nothing of the old thing.

A clip's inverted noise still holds the outline of what it shows, and a thing of another shape is drawn into it: with
the old one's tips, and in every frame otherwise. Where one thing takes the place of another, source and target lie
under noise that is drawn anew, once for all frames (beyond arXiv 2303.04761, whose targets start from the inverted
noise alone). Noise that was carried along with the old thing was tried: the new one follows no better, and trembles.
"""

from __future__ import annotations

import torch
from torch import Tensor


def shared_noise(clip: Tensor, seed: int = 0) -> Tensor:
    """One draw for all frames of a clip [frames, channels, rows, columns]: [1, channels, rows, columns]."""
    # Drawn where numbers are the same on every device.
    return torch.randn(clip[:1].shape, generator=torch.Generator().manual_seed(seed)).to(clip)


def renewed(noise: Tensor, share: float, seed: int = 0) -> Tensor:
    """sqrt(1 - share) z_T + sqrt(share) n: as much noise as before, of z_T [frames, channels, rows, columns]."""
    return (1 - share) ** 0.5 * noise + share**0.5 * shared_noise(noise, seed)
