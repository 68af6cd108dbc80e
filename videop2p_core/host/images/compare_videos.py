"""Compare Videos: two clips, each under its label, in one view."""

from __future__ import annotations

import math

from torch import Tensor

from ...images import comparison
from .frames import frames_of
from .plots import labelled

SIDE_BY_SIDE, WIPE, DIFFERENCE = MODES = ("side by side", "wipe", "difference")


def compare(
    before: Tensor, after: Tensor, mode: str, position: float, gain: float, before_label: str, after_label: str
) -> Tensor:
    """IMAGEs of any size and channels: [frames, strip + height, width or 2 width, 3], without a strip where both labels
    are empty; odd sides are one longer. Raises ValueError for clips that are none or do not fit, and for a position
    or a gain that is none."""
    if not 0 <= position <= 1:
        raise ValueError(f"the position is {position:g}: it lies between 0 and 1")
    if not 0 < gain < math.inf:
        raise ValueError(f"the gain is {gain:g}: give a number above 0")
    before, after = comparison.matched(frames_of(before, "the before video"), frames_of(after, "the after video"))
    return comparison.even(_view(before, after, mode, position, gain, before_label.strip(), after_label.strip()))


def _view(
    before: Tensor, after: Tensor, mode: str, position: float, gain: float, before_label: str, after_label: str
) -> Tensor:
    labels = before_label, after_label
    if mode == DIFFERENCE:
        seen = comparison.difference(before, after, gain)
        return labelled(seen, f"|{labels[1]} − {labels[0]}| × {gain:g}") if all(labels) else seen
    if any(labels):
        # A wipe cuts the labels with their clips, so each stands where its clip is seen longest.
        sides = ("left", "left") if mode == SIDE_BY_SIDE else ("left", "right")
        before, after = map(labelled, (before, after), labels, sides)
    return comparison.side_by_side(before, after) if mode == SIDE_BY_SIDE else comparison.wipe(before, after, position)
