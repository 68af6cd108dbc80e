"""What the demo world's ground truth says of an edited clip."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import binary_dilation

from ..videop2p_core.images.metrics import psnr
from . import scenes
from .differences import overlap
from .judge import load_judge, seen
from .scenes.silhouettes import best_place, true_place

EDGE = 2  # pixels around a new thing that are its own


@dataclass(frozen=True)
class Figures:
    """missed: fields of the scene that the judge reads otherwise than the prompt says; the rest in dB.

    background       edited against source frames, where neither the old nor the new object is, nor their shadows; a new
                     one is where it is seen, as no word says where
    truth            edited frames against the scene that the target prompt describes, as the renderer draws it
    reconstruction   the source as the run kept it against the source frames
    mask_overlap     intersection over union of the edit's mask and the place of both objects
    """

    missed: tuple[str, ...]
    background: float
    truth: float
    reconstruction: float | None
    mask_overlap: float | None


def figures(source: scenes.Scene, prompt: str, frames, edited, reconstruction=None, mask=None) -> Figures:
    """`frames` show `source`, `prompt` is the target's. Clips are [frames, height, width, 3] in 0..1; what is not
    given is not measured."""
    target = scenes.described(source, prompt)
    old, new = (scenes.clip(scene, len(frames)) for scene in (source, target))
    bare, target_bare = (empty(scene, len(frames)) for scene in (source, target))
    before, after = true_place(old, bare), true_place(new, target_bare)
    shown = after if source.object == target.object else best_place(target, edited, target_bare)
    new_place = np.stack([binary_dilation(place, iterations=EDGE) for place in shown.touches])
    values_seen = seen(load_judge(), torch.from_numpy(edited))
    return Figures(
        missed=tuple(field for field in scenes.FIELDS if values_seen[field] != getattr(target, field)),
        background=of_arrays(edited, frames, (~(before.touches | new_place)).astype(np.float32)),
        truth=of_arrays(edited, stacked(new, "image")),
        reconstruction=None if reconstruction is None else of_arrays(reconstruction, frames),
        mask_overlap=None if mask is None else overlap(mask[..., 0] > 0.5, before.covers | after.covers),
    )


def of_arrays(*arrays: np.ndarray) -> float:
    return psnr(*map(torch.from_numpy, arrays))


def empty(scene: scenes.Scene, frames: int) -> np.ndarray:
    """A clip of the scene without its first thing [frames, height, width, 3]."""
    return np.stack([scenes.render_empty(scene, time) for time in np.linspace(0, 1, frames)])


def stacked(clip: list[scenes.Frame], part: str) -> np.ndarray:
    return np.stack([getattr(frame, part) for frame in clip])
