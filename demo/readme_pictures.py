"""The pictures of README.md and docs/nodes.md, from what `dev.py demo` and the browser tests left in output/."""

from __future__ import annotations

import shutil

from PIL import Image

from ..tools.environment import ROOT

OUTPUT, FOLDER = ROOT / "output", ROOT / "demo" / "pictures"
# Parts of screenshots of 1600 x 900: left, top, right, bottom.
CROPS = {"help": (615, 35, 1600, 900)}


def main() -> None:
    shutil.copy(OUTPUT / "side_by_side.gif", FOLDER / "word_swap.gif")
    for name, box in CROPS.items():
        with Image.open(OUTPUT / "screenshots" / f"{name}.png") as screenshot:
            screenshot.convert("RGB").crop(box).save(FOLDER / f"{name}.jpg", quality=88)


if __name__ == "__main__":
    main()
