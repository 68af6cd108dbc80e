"""The places of the demo world: sky and ground in rows, and what stands before them."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from .drawing import as_picture, box, ellipse, vertical_gradient
from .scene import Scene

BACKGROUNDS = ("beach", "forest", "city", "space", "snow")


def paint_background(scene: Scene, pan: float, pixels: int) -> Image.Image:
    """The scenery, moved sideways by `pan`."""
    rng = scene.random("scenery")
    y = ((np.arange(pixels) + 0.5) / pixels)[:, None]  # [height, 1]: skies and grounds are made of rows
    rows, shapes = SCENERY[scene.background](rng, y)
    picture = as_picture(rows).resize((pixels, pixels), Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(picture)
    for colour, points in shapes:
        pen.polygon([((x + pan) * pixels, v * pixels) for x, v in points], fill=colour)
    return picture


def beach(rng, y):
    horizon, shore = rng.uniform(0.38, 0.46), rng.uniform(0.58, 0.66)
    picture = vertical_gradient((96, 190, 245), (214, 240, 250), y / horizon)
    picture[y > horizon] = vertical_gradient((24, 128, 176), (62, 188, 200), (y - horizon) / (shore - horizon))[
        y > horizon
    ]
    picture[y > shore] = vertical_gradient((246, 226, 168), (226, 192, 120), (y - shore) / (1 - shore))[y > shore]
    sun = ellipse(rng.choice((0.14, 0.86)) + rng.uniform(-0.05, 0.05), rng.uniform(0.1, 0.18), 0.085, 0.085)
    foam = [(x, shore + 0.008 * np.sin(x * 26) - 0.012) for x in np.linspace(-0.2, 1.2, 60)]
    return picture, [((255, 244, 190), sun), ((245, 250, 248), [*foam, (1.2, shore + 0.016), (-0.2, shore + 0.016)])]


def forest(rng, y):
    picture = vertical_gradient((150, 200, 130), (70, 130, 66), y / 0.72)
    picture[y > 0.76] = vertical_gradient((64, 116, 44), (38, 78, 30), (y - 0.76) / 0.24)[y > 0.76]
    shapes = []
    for x in np.arange(-0.1, 1.15, 0.2) + rng.uniform(-0.05, 0.05, 7):
        width = rng.uniform(0.035, 0.05)
        shapes.append(((94, 62, 36), box(x - width, -0.1, x + width, rng.uniform(0.76, 0.83))))
    for x in np.arange(-0.1, 1.15, 0.16) + rng.uniform(-0.05, 0.05, 8):
        tone = rng.integers(0, 26)
        shapes.append(((26 + tone, 84 + tone, 34), ellipse(x, rng.uniform(-0.02, 0.1), 0.17, 0.15)))
    return picture, shapes


def city(rng, y):
    picture = vertical_gradient((250, 196, 150), (252, 226, 196), y / 0.7)
    picture[y > 0.82] = np.array((74, 76, 86), dtype=np.float32) / 255
    shapes, left = [], -0.2
    while left < 1.2:
        width, top = rng.uniform(0.15, 0.24), rng.uniform(0.12, 0.42)
        tone = int(rng.integers(0, 36))
        shapes.append(((92 + tone, 100 + tone, 128 + tone), box(left, top, left + width, 0.82)))
        for wx in np.arange(left + 0.03, left + width - 0.035, 0.062):
            shapes += [((250, 232, 150), box(wx, wy, wx + 0.03, wy + 0.04)) for wy in np.arange(top + 0.04, 0.74, 0.09)]
        left += width + 0.012
    shapes += [((232, 232, 220), box(x, 0.9, x + 0.1, 0.925)) for x in np.arange(-0.2, 1.2, 0.22)]
    return picture, shapes


def space(rng, y):
    picture = vertical_gradient((14, 12, 40), (40, 20, 66), y)
    shapes = []
    for x, v, r in rng.uniform((-0.1, 0, 0.004), (1.1, 1, 0.011), (46, 3)):
        shapes.append(((236, 236, 255), ellipse(x, v, r, r, points=10)))
    cx, cy = rng.choice((0.16, 0.84)), rng.uniform(0.14, 0.24)
    shapes += [((196, 150, 110), ellipse(cx, cy, 0.11, 0.11)), ((226, 190, 150), ellipse(cx, cy, 0.2, 0.035, -0.35))]
    return picture, shapes


def snow(rng, y):
    picture = vertical_gradient((168, 196, 226), (224, 234, 244), y / 0.6)
    shapes = []
    for x in np.array((0.1, 0.48, 0.9)) + rng.uniform(-0.08, 0.08, 3):
        height, half = rng.uniform(0.3, 0.42), rng.uniform(0.26, 0.34)
        peak = 0.66 - height
        shapes.append(((132, 150, 182), [(x - half, 0.68), (x, peak), (x + half, 0.68)]))
        shapes.append(
            (
                (250, 252, 255),
                [
                    (x - half * 0.36, peak + height * 0.36),
                    (x, peak),
                    (x + half * 0.36, peak + height * 0.36),
                    (x, peak + height * 0.28),
                ],
            )
        )
    ground = [(x, 0.66 + 0.02 * np.sin(4 * x + rng.uniform(0, 0.2))) for x in np.linspace(-0.3, 1.3, 24)]
    shapes.append(((240, 245, 252), [*ground, (1.3, 1.1), (-0.3, 1.1)]))
    for x in np.array((0.03, 0.2, 0.8, 0.97)) + rng.uniform(-0.04, 0.04, 4):
        base = rng.uniform(0.7, 0.78)
        shapes += [
            ((52, 96, 92), [(x - 0.06, base - i * 0.07), (x, base - 0.13 - i * 0.07), (x + 0.06, base - i * 0.07)])
            for i in range(3)
        ]
    return picture, shapes


SCENERY = {"beach": beach, "forest": forest, "city": city, "space": space, "snow": snow}
