"""Long runs that go on where they stopped: their state in a file, every few steps, until they are done."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..diffusion.unfinished import State, Unfinished
from ..log import LOG
from . import artifacts as weights
from .artifacts import WeightsError

VERSION = "1"
FAILURES = OSError, WeightsError, MemoryError, RuntimeError  # torch says of main memory that is short in the last one
ALIKE = 1e-4  # relative error of a first step that counts as the same, as GPUs may add in another order


class UnfinishedFile(Unfinished):
    """The state of a run in a file, from which another run of the same inputs goes on.

    The file's name stands for the inputs, as far as they can be told apart; the first step, which every run does anew,
    has to come out as the kept run's did. What is kept is a help and no more: where it cannot be written or read the
    log says so, and the run goes on, or begins at its first step.

    path: of the file; every: steps between two writings
    """

    _first: Tensor  # what this run's first step gave: `of_same_run` is asked before anything is kept

    def __init__(self, path: Path, every: int) -> None:
        self.path, self.every = path, every

    def of_same_run(self, first: Tensor) -> State | None:
        self._first = first.detach().float().cpu().contiguous()
        if not self.path.is_file():
            return None
        try:
            state = _read(self.path)
        except FAILURES as error:
            LOG.warning(f"An unfinished run is begun anew: {error}")
            return None
        written = state.pop("first", None)
        if (
            written is None
            or written.shape != self._first.shape
            or (written - self._first).norm() > ALIKE * written.norm()
        ):
            LOG.warning("An unfinished run with these inputs began otherwise, so it is begun anew")
            return None
        LOG.info("An unfinished run with these inputs was found: this one goes on from where it stopped")
        return state

    def keep(self, done: int, state: Callable[[], State]) -> None:
        if done % self.every:
            return
        try:
            tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state().items()}
            tensors["first"] = self._first
            weights.write(tensors, self.path, {"version": VERSION, "checksum": _checksum(tensors)})
        except FAILURES as error:
            LOG.warning(f"The run goes on, but after a crash it would begin anew: {error}")


def _read(path: Path) -> dict[str, Tensor]:
    tensors, metadata = weights.read(path)
    if metadata.get("version") != VERSION or metadata.get("checksum") != _checksum(tensors):
        raise WeightsError(f"{path.name} is damaged or of another version of the pack")
    # safetensors maps the file, which this run will write over.
    return {name: tensor.clone() for name, tensor in tensors.items()}


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    """Of names, types, shapes and bytes: a disk that failed must not end in the result."""
    checksum = 0
    for name, tensor in sorted(tensors.items()):
        checksum = zlib.crc32(f"{name} {tensor.dtype} {list(tensor.shape)}".encode(), checksum)
        checksum = zlib.crc32(memoryview(tensor.reshape(-1).view(torch.uint8).numpy()), checksum)
    return str(checksum)
