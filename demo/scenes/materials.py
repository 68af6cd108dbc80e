"""What things are made of: the colour of each point of a surface, and how it answers to light."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .noise import Noise, colour, mix, ramp
from .scene import Scene, Thing
from .things import Points, distance, fillings, gradient

PAINTS = {
    "red": colour("#e0322d"),
    "orange": colour("#f98a1b"),
    "green": colour("#3fae49"),
    "blue": colour("#2f6fe4"),
    "purple": colour("#8446c4"),
    "pink": colour("#fb8fbe"),
    "white": colour("#f5f3ee"),
    "golden": colour("#e8ae35"),
}
MARKS = {"white": colour("#49566e"), "golden": colour("#7a4416"), "pink": colour("#fff4f4")}
PALE = colour("#fbf3df")
WOOD = colour("#b67f45")
FILLS = {
    "light": colour("#f7ecd6"),
    "white": colour("#fdfbf5"),
    "dark": colour("#2a2430"),
    "pink": colour("#f4909f"),
    "beak": colour("#f59a2c"),
    "metal": colour("#a4adba"),
    "glass": colour("#b5def0"),
    "glow": colour("#7ff2e4"),
    "wood": WOOD,
}
SUN, SKY, EARTH = np.array((1.0, 0.94, 0.84)), np.array((0.80, 0.88, 1.0)), np.array((0.95, 0.82, 0.72))
SITES = {"origami": 16, "spotted": 22}
SOFT = 0.22  # how far light reaches round a surface


@dataclass(frozen=True)
class Sight:
    """Points of one thing's surface as they are seen: their places on the `body`, their `normals`, the ways to the
    `eye` and to the `sun` (all in the world), how much `sunlight` and `sky` comes there, and their `filling`. `turn` is
    the cosine and sine of the body's turn."""

    body: Points
    normals: Points
    eye: Points
    sun: tuple[float, float, float]
    sunlight: np.ndarray
    sky: np.ndarray
    filling: np.ndarray
    turn: tuple[float, float]


