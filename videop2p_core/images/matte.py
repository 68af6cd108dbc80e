"""A matte from two places: the edited frames inside, the source's own pixels outside.

Each place is brought to pixels along the edges of the picture that it belongs to, by a guided filter (He et al.,
ECCV 2010): the old thing's along the source frames, the new one's along the edited frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

RADIUS, SMOOTHNESS = 4, 1e-3  # of the guided filter, at 128 pixels: pixels, and the variance of an edge

SURE = 0.6  # of a frame's largest place: what has no such part is no thing

SEAM = (32, 16, 8, 4)  # pixels at 128 over which colours at the seam are averaged
FROM_AFAR = 0.05  # what the wider mean weighs beside the nearer one
BLUR, FAINT, TAKEN_AWAY = 1, 0.12, 0.5  # of rests: pixels at 128, the place they have, and a colour distance


@dataclass(frozen=True)
class MatteSettings:
    """threshold: what of a place belongs to the thing; rests: whether what the edit takes away beside the old thing
    goes with it; grow, feather: in pixels; keep_things: whether the things are kept and all around them is new;
    match_colours: whether what is drawn around the new thing takes the source's colours from the seam."""

    threshold: float = 0.4
    rests: bool = False
    grow: int = 1
    feather: int = 2
    keep_things: bool = False
    match_colours: bool = False


# Where one thing takes the place of another.
EXCHANGED = MatteSettings(threshold=0.3, rests=True, grow=2, feather=1, match_colours=True)


def along_edges(place: Tensor, frames: Tensor) -> Tensor:
    """A place [frames, rows, columns] at the size of frames [frames, height, width, 3], along their edges:
    [frames, height, width], 0 to 1."""
    from kornia.filters import guided_blur

    guide = rearrange(frames, "frames height width colours -> frames colours height width")
    height, width = guide.shape[-2:]
    soft = F.interpolate(place[:, None].to(guide), size=(height, width), mode="bicubic").clamp(0, 1)
    return guided_blur(guide, soft, _kernel(RADIUS, height, width), SMOOTHNESS)[:, 0].clamp(0, 1)


def things(old: Tensor, new: Tensor, source: Tensor, edited: Tensor) -> Tensor:
    """Where the old and the new thing are: [frames, height, width], 0 to 1.

    old, new: places [frames, rows, columns]; source, edited: [frames, height, width, 3] of one size
    """
    return torch.maximum(along_edges(old, source), along_edges(new, edited))


def sure(place: Tensor) -> Tensor:
    """The heart of a place [frames, height, width]: bool."""
    return place >= SURE * place.amax(dim=(1, 2), keepdim=True)


def rests(old: Tensor, source: Tensor, edited: Tensor) -> Tensor:
    """What may belong to the old thing and looks otherwise in the edit: wheels, tails and tips, whose place is faint as
    they look unlike the rest of it. bool [frames, height, width], of what `things` takes."""
    return (along_edges(old, source) > FAINT) & (changes(source, edited) > TAKEN_AWAY)


def colours_matched(source: Tensor, edited: Tensor, matte: Tensor, new: Tensor) -> Tensor:
    """The edited frames in the source's colours wherever the new thing is not: what the two differ by around the matte
    is carried on into it, from near the seam before from afar.

    source, edited: [frames, height, width, 3]; matte: [frames, height, width]; new: place [frames, rows, columns]
    """
    from kornia.filters import gaussian_blur2d

    height, width = source.shape[1:3]
    smaller = max(min(height, width) // 128, 1)
    pooled = partial(F.avg_pool2d, kernel_size=smaller, ceil_mode=True, count_include_pad=False)
    outside = (matte == 0)[:, None].to(source)
    difference = rearrange(source - edited, "frames height width colours -> frames colours height width")
    known, weight, mean = pooled(difference * outside), pooled(outside), torch.zeros(())
    for sigma in SEAM:
        near, share = (
            gaussian_blur2d(x, 6 * sigma + 1, (sigma, sigma), border_type="replicate") for x in (known, weight)
        )
        mean = (near + FROM_AFAR * mean) / (share + FROM_AFAR)
    around = 1 - (along_edges(new, edited) / MatteSettings.threshold).clamp(max=1)
    correction = F.interpolate(mean, size=(height, width), mode="bilinear") * around[:, None]
    return (edited + rearrange(correction, "frames colours height width -> frames height width colours")).clamp(0, 1)


def changes(source: Tensor, edited: Tensor) -> Tensor:
    """Colour distance of the frames' means over a few pixels: [frames, height, width]."""
    difference = rearrange(edited - source, "frames height width colours -> frames colours height width")
    kernel = _kernel(BLUR, *difference.shape[-2:])
    return F.avg_pool2d(difference, kernel, 1, kernel // 2, count_include_pad=False).norm(dim=1)


def _kernel(radius: int, height: int, width: int) -> int:
    """As wide in a larger picture."""
    return 2 * max(round(radius * min(height, width) / 128), 1) + 1


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
