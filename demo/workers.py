"""Two single-threaded processes that train as one: on small networks they beat one process with two threads.

`launch` starts the copies; each draws its own half of every batch and `average_gradients` makes their steps one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from ..tools.pack import ROOT

WORKERS = 2
SECONDS_A_CHECKPOINT = 180
PATIENCE = timedelta(days=7)  # training may be paused, and waits for whoever has the machine


def autocast():
    """Half precision where the processor multiplies it faster, which takes AMX: elsewhere float32 trains faster."""
    return torch.autocast("cpu", torch.bfloat16, enabled=torch.cpu._is_amx_tile_supported())


def launch(module: str, arguments: list[str]) -> None:
    """Run `module` of this pack in WORKERS processes and wait; an error in one stops all."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "VP2P_MEETING": f"file://{folder}/meeting", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(ROOT / "tools" / "pack.py"), module, *arguments]
        copies = [subprocess.Popen(command, env={**environment, "VP2P_WORKER": str(i)}) for i in range(WORKERS)]
        codes = [copy.wait() for copy in copies]
        if any(codes):
            raise RuntimeError(f"{module} failed in a worker, see above")


def join() -> int:
    """Meet the other workers; returns this one's number."""
    rank = int(os.environ["VP2P_WORKER"])
    torch.set_num_threads(1)
    meeting = os.environ["VP2P_MEETING"]
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=WORKERS, timeout=PATIENCE)
    return rank


class Clock:
    """Says when so many seconds have passed since it last said so."""

    def __init__(self, seconds: float):
        self.seconds, self.last = seconds, time.monotonic()

    def rings(self) -> bool:
        if time.monotonic() - self.last < self.seconds:
            return False
        self.last = time.monotonic()
        return True


def save(state: dict, file: Path) -> None:
    """A checkpoint, never half of one: training may be stopped at any moment."""
    unfinished = file.with_suffix(".part")
    torch.save(state, unfinished)
    os.replace(unfinished, file)


def average_gradients(parameters: list[torch.nn.Parameter]) -> None:
    """Every gradient becomes the mean over the workers; one message carries them all."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    dist.all_reduce(flat)
    flat /= WORKERS
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def broadcast(tensors: list[torch.Tensor]) -> None:
    """Every worker begins with the first one's values."""
    for tensor in tensors:
        dist.broadcast(tensor, 0)
