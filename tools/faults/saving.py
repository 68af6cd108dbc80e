"""Saving disturbed before and after every call that it makes of the disk: cancelled, and told that the disk is full.
What is in the folder then is whole, nothing half-written lies about, and saving again succeeds. And a process killed at
drawn moments while it saves: whatever has a name is whole."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

import folder_paths
import torch
from comfy.model_management import InterruptProcessingException
from safetensors import SafetensorError
from safetensors.torch import load_file

from ...videop2p_core.diffusion.inversion import DIRECT, Inversion
from ...videop2p_core.diffusion.tuning import Tuning
from ...videop2p_core.host.storage import files
from ...videop2p_core.storage import artifacts as weights
from ..environment import ROOT
from ..pack import host_path
from .figures import Figure

DISK = ((weights, "save_file"), *((os, name) for name in ("mkdir", "fsync", "link", "rename", "replace")))
FAULTS = {
    "cancelled": InterruptProcessingException,
    "disk full": lambda: OSError(errno.ENOSPC, "no space left on device"),
}
KILLS, SHORT_KILLS = 100, 1
VALUE = torch.arange(2.0**16)


def tuning():
    return files.save(files.TUNINGS, Tuning({"a": VALUE}, torch.zeros(1), torch.zeros(1)), "a")


def inversion():
    text = torch.zeros(1, 2, 3)
    path = VALUE.reshape(2, 1, 4, 2, -1)
    return files.save(files.INVERSIONS, Inversion(DIRECT, path, torch.ones(2), source=text, initial_null=text), "a")


def lora():
    return files.save_lora({"a": VALUE}, {}, "a")


def unet():
    return files.save_unet({}, {"a": VALUE}, "a")


SAVE = {"a tuning": tuning, "an inversion": inversion, "a LoRA": lora, "a diffusers folder": unet}


class Disk:
    """Lets a fault happen before or after one of the calls of DISK, counted from 0."""

    def __init__(self, at: int | None = None, fault: Callable[[], BaseException] | None = None):
        self.at, self.fault, self.number = at, fault, 0

    def meet(self):
        self.number += 1
        if self.number - 1 == self.at:
            raise self.fault()

    def around(self, call):
        def met(*args, **kwargs):
            self.meet()
            done = call(*args, **kwargs)
            self.meet()
            return done

        return met

    def use(self, save):
        with ExitStack() as stack:
            for module, name in DISK:
                stack.enter_context(patch.object(module, name, self.around(getattr(module, name))))
            save()


def use_folder(folder: Path):
    """Everything is saved here."""
    for name in ("videop2p_tunings", "videop2p_inversions", "loras"):
        folder_paths.folder_names_and_paths[name] = [str(folder)], set()


def whole(folder: Path) -> bool:
    """Whether all that has a name holds what was saved."""
    saved = (path for path in folder.rglob("*.safetensors") if not path.relative_to(folder).parts[0].startswith("."))
    try:
        return all(any(torch.equal(value.flatten(), VALUE) for value in load_file(path).values()) for path in saved)
    except SafetensorError:
        return False


def figures(short: bool) -> Iterator[Figure]:
    with patch.dict(folder_paths.folder_names_and_paths):
        for (what, save), fault in ((item, fault) for item in SAVE.items() for fault in FAULTS):
            yield disturbed(what, save, fault)
    yield killed(SHORT_KILLS if short else KILLS)


def disturbed(what: str, save: Callable[[], str], fault: str) -> Figure:
    wrong, at = [], 0
    while True:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            use_folder(folder)
            disk, found = Disk(at, FAULTS[fault]), []
            try:
                disk.use(save)
            except (InterruptProcessingException, OSError):
                pass
            if disk.number <= at:  # there is no such call
                break
            if [path for path in folder.rglob(".*")]:
                found.append("something half-written is left")
            if not whole(folder):
                found.append("what has a name is not whole")
            before = len(list(folder.iterdir()))
            save()
            if len(list(folder.iterdir())) != before + 1 or not whole(folder):
                found.append("saving again fails")
            wrong += [f"{what}, {fault} at point {at}: {said}" for said in found]
            at += 1
    return Figure(f"saving {what}, {fault}", at, "points", tuple(wrong))


def killed(times: int) -> Figure:
    wrong, draw, saved = [], random.Random(0), 0
    environment = {**os.environ, "COMFYUI_PATH": str(host_path())}
    for time_ in range(times):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, ROOT / "tools" / "pack.py", "tools.faults.saving", folder]
            with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
                process.stdout.readline()
                time.sleep(draw.uniform(0, 0.3))
                process.kill()
            saved += len([path for path in Path(folder).iterdir() if not path.name.startswith(".")])
            if not whole(Path(folder)):
                wrong.append(f"killed for the {time_ + 1}th time: what has a name is not whole")
    return Figure("saving all of these, process killed", times, "kills", tuple(wrong), f"{saved} were saved before")


def main():
    use_folder(Path(sys.argv[1]))
    print("ready", flush=True)
    while True:
        for save in SAVE.values():
            save()


if __name__ == "__main__":
    main()
