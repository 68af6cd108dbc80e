"""Where a thing of the first edition is in a clip, and which outline of its kind fits best what is seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.optimize import minimize

from . import objects, scenes
from .differences import Place, overlap, place_of

TRIES = 160  # pictures drawn for one fit


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


def true_place(clip: list[scenes.Frame], _without: np.ndarray) -> Place:
    """Of the thing of a rendered clip: it throws no shadow, and its dark outline sets it off from anything."""
    covered = np.stack([frame.mask for frame in clip]) > 0.5
    return Place(covered, covered, covered)


def best_place(scene: scenes.Scene, clip: np.ndarray, _without: np.ndarray) -> Place:
    """Of a thing as the scene's, where it fits best what a clip [frames, size, size, 3] shows."""
    outlines = best_outlines(scene, clip)
    return Place(outlines, outlines, outlines)
