"""`python dev.py gallery`: run every demo workflow, print what was measured, and make the moving thumbnails of all.

A checkpoint's workflow shows what its demo twin made.
"""

from __future__ import annotations

import json
import sys
import tempfile
from io import BytesIO

import numpy as np
from PIL import Image, ImageOps, ImageSequence

from ..tools.client import Ran, run_graph, shown_files, shown_frames
from ..tools.host import Host
from ..tools.pack import host_path
from ..tools.workflows.catalogue import RECIPES
from ..tools.workflows.shelf import picture_file, prompt_file
from ..tools.workflows.worlds import DEMO
from . import videos
from .edits import EditedClip, edited_clips, with_frames_shown
from .measure import Figures
from .side_by_side import as_pictures

TWINS = {  # where the demo's is called otherwise
    "video_helper_suite": "word_swap",
    "vace_region": "region_inpaint",
    "inpaint_word_swap": "word_swap",
    "image_words": "word_weights",
}
PICTURES = ("With weights", "Without", "Sampled", "Where it looked", "Painted")  # titles of nodes
DURATION, SHEET = 125, 384  # ms of a frame; pixels of the side of a contact sheet


def line(name: str, clip: EditedClip, measured: Figures) -> str:
    figures = [f"background {measured.background:5.2f} dB", f"truth {measured.truth:5.2f} dB"]
    if measured.reconstruction is not None:
        figures.append(f"reconstruction {measured.reconstruction:5.2f} dB")
    if measured.mask_overlap is not None:
        figures.append(f"mask {measured.mask_overlap:.2f}")
    seen = f"missed {', '.join(measured.missed)}" if measured.missed else "all words seen"
    return f"{name:30} {clip.target:38} {seen:22} {'  '.join(figures)}"


def looked_at(url: str, graph: dict, ran: Ran) -> list[np.ndarray]:
    """What a workflow without an edit has to show: its clip, and where words look in it, or its pictures."""

    def titled(title):
        nodes = [node for node, entry in graph.items() if entry["_meta"]["title"] == title]
        return [shown_frames(url, ran.outputs[node]) for node in nodes if node in ran.outputs]

    source, overlays = videos.read(videos.FIRST), titled("Over the frames")
    pictures = [picture for title in PICTURES for picture in titled(title)]
    if pictures:
        return [np.repeat(picture, len(source), axis=0) for picture in pictures]
    return [source, *(clip for overlay in overlays for clip in np.split(overlay, len(overlay) // len(source)))]


def moving(clips: list[np.ndarray]) -> list[Image.Image]:
    """Square frames: each clip plays once, and is wiped away by the next one in its later half."""
    played = [as_pictures(clip) for clip in clips]
    frames = []
    for before, after in zip(played, [*played[1:], played[0]], strict=True):
        for place, (old, new) in enumerate(zip(before, after, strict=True)):
            frames.append(wiped(old, new, max(0.0, 2 * (place + 1) / len(before) - 1)))
    return frames


def wiped(old: Image.Image, new: Image.Image, share: float) -> Image.Image:
    """The left share of `new` beside the rest of `old`, a line between them."""
    picture, edge = old.copy(), round(share * old.width)
    picture.paste(new.crop((0, 0, edge, new.height)))
    if 0 < edge < old.width:
        picture.paste("white", (edge - 1, 0, edge + 2, old.height))
    return picture


def sheet(url: str, output: dict) -> list[Image.Image]:
    """A contact sheet that plays, as high as wide."""
    with Image.open(BytesIO(shown_files(url, output)[0])) as animation:
        frames = [frame.convert("RGB") for frame in ImageSequence.Iterator(animation)]
    return [ImageOps.pad(frame, (SHEET, SHEET), Image.Resampling.LANCZOS, color="white") for frame in frames]


def save_thumbnails(name: str, frames: list[Image.Image]) -> None:
    first, *others = frames
    for other, recipe in RECIPES.items():
        _, _, kind = other.partition("_")
        if name == other or (recipe.world != DEMO and name == f"demo_{TWINS.get(kind, kind)}"):
            # Only of this ending does the dialog ask; browsers tell a picture's format by its first bytes.
            first.save(
                picture_file(other), "WEBP", save_all=True, append_images=others, duration=DURATION, loop=0, quality=70
            )


def main(chosen: list[str]) -> None:
    names = chosen or [name for name in RECIPES if name.startswith("demo_")]
    # What the workflows keep goes into a models folder of this run's own.
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as models:
        run_all(names, Host(host_path(), folder, models=models))


def run_all(names: list[str], server: Host) -> None:
    with server as host:
        for name in names:
            graph = with_frames_shown(json.loads(prompt_file(name).read_text(encoding="utf-8")))
            ran = run_graph(host.url, graph)
            clips = edited_clips(host.url, graph, ran)
            for clip in clips:
                print(line(name, clip, clip.figures()), flush=True)
            shown = [clips[0].source, *(clip.edited for clip in clips)] if clips else looked_at(host.url, graph, ran)
            sheets = [node for node, entry in graph.items() if entry["class_type"] == "VP2P_ContactSheet"]
            save_thumbnails(name, sheet(host.url, ran.outputs[sheets[0]]) if sheets else moving(shown))


if __name__ == "__main__":
    main(sys.argv[1:])
