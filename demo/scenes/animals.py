"""The animals of the demo world: distances of each filling at points of the body.

A body stands on y = 0, is about 2 high, and looks along +z; most are the same on both sides of x = 0.
"""

from __future__ import annotations

from .distance import blend, both, cone, ellipsoid, sphere, union


def rabbit(x, y, z):
    m = abs(x)
    body = blend(
        0.14,
        ellipsoid(m, y, z, (0, 0.52, -0.08), (0.48, 0.52, 0.5)),
        ellipsoid(m, y, z, (0, 1.14, 0.12), (0.45, 0.39, 0.4)),
        cone(m, y, z, (0.17, 1.42, 0.06), (0.27, 2.1, -0.04), 0.12, 0.13),
        ellipsoid(m, y, z, (0.3, 0.12, 0.32), (0.18, 0.14, 0.3)),
        ellipsoid(m, y, z, (0.29, 0.56, 0.34), (0.11, 0.2, 0.13)),
    )
    light = union(
        ellipsoid(m, y, z, (0, 0.5, 0.22), (0.3, 0.36, 0.24)),
        sphere(m, y, z, (0, 0.36, -0.62), 0.2),
        ellipsoid(m, y, z, (0.1, 1.02, 0.46), (0.13, 0.1, 0.1)),
    )
    pink = union(
        cone(m, y, z, (0.18, 1.5, 0.14), (0.265, 2.04, 0.065), 0.05, 0.065),
        ellipsoid(m, y, z, (0, 1.1, 0.55), (0.075, 0.055, 0.05)),
    )
    return {
        "body": body,
        "light": light,
        "pink": pink,
        "dark": ellipsoid(m, y, z, (0.19, 1.22, 0.46), (0.075, 0.1, 0.07)),
    }


def cat(x, y, z):
    m = abs(x)
    tail = union(
        cone(x, y, z, (0.1, 0.16, -0.5), (0.62, 0.24, -0.6), 0.11),
        cone(x, y, z, (0.62, 0.24, -0.6), (0.84, 0.7, -0.5), 0.11, 0.1),
        cone(x, y, z, (0.84, 0.7, -0.5), (0.72, 1.05, -0.42), 0.1, 0.09),
    )
    body = blend(
        0.12,
        ellipsoid(m, y, z, (0, 0.5, -0.12), (0.42, 0.54, 0.46)),
        ellipsoid(m, y, z, (0, 1.2, 0.12), (0.54, 0.42, 0.42)),
        cone(m, y, z, (0.32, 1.42, 0.06), (0.43, 1.86, 0.04), 0.2, 0.02),
        cone(m, y, z, (0.17, 0.7, 0.22), (0.17, 0.1, 0.34), 0.13, 0.12),
        ellipsoid(m, y, z, (0.36, 0.2, -0.05), (0.2, 0.22, 0.34)),
        tail,
    )
    light = union(
        ellipsoid(m, y, z, (0, 0.68, 0.2), (0.23, 0.28, 0.2)),
        ellipsoid(m, y, z, (0.1, 1.06, 0.47), (0.14, 0.1, 0.1)),
        sphere(m, y, z, (0.17, 0.07, 0.4), 0.115),
    )
    pink = union(
        cone(m, y, z, (0.33, 1.5, 0.2), (0.41, 1.74, 0.13), 0.08, 0.02),
        ellipsoid(m, y, z, (0, 1.14, 0.56), (0.06, 0.045, 0.05)),
    )
    return {
        "body": body,
        "light": light,
        "pink": pink,
        "dark": ellipsoid(m, y, z, (0.22, 1.27, 0.47), (0.065, 0.11, 0.07)),
    }


