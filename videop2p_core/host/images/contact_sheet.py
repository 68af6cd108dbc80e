"""Many clips on one sheet, each under its label."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ...images.comparison import resized
from ...images.crop import as_decoded
from .frames import frames_of
from .plots import GAP, labelled

LEGIBLE = 256  # pixels: how wide a clip is at least, as its label is
SIDE = 2048  # pixels: how wide and high a sheet is at most, its labels and gaps left out


def contact_sheet(clips: Sequence[Tensor], labels: Sequence[str], columns: int, frame: int = 0) -> Tensor:
    """The clips [frames, any height, any width, 3] row by row, at the size of the first where labels are legible and
    the sheet not too large at that: [frames, height, width, 3]. frame: which one is shown, from 1; 0 for all.

    Raises ValueError for clips that are none, and for labels, lengths or a frame that do not fit them.
    """
    if not clips:
        raise ValueError("there are no clips: connect at least one")
    if columns < 1 or frame < 0:
        raise ValueError(f"{columns} columns and frame {frame} were asked for: give at least 1 and 0")
    if len(labels) != len(clips):
        raise ValueError(f"there are {len(clips)} clips and {len(labels)} labels: connect as many labels as clips")
    clips = [frames_of(clip, f"clip {number}") for number, clip in enumerate(clips, 1)]
    clips = [as_decoded(clip, clips[-1].shape[1:3]) for clip in clips]  # the first may be the file's
    frames, height, width, _ = clips[0].shape
    for number, clip in enumerate(clips, 1):
        if len(clip) != frames:
            raise ValueError(f"clip {number} has {len(clip)} frames, the first {frames}: connect clips of one length")
    if frame > frames:
        raise ValueError(f"frame {frame} was asked for, but the clips have {frames}")
    columns = min(columns, len(clips))
    rows = -(-len(clips) // columns)
    scale = min(max(1, LEGIBLE / width), SIDE / (columns * width), SIDE / (rows * height))
    size = [max(2, 2 * round(scale * side / 2)) for side in (height, width)]  # even, as many video encoders want it
    shown = slice(frame - 1, frame) if frame else slice(None)
    pictures = [labelled(resized(clip[shown], size), str(label)) for clip, label in zip(clips, labels, strict=True)]
    cells = [F.pad(picture, (0, 0, GAP, GAP, GAP, GAP)) for picture in pictures]
    cells += [torch.zeros_like(cells[0])] * (rows * columns - len(cells))
    return rearrange(cells, "(rows columns) frames h w c -> frames (rows h) (columns w) c", rows=rows)
