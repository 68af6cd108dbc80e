"""python dev.py card [--json FILE]: what the pack does on this machine's own GPU, in under ten minutes.

The whole path in ComfyUI's default mode and without dynamic VRAM, beside the CPU; some of the tests; then seconds a
step and peak memory of a model of Stable Diffusion 1.5's size in half precision, 64x64 latents, 8, 16 and 64 frames.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch

from ..pack import use_host

use_host()

from ...tests.gpu.report import Report, read, walk, walk_on_cpu  # noqa: E402
from ..bench.model import sd15, work_on  # noqa: E402
from ..bench.operations import edit_steps, inversion_steps, null_text_updates, tuning_steps  # noqa: E402
from ..environment import ROOT  # noqa: E402
from .modes import FLOAT32  # noqa: E402

TESTS = [
    f"tests/host/test_{name}.py"
    for name in (
        "laws", "record_and_replay", "edits_by_maps", "edits_beside_others", "kinds_of_guidance", "masks",
        "edits_refused", "nodes", "gradients", "context_passes", "attention_recorder", "precision",
    )
]  # fmt: skip
# The tests' tolerances are those of float32: neither the half precision that the host chooses on a card, nor TF32.
EXACT = {"VP2P_HOST_FLAGS": FLOAT32, "NVIDIA_TF32_OVERRIDE": "0"}
STEPS = 3
GRADIENTS = {"null-text update": null_text_updates, "tuning step": tuning_steps}
OPERATIONS = {
    "inversion step": inversion_steps,
    "edit step": edit_steps,
    **{name: partial(operation, checkpointing=True) for name, operation in GRADIENTS.items()},
}
MOST_WITH_GRADIENTS = 16  # frames


class Watch:
    """Seconds between the marks of an operation, and the most that was allocated above what was loaded."""

    def begin(self, unit: Callable[[], object]) -> None:
        unit()
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        self.before, self.marks = torch.cuda.memory_allocated(), [time.perf_counter()]

    def mark(self, *_) -> None:
        torch.cuda.synchronize()
        self.marks.append(time.perf_counter())

    def seconds(self) -> float:
        return median(end - start for start, end in zip(self.marks, self.marks[1:], strict=False))

    def gib(self) -> float:
        return (torch.cuda.max_memory_allocated() - self.before) / 2**30


def paths(place: Path) -> list[Report]:
    """The whole path on the card, in two modes. A real card adds up in an order of its own, so that numbers are near
    those of the CPU and no more."""
    walk_on_cpu(place / "cpu")
    flags = {"default": "", "without dynamic VRAM": "--disable-dynamic-vram"}
    for name, flag in flags.items():
        walk(place / name, {"VP2P_HOST_FLAGS": flag})
    return [read(name, place / name, place / "cpu", exact=False) for name in flags]


@torch.inference_mode()  # as nodes run
def figures(frames: int, size: int) -> dict[str, float]:
    """{what: seconds or GiB} for a clip of so many frames."""
    work, measured = work_on(partial(sd15, torch.float16), frames, size), {}
    for name, operation in OPERATIONS.items():
        if name in GRADIENTS and frames > MOST_WITH_GRADIENTS:
            continue
        watch = Watch()
        operation(work, STEPS, watch)
        measured |= {f"{name}, {frames} frames, s": watch.seconds(), f"{name}, {frames} frames, GiB": watch.gib()}
    return measured


def main() -> int:
    parser = argparse.ArgumentParser(prog="dev.py card")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--frames", type=int, nargs="+", default=[8, 16, 64])
    parser.add_argument("--latent", type=int, default=64)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("dev.py card: torch sees no CUDA device here; python dev.py gpu has a pretend one")
    device = torch.cuda.get_device_name()
    print(f"{device}, torch {torch.__version__}, float16, latents {arguments.latent}x{arguments.latent}", flush=True)
    measured = {}
    for frames in arguments.frames:
        for name, value in figures(frames, arguments.latent).items():
            measured[name] = value
            print(f"{name:40} {value:8.3f}", flush=True)
    with TemporaryDirectory() as place:
        reports = paths(Path(place))
    print("\n".join(map(str, reports)), flush=True)
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "4", *TESTS], cwd=ROOT, env=os.environ | EXACT
    ).returncode
    if arguments.json:
        arguments.json.write_text(json.dumps({"device": device, "figures": measured}, indent=1) + "\n")
    return tests or not all(report.right for report in reports)


if __name__ == "__main__":
    sys.exit(main())
