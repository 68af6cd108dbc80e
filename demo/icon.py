"""The icon and the banner that ComfyUI's registry shows: the first demo clip, drawn large, as its caption has it
and with one word changed.

python tools/pack.py demo.icon       writes them anew, in the environment that `dev.py setup` names
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont

from . import scenes
from .readme_pictures import FOLDER
from .side_by_side import INK, PAPER
from .videos import CLIPS

ICON, BANNER = 400, (1260, 540)  # pixels: the registry's largest icon, and 21:9
BEFORE, AFTER = CLIPS[0], replace(CLIPS[0], object="star")
TIME = 0.35  # of the clip
SLANT, LINE = 0.2, 0.016  # of the height: how far the line between both leans, how thick it is
RED, FAINT = "#de2c28", "#8d97a0"


def parted(side: int) -> Image.Image:
    """A moment of both clips, the source to the left of a slanting line."""
    before, after = (
        Image.fromarray((scenes.render(scene, TIME, side).image * 255).round().astype(np.uint8))
        for scene in (BEFORE, AFTER)
    )
    line = side * (0.5 + SLANT / 2), 0, side * (0.5 - SLANT / 2), side
    left = Image.new("L", before.size)
    ImageDraw.Draw(left).polygon([0, 0, *line, 0, side], fill=255)
    after.paste(before, mask=left)
    ImageDraw.Draw(after).line(line, fill=PAPER, width=round(LINE * side))
    return after


def banner() -> Image.Image:
    """Name and captions beside the picture."""
    width, height = BANNER
    canvas = Image.new("RGB", BANNER, PAPER)
    canvas.paste(parted(height), (width - height, 0))
    pen, left = ImageDraw.Draw(canvas), 64
    pen.text((left, 170), "Video-P2P", fill=INK, font=font("DejaVuSans-Bold.ttf", 92), anchor="lm")
    for y, scene, faint in ((292, BEFORE, True), (360, AFTER, False)):
        x = left
        for word in scenes.caption(scene).split():
            changed = word == scene.object
            letters = font("DejaVuSans-Bold.ttf" if changed and not faint else "DejaVuSans.ttf", 42)
            pen.text((x, y), word, fill=FAINT if faint else RED if changed else INK, font=letters, anchor="lm")
            end = x + letters.getlength(word)
            if changed and faint:
                pen.line([x - 4, y + 2, end + 4, y + 2], fill=RED, width=5)
            x = end + letters.getlength(" ")
    return canvas


def font(file: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(Path(get_data_path(), "fonts", "ttf", file), size)


if __name__ == "__main__":
    parted(ICON).save(FOLDER / "icon.png", optimize=True)
    banner().save(FOLDER / "banner.png", optimize=True)
