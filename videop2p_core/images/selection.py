"""Which frames of a clip are edited, and the size in which a model takes them."""

from __future__ import annotations

import math

from .crop import UNIT, in_units


def frames_taken(there: int, start: int, every: int, most: int) -> range:
    """The numbers of the frames: every `every`-th from `start` on, at most `most` of those that are there.

    Raises ValueError for a start behind the last frame.
    """
    if start >= there:
        raise ValueError(
            f"the clip has {there} frames, counted from 0, and is to start at frame {start}: start earlier"
        )
    return range(start, there, every)[:most]


def size_of_area(height: int, width: int, side: int, unit: int = UNIT) -> tuple[int, int]:
    """(height, width) of about as many pixels as a square of `side`, of the same shape as (height, width) but for the
    rounding of both to multiples of `unit`."""
    return in_units(height, width, side / math.sqrt(height * width), unit)
