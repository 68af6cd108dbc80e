"""Scenes as pictures, with their truth: which pixels each thing covers, where shadow falls, where every point goes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from einops import rearrange, reduce
from scipy.ndimage import convolve1d

from . import things
from .camera import Camera, project, project_direction, rays
from .materials import Sight, shade
from .motion import Pose, to_body, to_world
from .places import Place, look, place_of
from .scene import SIZE, Scene
from .staging import camera, pose, sun
from .styles import stylise
from .things import Points
from .trace import Solid, along, march, normal, openness, sunlight

SHADE = np.array((0.46, 0.45, 0.62), np.float32)  # of the ground's colour in full shadow
SOFTNESS = 0.3  # of shadows
MARGIN = 0.12  # before what its neighbours meet, a ray on an outline begins
SPREAD = 0.1  # of a point's light to the pixel beside it: what a lens does, and single samples leave undone
SAMPLES = ((-0.125, -0.375), (0.375, -0.125), (-0.375, 0.125), (0.125, 0.375))  # of a pixel on an outline


@dataclass(frozen=True)
class Frame:
    """One rendered frame: `image` [height, width, 3] in 0..1, `masks` [things, height, width] in 0..1, what each thing
    covers, and `shadow` [height, width] in 0..1, what the things take of the light on the ground."""

    image: np.ndarray
    masks: np.ndarray
    shadow: np.ndarray

    @property
    def mask(self) -> np.ndarray:
        """The coverage of the first thing, which captions begin with."""
        return self.masks[0]


@dataclass(frozen=True)
class Stage:
    """A scene at a moment."""

    scene: Scene
    camera: Camera
    place: Place
    light: tuple[float, float, float]
    solids: list[Solid]


@dataclass(frozen=True)
class Seen:
    """What rays meet: `thing` is its number, -1 for scenery; `filling` of the thing's; `far` along the ray, infinity
    for the sky; `hits` [things, points]: the same for each thing, seen or hidden."""

    colours: np.ndarray
    thing: np.ndarray
    filling: np.ndarray
    far: np.ndarray
    shadow: np.ndarray
    hits: np.ndarray


def stage_of(scene: Scene, time: float) -> Stage:
    solids = [Solid(thing.object, pose(scene, i, time)) for i, thing in enumerate(scene.things)]
    return Stage(scene, camera(scene, time), place_of(scene), sun(scene), solids)


def scenery(stage: Stage, directions: Points) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(colours, distance, shadow) of what is behind the things, with their shadows."""
    origin = stage.camera.place
    colours, far = look(stage.place, origin, directions)
    height = origin[1] + directions[1] * np.where(np.isfinite(far), far, 0)
    near = np.flatnonzero(np.isfinite(far) & (abs(height) < 1e-3) & (far < 16))
    points = along(origin, tuple(d[near] for d in directions), far[near])
    lit = sunlight(points, stage.light, stage.solids, SOFTNESS)
    close = np.zeros(len(near), bool)
    for solid in stage.solids:
        (x, _, z), radius = solid.ball
        close |= (points[0] - x) ** 2 + (points[2] - z) ** 2 < radius**2
    at = tuple(p[close] for p in points)
    up = tuple(np.full_like(at[0], part) for part in (0.0, 1.0, 0.0))
    lit[close] = lit[close] * (0.35 + 0.65 * openness(at, up, stage.solids))
    shadow = np.zeros_like(far)
    shadow[near] = 1 - lit
    colours = colours * (1 - (1 - SHADE) * shadow[:, None])
    return colours, far, shadow


