"""Smooth random fields of the plane and of space."""

from __future__ import annotations

import numpy as np

LATTICE = 64  # the field repeats after so many units


class Noise:
    """A field of values 0..1 that changes over about one unit."""

    def __init__(self, rng: np.random.Generator):
        self.values = rng.random((LATTICE, LATTICE), dtype=np.float32).ravel()

    def __call__(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        i, j = np.floor(x), np.floor(y)
        u, v = x - i, y - j
        u, v = u * u * (3 - 2 * u), v * v * (3 - 2 * v)
        i, j = i.astype(np.int32), j.astype(np.int32)
        left, right = i % LATTICE * LATTICE, (i + 1) % LATTICE * LATTICE
        top, bottom = j % LATTICE, (j + 1) % LATTICE
        a, b = self.values[left + top], self.values[right + top]
        c, d = self.values[left + bottom], self.values[right + bottom]
        a, c = a + (b - a) * u, c + (d - c) * u
        return a + (c - a) * v

    def in_space(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Of three planes that are not parallel to an axis."""
        return (self(x + 0.6 * z, y - 0.4 * z) + self(z - 0.5 * y + 17, x + 0.3 * y + 9)) / 2

    def layered(self, x: np.ndarray, y: np.ndarray, octaves: int = 3) -> np.ndarray:
        """Finer fields on top of coarser ones, each half as strong."""
        total = sum(self(x * 2**k + 13 * k, y * 2**k + 7 * k) / 2**k for k in range(octaves))
        return total / (2 - 2 ** (1 - octaves))

    def table(self, index: np.ndarray, column: int = 0) -> np.ndarray:
        """A random number 0..1 for each whole number."""
        return self.values[(index.astype(np.int32) * 7 + column * 131) % (LATTICE * LATTICE)]


def ramp(low: float, high: float, x: np.ndarray) -> np.ndarray:
    """0 below `low`, 1 above `high`, smooth between."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def mix(a, b, amount: np.ndarray) -> np.ndarray:
    """Colours [..., 3] by amounts [...]."""
    return a + (b - a) * amount[..., None]


def colour(code: str) -> np.ndarray:
    """'#rrggbb' -> [3] in 0..1"""
    return np.array([int(code[i : i + 2], 16) for i in (1, 3, 5)], np.float32) / 255
