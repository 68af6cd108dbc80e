"""The paper's comparisons on the demo world: `python dev.py paper --clips K --seed N`.

Image Prompt-to-Prompt frame by frame, Tune-A-Video and Video-P2P, and Video-P2P without each of its parts, on clips of
the seeds N, N + 1, ..., one word of each changed. `--tunings`: tunings of more and fewer steps in their place.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ..accepted_edits import told_cases
from ..evaluation_world import World, opened
from . import page
from .claims import Row, findings
from .figures import measured
from .methods import METHODS, TUNING_STEPS, TUNINGS, Method, shortened
from .runs import Run
from .steadiness import flows

GUIDANCE, INNER_STEPS = 7.5, 10  # the paper's
LABEL = 14  # pixels, above each clip of a sheet
CALLED = {page.COMPARISONS: METHODS, page.TUNINGS: TUNINGS}


def compared(
    world: World, methods: Mapping[str, Method], guidance: float, inner_steps: int
) -> tuple[list[Row], list[dict[str, Any]]]:
    """(of each clip the figures of every method, of each clip what was edited)"""
    rows, edits = [], []
    for told in told_cases(world, world.model):
        run, clips = Run(world, told.seed, guidance, inner_steps), {}
        case, row = run.case, {}
        moved = flows(case.target, len(case.frames))
        for name, method in methods.items():
            clips[name], seconds = run.edited(method)
            rebuilt = run.reconstruction(method)
            row[name] = measured(case.truth, moved, case.field, clips[name], world.judge, rebuilt, seconds)
            flicker, changed = row[name].flicker, row[name].changed
            print(f"{told.seed} {case.kind}: {name}: flicker {flicker:.2f}, changed word {changed:.0f}", flush=True)
        rows.append(row)
        source, target = case.captions
        edits.append({"seed": told.seed, "kind": case.kind, "source_prompt": source, "target_prompt": target})
        shown = {source: case.frames, **clips, f"true: {target}": torch.from_numpy(case.truth.true)}
        world.save(f"paper_{told.seed}.jpg", sheet(shown))
    return rows, edits


def sheet(clips: Mapping[str, Tensor]) -> Image.Image:
    """Clips [frames, height, width, 3], a row each under its name."""
    (frames, height, width, _), *_ = (clip.shape for clip in clips.values())
    canvas = Image.new("RGB", (frames * width, len(clips) * (height + LABEL)), "white")
    for i, (name, clip) in enumerate(clips.items()):
        top = i * (height + LABEL)
        ImageDraw.Draw(canvas).text((2, top + 1), name, fill="black")
        row = np.concatenate(list(clip.numpy()), axis=1).clip(0, 1)
        canvas.paste(Image.fromarray((row * 255).round().astype(np.uint8)), (0, top + LABEL))
    return canvas


def paper(part: str, world: World, guidance: float, inner_steps: int, most_tuning: int) -> dict[str, Any]:
    """All that is measured of a part of the page; its text is under "page"."""
    methods = shortened(CALLED[part], most_tuning)
    with torch.inference_mode():
        rows, edits = compared(world, methods, guidance, inner_steps)
    settings: dict[str, Any] = {"clips": len(rows), "seed": world.scenes[0].seed}
    if part == page.COMPARISONS:
        tuning = max(method.tuning for method in methods.values())
        settings |= {
            "steps": world.steps,
            "guidance": guidance,
            "tuning steps": tuning,
            "null text updates": inner_steps,
        }
    else:
        settings |= {"steps": world.way.steps, "steps of new things": world.way.new_steps}
    figures = [{key: asdict(value) for key, value in row.items()} for row in rows]
    return {
        "settings": settings,
        "methods": page.means(rows),
        "claims": [asdict(measures) | {"verdict": measures.verdict} for measures in findings(rows)]
        if part == page.COMPARISONS
        else [],
        "edits": [edit | {"figures": one} for edit, one in zip(edits, figures, strict=True)],
        "page": page.section(part, settings, rows),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="dev.py paper", description=__doc__)
    parser.add_argument("--seed", type=int, default=1_000_000)
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--tunings", action="store_true", help="compare tunings, by the pack's default way to edit")
    parser.add_argument("--steps", type=int, help="of inversion and edit: 50; of the default way, see ways.py")
    parser.add_argument("--guidance", type=float, default=GUIDANCE)
    parser.add_argument("--inner-steps", type=int, default=INNER_STEPS, help="updates of a null text in each step")
    parser.add_argument("--tuning-steps", type=int, default=TUNING_STEPS, help="at most")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--pictures", type=Path, help="write a sheet of each clip into this folder")
    parser.add_argument("--docs", action="store_true", help="write the table into docs/paper.md")
    a = parser.parse_args()
    part = page.TUNINGS if a.tunings else page.COMPARISONS
    measures = paper(part, opened(a.seed, a.clips, a.steps, a.pictures), a.guidance, a.inner_steps, a.tuning_steps)
    print(measures["page"])
    if a.json:
        a.json.write_text(json.dumps(measures, indent=1) + "\n")
    if a.docs:
        page.write(part, measures["page"])
