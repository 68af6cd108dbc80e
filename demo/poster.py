"""A contact sheet of the demo world, demo/pictures/world.jpg: what it draws, how a clip moves, and one
clip with a word of its caption changed.

    python tools/pack.py demo.poster
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from .scenes import Scene, Thing, clip, render

SHEET = Path(__file__).parent / "pictures" / "world.jpg"
SIDE, COLUMNS, QUALITY = 160, 8, 84
# Seeds that neither training nor evaluation draws.
SINGLE = [
    Scene(500101, "rabbit", "white", "origami", "meadow"),
    Scene(500102, "car", "red", "plain", "city"),
    Scene(500103, "fish", "orange", "striped", "beach"),
    Scene(500104, "robot", "golden", "plain", "moon"),
    Scene(500105, "teapot", "blue", "spotted", "desert"),
    Scene(500106, "bear", "pink", "shiny", "snow"),
    Scene(500107, "boat", "green", "wooden", "beach"),
    Scene(500108, "mushroom", "red", "spotted", "meadow"),
    Scene(500109, "star", "golden", "origami", "moon"),
    Scene(500110, "cat", "purple", "plain", "snow"),
    Scene(500111, "heart", "red", "origami", "city"),
    Scene(500112, "duck", "orange", "shiny", "desert"),
    Scene(500113, "rabbit", "golden", "plain", "city", "night"),
    Scene(500114, "boat", "blue", "plain", "beach", "watercolour"),
    Scene(500115, "cat", "orange", "striped", "meadow", "sketch"),
    Scene(500116, "fish", "blue", "spotted", "snow"),
]
PAIRS = [
    Scene(500121, "rabbit", "red", "plain", "meadow", "plain", Thing("car", "blue")),
    Scene(500122, "bear", "white", "shiny", "moon", "plain", Thing("robot", "red")),
    Scene(500123, "duck", "golden", "plain", "beach", "plain", Thing("boat", "red", "striped")),
    Scene(500124, "mushroom", "purple", "spotted", "snow", "plain", Thing("cat", "orange")),
    Scene(500125, "star", "pink", "plain", "city", "night", Thing("heart", "red")),
    Scene(500126, "teapot", "white", "striped", "desert", "plain", Thing("duck", "blue")),
    Scene(500127, "fish", "green", "origami", "beach", "watercolour", Thing("star", "orange")),
    Scene(500128, "robot", "green", "plain", "desert", "sketch", Thing("rabbit", "pink")),
]
MOVING = Scene(500132, "rabbit", "orange", "plain", "meadow")
CHANGED = [replace(MOVING, material="origami"), replace(MOVING, object="robot", colour="blue")]


def poster() -> Image.Image:
    pictures = [render(scene, 0.5, SIDE).image for scene in [*SINGLE, *PAIRS]]
    for scene in (MOVING, *CHANGED):
        pictures += [frame.image for frame in clip(scene, COLUMNS, SIDE)]
    rows = np.array(pictures).reshape(-1, COLUMNS, SIDE, SIDE, 3)
    sheet = rows.swapaxes(1, 2).reshape(len(rows) * SIDE, COLUMNS * SIDE, 3)
    return Image.fromarray((sheet * 255).round().astype(np.uint8))


if __name__ == "__main__":
    poster().save(SHEET, quality=QUALITY, optimize=True)
    print(f"{SHEET.name}: {SHEET.stat().st_size / 1e3:.0f} kB")
