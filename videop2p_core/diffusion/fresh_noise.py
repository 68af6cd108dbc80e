"""Noise that knows nothing of the old thing, and moves as it does.

A clip's inverted noise still holds the outline of what it shows, and a thing of another shape is drawn into it: with
the old one's tips, and in every frame otherwise. Where one thing takes the place of another, source and target lie
under noise that is drawn anew, one field for all frames, carried along with the old thing (beyond arXiv 2303.04761,
whose targets start from the inverted noise alone).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

FINE = 8  # how many times finer than a latent the field is that is carried along


def shared_noise(clip: Tensor, seed: int = 0) -> Tensor:
    """One draw for all frames of a clip [frames, channels, rows, columns]: [1, channels, rows, columns]."""
    return _sums(_field(clip, seed))[None].to(clip)


def moving_noise(clip: Tensor, place: Tensor, seed: int = 0) -> Tensor:
    """Standard normal noise for a clip [frames, channels, rows, columns], the same field in each frame, carried along
    with the centre of a place [frames, grid rows, grid columns].

    The field is FINE times finer: means of so many normal numbers are normal again, so that noise moves by less than
    one of its places (as noise is warped in arXiv 2501.08331).
    """
    size = torch.tensor(clip.shape[-2:]) * FINE
    shifts = ((centres(place) - centres(place)[:1]).cpu() * size).round().int().tolist()
    field = _field(clip, seed)
    return torch.stack([_sums(field.roll(shift, dims=(1, 2))) for shift in shifts]).to(clip)


def centres(place: Tensor) -> Tensor:
    """(row, column) of the middle of a place [frames, rows, columns], as shares of its sides: [frames, 2]; the
    picture's own middle where it is empty."""
    weight = place.double() ** 2 + torch.finfo(torch.float64).eps
    rows, columns = ((torch.arange(side).to(weight) + 0.5) / side for side in place.shape[1:])
    total = weight.sum(dim=(1, 2))
    return torch.stack([(weight.sum(dim=2) @ rows) / total, (weight.sum(dim=1) @ columns) / total], dim=1)


def renewed(noise: Tensor, fresh: Tensor, share: float) -> Tensor:
    """As much noise as before, a share of it fresh."""
    return (1 - share) ** 0.5 * noise + share**0.5 * fresh


def _field(clip: Tensor, seed: int) -> Tensor:
    """[channels, FINE rows, FINE columns], drawn where numbers are the same on every device."""
    _, channels, rows, columns = clip.shape
    return torch.randn(channels, FINE * rows, FINE * columns, generator=torch.Generator().manual_seed(seed))


def _sums(field: Tensor) -> Tensor:
    return F.avg_pool2d(field, FINE) * FINE
