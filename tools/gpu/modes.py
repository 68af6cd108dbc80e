"""The modes of ComfyUI in which the pack is run on the pretend device: flags of ComfyUI, and what the device is like.

In float32 numbers are those of the CPU, whatever moves the weights; in half precision they are only near.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

from ..environment import SetupError, home

HERE = Path(__file__).resolve().parent
FLOAT32, LEGACY = "--force-fp32", "--disable-dynamic-vram"


@dataclass(frozen=True)
class Mode:
    """flags: of ComfyUI; device: environment of the pretend device; between: what happens between two nodes, 'unload'
    all models after each, or 'free' them as POST /free does between two runs of the graph."""

    flags: tuple[str, ...]
    device: dict[str, str] = field(default_factory=dict)
    between: str = ""

    @property
    def exact(self) -> bool:
        """Whether numbers are those of the CPU."""
        return FLOAT32 in self.flags


MODES = {
    "dynamic": Mode((FLOAT32,)),
    "legacy": Mode((LEGACY, FLOAT32)),
    "dynamic-tight": Mode((FLOAT32,), {"PRETEND_AIMDO_ROOM": str(2 * 2**20)}),
    "dynamic-unload": Mode((FLOAT32,), between="unload"),
    "dynamic-free": Mode((FLOAT32,), between="free"),
    "legacy-unload": Mode((LEGACY, FLOAT32), between="unload"),
    "legacy-free": Mode((LEGACY, FLOAT32), between="free"),
    "lowvram": Mode((LEGACY, FLOAT32, "--lowvram")),
    "novram": Mode((FLOAT32, "--novram")),
    "gpu-only": Mode((FLOAT32, "--gpu-only")),
    "two-devices": Mode((FLOAT32,), {"PRETEND_CUDA_DEVICES": "2"}),
    "fp16": Mode((LEGACY, "--force-fp16")),
    "bf16": Mode((LEGACY, "--bf16-unet")),
    "dynamic-fp16": Mode(("--force-fp16",)),
    "novram-fp16": Mode(("--force-fp16", "--novram")),
}
SHORT = ("dynamic", "legacy")  # what the tests run


def environment(mode: Mode) -> dict[str, str]:
    """What puts a process, and those that it starts, on the pretend device in a mode."""
    if sys.platform != "linux" or shutil.which("g++") is None:
        raise SetupError("the pretend device is built with g++ on Linux: install it (Debian: apt install g++)")
    paths = [str(HERE / "aimdo"), str(HERE / "site"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        "PRETEND_CUDA": "1",
        "PRETEND_CUDA_BUILD": str(home() / "pretend-cuda"),
        "PYTHONPATH": os.pathsep.join(paths),
        "VP2P_HOST_FLAGS": " ".join(mode.flags),
        **mode.device,
    }
