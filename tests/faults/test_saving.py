"""Saving disturbed before and after every call that it makes of the disk: cancelled, and told that the disk is full.
What is in the folder then is whole, nothing half-written lies about, and saving again succeeds. And a process killed at
drawn moments while it saves: whatever has a name is whole."""

import errno
import os
import random
import subprocess
import sys
import time
from itertools import count

import folder_paths
import pytest
from comfy.model_management import InterruptProcessingException
from comfyui_videop2p.tests.faults.saving import SAVE, lora, use_folder, whole
from comfyui_videop2p.tools.environment import ROOT
from comfyui_videop2p.tools.pack import host_path
from comfyui_videop2p.videop2p_core.storage import artifacts, atomic_files

DISK = ((artifacts, "save_file"), *((os, name) for name in ("mkdir", "fsync", "link", "rename", "replace")))
FAULTS = {
    "cancelled": InterruptProcessingException,
    "disk full": lambda: OSError(errno.ENOSPC, "no space left on device"),
}
KILLS = 100


@pytest.fixture(autouse=True)
def own_folders(monkeypatch):
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", dict(folder_paths.folder_names_and_paths))


class Disk:
    """Lets a fault happen before or after one of the calls of DISK, counted from 0."""

    def __init__(self, at, fault):
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
        with pytest.MonkeyPatch.context() as patch:
            for module, name in DISK:
                patch.setattr(module, name, self.around(getattr(module, name)))
            save()


def disturbed(save, fault, folder):
    """(points that there are to disturb, what is wrong after it was disturbed there), each in a folder of its own."""
    wrong = []
    for at in count():
        place, disk = folder / str(at), Disk(at, fault)
        place.mkdir()
        use_folder(place)
        try:
            disk.use(save)
        except (InterruptProcessingException, OSError):
            pass
        if disk.number <= at:  # there is no such call
            return at, wrong
        if list(place.rglob(".*")):
            wrong.append(f"at point {at} something half-written is left")
        if not whole(place):
            wrong.append(f"at point {at} what has a name is not whole")
        before = len(list(place.iterdir()))
        save()
        if len(list(place.iterdir())) != before + 1 or not whole(place):
            wrong.append(f"at point {at} saving again fails")


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("what", SAVE)
def test_nothing_is_half_saved(what, fault, tmp_path, measured):
    points, wrong = disturbed(SAVE[what], FAULTS[fault], tmp_path)
    measured(f"{points} points")
    assert points > 10 and not wrong


@pytest.mark.slow
@pytest.mark.parametrize("kill", range(KILLS))
def test_what_a_killed_process_has_saved_is_whole(kill, tmp_path, measured):
    command = [sys.executable, ROOT / "tools" / "pack.py", "tests.faults.saving", tmp_path]
    environment = {**os.environ, "COMFYUI_PATH": str(host_path())}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        time.sleep(random.Random(kill).uniform(0, 0.3))
        process.kill()
    measured(f"{len([path for path in tmp_path.iterdir() if not path.name.startswith('.')])} were saved before")
    assert whole(tmp_path)


# --- what is wrong is found -------------------------------------------------------------------------------------------


def left_behind(folder):
    """Nothing removes what was begun."""


def in_place(begun, path):
    """What is being written has its name already."""
    path.write_bytes(b"half")
    os.replace(begun, path)


@pytest.mark.parametrize(
    "name, instead, said",
    [("_remove", left_behind, "half-written is left"), ("_move", in_place, "what has a name is not whole")],
)
def test_what_is_wrong_is_found(monkeypatch, tmp_path, name, instead, said):
    monkeypatch.setattr(atomic_files, name, instead)
    _, wrong = disturbed(lora, FAULTS["cancelled"], tmp_path)
    assert any(said in one for one in wrong), wrong
