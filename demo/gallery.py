"""`python dev.py gallery`: run every demo workflow, print what was measured, and make the thumbnails of all workflows.

A checkpoint's workflow shows what its demo twin made.
"""

from __future__ import annotations

import json
import sys
import tempfile
from io import BytesIO

import numpy as np
from PIL import Image, ImageOps

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
FRAME = 3  # the frame that a thumbnail shows


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
    pictures = [*titled("With weights"), *titled("Without")]
    if pictures:
        return [np.repeat(picture, len(source), axis=0) for picture in pictures]
    return [source, *(clip for overlay in overlays for clip in np.split(overlay, len(overlay) // len(source)))]


def thumbnail(clips: list[np.ndarray]) -> Image.Image:
    pictures = [as_pictures(clip[FRAME : FRAME + 1])[0] for clip in clips]
    gap = 6
    canvas = Image.new("RGB", (sum(p.width + gap for p in pictures) - gap, pictures[0].height), "white")
    for i, picture in enumerate(pictures):
        canvas.paste(picture, (i * (picture.width + gap), 0))
    return canvas


def sheet(url: str, output: dict) -> Image.Image:
    """A contact sheet, no higher than wide."""
    with Image.open(BytesIO(shown_files(url, output)[0])) as animation:
        animation.seek(FRAME)
        return ImageOps.pad(animation.convert("RGB"), (max(animation.size), animation.height), color="white")


def save_thumbnails(name: str, picture: Image.Image) -> None:
    for other, recipe in RECIPES.items():
        _, _, kind = other.partition("_")
        if name == other or (recipe.world != DEMO and name == f"demo_{TWINS.get(kind, kind)}"):
            picture.save(picture_file(other), quality=88)


def main(asked: list[str]) -> None:
    names = asked or [name for name in RECIPES if name.startswith("demo_")]
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
            save_thumbnails(name, sheet(host.url, ran.outputs[sheets[0]]) if sheets else thumbnail(shown))


if __name__ == "__main__":
    main(sys.argv[1:])
