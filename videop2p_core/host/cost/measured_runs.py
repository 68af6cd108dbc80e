"""What long nodes took when they last ran on this machine: seconds and bytes of a forward of the clip, by operation,
by where model and clip come from, and by device.

Learnt from the runs themselves, and kept in the host's user folder.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import comfy.model_management
import folder_paths
import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...log import LOG
from ...storage import atomic_files

KEY = "videop2p_measured"
# Operations that are measured.
INVERSION, NULL_TEXT, EDIT, TUNING = "DDIM inversion", "Null-text optimisation", "Decoupled Sample", "Tune on Video"
SOURCE_MAPS, TARGET_MAPS = "Attention Maps of the source", "Attention Maps of the target"
MOST = 200  # runs that are kept


@dataclass(frozen=True)
class MeasuredRun:
    """seconds: of one forward of the whole clip; bytes: beside the weights, measured on CUDA, else as they were
    expected; origins: where model and clip came from, see origins.py."""

    operation: str
    origins: str
    device: str
    seconds: float
    bytes: float

    @property
    def key(self) -> tuple[str, ...]:
        return self.operation, self.origins, self.device


class ForwardMeter:
    """A wrapper around the network that counts forwards of a clip [frames, channels, rows, columns], and the time from
    the end of the first, which loads and warms up, to that of the last."""

    def __init__(self, clip: Tensor) -> None:
        frames, _, rows, columns = clip.shape
        self.places = frames * rows * columns
        self.forwards, self.uncounted = 0.0, 0.0  # of them what ended before the clock ran
        self.first = self.last = 0.0
        self.allocated: int | None = None  # on CUDA, before the first

    def on(self, model: ModelPatcher) -> ModelPatcher:
        """The MODEL, a clone of one's own, that is measured."""
        model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, KEY, self)
        return model

    def __call__(self, executor: Callable[..., Tensor], x: Tensor | list[Tensor], *args: Any, **kwargs: Any) -> Tensor:
        pictures = x[0] if isinstance(x, list) else x  # without the sound that some networks take beside them
        if self.forwards == 0 and pictures.is_cuda:
            torch.cuda.reset_peak_memory_stats(pictures.device)
            self.allocated = torch.cuda.memory_allocated(pictures.device)
        out = executor(x, *args, **kwargs)
        self.forwards += pictures.numel() / pictures.shape[1] / self.places
        self.last = time.monotonic()
        if self.first == 0:
            self.first, self.uncounted = self.last, self.forwards
        return out

    @property
    def seconds(self) -> float | None:
        """Of one forward; None where there were too few."""
        counted = self.forwards - self.uncounted
        return (self.last - self.first) / counted if counted > 0 else None

    def bytes(self, expected: float) -> float:
        """At most allocated beside what was there before the first forward; `expected` where that is not measured."""
        return expected if self.allocated is None else torch.cuda.max_memory_allocated() - self.allocated


def device_name() -> str:
    """Of the device that computes."""
    return comfy.model_management.get_torch_device_name(comfy.model_management.get_torch_device())


def note(run: MeasuredRun) -> None:
    """Keep a run in the place of the last of its kind. What cannot be written is told of in the log alone."""
    runs = {other.key: other for other in known()}
    runs.pop(run.key, None)
    newest = [*runs.values(), run][-MOST:]
    try:
        with atomic_files.begun(_file().parent) as begun:
            begun.write_text(json.dumps(list(map(asdict, newest)), indent=1), encoding="utf-8")
            atomic_files.put(begun, _file())
    except OSError as error:
        LOG.warning(f"How long {run.operation} took is not kept ({error})")


def known() -> list[MeasuredRun]:
    """All that are kept, the newest last; none from a file that another version wrote or somebody damaged."""
    try:
        return [MeasuredRun(**entry) for entry in json.loads(_file().read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError, RecursionError):
        return []


def last_run(operation: str, origins: str) -> MeasuredRun | None:
    """The last one of an operation on this model and clip, on the device that computes now."""
    wanted = operation, origins, device_name()
    return next((run for run in known() if run.key == wanted), None)


def _file() -> Path:
    return Path(folder_paths.get_system_user_directory("videop2p"), "measured_runs.json")
