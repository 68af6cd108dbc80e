"""Saved inversions and tunings: safetensors files under ComfyUI's models folder, never overwritten."""

import os
from pathlib import Path

import folder_paths

from .. import weights
from ..inversion import Inversion
from ..tuning import Tuning

INVERSIONS, TUNINGS = "inversions", "tunings"


def register_folders():
    """models/videop2p/inversions and models/videop2p/tunings; extra_model_paths.yaml may name more of them."""
    for kind in (INVERSIONS, TUNINGS):
        path = os.path.join(folder_paths.models_dir, "videop2p", kind)
        folder_paths.add_model_folder_path(_folder(kind), path, is_default=True)


def saved_names(kind: str) -> list[str]:
    return [name for name in folder_paths.get_filename_list(_folder(kind)) if name.endswith(".safetensors")]


def path_of(kind: str, name: str) -> str:
    path = folder_paths.get_full_path(_folder(kind), name)
    if path is None:
        raise FileNotFoundError(f"there is no {name} in models/videop2p/{kind}: choose another, or copy it there")
    return path


def changed(kind: str, name: str) -> str:
    """Another text whenever the file is another one."""
    status = os.stat(path_of(kind, name))
    return f"{status.st_mtime_ns} {status.st_size}"


def save(kind: str, value, prefix: str) -> str:
    """Write to a new file, prefix_00001_.safetensors or the next number; returns its name."""
    root = folder_paths.get_folder_paths(_folder(kind))[0]
    os.makedirs(root, exist_ok=True)
    folder, stem, counter, *_ = folder_paths.get_save_image_path(prefix or kind.removesuffix("s"), root)
    path = Path(folder) / f"{stem}_{counter:05}_.safetensors"
    weights.save(value, path)
    return str(path.relative_to(root))


def load_inversion(name: str) -> Inversion:
    inversion = weights.load_inversion(path_of(INVERSIONS, name))
    tensors = inversion.trajectory, inversion.sigmas, inversion.source, inversion.initial_null, inversion.null
    found = [tensor.ndim for tensor in tensors if tensor is not None]
    if found != [5, 1, 3, 3, 4][: len(found)]:
        raise ValueError(f"{name} is damaged (its tensors have {found} dimensions): invert the clip again")
    _check_finite(name, [tensor for tensor in tensors if tensor is not None], "invert the clip again")
    return inversion


def load_tuning(name: str) -> Tuning:
    tuning = weights.load_tuning(path_of(TUNINGS, name))
    _check_finite(name, [*tuning.deltas.values(), *tuning.temporal.values()], "tune on the clip again")
    return tuning


def _check_finite(name, tensors, remedy):
    if not all(tensor.isfinite().all() for tensor in tensors):
        raise ValueError(f"{name} holds values that are not numbers: {remedy}")


def _folder(kind):
    return f"videop2p_{kind}"


register_folders()
