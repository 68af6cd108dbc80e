"""Where long runs keep themselves while they are not done: a folder of the host's that outlives a crash, which its
temporary folder does not. Queued again with the same inputs, after a crash or a cancel, they go on from there."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import folder_paths
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...diffusion.unfinished import Unfinished
from ...storage.unfinished_file import UnfinishedFile
from ..comfy.conditioning import Conditioning
from ..model.gradients import computed_in
from ..model.identity import identity_of

# Steps between two writings: seconds of work beside the moment that a writing takes.
TUNING, INVERSION, NULL_TEXT = 50, 10, 5
OLD = 7 * 24 * 3600  # seconds until an unfinished run is given up
MOST = 6  # files that are kept of unfinished runs


def folder() -> Path:
    """Where unfinished runs are kept."""
    return Path(folder_paths.get_system_user_directory("videop2p"), "unfinished")


@dataclass(frozen=True)
class Run:
    """name: of the run's inputs; None where they cannot be told apart from others, so that nothing is kept."""

    name: str | None

    def stage(self, kind: str, every: int, model: ModelPatcher) -> Unfinished:
        """Of one stage of the run, on the MODEL as it takes the clip: whole or in passes."""
        if self.name is None:
            return Unfinished()
        handler = model.model_options.get("context_handler")
        passes = "whole" if handler is None else f"passes_{getattr(handler, 'context_length', '')}"
        return UnfinishedFile(folder() / f"{self.name}_{kind}_{passes}.safetensors", every)


@contextmanager
def unfinished(
    ancestors: str | None, model: ModelPatcher, conditionings: Iterable[Conditioning], clip: Tensor, settings: Any
) -> Generator[Run, None, None]:
    """For one run on a MODEL, all stages of which are forgotten when the block comes to its end.

    ancestors: what the node's inputs come from (graph_signature), None where that is not known; conditionings, clip:
    the texts and the clip [frames, ...] as they came; settings: a dataclass, of whatever else decides the result
    """
    _give_up_old_ones()
    run = Run(None if ancestors is None else _name(ancestors, model, conditionings, clip, settings))
    yield run
    if run.name is not None:
        _remove(folder().glob(f"{run.name}_*.safetensors"))


def _name(
    ancestors: str, model: ModelPatcher, conditionings: Iterable[Conditioning], clip: Tensor, settings: Any
) -> str:
    name = hashlib.sha256()
    for words in (_code(), ancestors, identity_of(model), computed_in(model), model.load_device.type, settings):
        name.update(f"{words}\n".encode())
    for tensor in (clip, *(embedding for conditioning in conditionings for embedding, _ in conditioning)):
        name.update(f"{list(tensor.shape)}".encode())
        name.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return name.hexdigest()[:32]


@cache
def _code() -> str:
    """Of this pack: another version may take other steps."""
    files = sorted(Path(__file__).parents[2].rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _give_up_old_ones() -> None:
    written = []
    for file in folder().glob("*.safetensors"):
        with suppress(OSError):  # another process may be done with it
            written.append((file.stat().st_mtime, file))
    newest = sorted(written, reverse=True)
    _remove(file for place, (at, file) in enumerate(newest) if place >= MOST or time.time() - at > OLD)


def _remove(files: Iterable[Path]) -> None:
    for file in files:
        with suppress(OSError):
            file.unlink()
