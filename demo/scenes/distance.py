"""Signed distance fields: how far points are from a solid, negative inside.

Points are three arrays x, y, z of one shape; every function returns an array of that shape.
"""

from __future__ import annotations

from functools import reduce

import numpy as np


def length(a, b, c=None):
    return np.sqrt(a * a + b * b if c is None else a * a + b * b + c * c)


def sphere(x, y, z, centre, radius):
    return length(x - centre[0], y - centre[1], z - centre[2]) - radius


def ellipsoid(x, y, z, centre, radii):
    """To first order in the distance, which is enough to march by."""
    a, b, c = (1 / r for r in radii)
    u, v, w = (x - centre[0]) * a, (y - centre[1]) * b, (z - centre[2]) * c
    scaled = length(u, v, w)
    slope = length(u * a, v * b, w * c)
    return scaled * (scaled - 1) / np.maximum(slope, 1e-4)


def cone(x, y, z, start, end, radius, end_radius=None):
    """A rod with round ends, from `radius` at its start to `end_radius` at its end."""
    end_radius = radius if end_radius is None else end_radius
    a, b, c = (q - p for p, q in zip(start, end, strict=True))
    u, v, w = x - start[0], y - start[1], z - start[2]
    square = a * a + b * b + c * c
    along = np.minimum(np.maximum(u * (a / square) + v * (b / square) + w * (c / square), 0), 1)
    away = length(u - along * a, v - along * b, w - along * c)
    return away - (radius + (end_radius - radius) * along)


def box(x, y, z, centre, halves, rounding):
    """`halves` include the rounding."""
    u, v, w = (abs(p - c) - (h - rounding) for p, c, h in zip((x, y, z), centre, halves, strict=True))
    outside = length(np.maximum(u, 0), np.maximum(v, 0), np.maximum(w, 0))
    return outside + np.minimum(np.maximum(np.maximum(u, v), w), 0) - rounding


def disc(along, across, up, half, radius, rounding):
    """A wheel: its axis is the first coordinate."""
    u, v = abs(along) - (half - rounding), length(across, up) - (radius - rounding)
    return length(np.maximum(u, 0), np.maximum(v, 0)) + np.minimum(np.maximum(u, v), 0) - rounding


def ring(x, y, z, radius, thickness):
    """A torus in the plane of the last two coordinates."""
    return length(x, length(y, z) - radius) - thickness


def slab(flat, thickness, half, rounding):
    """A flat figure at distance `flat` made `half` thick either way, with a round edge."""
    u, v = flat + rounding, abs(thickness) - (half - rounding)
    return length(np.maximum(u, 0), np.maximum(v, 0)) + np.minimum(np.maximum(u, v), 0) - rounding


def union(*distances):
    return reduce(np.minimum, distances)


def both(*distances):
    return reduce(np.maximum, distances)


def blend(width, *distances):
    """A union whose seams are filled over `width`."""

    def pair(a, b):
        h = np.maximum(width - abs(a - b), 0) / width
        return np.minimum(a, b) - h * h * (width / 4)

    return reduce(pair, distances)
