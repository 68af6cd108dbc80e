"""Crop Region: the part of a large clip that an edit needs, at the resolution of the model."""

from __future__ import annotations

from torch import Tensor

from ...images.comparison import resized
from ...images.crop import UNIT, Crop, crop_around, size_for_model
from .edit_region import THRESHOLD
from .frames import frames_of
from .masks import one_for_each, resized_masks


def crop_region(images: Tensor, masks: Tensor, longest: int, margin: float) -> tuple[Tensor, Tensor, Crop]:
    """(frames [frames, height, width, 3] and masks [frames, height, width] of the window, the window).

    images: IMAGE of the whole clip; masks: MASK of what is to be edited, one for each frame or one for all, of any
    size: the window holds it in all frames; longest: pixels of the longer side of what comes out
    margin: around it, as a share of its longer side

    Raises ValueError, in a sentence, for what does not fit.
    """
    images = frames_of(images, "the images input")
    masks = resized_masks(one_for_each(masks, len(images), "there are"), images.shape[1:3])
    if longest < UNIT:
        raise ValueError(f"the longest side is {longest}: a model needs {UNIT} pixels or more")
    crop = crop_around(masks > THRESHOLD, margin)
    size = size_for_model(crop, longest)
    return resized(images[:, *crop.window], size), resized_masks(masks[:, *crop.window], size), crop
