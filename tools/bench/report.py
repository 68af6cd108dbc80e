"""python dev.py bench --frames F --latent S [--repeats R] [--no-memory] [--edits] [--json FILE]

What the method costs on a Stable Diffusion 1.5 of random weights. The unit is one conditional forward of the clip
through the inflated UNet, without control. Each figure is the median over R steps, one run, a unit before and after
every step: clocks are read between steps, where the pack's code reports its progress, so loading does not count.
--edits: instead of all this, whole edits by each way, inversion included, in forwards and seconds.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import sys
from pathlib import Path
from typing import Any

import torch

from ...videop2p_core.diffusion.attention_records import RecordSettings
from ...videop2p_core.host.model.memory_budget import kept_bytes
from . import memory
from .counts import STEPS, counts
from .model import TOKENS, Build, Work, sd15, work_on
from .timing import times
from .whole_edits import OFFICIAL, whole_edits

ABOUT = {
    "inflated_forward": "forwards of the image UNet: one of the inflated UNet, first frame read, temporal layers on",
    "inversion_step": "forwards: a step of DDIM inversion",
    "edit_step": "forwards: a step of an edit within both windows, direct inversion",
    "edit_step_kept": "forwards: the same with the source's queries and keys kept from the inversion",
    "edit_step_after_windows": "forwards: a step after both windows, no blend words: the source is left out",
    "edit_total_kept": "forwards: an edit of 50 steps, kept, default windows, reckoned from its steps; no blend words",
    "null_text_inner": "forwards: one update of the shared null text",
    "null_text_total": "forwards: the null text of 50 steps, 10 updates each, reckoned from one update",
    "tuning_step": "forwards: a step of tuning",
    "tuning_step_checkpointed": "forwards: a step of tuning that saves memory",
    "long_clip_cost_per_frame": "a frame of 64 in passes of 16 to one of 16 at once, a forward at half the size",
    "inversion_forwards": "forwards counted: inversion, 50 steps",
    "edit_forwards": "forwards counted: edit, 50 steps, direct inversion, default windows, no blend words",
    "stage_2_forwards": "forwards counted: both",
    "edit_forwards_kept": "forwards counted: the same edit, the source kept from the inversion",
    "stage_2_forwards_kept": "forwards counted: the inversion and that edit",
    "edit_memory_gib": "GiB above the weights: edit, within both windows",
    "null_text_memory_gib": "GiB above the weights: null text, saving memory",
    "tuning_memory_gib": "GiB above the weights: tuning, saving memory",
    "long_clip_memory": "peak of an edit of 64 frames in passes of 16 to that of 16 frames, at half the size",
    "kept_records_gib": "GiB of records kept from an inversion of 50 steps, default windows, beside all that",
}


def main(build: Build = sd15) -> None:
    parser = argparse.ArgumentParser(prog="dev.py bench", usage=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--latent", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--edits", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    size = options.frames, options.latent
    described = machine(*size)
    print(", ".join(described.values()), flush=True)
    if options.edits:
        write(options.json, {"machine": described, "edits": compared(work_on(build, *size))})
        return
    kind = None if options.no_memory else memory.kind()
    figures = {}
    if kind:  # first, as this process holds no weights yet
        figures |= {name: memory.peak_of_new_process(name, build, *size) for name in memory.OPERATIONS}
        figures["long_clip_memory"] = memory.long_clip_ratio(build, options.latent // 2)
    work = work_on(build, *size)
    figures["kept_records_gib"] = kept_bytes(work.inflated, work.latent, RecordSettings(), STEPS, TOKENS) / 2**30
    figures |= counts()
    figures |= times(work, options.repeats, say)
    figures = {name: figures[name] for name in ABOUT if name in figures}
    print(f"memory: {kind or 'not measured'}")
    print("\n".join(f"{name:<26}{value:>8.2f}   {ABOUT[name]}" for name, value in figures.items()))
    write(options.json, {"machine": described, "figures": figures, "memory": kind})


def write(file: Path | None, figures: dict[str, Any]) -> None:
    if file:
        file.write_text(json.dumps(figures, indent=1) + "\n")


def compared(work: Work) -> dict[str, dict[str, float]]:
    """Whole edits by name, printed as they come; of the official code the forwards alone, counted."""
    rows = {name: {"forwards": forwards} for name, forwards in OFFICIAL.items()}
    for name, forwards, seconds in whole_edits(work):
        rows[name] = {"forwards": forwards, "seconds": seconds}
        print(f"{name:<44}{forwards:>7.1f} forwards{seconds:>9.1f} s", flush=True)
    return rows


def say(name: str, value: float) -> None:
    print(f"{name} {value:.2f}", file=sys.stderr, flush=True)


def machine(frames: int, latent: int) -> dict[str, str]:
    return {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else processor(),
        "threads": f"{torch.get_num_threads()} threads",
        "torch": f"torch {torch.__version__}",
        "dtype": "float32",
        "frames": f"{frames} frames",
        "latent": f"latent {latent}x{latent}",
    }


def processor() -> str:
    try:
        return re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())[1]
    except (OSError, TypeError):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
