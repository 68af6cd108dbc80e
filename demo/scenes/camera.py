"""The camera: from pixels to rays and from points back to pixels. x is to the right, y up, and z towards us."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .motion import rotate
from .things import Points

FOCAL = 3.3  # half a picture's height is 1 at this distance


@dataclass(frozen=True)
class Camera:
    """Where it is, and which way it looks: `pan` to the right, `tilt` up [radians]."""

    place: tuple[float, float, float]
    pan: float
    tilt: float


def rays(camera: Camera, u: np.ndarray, v: np.ndarray) -> Points:
    """Directions of length 1 through points of the picture; u to the right and v down, both -1..1."""
    y, z = rotate(-v, np.full_like(u, -FOCAL), camera.tilt)
    z, x = rotate(z, u, -camera.pan)
    size = 1 / np.sqrt(x * x + y * y + z * z)
    return x * size, y * size, z * size


def project(camera: Camera, points: Points) -> tuple[np.ndarray, np.ndarray]:
    """Points of the world -> (u, v) in the picture."""
    return project_direction(camera, tuple(p - o for p, o in zip(points, camera.place, strict=True)))


def project_direction(camera: Camera, direction: Points) -> tuple[np.ndarray, np.ndarray]:
    """As `project`, of what lies infinitely far away."""
    x, y, z = direction
    z, x = rotate(z, x, camera.pan)
    y, z = rotate(y, z, -camera.tilt)
    depth = -z / FOCAL
    return x / depth, -y / depth