def look_at(stage: Stage, u: np.ndarray, v: np.ndarray, begin: np.ndarray | None = None) -> Seen:
    """What is seen through points of the picture, -1..1 each [points]; `begin` [things, points]: as in `march`."""
    origin, directions = stage.camera.place, rays(stage.camera, u, v)
    colours, far, shadow = scenery(stage, directions)
    thing, filling = np.full(len(u), -1), np.zeros(len(u), int)
    begin = np.zeros((len(stage.solids), 1), np.float32) if begin is None else begin
    hits = np.stack([march(origin, directions, *pair) for pair in zip(stage.solids, begin, strict=True)])
    nearest = np.argmin(hits, axis=0)
    for index, (solid, t) in enumerate(zip(stage.solids, hits, strict=True)):
        visible = np.flatnonzero((nearest == index) & (t < far))
        if not len(visible):
            continue
        ways = tuple(d[visible] for d in directions)
        points = along(origin, ways, t[visible])
        normals = normal(points, solid)
        body = to_body(points, solid.pose)
        raised = along(points, normals, np.float32(0.03))
        sight = Sight(
            body, normals, tuple(-d for d in ways), stage.light,
            sunlight(raised, stage.light, stage.solids, SOFTNESS), openness(points, normals, stage.solids),
            things.filling(solid.kind, body), (float(np.cos(solid.pose.turn)), float(np.sin(solid.pose.turn))),
        )  # fmt: skip

        colours[visible] = shade(stage.scene, index, stage.scene.things[index], sight)
        thing[visible], filling[visible], far[visible], shadow[visible] = index, sight.filling, t[visible], 0
    return Seen(np.clip(colours, 0, 1), thing, filling, far, shadow, hits)


def pixel_centres(size: int) -> tuple[np.ndarray, np.ndarray]:
    """(u, v) of all pixels, row by row [size * size]."""
    axis = ((np.arange(size, dtype=np.float32) + 0.5) * 2 / size) - 1
    v, u = np.meshgrid(axis, axis, indexing="ij")
    return u.ravel(), v.ravel()


def around(picture: np.ndarray) -> list[np.ndarray]:
    """A picture [..., height, width] nine times: each pixel's neighbours and itself."""
    *_, height, width = picture.shape
    padded = np.pad(picture, [(0, 0)] * (picture.ndim - 2) + [(1, 1), (1, 1)], mode="edge")
    return [padded[..., i : i + height, j : j + width] for i in range(3) for j in range(3)]


def through_lens(picture: np.ndarray) -> np.ndarray:
    """A picture [..., height, width], each point spread to the pixels around it."""
    kernel = (SPREAD, 1 - 2 * SPREAD, SPREAD)
    return convolve1d(convolve1d(picture, kernel, -1, mode="nearest"), kernel, -2, mode="nearest")


def photographed(image: np.ndarray, labels: np.ndarray, is_sky: np.ndarray, scene: Scene) -> np.ndarray:
    """As `stylise`, through the lens [height, width, 3]."""
    styled = rearrange(stylise(image, labels, is_sky, scene).astype(np.float32), "h w rgb -> rgb h w")
    return np.ascontiguousarray(rearrange(through_lens(styled), "rgb h w -> h w rgb"))


def render(scene: Scene, time: float = 0.5, size: int = SIZE) -> Frame:
    """The scene at `time` 0..1."""
    return drawn(stage_of(scene, time), size)


def render_posed(scene: Scene, time: float, body: Pose) -> Frame:
    """The scene at `time` 0..1 with its first thing in a pose that is not the seed's."""
    stage = stage_of(scene, time)
    first, *others = stage.solids
    return drawn(replace(stage, solids=[replace(first, pose=body), *others]), SIZE)


def render_empty(scene: Scene, time: float) -> np.ndarray:
    """The image of the scene at `time` 0..1 without its things [height, width, 3]."""
    stage = replace(stage_of(scene, time), solids=[])
    colours, far, _ = scenery(stage, rays(stage.camera, *pixel_centres(SIZE)))
    labels, is_sky = np.zeros((SIZE, SIZE), int), np.isinf(far).reshape(SIZE, SIZE)
    image = np.clip(colours, 0, 1).reshape(SIZE, SIZE, 3).astype(np.float32)
    return photographed(image, labels, is_sky, scene)


