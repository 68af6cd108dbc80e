"""The things of the demo world: their shapes, colours and patterns, painted where they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from .drawing import as_picture, ellipse
from .scene import Scene

COLOURS = {
    "red": (222, 44, 40),
    "orange": (248, 138, 22),
    "yellow": (252, 218, 48),
    "green": (52, 172, 74),
    "blue": (44, 98, 224),
    "purple": (132, 62, 186),
    "pink": (250, 146, 196),
    "white": (244, 244, 246),
}
OBJECTS = ("ball", "star", "heart", "fish", "car", "rabbit")
PATTERNS = ("plain", "striped", "spotted", "shiny")
OUTLINE = (38, 30, 44)


@dataclass(frozen=True)
class Pose:
    """Where the object is in one frame, in fractions of the picture; `turn` in radians; `pan` moves the background."""

    x: float
    y: float
    radius: float
    turn: float
    pan: float


# --- shapes, in a unit square around the object's centre, x to the right and y down -----------------------------------


def star() -> np.ndarray:
    angle = np.arange(10) * np.pi / 5 - np.pi / 2
    radius = np.where(np.arange(10) % 2 == 0, 1.12, 0.5)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle) + 0.06], axis=1)


def heart() -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return np.stack([x, y - 2.0], axis=1) / 16.5


def parts(name: str) -> list[tuple[str, np.ndarray]]:
    """The polygons of an object from back to front, each with its filling: body, shade (darker), dark, light, glass."""
    if name == "ball":
        return [("body", ellipse(0, 0, 0.94, 0.94))]
    if name == "star":
        return [("body", star())]
    if name == "heart":
        return [("body", heart())]
    if name == "fish":
        tail = np.array([(0.5, 0.0), (1.14, -0.56), (0.98, 0.0), (1.14, 0.56)])
        top = np.array([(-0.25, -0.42), (0.12, -0.86), (0.42, -0.3)])
        return [
            ("shade", tail),
            ("shade", top),
            ("body", ellipse(-0.2, 0, 0.84, 0.56)),
            ("shade", np.array([(-0.02, 0.06), (0.34, 0.3), (0.02, 0.36)])),
            ("light", ellipse(-0.66, -0.14, 0.15, 0.15)),
            ("dark", ellipse(-0.69, -0.14, 0.075, 0.075)),
        ]
    if name == "car":
        hull = np.array([(-1.1, 0.1), (-1.02, -0.14), (-0.62, -0.22), (-0.36, -0.66), (0.42, -0.66), (0.72, -0.2),
                         (1.04, -0.12), (1.12, 0.14), (1.08, 0.4), (-1.08, 0.4)])  # fmt: skip
        return [
            ("body", hull),
            ("glass", np.array([(-0.44, -0.2), (-0.27, -0.54), (0.0, -0.54), (0.0, -0.2)])),
            ("glass", np.array([(0.1, -0.2), (0.1, -0.54), (0.36, -0.54), (0.55, -0.2)])),
            ("dark", ellipse(-0.58, 0.42, 0.28, 0.28)),
            ("light", ellipse(-0.58, 0.42, 0.12, 0.12)),
            ("dark", ellipse(0.58, 0.42, 0.28, 0.28)),
            ("light", ellipse(0.58, 0.42, 0.12, 0.12)),
        ]
    if name == "rabbit":
        return [
            ("body", ellipse(-0.3, -0.78, 0.17, 0.5, -0.16)),
            ("body", ellipse(0.3, -0.78, 0.17, 0.5, 0.16)),
            ("shade", ellipse(-0.3, -0.76, 0.07, 0.34, -0.16)),
            ("shade", ellipse(0.3, -0.76, 0.07, 0.34, 0.16)),
            ("body", ellipse(0, 0.72, 0.66, 0.5)),
            ("body", ellipse(0, 0.02, 0.6, 0.52)),
            ("dark", ellipse(-0.23, -0.06, 0.085, 0.12)),
            ("dark", ellipse(0.23, -0.06, 0.085, 0.12)),
            ("light", ellipse(0, 0.2, 0.2, 0.13)),
            ("dark", ellipse(0, 0.14, 0.07, 0.05)),
        ]
    raise ValueError(f"'{name}' is not an object of the demo world: {', '.join(OBJECTS)}")


# --- drawing ----------------------------------------------------------------------------------------------------------


def place(points: np.ndarray, p: Pose, pixels: int) -> list[tuple[float, float]]:
    """Points of the unit square into pixels of the picture."""
    c, s = np.cos(p.turn), np.sin(p.turn)
    turned = points @ np.array([(c, s), (-s, c)]) * p.radius
    return [(float(x), float(y)) for x, y in (turned + (p.x, p.y)) * pixels]


def local_coordinates(p: Pose, pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """Each pixel's position in the object's own unit square: patterns turn with the object."""
    axis = (np.arange(pixels, dtype=np.float32) + 0.5) / pixels
    x, y = np.meshgrid(axis - p.x, axis - p.y)
    c, s = np.cos(p.turn), np.sin(p.turn)
    return (c * x + s * y) / p.radius, (-s * x + c * y) / p.radius


def surface(scene: Scene, p: Pose, pixels: int) -> np.ndarray:
    """The body's colour at each pixel [pixels, pixels, 3] in 0..1: base colour, pattern, light from the upper left."""
    colour = np.array(COLOURS[scene.colour], dtype=np.float32) / 255
    u, v = local_coordinates(p, pixels)
    light = np.clip(0.98 - 0.16 * u - 0.2 * v, 0.68, 1.16)[..., None]
    # A pattern must show on every colour: bright ones are marked in a dark tone, the others in a pale one.
    bright = scene.colour in ("white", "yellow")
    mark = colour * 0.45 if bright else 0.2 * colour + 0.8
    if scene.pattern == "striped":
        phase = (u * 0.85 + v * 0.5) * 2 * np.pi / 0.56
        stripe = np.clip(np.sin(phase) * 4 - 1.0, 0, 1)[..., None]
        return np.clip((colour * (1 - stripe) + mark * stripe) * light, 0, 1)
    if scene.pattern == "spotted":
        pitch = 0.5
        row = np.floor(v / pitch)
        du = (u / pitch + 0.5 * (row % 2)) % 1 - 0.5
        dv = v / pitch - row - 0.5
        spot = np.clip((0.33 - np.hypot(du, dv)) * 14, 0, 1)[..., None]
        return np.clip((colour * (1 - spot) + mark * spot) * light, 0, 1)
    if scene.pattern == "shiny":
        glow = np.exp(-(((u + 0.3) / 0.34) ** 2 + ((v + 0.32) / 0.26) ** 2) * 1.4)[..., None]
        rim = np.clip(1.12 - 0.62 * np.hypot(u + 0.2, v + 0.2), 0.4, 1.1)[..., None]
        return np.clip(colour * rim * (1 - glow) + glow * 1.0, 0, 1)
    return np.clip(colour * light, 0, 1)


