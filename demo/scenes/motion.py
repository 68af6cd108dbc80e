"""How bodies stand, move and bend: exact both ways, so that a point of a surface can be followed from frame to frame.

Every bend shifts one coordinate by a function of the other two, which the same shift undoes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .things import Points


@dataclass(frozen=True)
class Pose:
    """One moment of a body: where it stands, its `turn` about the upright, its `lean` to a side and its `pitch` back or
    forth [radians], its `scale`, its `stretch` in height, and its bends: `stride` of the legs, `nod` of what is high,
    `wag` of what is behind."""

    place: tuple[float, float, float]
    turn: float
    lean: float
    scale: float
    stretch: float
    stride: float
    nod: float
    wag: float
    pitch: float = 0.0  # of no body that a seed poses

    @property
    def breadth(self) -> float:
        return 1 / float(np.sqrt(self.stretch))


def rotate(a, b, angle):
    c, s = float(np.cos(angle)), float(np.sin(angle))
    return c * a - s * b, s * a + c * b


def to_world(points: Points, pose: Pose) -> Points:
    x, y, z = points
    x = x + pose.wag * np.maximum(-z, 0) ** 2
    z = z + pose.stride * _stride(x, y)
    z = z + pose.nod * np.maximum(y - 0.9, 0) ** 2
    x, y, z = x * pose.breadth, y * pose.stretch, z * pose.breadth
    if pose.pitch:
        y, z = rotate(y, z, pose.pitch)
    x, y = rotate(x, y, pose.lean)
    z, x = rotate(z, x, pose.turn)
    return tuple(p * pose.scale + o for p, o in zip((x, y, z), pose.place, strict=True))


def to_body(points: Points, pose: Pose) -> Points:
    x, y, z = ((p - o) * (1 / pose.scale) for p, o in zip(points, pose.place, strict=True))
    z, x = rotate(z, x, -pose.turn)
    x, y = rotate(x, y, -pose.lean)
    if pose.pitch:
        y, z = rotate(y, z, -pose.pitch)
    x, y, z = x * (1 / pose.breadth), y * (1 / pose.stretch), z * (1 / pose.breadth)
    if pose.nod:
        z = z - pose.nod * np.maximum(y - 0.9, 0) ** 2
    if pose.stride:
        z = z - pose.stride * _stride(x, y)
    if pose.wag:
        x = x - pose.wag * np.maximum(-z, 0) ** 2
    return x, y, z


def _stride(x, y):
    """The legs of one side go forward while those of the other go back."""
    return np.clip(5 * x, -1, 1) * np.maximum(0.6 - y, 0)
