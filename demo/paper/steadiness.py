"""How a clip flickers: what changes from frame to frame beside what the true optical flow moves."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import map_coordinates

from .. import scenes

Flow = tuple[np.ndarray, np.ndarray]  # shift [height, width, 2] in pixels; whether the point is still seen


def flows(scene: scenes.Scene, frames: int) -> list[Flow]:
    """The true flow from each frame of a clip to the next."""
    times = np.linspace(0, 1, frames)
    return [scenes.flow(scene, *pair) for pair in zip(times, times[1:], strict=False)]


def flicker(clip: np.ndarray, moved: list[Flow], where: np.ndarray) -> float:
    """The mean absolute difference of each pixel of a clip [frames, height, width, 3] to what it becomes in the next
    frame, of those in `where` [frames, height, width] that are still seen there."""
    changes = []
    for before, after, (shift, seen), there in zip(clip, clip[1:], moved, where, strict=False):
        changes.append(np.abs(warped(after, shift) - before)[seen & there])
    return float(np.concatenate(changes).mean())


def warped(frame: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """A frame [height, width, 3] as seen from the one before it, whose pixels went where `shift` leads."""
    rows, columns = np.mgrid[: frame.shape[0], : frame.shape[1]]
    at = rows + shift[..., 1], columns + shift[..., 0]
    return np.stack(
        [map_coordinates(channel, at, order=1, mode="nearest") for channel in np.moveaxis(frame, -1, 0)], -1
    )
