"""Styles of whole pictures: every pixel by itself, from its colour, the outlines through it and the seed."""

from __future__ import annotations

import numpy as np

from .noise import Noise, colour, mix, ramp
from .scene import STYLES, Scene
from .scenery import dots

PAPER, GRAPHITE, MOONLIGHT = colour("#fbf7ec"), colour("#39343f"), np.array((0.44, 0.52, 0.82), np.float32)


def outlines(labels: np.ndarray) -> np.ndarray:
    """How much of a line runs through each pixel [height, width]: where what is seen changes."""
    line = np.zeros(labels.shape, np.float32)
    line[:, 1:] = labels[:, 1:] != labels[:, :-1]
    line[1:] = np.maximum(line[1:], labels[1:] != labels[:-1])
    padded = np.pad(line, 1, mode="edge")
    rows = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    return np.clip((rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]) / 10, 0, 1)


def stylise(image: np.ndarray, labels: np.ndarray, is_sky: np.ndarray, scene: Scene) -> np.ndarray:
    """The picture [height, width, 3] in the scene's style; `labels` [height, width] number what is seen."""
    if scene.style == "plain":
        return image
    noise = Noise(scene.random(scene.style))
    height, width = labels.shape
    y, x = np.meshgrid(np.arange(height) * (128 / height), np.arange(width) * (128 / width), indexing="ij")
    x, y = x.astype(np.float32), y.astype(np.float32)
    grey = image @ np.array((0.3, 0.55, 0.15), np.float32)
    if scene.style == "night":
        dark = image * MOONLIGHT * (0.75 + 0.5 * grey[..., None])
        points, _ = dots(noise, x, y, 15, 1.3, 0.4)
        star = ramp(-0.8, 0.4, points) * is_sky
        return np.clip(mix(dark, colour("#f6f2ff"), star * 0.85), 0, 1)
    if scene.style == "sketch":
        line = outlines(labels) * (0.75 + 0.5 * noise(x / 8, y / 8))
        slant = np.sin((x + y) * 0.8 + 1.5 * noise(x / 14, y / 14)) * 0.5 + 0.5
        hatch = 0.5 * slant * ramp(0.5, 0.22, grey)
        wash = mix(PAPER, image, 0.5 + 0.18 * noise(x / 14, y / 14))
        return mix(mix(wash, GRAPHITE, hatch), GRAPHITE, np.clip(1.3 * line, 0, 0.92))
    if scene.style == "watercolour":
        flow = noise.layered(x / 16, y / 16, 2)
        wet = np.clip(0.12 + 1.1 * image, 0, 1)
        pale = mix(wet, PAPER, 0.05 + 0.5 * ramp(0.42, 0.85, flow))
        rim = np.clip(outlines(labels), 0, 1)[..., None]
        washed = pale * (1 - 0.28 * rim)
        border = np.minimum.reduce([x, y, 127 - x, 127 - y]) - 9 * noise(x / 10, y / 10)
        return np.clip(mix(PAPER, washed, ramp(-1.0, 2.2, border)), 0, 1)
    raise ValueError(f"'{scene.style}' is not a style of the demo world: {', '.join(STYLES)}")
