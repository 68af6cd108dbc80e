"""Peak memory above the loaded weights, a copy for gradients among them; each in a process that did nothing before."""

from __future__ import annotations

import ctypes
import re
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch

from .model import LONG, PER_PASS, Build, work_on
from .operations import edit_steps, null_text_updates, tuning_steps

PROCESS = Path("/proc/self")
M_MMAP_THRESHOLD, EXACT = -3, 2**16  # of glibc's mallopt
STEPS = 2  # a tuning's second has the optimiser's state beside its gradients
OPERATIONS = {
    "edit_memory_gib": edit_steps,
    "null_text_memory_gib": partial(null_text_updates, checkpointing=True),
    "tuning_memory_gib": partial(tuning_steps, checkpointing=True),
}


class Peak:
    """A watch that measures from the moment at which the weights are loaded."""

    def begin(self, unit) -> None:
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
            self.before = torch.cuda.memory_allocated()
        else:
            (PROCESS / "clear_refs").write_text("5")  # the peak so far is forgotten
            self.before = resident("VmRSS")

    def mark(self, *_) -> None:
        pass

    def gib(self) -> float:
        peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else resident("VmHWM")
        return (peak - self.before) / 2**30


def kind() -> str | None:
    """What is measured on this machine; None where nothing can be."""
    if torch.cuda.is_available():
        return "allocated on the GPU"
    measurable = (PROCESS / "clear_refs").exists() and hasattr(ctypes.CDLL(None), "mallopt")
    return "allocated in main memory" if measurable else None


def peak_of_new_process(name: str, *work) -> float:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=map_each_tensor) as process:
        return process.submit(peak, name, *work).result()


def map_each_tensor() -> None:
    """From now on every large tensor of this process has pages of its own, which it gives back when it is freed: the
    resident set is what is allocated, as on a GPU, and not that with the gaps between."""
    if not torch.cuda.is_available():
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, EXACT)


@torch.inference_mode()  # as nodes run
def peak(name: str, *work) -> float:
    """In GiB; `work` as model.work_on takes it."""
    watch = Peak()
    OPERATIONS[name](work_on(*work), STEPS, watch)
    return watch.gib()


def long_clip_ratio(build: Build, size: int) -> float:
    """An edit of a long clip in passes, to one of a clip of a single pass."""
    long, short = ((build, frames, size, PER_PASS) for frames in (LONG, PER_PASS))
    return peak_of_new_process("edit_memory_gib", *long) / peak_of_new_process("edit_memory_gib", *short)


def resident(field: str) -> int:
    """Bytes, by the kernel's account."""
    return 1024 * int(re.search(rf"{field}:\s+(\d+) kB", (PROCESS / "status").read_text())[1])
