"""All that is saved as files, and whether what has a name is whole.

python tools/pack.py tests.faults.saving FOLDER     saves all of it there, again and again until it is killed
"""

from __future__ import annotations

import sys
from pathlib import Path

import folder_paths
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from ...videop2p_core.diffusion.inversion import DIRECT, Inversion
from ...videop2p_core.diffusion.tuning import Tuning
from ...videop2p_core.host.storage import files

VALUE = torch.arange(2.0**16)


def tuning() -> str:
    return files.save(files.TUNINGS, Tuning({"a": VALUE}, torch.zeros(1), torch.zeros(1)), "a")


def inversion() -> str:
    text = torch.zeros(1, 2, 3)
    path = VALUE.reshape(2, 1, 4, 2, -1)
    return files.save(files.INVERSIONS, Inversion(DIRECT, path, torch.ones(2), source=text, initial_null=text), "a")


def lora() -> str:
    return files.save_lora({"a": VALUE}, {}, "a")


def unet() -> str:
    return files.save_unet({}, {"a": VALUE}, "a")


SAVE = {"a tuning": tuning, "an inversion": inversion, "a LoRA": lora, "a diffusers folder": unet}


def use_folder(folder: Path) -> None:
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


def main(folder: str) -> None:
    use_folder(Path(folder))
    print("ready", flush=True)
    while True:
        for save in SAVE.values():
            save()


if __name__ == "__main__":
    main(*sys.argv[1:])
