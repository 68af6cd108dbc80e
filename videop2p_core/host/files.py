"""Saved inversions and tunings: safetensors files under ComfyUI's models folder, never overwritten.

Checkpoints of others lie among the tunings: single files, and diffusers folders under the name of the folder.
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import folder_paths
from torch import Tensor

from .. import weights
from ..foreign import WEIGHTS, checkpoint_folders
from ..inversion import Inversion
from ..tuning import Tuning
from . import foreign

INVERSIONS, TUNINGS, LORAS = "inversions", "tunings", "loras"


def register_folders():
    """models/videop2p/inversions and models/videop2p/tunings; extra_model_paths.yaml may name more of them."""
    for kind in (INVERSIONS, TUNINGS):
        path = os.path.join(folder_paths.models_dir, "videop2p", kind)
        folder_paths.add_model_folder_path(_folder(kind), path, is_default=True)


def saved_names(kind: str) -> list[str]:
    files = folder_paths.get_filename_list(_folder(kind))
    folders = checkpoint_folders(files) if kind == TUNINGS else []
    alone = [name for name in files if not any(name.startswith(folder + os.sep) for folder in folders)]
    return sorted([name for name in alone if name.endswith(".safetensors")] + folders)


def path_of(kind: str, name: str) -> str:
    path = folder_paths.get_full_path(_folder(kind), name)
    if path is None and kind == TUNINGS:
        roots = map(Path, folder_paths.get_folder_paths(_folder(kind)))
        path = next((str(root / name) for root in roots if name in saved_names(kind) and (root / name).is_dir()), None)
    if path is None:
        raise FileNotFoundError(f"there is no {name} in models/videop2p/{kind}: choose another, or copy it there")
    return path


def changed(kind: str, name: str) -> str:
    """Another text whenever the file is another one, or one of a folder's."""
    path = Path(path_of(kind, name))
    found = [file.stat() for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    return ", ".join(f"{status.st_mtime_ns} {status.st_size}" for status in found)


def save(kind: str, value, prefix: str) -> str:
    """Write to a new file, prefix_00001_.safetensors or the next number; returns its name."""
    root, path = _new(_folder(kind), prefix or kind.removesuffix("s"), ".safetensors")
    weights.save(value, path)
    return str(path.relative_to(root))


def save_lora(tensors: Mapping[str, Tensor], metadata: Mapping[str, str], prefix: str) -> str:
    """Write to a new file in models/loras; returns its name there."""
    root, path = _new(LORAS, prefix, ".safetensors")
    weights.write(tensors, path, metadata)
    return str(path.relative_to(root))


def save_unet(config: Mapping[str, Any], tensors: Mapping[str, Tensor], prefix: str) -> str:
    """Write a diffusers folder to a new place among the tunings, in one move; returns its name."""
    root, path = _new(_folder(TUNINGS), prefix)
    temporary = path.with_name(f".{path.name}")
    try:
        weights.write(tensors, temporary / "unet" / f"{WEIGHTS}.safetensors", {"format": "pt"})
        (temporary / "unet" / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return str(path.relative_to(root))


def check_prefix(kind: str, prefix: str) -> None:
    """Whether files with this prefix have a place; before long work."""
    _new(kind if kind == LORAS else _folder(kind), prefix)


def load_inversion(name: str) -> Inversion:
    inversion = weights.load_inversion(path_of(INVERSIONS, name))
    tensors = inversion.trajectory, inversion.sigmas, inversion.source, inversion.initial_null, inversion.null
    found = [tensor.ndim for tensor in tensors if tensor is not None]
    if found != [5, 1, 3, 3, 4][: len(found)]:
        raise ValueError(f"{name} is damaged (its tensors have {found} dimensions): invert the clip again")
    _check_finite(name, [tensor for tensor in tensors if tensor is not None], "invert the clip again")
    return inversion


def load_tuning(name: str, model) -> Tuning:
    """A tuning of ours, or a checkpoint of others as a tuning of the MODEL."""
    path = path_of(TUNINGS, name)
    own = not os.path.isdir(path) and weights.is_own(path)
    tuning = weights.load_tuning(path) if own else foreign.load(path, model)
    _check_finite(name, [*tuning.deltas.values(), *tuning.temporal.values()], "tune on the clip again")
    return tuning


def _check_finite(name, tensors, remedy):
    if not all(tensor.isfinite().all() for tensor in tensors):
        raise ValueError(f"{name} holds values that are not numbers: {remedy}")


def _new(folder_name, prefix, ending=""):
    """(root, path) of what is not there yet: prefix_00001_ or the next number."""
    root = folder_paths.get_folder_paths(folder_name)[0]
    os.makedirs(root, exist_ok=True)
    try:
        folder, stem, counter, *_ = folder_paths.get_save_image_path(prefix, root)
    except Exception as error:  # the host's refusal is no kind of its own
        raise ValueError(
            f"'{prefix}' is no place in {root}: give a name, or folders and a name, without '..' and without a drive"
        ) from error
    return root, Path(folder) / f"{stem}_{counter:05}_{ending}"


def _folder(kind):
    return f"videop2p_{kind}"


register_folders()