def dot(a, b):
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@lru_cache(maxsize=64)
def sites(kind: str, seed: tuple[int, ...], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Points strewn over a body's surface and the directions away from it there: [count, 3] each."""
    rng = np.random.default_rng(seed)
    points = tuple(rng.uniform((-1, 0, -1.1), (1, 2, 1.1), (count * 2, 3)).T.astype(np.float32))
    for _ in range(4):
        away, up = distance(kind, points), gradient(lambda p: distance(kind, p), points)
        points = tuple(p - n * away for p, n in zip(points, up, strict=True))
    points = _apart(np.stack(points, axis=1), count)
    up = gradient(lambda p: distance(kind, p), tuple(points.T), step=0.06)
    return points, np.stack(up, axis=1)


def _apart(points: np.ndarray, count: int) -> np.ndarray:
    """`count` of the points, each as far from those before it as there is one."""
    chosen, nearest = [0], np.full(len(points), np.inf, np.float32)
    for _ in range(count - 1):
        nearest = np.minimum(nearest, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
        chosen.append(int(nearest.argmax()))
    return points[chosen]


def nearest_site(body: Points, strewn: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(index of the nearest site, distance to it, how much farther the second is) of each point."""
    points = np.stack(body, axis=1)
    squares = (points**2).sum(axis=1)[:, None] - 2 * points @ strewn.T + (strewn**2).sum(axis=1)
    first = squares.argmin(axis=1)
    rows = np.arange(len(points))
    near = np.sqrt(np.maximum(squares[rows, first], 0))
    squares[rows, first] = np.inf
    return first, near, np.sqrt(np.maximum(squares.min(axis=1), 0)) - near


def paint(scene: Scene, index: int, thing: Thing, sight: Sight) -> tuple[np.ndarray, Points]:
    """The colour of each point [points, 3], and the normals as the material bends them."""
    x, y, z = sight.body
    rng = scene.random(f"{thing.material} {index}")
    base = PAINTS[thing.colour]
    marks, normals = MARKS.get(thing.colour, PALE), sight.normals
    tone = np.ones_like(x)
    hue = np.broadcast_to(base, (len(x), 3))
    if thing.material == "striped":
        way = np.array((rng.uniform(-0.5, 0.5), rng.uniform(0.5, 1.0), rng.uniform(-0.5, 0.5)))
        way = way / np.linalg.norm(way) * (2 * np.pi / rng.uniform(0.44, 0.58))
        wave = 0.5 * np.sin(rng.uniform(2, 4) * x + rng.uniform(0, 6)) * rng.uniform(0.2, 1.2)
        hue = mix(
            base,
            marks,
            ramp(-0.25, 0.25, np.sin(x * way[0] + y * way[1] + z * way[2] + rng.uniform(0, 6) + wave) - 0.1),
        )
    elif thing.material == "spotted":
        strewn, _ = sites(thing.object, (scene.seed, index, 5), SITES["spotted"])
        _, near, _ = nearest_site(sight.body, strewn)
        hue = mix(base, marks, 1 - ramp(-0.03, 0.03, near - rng.uniform(0.15, 0.19)))
    elif thing.material == "wooden":
        noise = Noise(rng)
        tilt, away = rng.uniform(-0.25, 0.25, 2), rng.uniform(-0.7, 0.7, 2)
        bend = 0.16 * noise(3 * y, 2 * x + 2 * z)
        rings = np.sqrt((x - tilt[0] * y - away[0]) ** 2 + (z - tilt[1] * y - away[1]) ** 2) + bend
        grain = (rings * rng.uniform(4.4, 5.4)) % 1
        tone = 0.66 + 0.48 * ramp(0.0, 0.7, grain) * (1 - ramp(0.78, 1.0, grain))
        hue = np.broadcast_to(base * 0.62 + WOOD * 0.38, (len(x), 3))
    elif thing.material == "origami":
        strewn, up = sites(thing.object, (scene.seed, index, 3), SITES["origami"])
        first, _, margin = nearest_site(sight.body, strewn)
        normals = world_normals(sight, up[first])
        bright = rng.permutation(np.linspace(0, 1, len(strewn), dtype=np.float32))[first]
        tone = 0.42 + 0.9 * bright + 0.25 * (1 - ramp(0.0, 0.07, margin))
        hue = mix(base, 1.0, 0.3 * ramp(0.6, 0.8, bright))
    hue = hue * tone[:, None]
    return hue, normals


def world_normals(sight: Sight, up: np.ndarray) -> Points:
    """Body directions `up` [points, 3] turned as the body is."""
    c, s = sight.turn
    return c * up[:, 0] + s * up[:, 2], up[:, 1], c * up[:, 2] - s * up[:, 0]


def reflected(height: np.ndarray) -> np.ndarray:
    """The light that a mirror shows where it looks up or down by `height` -1..1: a sky that is brightest low down, and
    dark earth under it that grows lighter towards the eye."""
    sky = 1.35 - 0.75 * np.clip(height, 0, 1)
    earth = 0.16 + 0.6 * np.clip(-height, 0, 1)
    return earth + (sky - earth) * ramp(-0.05, 0.05, height)


def shade(scene: Scene, index: int, thing: Thing, sight: Sight) -> np.ndarray:
    """The light that comes from each point [points, 3]."""
    hue, normals = paint(scene, index, thing, sight)
    names = fillings(thing.object)
    painted = np.isin(sight.filling, [i for i, name in enumerate(names) if name in ("body", "shade")])
    for i, name in enumerate(names):
        if name == "shade":
            hue = np.where((sight.filling == i)[:, None], hue * 0.8, hue)
        elif name != "body":
            hue = np.where((sight.filling == i)[:, None], FILLS[name], hue)
    normals = tuple(np.where(painted, bent, flat) for bent, flat in zip(normals, sight.normals, strict=True))

    facing = dot(normals, sight.sun)
    direct = np.clip((facing + SOFT) / (1 + SOFT), 0, 1) * sight.sunlight
    upward = 0.5 + 0.5 * normals[1]
    ambient = sight.sky[:, None] * (0.6 * SKY * upward[:, None] + 0.42 * EARTH * (1 - upward)[:, None])
    light = 0.74 * SUN * direct[:, None] + ambient + 0.06
    seen = hue * light

    grazing = 1 - np.clip(dot(normals, sight.eye), 0, 1)
    half = [a + b for a, b in zip(sight.eye, sight.sun, strict=True)]
    size = np.sqrt(dot(half, half))
    glint = np.clip(dot(normals, half) / size, 0, 1)
    rim = grazing**3 * sight.sky
    metal = painted & (thing.colour == "golden")
    glossy = np.isin(sight.filling, [i for i, name in enumerate(names) if name in ("dark", "glass", "metal", "white")])
    matte = painted & np.isin(thing.material, ("origami", "wooden"))
    strength = np.where(glossy, 0.9, np.where(metal, 0.75, np.where(matte, 0.06, 0.22)))
    seen = seen + (glint ** np.where(glossy | metal, 60, 24) * strength * sight.sunlight)[:, None] * SUN
    seen = seen + rim[:, None] * SKY * 0.16 * hue
    mirrored = 2 * dot(normals, sight.eye) * normals[1] - sight.eye[1]
    side = 2 * dot(normals, sight.eye) * normals[0] - sight.eye[0]
    around = (0.45 + 0.55 * sight.sky) * (0.72 + 0.28 * sight.sunlight)
    if thing.material == "shiny":
        chrome = hue * (reflected(mirrored + 0.1 * np.sin(4 * side)) * around)[:, None]
        haze = 0.34 * around * ramp(-0.02, 0.06, mirrored) * (1 - ramp(0.06, 0.5, mirrored))
        seen = mix(seen, chrome + haze[:, None] * SKY + (glint**60 * 0.9 * sight.sunlight)[:, None], 0.95 * painted)
    elif metal.any():
        studio = 0.5 + 0.8 * ramp(-0.12, 0.55, mirrored + 0.12 * np.sin(5 * side)) + 0.3 * ramp(0.1, -0.7, mirrored)
        polished = hue * (studio * around)[:, None]
        seen = mix(
            seen,
            polished + (glint**60 * 0.8 * sight.sunlight)[:, None],
            np.where(metal, 0.8 if not matte.any() else 0.5, 0.0),
        )
    return seen
