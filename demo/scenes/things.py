"""The things of the demo world: their solids, the side that they are known by, and how soft they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from . import animals, toys

Points = tuple[np.ndarray, np.ndarray, np.ndarray]
REACH = 1.42  # every body lies within so much of (0, 1, 0)


@dataclass(frozen=True)
class Kind:
    """A thing's `solid`: distances of each filling; `view`: the turn that shows it best, degrees from its front;
    `softness` 0..1: how far it bends; `floats`: how high above the ground it hovers."""

    solid: Callable[..., dict[str, np.ndarray]]
    view: float
    softness: float
    floats: float = 0.0
    wags: bool = False  # with its tail: the others lean with their heads
    walks: bool = False  # on legs
    size: float = 1.0


KINDS = {
    "rabbit": Kind(animals.rabbit, 28, 1.0, walks=True, size=1.05),
    "cat": Kind(animals.cat, 26, 0.8, walks=True, size=1.1),
    "bear": Kind(animals.bear, 24, 0.6, walks=True),
    "duck": Kind(animals.duck, 48, 0.6, walks=True, size=1.04),
    "fish": Kind(animals.fish, 66, 1.0, floats=0.12, wags=True, size=1.02),
    "car": Kind(toys.car, 58, 0.25, size=1.06),
    "boat": Kind(toys.boat, 66, 0.3),
    "robot": Kind(toys.robot, 24, 0.25, walks=True),
    "teapot": Kind(toys.teapot, 72, 0.4, size=1.0),
    "mushroom": Kind(toys.mushroom, 16, 0.8, size=1.06),
    "star": Kind(toys.star, 18, 0.7, floats=0.1, size=1.05),
    "heart": Kind(toys.heart, 18, 0.8, floats=0.06, size=1.08),
}


def fillings(kind: str) -> tuple[str, ...]:
    origin = np.zeros(1, np.float32)
    return tuple(KINDS[kind].solid(origin, origin, origin))


def distance(kind: str, points: Points) -> np.ndarray:
    return np.minimum.reduce(list(KINDS[kind].solid(*points).values()))


def filling(kind: str, points: Points) -> np.ndarray:
    """Which of `fillings` is at each point of the surface."""
    return np.argmin(np.stack(list(KINDS[kind].solid(*points).values())), axis=0)


def gradient(distance_at: Callable[[Points], np.ndarray], points: Points, step: float = 0.012) -> Points:
    """The direction away from a solid at each point, of length 1, from the corners of a tetrahedron."""
    corners = ((1, -1, -1), (-1, -1, 1), (-1, 1, -1), (1, 1, 1))
    total = [0.0, 0.0, 0.0]
    for corner in corners:
        value = distance_at(tuple(p + c * step for p, c in zip(points, corner, strict=True)))
        total = [t + c * value for t, c in zip(total, corner, strict=True)]
    size = np.maximum(np.sqrt(sum(t * t for t in total)), 1e-9)
    return tuple(t / size for t in total)
