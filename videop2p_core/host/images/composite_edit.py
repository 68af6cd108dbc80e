"""Composite Edit: the edited thing in the file's own frames, everything else bit for bit as it was."""

from collections.abc import Iterator

import numpy as np
import torch
from scipy.ndimage import binary_propagation
from torch import Tensor

from ...images.comparison import resized
from ...images.crop import Crop, empty_around, encoded_part, set_back
from ...images.matte import MatteSettings, colours_matched, composite, feathered, rests, sure, things
from .edit_region import shaped
from .frames import frames_of
from .masks import one_for_each

AT_ONCE = 2**22  # pixels, of whose colours the filters hold dozens of copies
OLD, NEW = "old place", "new place"


def composite_edit(
    source: Tensor,
    edited: Tensor,
    old: Tensor,
    new: Tensor,
    settings: MatteSettings,
    crop: Crop | None = None,
) -> tuple[Tensor, Tensor]:
    """(frames [frames, height, width, 3] at the source's size, matte [frames, height, width]).

    source, edited: IMAGEs of as many frames, the edited ones of any size
    old, new: MASKs of where the old and the new thing are, soft, one for each frame or one for all
    settings: pixels are the source's
    crop: the window of the source that was edited, where it was not all of it; the edit and the places are its own. By
        itself the part that a VAE encodes, where the edit is that.

    Raises ValueError, in a sentence, for what does not fit.
    """
    source, edited = frames_of(source, "the source"), frames_of(edited, "the edited clip")
    if len(source) != len(edited):
        raise ValueError(
            f"the source has {len(source)} frames, the edited clip {len(edited)}: connect the frames that were inverted"
        )
    crop = crop or encoded_part(source.shape[1:3], edited.shape[1:3])
    if crop is not None:
        check_crop(source, crop)
        window, matte = composite_edit(source[:, *crop.window], edited, old, new, settings)
        return set_back(source, window, crop), empty_around(matte, crop)
    places = [one_for_each(mask, len(source), f"the {name} has") for mask, name in ((old, OLD), (new, NEW))]
    frames, mattes = [], []
    for part in _parts(source):
        inside = resized(edited[part], source.shape[1:3])
        pictures = source[part].float(), inside.float()  # the filters have no halves
        old_place, new_place = (place[part].to(source.device) for place in places)
        place = things(old_place, new_place, *pictures)
        inside_matte = place > settings.threshold
        inside_matte = joined(inside_matte & sure(place), inside_matte)
        if settings.rests:
            inside_matte = joined(inside_matte, rests(old_place, *pictures))
        region = torch.stack([shaped(one, False, settings.grow) for one in inside_matte])
        mask = feathered(region.float(), settings.feather)
        if settings.match_colours and not settings.keep_things:
            inside = colours_matched(*pictures, mask, new_place)
        mask = 1 - mask if settings.keep_things else mask
        frames.append(composite(source[part], inside, mask))
        mattes.append(mask)
    return torch.cat(frames), torch.cat(mattes)


def check_crop(source: Tensor, crop: Crop) -> None:
    """Raises ValueError where the frames are not those that were cropped."""
    if tuple(source.shape[1:3]) != crop.of:
        (height, width), (own_height, own_width) = crop.of, source.shape[1:3]
        raise ValueError(
            f"the crop is of frames of {width} x {height}, the source's are {own_width} x {own_height}: connect the "
            "frames that Crop Region was given"
        )


def joined(region: Tensor, others: Tensor) -> Tensor:
    """A region, and what of the others touches it within its frame: bool [frames, height, width]."""
    neighbours = np.zeros((3, 3, 3), dtype=bool)
    neighbours[1] = [[0, 1, 0], [1, 1, 1], [0, 1, 0]]
    grown = binary_propagation(region.cpu().numpy(), neighbours, mask=(region | others).cpu().numpy())
    return torch.from_numpy(grown).to(region.device)


def _parts(frames: Tensor) -> Iterator[slice]:
    """Frames that the filters take at once."""
    step = max(AT_ONCE // (frames.shape[1] * frames.shape[2]), 1)
    return (slice(start, start + step) for start in range(0, len(frames), step))
