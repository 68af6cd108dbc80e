"""The whole path of the pack, node by node, on whatever device there is: what it gives, as tensors on the CPU.

    python tools/pack.py tests.gpu.path OUT [--between unload|free] [--theirs FOLDER] [--only STATION] [--small]

OUT becomes a folder: results.safetensors, failures.json, notes.json of what the pretend device noticed, and in models/
what was saved. `--theirs` names another such folder, of another device, whose saved inversion and tuning are edited
from. `--small`: a clip of half the height and width, and a step less.
"""

from __future__ import annotations

import argparse
import json
import sys
import traceback
from pathlib import Path

import torch
from comfyui_videop2p.tools.pack import use_host
from safetensors.torch import save_file
from torch import Tensor

use_host()

import comfy.model_management  # noqa: E402
import folder_paths  # noqa: E402

from .stations import STATIONS  # noqa: E402
from .world import Results, World, use_models  # noqa: E402


def walk(world: World, only: str | None) -> tuple[Results, dict[str, str]]:
    """(results, failures) of all stations: {"what: tensor": tensor}, {station: traceback}."""
    results, failures = {}, {}
    for station in STATIONS:
        name = station.__name__.replace("_", " ")
        if only not in (None, name):
            continue
        try:
            made = station(world)
            for what, tensors in [(name, made)] if isinstance(made, dict) else made:
                results |= {f"{what}: {key}": on_cpu(tensor) for key, tensor in tensors.items()}
        except Exception:  # whatever it is, the other stations are walked
            failures[name] = traceback.format_exc()
        if world.between == "free":  # as the server does, which is in no inference mode
            comfy.model_management.unload_all_models()
            comfy.model_management.soft_empty_cache()
    return results, failures


def on_cpu(tensor: Tensor) -> Tensor:
    with torch.inference_mode():
        return tensor.detach().float().cpu().contiguous().clone()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--between", default="")
    parser.add_argument("--theirs", type=Path)
    parser.add_argument("--only")
    parser.add_argument("--small", action="store_true")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True)
    folder_paths.set_user_directory(str(asked.out / "user"))
    folder_paths.set_temp_directory(str(asked.out / "temp"))
    folder_paths.set_output_directory(str(asked.out / "output"))
    use_models(asked.out / "models")
    results, failures = walk(World(asked.between, asked.theirs and asked.theirs / "models", asked.small), asked.only)
    save_file(results, asked.out / "results.safetensors")
    (asked.out / "failures.json").write_text(json.dumps(failures, indent=1))
    notes = sys.modules["pretend_cuda"].notes() if "pretend_cuda" in sys.modules else {}
    (asked.out / "notes.json").write_text(json.dumps(notes, indent=1))


if __name__ == "__main__":
    main()