def bear(x, y, z):
    m = abs(x)
    body = blend(
        0.12,
        ellipsoid(m, y, z, (0, 0.62, -0.04), (0.6, 0.6, 0.5)),
        ellipsoid(m, y, z, (0, 1.36, 0.1), (0.52, 0.46, 0.45)),
        sphere(m, y, z, (0.42, 1.74, 0.02), 0.2),
        cone(m, y, z, (0.52, 0.9, 0.08), (0.68, 0.5, 0.38), 0.18, 0.16),
        ellipsoid(m, y, z, (0.36, 0.22, 0.42), (0.22, 0.22, 0.24)),
    )
    light = union(
        ellipsoid(m, y, z, (0, 0.6, 0.22), (0.38, 0.4, 0.27)),
        ellipsoid(m, y, z, (0, 1.24, 0.48), (0.24, 0.18, 0.17)),
        sphere(m, y, z, (0.42, 1.74, 0.13), 0.12),
        ellipsoid(m, y, z, (0.37, 0.23, 0.58), (0.14, 0.14, 0.1)),
    )
    dark = union(
        ellipsoid(m, y, z, (0.2, 1.46, 0.5), (0.065, 0.075, 0.06)),
        ellipsoid(m, y, z, (0, 1.32, 0.64), (0.1, 0.07, 0.06)),
    )
    return {"body": body, "light": light, "dark": dark}


def duck(x, y, z):
    m = abs(x)
    body = blend(
        0.16,
        ellipsoid(m, y, z, (0, 0.56, -0.05), (0.52, 0.46, 0.72)),
        cone(m, y, z, (0, 0.66, -0.55), (0, 1.02, -0.88), 0.26, 0.06),
        cone(m, y, z, (0, 0.75, 0.3), (0, 1.2, 0.36), 0.26, 0.24),
        sphere(m, y, z, (0, 1.38, 0.38), 0.4),
    )
    wing = ellipsoid(m, y, z, (0.48, 0.64, -0.14), (0.12, 0.27, 0.46))
    beak = union(
        ellipsoid(m, y, z, (0, 1.28, 0.82), (0.22, 0.07, 0.24)),
        ellipsoid(m, y, z, (0, 1.35, 0.76), (0.14, 0.1, 0.16)),
        ellipsoid(m, y, z, (0.22, 0.07, 0.16), (0.19, 0.07, 0.26)),
        cone(m, y, z, (0.22, 0.25, 0.02), (0.22, 0.08, 0.04), 0.06),
    )
    return {
        "body": body,
        "shade": wing,
        "beak": beak,
        "dark": ellipsoid(m, y, z, (0.22, 1.48, 0.69), (0.065, 0.09, 0.07)),
    }


def fish(x, y, z):
    m = abs(x)
    flat = 3.0  # fins are bodies of revolution, pressed flat
    tail = blend(
        0.1,
        cone(m * flat, y, z, (0, 1.0, -0.62), (0, 1.42, -1.1), 0.16, 0.2),
        cone(m * flat, y, z, (0, 1.0, -0.62), (0, 0.6, -1.1), 0.16, 0.2),
    )
    top = cone(m * flat, y, z, (0, 1.5, 0.16), (0, 1.66, -0.34), 0.2, 0.12)
    bottom = cone(m * flat, y, z, (0, 0.5, -0.02), (0, 0.38, -0.3), 0.16, 0.1)
    side = ellipsoid(m, y - 0.4 * (m - 0.3), z + 0.5 * (m - 0.3), (0.46, 0.84, 0.14), (0.2, 0.06, 0.16))
    body = blend(
        0.12,
        ellipsoid(m, y, z, (0, 1.0, 0.12), (0.38, 0.58, 0.74)),
        ellipsoid(m, y, z, (0, 1.0, -0.42), (0.2, 0.3, 0.44)),
    )
    white = sphere(m, y, z, (0.24, 1.14, 0.54), 0.16)
    dark = union(
        sphere(m, y, z, (0.315, 1.15, 0.6), 0.095),
        both(ellipsoid(m, y, z, (0, 0.86, 0.78), (0.16, 0.04, 0.12)), 0.4 - z),
    )
    return {"body": body, "shade": union(tail / flat, top / flat, bottom / flat, side), "white": white, "dark": dark}
