"""Edit Region: from where words look to where another model may paint."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from comfy.model_management import throw_exception_if_processing_interrupted
from einops import reduce
from torch import Tensor

from ...finite import check_finite_input
from ...images.crop import encoded_part
from ...images.matte import feathered
from .frames import frames_of
from .masks import resized_masks

GREY = 0.5  # what video models for inpainting read as "paint here"
THRESHOLD = 0.3  # what a mask must exceed to count
MOST = {"steady": 64, "grow": 512, "feather": 256}
DIM = 0.35  # how bright a frame is outside its region


@dataclass(frozen=True)
class Region:
    """mask: [frames, height, width], 1 in the region, 0 outside; images: [frames, height, width, 3] or None."""

    mask: Tensor
    images: Tensor | None = None

    def greyed(self) -> Tensor:
        """The frames with the region in grey."""
        images = self._images()
        return torch.lerp(images, torch.tensor(GREY).to(images), self.mask[..., None])

    def picture(self) -> Tensor:
        """The region in colour, the rest of every frame in dim grey."""
        images = self._images()
        dim = DIM * reduce(images, "frames height width colour -> frames height width 1", "mean")
        return torch.lerp(dim.expand_as(images), images, self.mask[..., None])

    def _images(self) -> Tensor:
        if self.images is None:
            raise ValueError("the region was made without images to show it on")
        return self.images


def edit_region(
    masks: Tensor, images: Tensor | None = None, *, threshold: float, fill: bool, grow: int, feather: int, steady: int
) -> Region:
    """Where MASKs [frames, any height, any width] exceed the threshold, made into a region to paint in, at the size of
    the images [frames, height, width, channels] where there are some.

    steady: a place within the region in one frame is so in as many frames before and after it; fill: without holes;
    grow: wider by so many pixels; feather: over so many pixels to either side of its border it goes from 1 to 0.
    Raises ValueError for masks that do not fit the images, for a region of nothing or of everything, and for one that
    the feather wears away.
    """
    for name, value in {"steady": steady, "grow": grow, "feather": feather}.items():
        if not 0 <= value <= MOST[name]:
            raise ValueError(f"{name} is {value:g}: it lies between 0 and {MOST[name]}")
    images = None if images is None else frames_of(images, "the images input")
    soft = _fitted(masks, images)
    inside = _steadied(soft > threshold, steady)
    if not inside.any():
        raise ValueError(
            f"the region is empty: the masks exceed {threshold:g} nowhere. Lower the threshold, or take another word"
        )
    region = torch.stack([shaped(frame, fill, grow) for frame in inside])
    if region.all():
        raise ValueError(
            "the region covers every frame whole, so that nothing of the clip would stay: raise the threshold, grow it "
            "less, or take a word that names one thing"
        )
    mask = feathered(region.to(soft), feather)
    if (mask.amax((1, 2)) < 0.5)[region.any(2).any(1)].any():
        raise ValueError(
            f"feathered over {feather} pixels nothing of the region is left whole: feather less, or grow it more"
        )
    return Region(mask, images)


def _fitted(masks: Tensor, images: Tensor | None) -> Tensor:
    """The masks one for each image, at the images' size."""
    if masks.ndim < 2:
        raise ValueError(f"the masks have shape {list(masks.shape)}: give [frames, height, width]")
    if not masks.numel():
        raise ValueError("there are no masks: connect at least one")
    masks = masks.reshape(-1, *masks.shape[-2:]).float()
    check_finite_input(masks, "the masks hold", "make them anew")
    if images is None:
        return masks
    frames, *size, _ = images.shape
    if len(masks) not in (1, frames):
        raise ValueError(
            f"there are {len(masks)} masks for {frames} images: connect one for each image, or a single one for all"
        )
    part = encoded_part(size, masks.shape[1:])
    if part is not None:  # what the VAE cut off goes on as its neighbours
        right, bottom = part.of[1] - part.left - part.width, part.of[0] - part.top - part.height
        masks = F.pad(masks[:, None], (part.left, right, part.top, bottom), mode="replicate")[:, 0]
    return resized_masks(masks, size).to(images).expand(frames, -1, -1)


def _steadied(inside: Tensor, frames: int) -> Tensor:
    pooled = F.max_pool3d(inside[None].float(), (2 * frames + 1, 1, 1), stride=1, padding=(frames, 0, 0))
    return pooled[0] > 0


def shaped(inside: Tensor, fill: bool, grow: int) -> Tensor:
    """One frame's region, bool [height, width]: its holes filled, and wider by so many pixels."""
    # Exact and in one pass, where a dilation takes as many as the kernel has pixels.
    from scipy.ndimage import binary_fill_holes, distance_transform_edt

    throw_exception_if_processing_interrupted()
    shape = inside.cpu().numpy()
    if not shape.any():
        return inside
    if fill:
        shape = binary_fill_holes(shape)
    if grow:
        shape = distance_transform_edt(~shape) <= grow
    return torch.from_numpy(shape).to(inside.device)
