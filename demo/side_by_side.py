"""A clip beside what became of it, as a picture and as an animation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SIDE, BAR, GAP = 256, 28, 4  # pixels of a frame, of the bar with the titles above it, between frames
INK, PAPER = "#24323d", "#f6f4ee"


def as_pictures(clip: np.ndarray) -> list[Image.Image]:
    """[frames, height, width, 3 or none] in 0..1 as pictures of SIDE pixels."""
    pictures = [Image.fromarray((frame * 255).round().astype(np.uint8)).convert("RGB") for frame in clip]
    return [picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS) for picture in pictures]


def row(titles: list[str], pictures: list[Image.Image]) -> Image.Image:
    """Pictures next to each other, each under its title."""
    canvas = Image.new("RGB", (len(pictures) * (SIDE + GAP) - GAP, SIDE + BAR), PAPER)
    pen = ImageDraw.Draw(canvas)
    for i, (title, picture) in enumerate(zip(titles, pictures, strict=True)):
        left = i * (SIDE + GAP)
        canvas.paste(picture, (left, BAR))
        pen.text((left + SIDE / 2, BAR / 2), title, fill=INK, font_size=16, anchor="mm")
    return canvas


def side_by_side(clips: dict[str, np.ndarray]) -> list[Image.Image]:
    """One row a frame, the clips next to each other under their titles."""
    frames = zip(*map(as_pictures, clips.values()), strict=True)
    return [row(list(clips), list(pictures)) for pictures in frames]


def contact_sheet(rows: list[Image.Image], shown: tuple[int, ...]) -> Image.Image:
    """Some of the rows below each other, with one bar of titles."""
    chosen = [rows[i] for i in shown]
    canvas = Image.new("RGB", (chosen[0].width, BAR + (SIDE + GAP) * len(chosen) - GAP), PAPER)
    for i, picture in reversed(list(enumerate(chosen))):  # each hides the titles of the one below
        canvas.paste(picture, (0, i * (SIDE + GAP)))
    return canvas


def save_animation(rows: list[Image.Image], path: Path, frames_per_second: float) -> None:
    palette = [picture.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE) for picture in rows]
    palette[0].save(
        path, save_all=True, append_images=palette[1:], duration=round(1000 / frames_per_second), loop=0, optimize=True
    )
