"""Saving under names that others save under, and killed at it; run by test_files.py as another process, too."""

import json
import os
import signal
import sys
from pathlib import Path
from threading import Barrier, Thread

import folder_paths
import torch

from ...videop2p_core.diffusion.tuning import Tuning
from ...videop2p_core.host.storage import files
from ...videop2p_core.storage import artifacts as weights
from ...videop2p_core.storage import atomic_files as places

THREADS, TIMES = 3, 6
VALUES = 2**16


def use(folder: Path) -> None:
    for kind in (files.TUNINGS, files.LORAS):
        name = kind if kind == files.LORAS else f"videop2p_{kind}"
        folder_paths.folder_names_and_paths[name] = [str(folder / kind)], set()


def tensor(value: float) -> torch.Tensor:
    return torch.full((VALUES,), value)


SAVE = {
    "tuning": lambda value: files.save(
        files.TUNINGS, Tuning({"a": tensor(value)}, torch.zeros(0), torch.zeros(0)), "clips/a"
    ),
    "lora": lambda value: files.save_lora({"a": tensor(value)}, {}, "clips/a"),
    "unet": lambda value: files.save_unet({}, {"a": tensor(value)}, "clips/u"),
}


def together(first: float) -> list[tuple[str, float, str]]:
    """From several threads, each value in a file of its own: [(what, value, the name that it was told to have)]."""
    start, told = Barrier(THREADS), []

    def save_all(thread):
        start.wait()
        for time in range(TIMES):
            for what, save in SAVE.items():
                value = first + thread * TIMES + time
                told.append((what, value, save(value)))

    threads = [Thread(target=save_all, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return told


def die(*_) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def half(tensors, path, metadata) -> None:
    for name in ("begun", ".another"):
        Path(path).with_name(name).write_bytes(b"half")
    die()


def named(*paths) -> None:
    move(*paths)
    die()


move = places._move
POINTS = {  # at which the process is killed: (module, function, what it does instead)
    "half written": (weights, "save_file", half),
    "before the name": (places, "_move", die),
    "after the name": (places, "_move", named),
}


def killed() -> None:
    for save in SAVE.values():
        for module, name, instead in POINTS.values():
            child = os.fork()
            if not child:
                setattr(module, name, instead)
                save(1.0)
                os._exit(0)
            _, status = os.waitpid(child, 0)
            assert os.WIFSIGNALED(status)


if __name__ == "__main__":
    shared, own = map(Path, sys.argv[1:])
    use(shared)
    print("ready", flush=True)
    print(json.dumps(together(float(sys.stdin.readline()))))
    use(own)
    killed()
