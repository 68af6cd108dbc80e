"""Shapes and colours for things and places, and arrays as pictures."""

from __future__ import annotations

import numpy as np
from PIL import Image


def ellipse(cx, cy, rx, ry, turn=0.0, points=56) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    x, y = rx * np.cos(angle), ry * np.sin(angle)
    return np.stack([cx + x * np.cos(turn) - y * np.sin(turn), cy + x * np.sin(turn) + y * np.cos(turn)], axis=1)


def box(x0, y0, x1, y1):
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def vertical_gradient(top, bottom, y: np.ndarray) -> np.ndarray:
    blend = np.clip(y, 0, 1)[..., None]
    return np.array(top, dtype=np.float32) / 255 * (1 - blend) + np.array(bottom, dtype=np.float32) / 255 * blend


def as_picture(colours: np.ndarray) -> Image.Image:
    """[height, width, 3] in 0..1 as a Pillow picture."""
    return Image.fromarray((np.clip(colours, 0, 1) * 255).astype(np.uint8))


def as_array(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture, dtype=np.float32) / 255