def drawn(stage: Stage, size: int) -> Frame:
    """What a stage shows, with several samples for each pixel on an outline."""
    u, v = pixel_centres(size)
    seen = look_at(stage, u, v)
    labels = ((seen.thing + 1) * 16 + seen.filling).reshape(size, size)
    image, shadow = seen.colours, seen.shadow
    numbers = np.arange(len(stage.solids))[:, None]
    masks = (seen.thing == numbers).astype(np.float32)
    near = around(labels)
    edge = np.flatnonzero(np.maximum.reduce(near) != np.minimum.reduce(near))
    if len(edge):
        begin = (
            np.minimum.reduce(around(seen.hits.reshape(-1, size, size))).reshape(len(seen.hits), -1)[:, edge] - MARGIN
        )
        at_u, at_v = (
            np.concatenate([centre[edge] + shift * 2 / size for shift in shifts])
            for centre, shifts in zip((u, v), zip(*SAMPLES, strict=True), strict=True)
        )
        fine = look_at(stage, at_u, at_v, np.tile(begin, len(SAMPLES)))
        colours = reduce(fine.colours, "(samples pixels) rgb -> pixels rgb", "mean", samples=len(SAMPLES))
        shade = reduce(fine.shadow, "(samples pixels) -> pixels", "mean", samples=len(SAMPLES))
        covered = (fine.thing == numbers).astype(np.float32)
        covered = reduce(covered, "things (samples pixels) -> things pixels", "mean", samples=len(SAMPLES))
        # A pixel beside a thing stays what it is without the thing.
        touched = covered.any(axis=0) | (seen.thing[edge] >= 0)
        edge = edge[touched]
        image[edge], shadow[edge], masks[:, edge] = colours[touched], shade[touched], covered[:, touched]
    image = image.reshape(size, size, 3).astype(np.float32)
    is_sky = np.isinf(seen.far).reshape(size, size)
    return Frame(
        photographed(image, labels, is_sky, stage.scene),
        through_lens(masks.reshape(-1, size, size)),
        through_lens(shadow.reshape(size, size)),
    )


def clip(scene: Scene, frames: int = 8, size: int = SIZE) -> list[Frame]:
    """The whole clip, from time 0 to 1."""
    return [render(scene, i / max(frames - 1, 1), size) for i in range(frames)]


def flow(scene: Scene, time: float, later: float, size: int = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """Where the point seen at each pixel is `later` -> (shift [height, width, 2] in pixels, right and down; whether it
    is still seen [height, width])."""
    before, after = stage_of(scene, time), stage_of(scene, later)
    u, v = pixel_centres(size)
    directions = rays(before.camera, u, v)
    seen = look_at(before, u, v)
    points = along(before.camera.place, directions, np.where(np.isfinite(seen.far), seen.far, 1))
    for index, solid in enumerate(before.solids):
        visible = seen.thing == index
        body = to_body(tuple(p[visible] for p in points), solid.pose)
        for part, moved in zip(points, to_world(body, after.solids[index].pose), strict=True):
            part[visible] = moved
    sky = np.isinf(seen.far)
    to_u, to_v = (
        np.where(sky, away, close)
        for away, close in zip(project_direction(after.camera, directions), project(after.camera, points), strict=True)
    )
    again = look_at(after, to_u, to_v)
    expected = np.sqrt(sum((p - o) ** 2 for p, o in zip(points, after.camera.place, strict=True)))
    near = np.where(sky, np.isinf(again.far), abs(again.far - expected) < 0.02 * expected)
    inside = (abs(to_u) < 1) & (abs(to_v) < 1)
    shift = np.stack([to_u - u, to_v - v], axis=-1) * (size / 2)
    return shift.reshape(size, size, 2), ((again.thing == seen.thing) & near & inside).reshape(size, size)
