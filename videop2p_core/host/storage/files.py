"""Saved inversions and tunings: safetensors files under ComfyUI's models folder, never overwritten.

Checkpoints of others lie among the tunings: single files, and diffusers folders under the name of the folder.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import folder_paths
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...diffusion.inversion import Inversion
from ...diffusion.tuning import Tuning
from ...finite import check_finite_input
from ...storage import artifacts as weights
from ...storage import atomic_files as places
from ...storage.official_checkpoint import WEIGHTS
from . import official_checkpoint as foreign
from .saved_names import INVERSIONS, TUNINGS, folder_of, path_of

LORAS = "loras"
LONGEST = 200  # bytes of a prefix: most file systems have room for 255, with the number and the ending
HIGHEST = 10**9  # number that is counted on from
# What is no part of a name on one system or another, so that a workflow saves on all of them or on none.
_STRANGE = re.compile(r'[<>:"|?*\x00-\x1f\x7f-\x9f\ud800-\udfff]')
_DEVICE = re.compile(r"(con|prn|aux|nul|(com|lpt)[0-9¹²³])\s*(\.|$)", re.IGNORECASE)


def save(kind: str, value: Inversion | Tuning, prefix: str) -> str:
    """Write to a new file, prefix_00001_.safetensors or the next number; returns its name."""
    tensors, metadata = weights.packed(value)
    return _write(folder_of(kind), tensors, metadata, prefix or kind.removesuffix("s"))


def save_lora(tensors: Mapping[str, Tensor], metadata: Mapping[str, str], prefix: str) -> str:
    """Write to a new file in models/loras; returns its name there."""
    return _write(LORAS, tensors, metadata, prefix)


def save_unet(config: Mapping[str, Any], tensors: Mapping[str, Tensor], prefix: str) -> str:
    """Write a diffusers folder to a new place among the tunings, in one move; returns its name."""
    root, folder, names = _places(folder_of(TUNINGS), prefix)
    with places.begun(folder) as begun:
        unet = begun / "unet"
        weights.write(tensors, unet / f"{WEIGHTS}.safetensors", {"format": "pt"})
        (unet / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        places.sync(unet / "config.json")
        places.sync(unet)
        return str(places.put_new(begun, folder, names).relative_to(root))


def check_prefix(kind: str, prefix: str) -> None:
    """Whether files with this prefix have a place; before long work."""
    _places(kind if kind == LORAS else folder_of(kind), prefix)


def load_inversion(name: str) -> Inversion:
    """By the name that its loader offers. Raises ValueError, in a sentence, for a damaged file."""
    inversion = weights.load_inversion(path_of(INVERSIONS, name))
    tensors = inversion.trajectory, inversion.sigmas, inversion.source, inversion.initial_null, inversion.null
    dimensions = [tensor.ndim for tensor in tensors if tensor is not None]
    if dimensions != [5, 1, 3, 3, 4][: len(dimensions)]:
        raise ValueError(f"{name} is damaged (its tensors have {dimensions} dimensions): invert the clip again")
    check_finite_input([tensor for tensor in tensors if tensor is not None], f"{name} holds", "invert the clip again")
    return inversion


def load_tuning(name: str, model: ModelPatcher) -> Tuning:
    """A tuning of ours, or a checkpoint of others as a tuning of the MODEL."""
    path = path_of(TUNINGS, name)
    is_ours = not os.path.isdir(path) and weights.is_own(path)
    tuning = weights.load_tuning(path) if is_ours else foreign.load(path, model)
    check_finite_input([*tuning.deltas.values(), *tuning.temporal.values()], f"{name} holds", "tune on the clip again")
    return tuning


def _write(folder_name: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], prefix: str) -> str:
    root, folder, names = _places(folder_name, prefix, ".safetensors")
    return str(weights.write_new(tensors, folder, names, metadata).relative_to(root))


def _places(folder_name: str, prefix: str, ending: str = "") -> tuple[str, Path, Iterator[str]]:
    """(root, folder, names): prefix_00001_ or the next number, and those that follow it, in a folder below root."""
    root = folder_paths.get_folder_paths(folder_name)[0]
    prefix = _checked(prefix, root)
    try:
        os.makedirs(root, exist_ok=True)
        folder, stem, counter, *_ = folder_paths.get_save_image_path(prefix, root)
    except OSError as error:
        raise ValueError(f"there is no writing to '{prefix}' in {root} ({error}): choose another prefix") from error
    except Exception as error:  # the host's refusal is no kind of its own
        raise ValueError(_no_place(prefix, root)) from error
    # Links lead elsewhere, which some versions of the host look at and some do not.
    if not Path(folder).resolve().is_relative_to(Path(root).resolve()):
        raise ValueError(_no_place(prefix, root))
    numbers = count(counter if 0 < counter < HIGHEST else 1)
    return root, Path(folder), (f"{stem}_{number:05}_{ending}" for number in numbers)


def _checked(prefix: Any, root: str) -> str:
    """The prefix with / between its parts; a ValueError says what cannot be in it."""
    if not isinstance(prefix, str):
        raise ValueError(f"the prefix is no text but {prefix!r:.100}: give a name, or folders and a name")
    if strange := _STRANGE.search(prefix):
        raise ValueError(
            f"the prefix {prefix!a:.300} holds {strange[0]!a}, which no name can on every system: leave it out"
        )
    if (length := len(prefix.encode())) > LONGEST:
        raise ValueError(f"the prefix '{prefix:.50}...' takes {length} bytes, {LONGEST} are the most: shorten it")
    parts = prefix.replace("\\", "/").split("/")
    if not all(parts) or any(part[0] == "." for part in parts) or any(part[-1] in ". " for part in parts[:-1]):
        raise ValueError(_no_place(prefix, root))
    if device := next(filter(_DEVICE.match, parts), None):
        raise ValueError(f"'{device}' in the prefix '{prefix}' is a device's name on Windows: choose another")
    return "/".join(parts)


def _no_place(prefix: str, root: str) -> str:
    return (
        f"'{prefix}' is no place in {root}: give a name, or folders and a name, without '..', without a drive and "
        "without a dot before a name or after a folder's"
    )
