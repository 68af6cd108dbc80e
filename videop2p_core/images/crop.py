"""The part of a clip that is edited: a window at the resolution of the model, set back into the whole, or what a VAE
keeps of sides that are no multiples of its factor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

UNIT = 16  # sides of what a model is given are multiples of it
FACTORS = (8, 16, 32)  # pixels a side of a VAE's cell


@dataclass(frozen=True)
class Crop:
    """A window of a clip in pixels: top and left, height and width, and the (height, width) of the frames it is of."""

    top: int
    left: int
    height: int
    width: int
    of: tuple[int, int]

    @property
    def window(self) -> tuple[slice, slice]:
        """Its rows and columns."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


def crop_around(region: Tensor, margin: float) -> Crop:
    """The smallest window around a region, bool [frames, height, width], with a margin, as a share of its longer side,
    where the frames have room for it. Raises ValueError for a region that is empty."""
    size = region.shape[1:]
    spans = []
    for others in (1, 0):
        inside = region.any(dim=0).any(dim=others).nonzero()
        if not len(inside):
            raise ValueError("the masks are empty, so that there is nothing to crop to: connect others")
        spans.append((int(inside[0]), int(inside[-1]) + 1))
    room = round(margin * max(end - start for start, end in spans))
    (top, bottom), (left, right) = (
        (max(start - room, 0), min(end + room, side)) for (start, end), side in zip(spans, size, strict=True)
    )
    return Crop(top, left, bottom - top, right - left, (size[0], size[1]))


def size_for_model(crop: Crop, longest: int) -> tuple[int, int]:
    """(height, width) in which a model edits a window: its longer side about `longest`, both multiples of UNIT."""
    return in_units(crop.height, crop.width, longest / max(crop.height, crop.width))


def in_units(height: int, width: int, scale: float, unit: int = UNIT) -> tuple[int, int]:
    """Both sides times `scale`, as multiples of `unit`."""
    rows, columns = (max(round(side * scale / unit), 1) * unit for side in (height, width))
    return rows, columns


def encoded_part(size: Sequence[int], decoded: Sequence[int]) -> Crop | None:
    """What the host's VAEs encode of frames of a size (height, width): they cut the rest off, as much on either side.

    None where what is decoded, (height, width), is not that part of them, or all of them.
    """
    for factor in FACTORS:
        height, width = cropped = tuple(side // factor * factor for side in size)
        if cropped == tuple(decoded) != tuple(size):
            return Crop((size[0] - height) // 2, (size[1] - width) // 2, height, width, (size[0], size[1]))
    return None


def as_decoded(frames: Tensor, decoded: Sequence[int]) -> Tensor:
    """Frames or masks [frames, height, width, ...], or of them what a VAE encodes where a clip of size `decoded`
    (height, width) is what came of it."""
    part = encoded_part(frames.shape[1:3], decoded)
    return frames if part is None else frames[:, *part.window]


def set_back(frames: Tensor, window: Tensor, crop: Crop) -> Tensor:
    """Frames [frames, height, width, ...] with another window in them."""
    whole = frames.clone()
    whole[:, *crop.window] = window
    return whole


def empty_around(window: Tensor, crop: Crop) -> Tensor:
    """A mask [frames, rows, columns] of the window, as one of the whole frames that is 0 elsewhere."""
    return set_back(torch.zeros(len(window), *crop.of, dtype=window.dtype, device=window.device), window, crop)
