"""The things of the demo world that are no animals: distances of each filling at points of the body.

Bodies stand as those of `animals.py` do: on y = 0, about 2 high, their front at +z.
"""

from __future__ import annotations

import numpy as np

from .distance import blend, both, box, cone, disc, ellipsoid, length, ring, slab, sphere, union


def eyes(m, y, z, height, front, apart):
    return ellipsoid(m, y, z, (apart, height, front), (0.065, 0.1, 0.07))


def smile(m, y, z, height, front):
    return both(ring(z - front, y - height - 0.08, m, 0.13, 0.03), y - height - 0.02)


def car(x, y, z):
    m, back = abs(x), z + 0.1
    hull = box(m, y, z, (0, 0.52, 0), (0.6, 0.27, 1.12), 0.2)
    cabin = ellipsoid(m, y, z, (0, 0.86, -0.12), (0.56, 0.52, 0.76))
    wheels = disc(m - 0.56, y - 0.29, abs(z) - 0.64, 0.15, 0.29, 0.07)
    hubs = disc(m - 0.6, y - 0.29, abs(z) - 0.64, 0.13, 0.15, 0.03)
    side = both(abs(abs(back) - 0.27) - 0.21, 0.3 - m)
    panes = both(m - 0.36, 0.4 - abs(back))
    glass = both(cabin - 0.014, abs(y - 1.03) - 0.17, union(side, panes))
    white = union(sphere(m, y, z, (0.38, 0.6, 1.02), 0.15), box(m, y, z, (0, 0.38, 1.1), (0.34, 0.06, 0.05), 0.04))
    return {
        "body": blend(0.14, hull, cabin),
        "dark": union(wheels, sphere(m, y, z, (0.39, 0.6, 1.14), 0.065)),
        "metal": hubs,
        "glass": glass,
        "white": white,
    }


def boat(x, y, z):
    m = abs(x)
    rise = 0.16 * z * z  # bow and stern
    hull = both(ellipsoid(m, y - rise, z, (0, 0.66, 0), (0.56, 0.62, 1.16)), y - rise - 0.62)
    deck = both(ellipsoid(m, y - rise, z, (0, 0.66, 0), (0.48, 0.5, 1.06)), abs(y - rise - 0.6) - 0.045)
    mast = cone(m, y, z, (0, 0.6, 0.1), (0, 2.2, 0.1), 0.045)
    wind = x - 0.16 * np.sin(np.clip((y - 0.8) * 2.4, 0, np.pi))
    main = slab(both(z - 0.02, 0.84 - y, 0.78 * (-z) + 0.62 * (y - 2.14)), wind, 0.035, 0.03)
    jib = slab(both(0.18 - z, 0.92 - y, 0.8 * z + 0.6 * (y - 2.0) - 0.1), wind, 0.035, 0.03)
    flag = box(x, y, z, (0, 2.2, -0.08), (0.02, 0.09, 0.18), 0.02)
    rim = both(ellipsoid(m, y - rise, z, (0, 0.66, 0), (0.59, 0.65, 1.2)), abs(y - rise - 0.57) - 0.055)
    return {"body": union(hull, jib, flag), "wood": union(mast, deck), "light": main, "white": rim}


def robot(x, y, z):
    m = abs(x)
    body = union(
        box(m, y, z, (0, 0.8, 0), (0.46, 0.38, 0.34), 0.12),
        box(m, y, z, (0, 1.5, 0.02), (0.46, 0.31, 0.36), 0.14),
        sphere(m, y, z, (0.7, 0.48, 0.2), 0.16),
        box(m, y, z, (0.24, 0.12, 0.08), (0.2, 0.12, 0.29), 0.1),
    )
    metal = union(
        cone(m, y, z, (0, 1.1, 0), (0, 1.3, 0), 0.16),
        cone(m, y, z, (0.44, 1.0, 0), (0.62, 0.86, 0.02), 0.1),
        cone(m, y, z, (0.62, 0.86, 0.02), (0.7, 0.5, 0.2), 0.09),
        cone(m, y, z, (0.24, 0.5, 0), (0.24, 0.15, 0), 0.12),
        cone(m, y, z, (0, 1.7, 0), (0, 2.05, 0), 0.035),
        disc(m - 0.46, y - 1.5, z, 0.06, 0.14, 0.03),
    )
    screen = box(m, y, z, (0, 1.5, 0.34), (0.35, 0.2, 0.06), 0.05)
    glow = union(sphere(m, y, z, (0.16, 1.54, 0.37), 0.085), box(m, y, z, (0, 1.38, 0.4), (0.1, 0.025, 0.03), 0.02))
    panel = box(m, y, z, (0, 0.84, 0.32), (0.25, 0.2, 0.05), 0.04)
    return {
        "body": body,
        "metal": metal,
        "dark": screen,
        "glow": glow,
        "light": panel,
        "pink": union(sphere(m, y, z, (0, 2.1, 0), 0.1), sphere(x, y, z, (-0.1, 0.86, 0.36), 0.065)),
    }