def covered(polygons: list[list[tuple[float, float]]], pixels: int) -> Image.Image:
    """0 or 255 where polygons with their outlines are, as a picture."""
    coverage = Image.new("L", (pixels, pixels))
    pen = ImageDraw.Draw(coverage)
    for polygon in polygons:
        pen.polygon(polygon, fill=255)
        pen.line([*polygon, polygon[0], polygon[1]], fill=255, width=round(pixels * 0.02), joint="curve")
    return coverage


def paint_object(canvas: Image.Image, scene: Scene, p: Pose) -> Image.Image:
    """Paint the object over `canvas` in place; returns its coverage, 0 or 255, as a picture of the same size."""
    pixels = canvas.width
    polygons = [(fill, place(points, p, pixels)) for fill, points in parts(scene.object)]
    coverage = covered([polygon for _, polygon in polygons], pixels)
    canvas.paste(OUTLINE, mask=coverage)
    body = surface(scene, p, pixels)
    fills = {
        "body": as_picture(body),
        "shade": as_picture(body * 0.7),
        "dark": (33, 31, 41),
        "light": (247, 247, 242),
        "glass": (168, 219, 242),
    }
    for fill, polygon in polygons:
        inside = Image.new("L", canvas.size)
        ImageDraw.Draw(inside).polygon(polygon, fill=255)
        canvas.paste(fills[fill], mask=inside)
    return coverage
