"""Composite Edit: the edited thing in the file's own frames, everything else bit for bit as it was."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from comfy.model_management import throw_exception_if_processing_interrupted
from einops import rearrange
from torch import Tensor

from ...edit.local_blend import checked_mask
from ...images.matte import composite, matte
from .frames import frames_of

AT_ONCE = 16  # frames, of which the filters hold a dozen copies


def composite_edit(
    source: Tensor,
    edited: Tensor,
    old: Tensor,
    new: Tensor,
    *,
    threshold: float,
    grow: int,
    feather: int,
    keep_things: bool = False,
) -> tuple[Tensor, Tensor]:
    """(frames [frames, height, width, 3] at the source's size, matte [frames, height, width]).

    source, edited: IMAGEs of as many frames, the edited ones of any size
    old, new: MASKs of where the old and the new thing are, soft, one for each frame or one for all
    threshold: what of a place belongs to the thing; grow, feather: in pixels of the source
    keep_things: whether the things are the source's and all around them is edited

    Raises ValueError, in a sentence, for what does not fit.
    """
    source, edited = frames_of(source, "the source"), frames_of(edited, "the edited clip")
    if len(source) != len(edited):
        raise ValueError(
            f"the source has {len(source)} frames, the edited clip {len(edited)}: connect the frames that were inverted"
        )
    places = [_one_for_each(mask, name, len(source)) for mask, name in ((old, "old place"), (new, "new place"))]
    frames, mattes = [], []
    for start in range(0, len(source), AT_ONCE):
        throw_exception_if_processing_interrupted()
        part = slice(start, start + AT_ONCE)
        inside = _resized(edited[part].to(source), source.shape[1:3])
        old_place, new_place = (place[part].to(source) for place in places)
        mask = matte(old_place, new_place, source[part], inside, threshold=threshold, grow=grow, feather=feather)
        mask = 1 - mask if keep_things else mask
        frames.append(composite(source[part], inside, mask))
        mattes.append(mask)
    return torch.cat(frames), torch.cat(mattes)


def _one_for_each(mask: Tensor, name: str, frames: int) -> Tensor:
    mask = checked_mask(rearrange(mask, "... height width -> (...) height width") if mask.ndim > 1 else mask)
    if len(mask) not in (1, frames):
        raise ValueError(f"the {name} has {len(mask)} masks for {frames} frames: connect one for each, or one for all")
    return mask.expand(frames, -1, -1)


def _resized(frames: Tensor, size: Sequence[int]) -> Tensor:
    if frames.shape[1:3] == tuple(size):
        return frames
    pictures = rearrange(frames, "frames height width colours -> frames colours height width")
    pictures = F.interpolate(pictures, size=tuple(size), mode="bicubic", antialias=True).clamp(0, 1)
    return rearrange(pictures, "frames colours height width -> frames height width colours")
