"""Where a thing is seen in a picture of the demo world, and which outline of that kind fits it best."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.ndimage import binary_opening, uniform_filter
from scipy.optimize import minimize

from . import objects, scenes

SEEN = 0.13  # colour distance of 3 x 3 means from the empty scene, above which something is there
TRIES = 160  # pictures drawn for one fit


def distance(a: np.ndarray, b: np.ndarray, blur: int = 1) -> np.ndarray:
    """Colour distance of pictures [height, width, 3], of their means over blur x blur pixels: [height, width]."""
    return np.linalg.norm(uniform_filter(a - b, (blur, blur, 0)), axis=-1)


def place_of(picture: np.ndarray, without: np.ndarray) -> np.ndarray:
    """Where a picture differs from the empty scene: bool [height, width]."""
    return binary_opening(distance(picture, without, 3) > SEEN, iterations=1)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of bool arrays; 0 where both are empty."""
    return float((a & b).sum() / max((a | b).sum(), 1))


def outline(name: str, x: float, y: float, width: float, height: float, turn: float) -> np.ndarray:
    """The silhouette of a thing with its centre at (x, y), all in fractions of the picture: bool [size, size]."""
    pose = objects.Pose(x, y, 1.0, turn, 0.0)
    polygons = [objects.place(points * (width, height), pose, scenes.SIZE) for _, points in objects.parts(name)]
    return np.asarray(objects.covered(polygons, scenes.SIZE)) > 0


def best_outline(name: str, place: np.ndarray, start: objects.Pose) -> np.ndarray:
    """The silhouette of a thing that overlaps a place [size, size] most: place, both radii and turn are free.

    start: from where it is looked for, beside the place's own centre and size
    """
    if not place.any():
        return np.zeros_like(place)
    rows, columns = np.nonzero(place)
    radius = np.sqrt(place.sum() / outline(name, 0.5, 0.5, 0.3, 0.3, 0.0).sum()) * 0.3
    middle = replace(start, x=columns.mean() / scenes.SIZE, y=rows.mean() / scenes.SIZE, radius=radius)

    def lost(pose: np.ndarray) -> float:
        return 1 - overlap(outline(name, *pose), place)

    fits = []
    for pose in (start, middle):
        first = np.array([pose.x, pose.y, pose.radius, pose.radius, pose.turn])
        simplex = first + np.vstack([np.zeros(5), np.diag([0.04, 0.04, 0.04, 0.04, 0.2])])
        options = {"initial_simplex": simplex, "maxfev": TRIES, "xatol": 1e-3, "fatol": 1e-3}
        fits.append(minimize(lost, first, method="Nelder-Mead", options=options))
    return outline(name, *min(fits, key=lambda fit: fit.fun).x)


def best_outlines(scene: scenes.Scene, clip: np.ndarray) -> np.ndarray:
    """The silhouettes of a scene's thing that fit best what a clip [frames, size, size, 3] shows: bool [frames, size,
    size]."""
    times = np.linspace(0, 1, len(clip))
    places = [place_of(picture, scenes.render_empty(scene, time)) for picture, time in zip(clip, times, strict=True)]
    poses = [scenes.pose(scene, time) for time in times]
    return np.stack([best_outline(scene.object, *pair) for pair in zip(places, poses, strict=True)])
