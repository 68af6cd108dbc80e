"""`python batch.py --benchmark demo`: methods beside each other on rendered clips, judged by the ground truth.

Each method is a shipped workflow, so that what is compared are the graphs that a user has.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from statistics import fmean
from typing import Any

import av
import numpy as np

from . import scenes, videos
from .measure import figures

METHODS = {
    "default": "demo_word_swap",
    "Video-P2P": "demo_null_text",
    "not tuned": "demo_ablation_no_tuning",
    "image P2P": "demo_baseline_image_p2p",
    "Tune-A-Video": "demo_baseline_tune_a_video",
}
FIRST = 2_000_000  # the first seed that is reported on
EDITED = "object", "colour", "place"
SHOWN = ("psnr", "ssim", "background", "truth", "all_seen")


def table(folder: Path, clips: int) -> list[dict[str, Any]]:
    """The edits of so many clips, which are rendered into the folder: another object, colour and place of each."""
    rows = []
    for scene in itertools.islice(scenes.of_one_thing(FIRST), clips):
        path = folder / f"{scene.seed}.mp4"
        if not path.exists():
            videos.write(path, [frame.image for frame in scenes.clip(scene, videos.FRAMES)])
        for field in EDITED:
            prompts = {"source_prompt": scenes.caption(scene), "target_prompt": scenes.caption(changed(scene, field))}
            rows.append({"clip": path.name, **prompts, **blended(field), "_field": field, "_seed": scene.seed})
    return rows


def changed(scene: scenes.Scene, field: str) -> scenes.Scene:
    """The scene with another value in one field, the next of the list."""
    values = [value for value in scenes.FIELDS[field] if value != "plain"]
    value = values[(values.index(getattr(scene, field)) + 1) % len(values)]
    return replace(scene, **{field: value})


def blended(field: str) -> dict[str, str]:
    """A new background is where no word is."""
    word = "" if field == "place" else "auto"
    return {"blend_source": word, "blend_target": word}


def judged(row: dict[str, Any], source: bytes, edited: bytes) -> dict[str, float]:
    """What the ground truth says of an edit: PSNR of the background and against the true target in dB, and whether the
    judge sees all that the prompt says."""
    measured = figures(scenes.random_scene(row["_seed"]), row["target_prompt"], decoded(source), decoded(edited))
    return {"background": measured.background, "truth": measured.truth, "all_seen": float(not measured.missed)}


def decoded(clip: bytes) -> np.ndarray:
    """[frames, height, width, 3] in 0..1"""
    with av.open(BytesIO(clip)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return np.stack(frames).astype("f4") / 255


def comparison(measured: dict[str, Sequence[dict[str, float]]]) -> str:
    """A table of the means of each method, in Markdown."""
    lines = [f"| method | edits | {' | '.join(SHOWN)} |", f"|---|{'---|' * (len(SHOWN) + 1)}"]
    for method, some in measured.items():
        means = [mean([one[name] for one in some if name in one]) for name in SHOWN]
        lines.append(f"| {method} | {len(some)} | {' | '.join(means)} |")
    return "\n".join(lines) + "\n"


def mean(values: Sequence[float]) -> str:
    return f"{fmean(values):.4g}" if values else "–"
