"""What places are made of: flat scenery standing upright at depths, and marks on the ground."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .noise import Noise, ramp

Field = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Layer:
    """Scenery at depth `z`: `inside(x, y)` is above 0 where it is and measures about the distance to its outline;
    `paint(x, y)` [..., 3] its colour."""

    z: float
    inside: Field
    paint: Field


@dataclass(frozen=True)
class Place:
    """`sky(right, up)` by direction, `ground(x, z, distance)`, both [..., 3]; `layers` from far to near."""

    sky: Field
    layers: list[Layer]
    ground: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def plain(shade: np.ndarray) -> Field:
    return lambda x, y: np.broadcast_to(shade, (*x.shape, 3))


def fading(low: np.ndarray, high: np.ndarray, bottom: float, top: float) -> Field:
    return lambda x, y: low + (high - low) * ramp(bottom, top, y)[..., None]


def hills(rng: np.random.Generator, base: float, swell: float, width: float) -> Field:
    waves = [(rng.uniform(0.6, 1.6) / width, rng.uniform(0, 6.3), rng.uniform(0.4, 1.0)) for _ in range(3)]
    total = sum(weight for _, _, weight in waves)

    def inside(x, y):
        return base + swell * sum(w * np.sin(2 * np.pi * f * x + p) for f, p, w in waves) / total - y

    return inside


def peaks(rng: np.random.Generator, height: float, width: float) -> Field:
    noise, at = Noise(rng), rng.uniform(0, 60)

    def inside(x, y):
        i = np.floor(x / width + at)
        tallest = -1e3 * np.ones_like(x)
        for k in (-1, 0, 1):
            top = height * (0.6 + 0.5 * noise.table(i + k, 1))
            middle = (i + k + 0.5 + 0.3 * (noise.table(i + k, 2) - 0.5) - at) * width
            tallest = np.maximum(tallest, top - abs(x - middle) * (1.25 * height / width))
        return (tallest + 0.06 * height * (noise(x * 6 / width, y * 0) - 0.5) - y) * 0.7

    return inside


def each(rng: np.random.Generator, width: float, chance: float, shape: Callable, clear: float = 0.0) -> Field:
    """A shape in some of the cells of a row: `shape(x, y, size)` around its foot. None within `clear` of the middle."""
    noise, at = Noise(rng), rng.uniform(0, 60)

    def inside(x, y):
        i = np.floor(x / width + at)
        best = np.full_like(x, -1e3)
        for k in (-1, 0, 1):
            size = 0.75 + 0.5 * noise.table(i + k, 3)
            middle = (i + k + 0.5 + 0.5 * (noise.table(i + k, 4) - 0.5) - at) * width
            grows = (noise.table(i + k, 5) < chance) & (abs(middle) > clear)
            best = np.maximum(best, np.where(grows, shape(x - middle, y, size), -1e3))
        return best

    return inside


def bar(x, y, x0, y0, x1, y1, radius):
    """A rod from one point to another, above 0 inside."""
    u, v, a, b = x - x0, y - y0, x1 - x0, y1 - y0
    t = np.clip((u * a + v * b) / (a * a + b * b), 0, 1)
    return radius - np.hypot(u - t * a, v - t * b)


def fir(x, y, size):
    h = 2.6 * size
    shapes = ((1.0, 2.6, 0.55), (0.78, 2.1, 0.32), (0.55, 1.6, 0.12))
    tiers = [np.minimum(h * top - y - abs(x) * slope, y - h * low) * 0.5 for top, slope, low in shapes]
    return np.maximum.reduce([*tiers, np.minimum(0.1 - abs(x), h * 0.3 - y)])


def round_tree(x, y, size):
    crown = np.maximum.reduce([
        0.75 * size - np.hypot(x, y - 1.5 * size),
        0.5 * size - np.hypot(x - 0.5 * size, y - 1.15 * size),
        0.5 * size - np.hypot(x + 0.5 * size, y - 1.2 * size),
    ])  # fmt: skip
    return np.maximum(crown, np.minimum(0.12 * size - abs(x), 1.2 * size - y))


def cactus(x, y, size):
    return np.maximum.reduce([
        bar(x, y, 0, 0, 0, 2.2 * size, 0.26 * size),
        bar(x, y, 0, 1.0 * size, 0.75 * size, 1.0 * size, 0.17 * size),
        bar(x, y, 0.75 * size, 1.0 * size, 0.75 * size, 1.7 * size, 0.17 * size),
        bar(x, y, 0, 0.75 * size, -0.7 * size, 0.75 * size, 0.16 * size),
        bar(x, y, -0.7 * size, 0.75 * size, -0.7 * size, 1.3 * size, 0.16 * size),
    ])  # fmt: skip


def palm(x, y, size):
    h = 3.4 * size
    lean = 0.35 * np.sin(np.clip(y / h, 0, 1) * 1.5) * size
    trunk = np.minimum(0.13 * size - abs(x - lean), h - y)
    u, v = x - 0.35 * size, y - h

    def leaf(side, rise, reach):
        out = u * side
        width = 0.11 * size * (1.25 - np.clip(out / (reach * size), 0, 1))
        beyond = 3 * np.maximum(out - reach * size, 0) + 3 * np.maximum(-out, 0)
        return width - abs(v - (rise * out - 0.42 / size * u * u)) - beyond

    shapes = ((0.85, 1.5), (0.35, 1.6), (-0.15, 1.25))
    return np.maximum.reduce([trunk, *(leaf(side, *shape) for side in (-1, 1) for shape in shapes)])


def mesa(x, y, size):
    return np.minimum((2.2 * size - abs(x)) * 0.9 - 0.25 * y, 2.4 * size - y)


def skyline(rng: np.random.Generator, width: float, low: float, high: float) -> tuple[Field, Field]:
    """(inside, lit): buildings side by side, and how far within a lit window a point is."""
    noise, at = Noise(rng), rng.uniform(0, 60)

    def inside(x, y):
        i = np.floor(x / width + at)
        top = low + (high - low) * noise.table(i, 6)
        u = (x / width + at - i - 0.5) * width
        spire = np.where(noise.table(i, 7) > 0.72, np.minimum(0.05 * width - abs(u), top + 0.25 * high - y), -1e3)
        roof = np.where(noise.table(i, 8) > 0.6, np.minimum(0.3 * width - abs(u), top + 0.12 * high - y), -1e3)
        return np.maximum.reduce([np.minimum(0.47 * width - abs(u), top - y), spire, roof])

    def lit(x, y):
        pitch = width / 2
        i, j = np.floor(x / pitch + at * 2), np.floor(y / (pitch * 1.25))
        u, v = x / pitch + at * 2 - i - 0.5, y / (pitch * 1.25) - j - 0.5
        on = noise.table(i + 37 * j, 9) > 0.42
        return np.where(on, np.minimum(0.28 - abs(u), 0.3 - abs(v)) * pitch, -1e3)

    return inside, lit


def dots(
    noise: Noise, x: np.ndarray, z: np.ndarray, pitch: float, radius: float, chance: float
) -> tuple[np.ndarray, np.ndarray]:
    """(how far within a dot, a random number of the dot) of strewn dots, one in some cells of a grid."""
    i, j = np.floor(x / pitch), np.floor(z / pitch)
    code = i + 53 * j
    u = x / pitch - i - 0.5 - 0.55 * (noise.table(code, 1) - 0.5)
    v = z / pitch - j - 0.5 - 0.55 * (noise.table(code, 2) - 0.5)
    size = radius * (0.6 + 0.8 * noise.table(code, 3))
    return np.where(noise.table(code, 4) < chance, size - np.hypot(u, v) * pitch, -1e3), noise.table(code, 5)
