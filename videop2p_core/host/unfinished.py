"""Where long runs keep themselves while they are not done: a folder of the host's that outlives a crash, which its
temporary folder does not. Queued again with the same inputs, after a crash or a cancel, they go on from there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import folder_paths

from ..unfinished import Unfinished
from ..unfinished_file import UnfinishedFile
from .digest import digest
from .identity import identity_of

# Steps between two writings: seconds of work beside the moment that a writing takes.
TUNING, INVERSION, NULL_TEXT = 50, 10, 5
OLD = 7 * 24 * 3600  # seconds until an unfinished run is given up


def folder() -> Path:
    return Path(folder_paths.get_system_user_directory("videop2p"), "unfinished")


@contextmanager
def unfinished(kind: str, every: int, model, *inputs) -> Iterator[Unfinished]:
    """For one run on a MODEL, forgotten when the block comes to its end. inputs: whatever decides its result."""
    _give_up_old_ones()
    patched = model.model_options, model.object_patches, model.wrappers, model.injections, model.hook_patches
    name = digest(kind, identity_of(model), patched, inputs)
    file = UnfinishedFile(folder() / f"{kind}_{name}.safetensors", every)
    yield file
    file.forget()


def _give_up_old_ones():
    for file in folder().glob("*") if folder().is_dir() else ():
        if file.is_file() and time.time() - file.stat().st_mtime > OLD:
            file.unlink(missing_ok=True)
