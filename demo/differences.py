"""Where a picture of the demo world differs from the empty scene, and so where a thing is seen in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_opening, uniform_filter

SEEN = 0.13  # colour distance of 3 x 3 means from the empty scene, above which something is there


@dataclass(frozen=True)
class Place:
    """Where a thing is in a clip, bool [frames, height, width] each: what it `covers`, what it `touches`, its shadow
    included, and where it is `seen`, which is what sets it off from the empty scene."""

    covers: np.ndarray
    touches: np.ndarray
    seen: np.ndarray


def distance(a: np.ndarray, b: np.ndarray, blur: int = 1) -> np.ndarray:
    """Colour distance of pictures [height, width, 3], of their means over blur x blur pixels: [height, width]."""
    return np.linalg.norm(uniform_filter(a - b, (blur, blur, 0)), axis=-1)


def place_of(picture: np.ndarray, without: np.ndarray) -> np.ndarray:
    """Where a picture differs from the empty scene: bool [height, width]."""
    return binary_opening(distance(picture, without, 3) > SEEN, iterations=1)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of bool arrays; 0 where both are empty."""
    return float((a & b).sum() / max((a | b).sum(), 1))