def teapot(x, y, z):
    pot = ellipsoid(x, y, z, (0, 0.76, 0), (0.76, 0.66, 0.76))
    spout = union(
        cone(x, y, z, (0, 0.55, 0.6), (0, 0.86, 1.02), 0.2, 0.13),
        cone(x, y, z, (0, 0.86, 1.02), (0, 1.24, 1.2), 0.13, 0.1),
    )
    handle = ring(x, y - 0.82, z + 0.84, 0.36, 0.09)
    away = length(x, z)
    lid = union(
        both(ellipsoid(x, y, z, (0, 1.2, 0), (0.5, 0.26, 0.5)), 1.22 - y),
        sphere(x, y, z, (0, 1.56, 0), 0.14),
    )
    foot = disc(y - 0.09, away, 0 * y, 0.09, 0.48, 0.04)
    collar = ring(y - 1.24, x, z, 0.48, 0.05)
    return {"body": blend(0.1, pot, spout, handle), "shade": union(lid, foot), "white": collar}


def mushroom(x, y, z):
    m = abs(x)
    away = length(x, z)
    stem = blend(
        0.15,
        cone(m, y, z, (0, 0.3, 0), (0, 0.95, 0), 0.44, 0.36),
        ellipsoid(m, y, z, (0, 0.18, 0), (0.54, 0.2, 0.54)),
    )
    cap = slab(both(ellipsoid(m, y, z, (0, 0.95, 0), (0.98, 0.98, 0.98)), 0.98 - y), 0 * y, 0.2, 0.1)
    gills = both(disc(y - 0.98, away, 0 * y, 0.1, 0.84, 0.06), 0.9 - y)
    return {"body": cap, "light": union(stem, gills), "dark": eyes(m, y, z, 0.58, 0.39, 0.17)}


def star(x, y, z):
    radius, angle = length(x, y - 1.0), np.arctan2(x, y - 1.0)
    # Folded into one tenth of the star, which one straight edge bounds.
    folded = abs((angle / (2 * np.pi / 5) + 0.5) % 1 - 0.5) * (2 * np.pi / 5)
    tip, notch = (1.12, 0.0), (0.58 * np.cos(np.pi / 5), 0.58 * np.sin(np.pi / 5))
    normal = np.array((notch[1] - tip[1], tip[0] - notch[0])) / np.hypot(notch[0] - tip[0], notch[1])
    flat = (radius * np.cos(folded) - tip[0]) * float(normal[0]) + radius * np.sin(folded) * float(normal[1])
    return {
        "body": slab(flat, z, 0.36 - 0.12 * radius, 0.14),
        "dark": union(eyes(abs(x), y, z, 1.1, 0.3, 0.2), smile(abs(x), y, z, 0.86, 0.35)),
    }


def heart(x, y, z):
    m = abs(x)
    body = blend(
        0.12,
        cone(m, y, z * 1.3, (0.4, 1.36, 0), (0.06, 0.32, 0), 0.52, 0.12),
        ellipsoid(m, y, z, (0, 1.0, 0), (0.5, 0.4, 0.38)),
    )
    return {"body": body, "dark": union(eyes(m, y, z, 1.32, 0.42, 0.27), smile(m, y, z, 1.0, 0.42))}
