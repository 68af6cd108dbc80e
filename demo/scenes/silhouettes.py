"""Where a thing is in a clip, and which pose of its kind fits best what is seen.

A pose is looked for with points of the body's surface, moved as the renderer moves bodies; what is found is rendered.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
from scipy.optimize import minimize

from ..differences import SEEN, Place, overlap, place_of
from . import things
from .camera import FOCAL, Camera, project
from .frames import SHADE, Frame, render, render_posed
from .motion import Pose, to_world
from .scene import SIZE, Scene
from .staging import camera, pose, sun
from .things import Points

FAINT = 0.03  # colour distance from the empty scene: less of a shadow or of a drawn line is none
GRID = 64  # cells a side of the pictures that poses are compared in
POINTS = 4000  # of a surface
HUES = 24  # colours of a thing that are held against the scenery
TRIES = 140  # silhouettes drawn from each start of a fit
FREE = np.array((0.15, 0.1, 0.3, 0.1, 0.3, 0.1, 0.1))  # first steps: place, log of the scale, turn, lean, pitch
MOST = 0.4  # radians of lean and of pitch


def true_place(clip: list[Frame], without: np.ndarray) -> Place:
    """Of the first thing of a rendered clip, which touches all that is not as in the empty scene `without` [frames,
    size, size, 3]: its shadow, and the line around it in a sketch."""
    covered = np.stack([frame.mask for frame in clip]) > 0.5
    changed = np.linalg.norm(np.stack([frame.image for frame in clip]) - without, axis=-1) > FAINT
    seen = np.stack([place_of(frame.image, empty) for frame, empty in zip(clip, without, strict=True)])
    return Place(covered, covered | changed, seen)


def best_place(scene: Scene, clip: np.ndarray, without: np.ndarray) -> Place:
    """Of a thing as the scene's, in the pose that fits best what a clip [frames, size, size, 3] shows: place, size and
    turn about all three axes are free. without: as in `true_place`."""
    times = np.linspace(0, 1, len(clip))
    return true_place([best_frame(scene, *shown) for shown in zip(times, clip, without, strict=True)], without)


def best_frame(scene: Scene, time: float, picture: np.ndarray, without: np.ndarray) -> Frame:
    """The scene with its thing where that overlaps most what a picture shows beside the empty scene."""
    place, true = place_of(picture, without), render(scene, time)
    if not place.any():
        return true
    posed = render_posed(scene, time, best_pose(scene, time, coarse(place), sets_off(true, without)))
    return max(true, posed, key=lambda frame: overlap(place_of(frame.image, without), place))


def best_pose(scene: Scene, time: float, place: np.ndarray, visible: tuple[np.ndarray, np.ndarray]) -> Pose:
    """The pose of the scene's thing in which it overlaps a place [GRID, GRID] most; visible: as `sets_off` gives it."""
    true, view = pose(scene, 0, time), camera(scene, time)
    light, surface = sun(scene), surface_points(scene.object)

    def lost(start: Pose, change: np.ndarray) -> float:
        body = moved(start, change)
        return 1 - overlap(outline(surface, body, view, light, *visible), place)

    fits = []
    for start in (true, centred(true, place, outline(surface, true, view, light, *visible), view)):
        simplex = np.vstack([np.zeros(len(FREE)), np.diag(FREE)])
        options = {"initial_simplex": simplex, "maxfev": TRIES, "xatol": 1e-3, "fatol": 1e-3}
        fit = minimize(lambda change, s=start: lost(s, change), simplex[0], method="Nelder-Mead", options=options)
        fits.append((fit.fun, moved(start, fit.x)))
    return min(fits, key=lambda fit: fit[0])[1]


def moved(start: Pose, change: np.ndarray) -> Pose:
    """A pose changed by so much in place, log of the scale, turn, lean and pitch [7]."""
    x, y, z = (float(at + by) for at, by in zip(start.place, change[:3], strict=True))
    lean, pitch = np.clip((start.lean + change[5], start.pitch + change[6]), -MOST, MOST)
    return replace(
        start, place=(x, max(y, 0.0), z), scale=start.scale * float(np.exp(change[3])),
        turn=start.turn + float(change[4]), lean=float(lean), pitch=float(pitch),
    )  # fmt: skip


