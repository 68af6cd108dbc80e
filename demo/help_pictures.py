"""`python dev.py pictures`: the pictures of the help pages, each a good setting beside a bad one.

Every panel is an edit of a demo clip that a real ComfyUI ran: a shipped workflow with some inputs changed.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import dataclass, field
from io import BytesIO
from textwrap import wrap

from PIL import Image, ImageDraw, ImageSequence

from ..tools.client import GraphError, node_titled, run_graph, shown_files
from ..tools.environment import ROOT
from ..tools.host import Host
from ..tools.pack import host_path
from . import videos
from .edits import EDITED, RECONSTRUCTION
from .side_by_side import INK, PAPER

FOLDER = ROOT / "web" / "docs" / "pictures"
STEPS = 20
SIDE, BAR, GAP, APART = 128, 24, 2, 12  # pixels: a frame, the caption above, between frames, between panels
PLATE, WARNING = "#26262b", "#ff8f8f"  # of a sentence

CONTROLLER, INVERT, TUNE = "VP2P_AttentionController", "VP2P_DDIMInvert", "VP2P_TuneOnVideo"
INFLATE, PASSES = "VP2P_InflateUNet", {"frames_per_pass": 4, "pass_overlap": 1}
RABBIT, CAR = "a red rabbit on the beach", "a red car in the snow"


@dataclass(frozen=True)
class Panel:
    """changes: inputs by kind of node; clip: the demo clip's caption; shown: the title of the node that shows it;
    after: a workflow that has to have run; refused: what is shown is the sentence by which ComfyUI ends the run."""

    caption: str
    changes: dict[str, dict] = field(default_factory=dict)
    clip: str = RABBIT
    workflow: str = "demo_fast"
    shown: str = EDITED
    after: str = ""
    refused: bool = False


def edit(caption: str, target: str, source: str = "", thing: str = "", *, clip: str = RABBIT, **settings) -> Panel:
    """source, thing: the blend words."""
    words = {"target_prompt": target, "blend_source": source, "blend_target": thing, "cross_window": 0.2}
    return Panel(caption, {CONTROLLER: words | settings}, clip)


STAR, CAT = ("a red star on the beach", "rabbit", "star"), ("a red cat on the beach", "rabbit", "cat")
HEART, GREEN = ("a red heart on the beach", "rabbit", "heart"), ("a green rabbit on the beach", "rabbit", "rabbit")
BLUE, NIGHT = ("a blue car in the snow", "car", "car"), "a red car in the snow at night"
QUICK = {
    INVERT: {"steps": 30, "keep_source": "in memory"},
    "VP2P_DecoupledSample": {"cache_every": 2},
    CONTROLLER: {"blend_freeze": 0.5},
}
CACHED = {"VP2P_DecoupledSample": {"cache_every": 10}}
AS_KEPT = {"blend_start": 0.2, "structure_window": 0.0, "fresh_noise": 0.0}  # as demo_re_edit has it
MAPS = {"workflow": "demo_attention_maps", "shown": "Over the frames"}


def tuned(caption: str, **settings) -> Panel:
    return Panel(caption, edit("", *STAR).changes | {TUNE: settings}, workflow="demo_refine")


def replayed(steps: int, caption: str) -> Panel:
    changes = {INVERT: {"method": "negative-prompt", "steps": steps}}
    return Panel(caption, changes, clip=CAR, shown=RECONSTRUCTION)


def compared(mode: str) -> Panel:
    labels = {"before_label": "", "after_label": ""}
    return Panel(mode, {"VP2P_CompareVideos": {"mode": mode} | labels}, CAR, "demo_compare", "Compare Videos")


def difference(caption: str, *words: str, **settings) -> Panel:
    """What an edit changed, brightened."""
    changes = edit(caption, *words, **settings).changes
    seen = {"mode": "difference", "gain": 6.0, "before_label": "", "after_label": ""}
    return Panel(caption, changes | {"VP2P_CompareVideos": seen}, RABBIT, "demo_compare", "Compare Videos")


def re_edit(caption: str, target: str, source: str, thing: str, **settings) -> Panel:
    """An edit of a tuning and an inversion that were saved."""
    changes = edit(caption, target, source, thing).changes
    return Panel(caption, changes, workflow="demo_re_edit", after="demo_keep", **settings)


def painted(caption: str, **settings) -> Panel:
    return Panel(caption, {"VP2P_EditRegion": settings}, workflow="demo_region_inpaint")


PICTURES = {
    "cross_window": [
        edit("cross window 0.2: the shape is free", *STAR),
        edit("0.9: the rabbit's layout shows through", *STAR, cross_window=0.9),
    ],
    "weights": [
        edit(f"night: {weight}", NIGHT, clip=CAR, cross_window=0.8, word_weights=f"night: {weight}")
        for weight in (1, 4, 8)
    ],
    "blend_words": [
        edit("blend words rabbit and cat", *CAT),
        edit("cat alone: scraps of the rabbit stay beside it", CAT[0], "", "cat"),
    ],
    "no_blend_words": [
        edit("blend words rabbit, star: the beach stays", *STAR),
        edit("none: sun, sea and sand move a little", STAR[0]),
    ],
    "threshold": [
        edit("threshold 0.1: room for a cat", *CAT, threshold=0.1, blend_start=0.2),
        edit("0.8: the rabbit's ears stay", *CAT, threshold=0.8, blend_start=0.2),
    ],
    "threshold_colour": [
        edit("threshold 0.3: all of the car is blue", *BLUE, clip=CAR, cross_window=0.4, blend_start=0.2),
        edit("0.8: some of it stays red", *BLUE, clip=CAR, cross_window=0.4, blend_start=0.2, threshold=0.8),
    ],
    "inflated": [
        edit("inflated", *STAR),
        Panel("not inflated: another star in each frame", workflow="demo_baseline_image_p2p"),
    ],
    "tuning": [
        tuned("120 steps at 1e-4", steps=120, learning_rate=1e-4),
        tuned("at 1e-2: the model has forgotten the star", steps=120, learning_rate=1e-2),
    ],
    "save_tuning": [
        Panel("edited in the session that tuned", edit("", *STAR, **AS_KEPT).changes, workflow="demo_refine"),
        re_edit("from the saved file: the same star", *STAR),
    ],
    "load_tuning": [
        re_edit("with the loaded tuning", *STAR),
        edit("untuned", *STAR, **AS_KEPT),
    ],
    "save_inversion": [re_edit("a star from the saved file", *STAR), re_edit("a heart from the same file", *HEART)],
    "load_inversion": [
        re_edit("source prompt as it was: a heart", *HEART),
        re_edit("another source prompt: a sentence", *HEART, clip="a red rabbit in the snow", refused=True),
    ],
    "too_strong": [
        edit("cross window 0.6: the car keeps its shape", *BLUE, clip=CAR, cross_window=0.6),
        edit("0: another car in every frame", *BLUE, clip=CAR, cross_window=0.0),
    ],
    "leak": [
        difference("what changed, x 6: the rabbit, a little at edges", *GREEN, cross_window=0.4),
        difference("no blend words: sun, sky and sea as well", GREEN[0], cross_window=0.4),
    ],
    "memory": [
        edit("all 8 frames at once", *STAR),
        Panel("in passes of 4: the same star", edit("", *STAR).changes | {INFLATE: PASSES}),
    ],
    "time": [
        Panel("all five: a clear star", QUICK | {CONTROLLER: edit("", *STAR).changes[CONTROLLER] | QUICK[CONTROLLER]}),
        Panel("4 steps instead: softer", edit("", *STAR).changes | {INVERT: {"steps": 4}}),
    ],
    "inversion_steps": [replayed(50, "50 steps: the car comes back"), replayed(3, "3 steps: blurred")],
    "cache": [
        Panel("cache every 1: all is computed", edit("", *STAR).changes),
        Panel("every 10: another star, not the exact edit", edit("", *STAR).changes | CACHED),
    ],
    "attention_maps": [
        Panel("'rabbit': a word to blend by", {"VP2P_AttentionMaps": {"words": "rabbit"}}, **MAPS),
        Panel("'on': an outline, no thing", {"VP2P_AttentionMaps": {"words": "on"}}, **MAPS),
    ],
    "edit_region": [
        painted("grow 8, feather 4: a star with room", grow=8, feather=4),
        painted("grow 0: the rabbit's outline stays", grow=0, feather=4),
    ],
    "compare": [compared("wipe"), compared("difference")],
}  # fmt: skip


def graph_of(panel: Panel) -> dict:
    graph = json.loads((ROOT / "workflows" / "api" / f"{panel.workflow}.json").read_text(encoding="utf-8"))
    for node in graph.values():
        if node["class_type"] == "VP2P_LoadDemoClip":
            node["inputs"]["clip"] = panel.clip
        elif node["_meta"]["title"] == "Source prompt":
            node["inputs"]["value"] = panel.clip
        elif node["class_type"] == INVERT:
            node["inputs"]["steps"] = STEPS
        node["inputs"] |= panel.changes.get(node["class_type"], {})
    return graph


def frames_of(host: Host, panel: Panel) -> list[Image.Image]:
    graph = graph_of(panel)
    files = shown_files(host.url, run_graph(host.url, graph).outputs[node_titled(graph, panel.shown)])
    pictures = [frame.convert("RGB") for file in files for frame in ImageSequence.Iterator(Image.open(BytesIO(file)))]
    return pictures[: len(videos.read(videos.FIRST))]


def sentence_of(host: Host, panel: Panel) -> str:
    """What ComfyUI says to a graph that it does not run to the end."""
    try:
        run_graph(host.url, graph_of(panel))
    except GraphError as error:
        return str(error)
    raise RuntimeError(f"'{panel.caption}' was to be refused, and ran")


def drawn(panels: list[tuple[str, list[Image.Image] | str]]) -> Image.Image:
    """Panels next to each other, each some frames or a sentence under its caption."""
    shown = (0, 3, 7) if len(panels) == 2 else (0, 7)
    width = len(shown) * (SIDE + GAP) - GAP
    canvas = Image.new("RGB", (len(panels) * (width + APART) - APART, SIDE + BAR), PAPER)
    pen = ImageDraw.Draw(canvas)
    for i, (caption, frames) in enumerate(panels):
        left = i * (width + APART)
        pen.text((left + width / 2, BAR / 2), caption, fill=INK, font_size=14, anchor="mm")
        if isinstance(frames, str):
            pen.rectangle((left, BAR, left + width, BAR + SIDE), fill=PLATE)
            lines = "\n".join(wrap(frames, width // 7))
            pen.multiline_text((left + 14, BAR + SIDE / 2), lines, fill=WARNING, font_size=13, anchor="lm", spacing=5)
            continue
        for j, frame in enumerate(shown):
            fitted = frames[frame].resize((SIDE, SIDE), Image.Resampling.LANCZOS)
            canvas.paste(fitted, (left + j * (SIDE + GAP), BAR))
    return canvas


def main(chosen: list[str]) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    ready = set()
    with tempfile.TemporaryDirectory() as folder, Host(host_path(), folder, ["--cache-lru", "100"]) as host:
        for name in chosen or PICTURES:
            for workflow in {panel.after for panel in PICTURES[name]} - ready - {""}:
                run_graph(host.url, graph_of(Panel("", workflow=workflow)))
                ready.add(workflow)
            panels = [
                (panel.caption, sentence_of(host, panel) if panel.refused else frames_of(host, panel))
                for panel in PICTURES[name]
            ]
            drawn(panels).save(FOLDER / f"{name}.jpg", quality=88)
            print(name, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
