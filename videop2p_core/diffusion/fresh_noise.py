"""Noise that knows nothing of the old thing.

A clip's inverted noise still holds the outline of what it shows, and a thing of another shape is drawn into it: with
the old one's tips, and in every frame otherwise. Where the old thing is, most of the noise is drawn anew here, once for
all frames (beyond arXiv 2303.04761, whose targets start from the inverted noise alone).
"""

from __future__ import annotations

import torch
from torch import Tensor


def renewed(noise: Tensor, place: Tensor, share: float, seed: int = 0) -> Tensor:
    """sqrt(1 - share) z_T + sqrt(share) n within the place, z_T elsewhere: as much noise as before.

    noise z_T: [frames, channels, rows, columns]; place: [frames, rows, columns], 0 to 1; share: 0 for none
    """
    # Drawn where numbers are the same on every device.
    drawn = torch.randn(noise.shape[1:], generator=torch.Generator().manual_seed(seed)).to(noise)
    mixed = (1 - share) ** 0.5 * noise + share**0.5 * drawn
    return torch.lerp(noise, mixed, place[:, None].to(noise))