def centred(start: Pose, place: np.ndarray, extent: np.ndarray, view: Camera) -> Pose:
    """The pose moved and scaled so that its silhouette `own` has a place's middle and area, both [GRID, GRID]."""
    if not extent.any():
        return start
    (down, right), area = np.subtract(middle(place), middle(extent)) * (2 / GRID), place.sum() / extent.sum()
    aside = np.array((right, -down)) * ((view.place[2] - start.place[2]) / FOCAL)
    return moved(start, np.array((*aside, 0.0, np.log(area) / 2, 0.0, 0.0, 0.0)))


def middle(place: np.ndarray) -> np.ndarray:
    return np.array(np.nonzero(place)).mean(axis=1)


def coarse(place: np.ndarray) -> np.ndarray:
    """A place [size, size] by cells of the grid [GRID, GRID]."""
    side = SIZE // GRID
    return place.reshape(GRID, side, GRID, side).mean(axis=(1, 3)) >= 0.5


def sets_off(frame: Frame, without: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where (a thing as the frame's, its shadow) would be seen before the empty scene: bool [GRID, GRID] each."""
    colours = frame.image[frame.mask > 0.9]
    hues = colours[np.linspace(0, len(colours) - 1, HUES).astype(int)] if len(colours) else np.zeros((1, 3), np.float32)
    side = SIZE // GRID
    ground = without.reshape(GRID, side, GRID, side, 3).mean(axis=(1, 3))
    apart = np.linalg.norm(ground[:, :, None] - hues, axis=-1) > SEEN
    return apart.mean(axis=-1) >= 0.5, np.linalg.norm(ground * (1 - SHADE), axis=-1) > SEEN


@lru_cache(maxsize=16)
def surface_points(kind: str) -> Points:
    """Points strewn over a body's surface [POINTS] x 3."""
    rng = np.random.default_rng(0)
    points = tuple(rng.uniform((-1.2, -0.1, -1.3), (1.2, 2.3, 1.3), (POINTS, 3)).T.astype(np.float32))
    for _ in range(5):
        away = things.distance(kind, points)
        up = things.gradient(lambda p: things.distance(kind, p), points)
        points = tuple(p - n * away for p, n in zip(points, up, strict=True))
    return points


def outline(
    surface: Points,
    body: Pose,
    view: Camera,
    light: tuple[float, float, float],
    thing_shows: np.ndarray,
    shadow_shows: np.ndarray,
) -> np.ndarray:
    """Where a body in a pose and its shadow on the ground are seen: bool [GRID, GRID]."""
    points = to_world(surface, body)
    covered = strewn(points, view)
    down = np.maximum(points[1], 0) / light[1]
    fallen = points[0] - light[0] * down, np.zeros_like(down), points[2] - light[2] * down
    shadow = grown(strewn(fallen, view))  # soft at its border
    return np.where(covered, thing_shows, shadow & shadow_shows)


def strewn(points: Points, view: Camera) -> np.ndarray:
    """The cells of the grid in which points are, with the small gaps between them."""
    u, v = ((part + 1) * (GRID / 2) for part in project(view, points))
    inside = (u >= 0) & (u < GRID) & (v >= 0) & (v < GRID)
    cells = v[inside].astype(int) * GRID + u[inside].astype(int)
    filled = grown(np.bincount(cells, minlength=GRID * GRID).reshape(GRID, GRID) > 0)
    return ~grown(~filled)


def grown(place: np.ndarray) -> np.ndarray:
    """A place with the cells next to it; scipy's binary_dilation takes several times as long on so small a grid."""
    rows = place.copy()
    rows[1:] |= place[:-1]
    rows[:-1] |= place[1:]
    cells = rows.copy()
    cells[:, 1:] |= rows[:, :-1]
    cells[:, :-1] |= rows[:, 1:]
    return cells
