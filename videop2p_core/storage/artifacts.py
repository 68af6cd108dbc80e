"""Inversions and tunings as safetensors files: tensors under their field's name, the rest as JSON in the metadata."""

import json
import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from types import UnionType
from typing import Any, get_origin

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..diffusion.inversion import Inversion, InversionSettings
from ..diffusion.tuning import Tuning, is_temporal, trained_names
from . import atomic_files as places

VERSION = 1
_KINDS = {"inversion": Inversion, "tuning": Tuning}
_MAPPINGS = {"deltas", "temporal"}
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)  # of weights that can be reckoned with


class WeightsError(ValueError):
    """A file that cannot be read as what it was opened for; the message is one sentence for the user."""


def save(value: Inversion | Tuning, path: str | os.PathLike) -> None:
    """The value as a file."""
    tensors, metadata = packed(value)
    write(tensors, path, metadata)


def packed(value: Inversion | Tuning) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """(tensors, metadata) of the value's file."""
    kind = next(kind for kind, kind_type in _KINDS.items() if isinstance(value, kind_type))
    tensors, settings = {}, {}
    for field in fields(value):
        content = getattr(value, field.name)
        if field.name == "records":  # gigabytes that another inversion makes anew
            continue
        if isinstance(content, torch.Tensor):
            tensors[field.name] = content
        elif field.name in _MAPPINGS:
            tensors |= {f"{field.name}.{name}": tensor for name, tensor in content.items()}
        else:
            settings[field.name] = content
    metadata = {"video_p2p": kind, "version": str(VERSION), "settings": json.dumps(settings)}
    # safetensors refuses views that share memory.
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}, metadata


def write(tensors: Mapping[str, torch.Tensor], path: str | os.PathLike, metadata: Mapping[str, str]) -> None:
    """A safetensors file; a reader sees the whole of it or, until then, what was there before."""
    path = Path(path)
    with places.begun(path.parent) as begun:
        _save(tensors, begun, metadata)
        places.put(begun, path)


def write_new(
    tensors: Mapping[str, torch.Tensor], folder: Path, names: Iterable[str], metadata: Mapping[str, str]
) -> Path:
    """The same under the first of these names that nobody has; returns its path."""
    with places.begun(folder) as begun:
        _save(tensors, begun, metadata)
        return places.put_new(begun, folder, names)


def _save(tensors: Mapping[str, torch.Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    try:
        save_file(dict(tensors), path, metadata=dict(metadata))
    except SafetensorError as error:
        raise WeightsError(f"the file cannot be written ({error}): see to space and rights on that disk") from error


def load_inversion(path: str | os.PathLike) -> Inversion:
    """From a file that `save` wrote. Raises WeightsError, in a sentence."""
    return _load(path, "inversion")


def settings_of_inversion(path: str | os.PathLike) -> InversionSettings:
    """What an edit's cost depends on, by the head of a file that `save` wrote. Raises WeightsError, in a sentence."""
    shapes, metadata = _read(path, _shape)
    try:
        settings = json.loads(metadata["settings"])
        return InversionSettings(settings["method"], shapes["sigmas"][0] - 1, settings["rounds"])
    except (KeyError, IndexError, TypeError, ValueError) as error:  # RecursionError among them
        raise WeightsError(f"{Path(path).name} is no saved inversion ({_cause(error)}): choose another") from error


def load_tuning(path: str | os.PathLike) -> Tuning:
    """From a file that `save` wrote. Raises WeightsError, in a sentence."""
    return _load(path, "tuning")


def is_own(path: str | os.PathLike) -> bool:
    """Whether a safetensors file is of this pack."""
    return "video_p2p" in read(path, tensors=False)[1]


def read(path: str | os.PathLike, *, tensors: bool = True) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """(tensors, metadata) of any safetensors file."""
    return _read(path, (lambda file, name: file.get_tensor(name)) if tensors else None)


def _shape(file: Any, name: str) -> list[int]:
    return file.get_slice(name).get_shape()


def _read(path: str | os.PathLike, value_of: Callable[[Any, str], Any] | None) -> tuple[dict[str, Any], dict[str, str]]:
    """({name: value_of(file, name)}, metadata) of any safetensors file."""
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"there is no file {path}: copy it there")
    try:
        with safe_open(path, "pt") as file:
            values = {name: value_of(file, name) for name in file.keys()} if value_of else {}
            return values, file.metadata() or {}
    except OSError as error:
        raise WeightsError(f"{path.name} cannot be read ({error}): see to it that ComfyUI may read it") from error
    # What a header says of a shape may be more than torch can take.
    except (SafetensorError, TypeError, RuntimeError) as error:
        raise WeightsError(
            f"{path.name} is not a complete safetensors file ({_cause(error)}): copy it anew, or make and save it again"
        ) from error


def _cause(error: Exception) -> str:
    """As much of an error as a sentence has room for: torch's go on with where they were raised, ours quote."""
    return str(error).partition("\n")[0][:300]


def _load(path: str | os.PathLike, kind: str) -> Any:
    tensors, metadata = read(path)
    path = Path(path)
    own_kind = metadata.get("video_p2p")
    if own_kind is None:
        raise WeightsError(f"{path.name} is no file of Video-P2P: choose one that Save {kind.title()} wrote")
    if own_kind != kind:
        raise WeightsError(f"{path.name} holds a saved {own_kind}: open it with Load {own_kind.title()}")
    if metadata.get("version") != str(VERSION):
        raise WeightsError(
            f"{path.name} is of format version {metadata.get('version')}, this pack reads version {VERSION}: "
            "update the pack or save the file again"
        )
    try:
        # safetensors maps the file: what is written over it later must not change what was loaded.
        tensors = {name: tensor.clone() for name, tensor in tensors.items()}
        return _KINDS[kind](**_arguments(kind, tensors, json.loads(metadata["settings"])))
    except (KeyError, TypeError, ValueError, RuntimeError, OverflowError) as error:  # RecursionError among them
        raise WeightsError(f"{path.name} is damaged ({_cause(error)}): make and save it again") from error


def _arguments(kind: str, tensors: Mapping[str, torch.Tensor], settings: Mapping[str, Any]) -> dict[str, Any]:
    arguments = dict(settings)
    arguments.pop("prompt", None)  # which earlier versions wrote, always empty
    if kind == "tuning":
        arguments |= {field: {} for field in _MAPPINGS}  # either part may be absent
    if "losses" in arguments:  # tuples, as the value holds them
        arguments["losses"] = tuple(map(tuple, arguments["losses"]))
    for name, tensor in tensors.items():
        if tensor.dtype not in DTYPES:
            raise TypeError(f"its {name} is of {tensor.dtype}")
        if not tensor.numel() and tensor.ndim > 1:  # of nothing, a file may say any size that it likes
            raise ValueError(f"its {name} has shape {list(tensor.shape)}")
        field, _, key = name.partition(".")
        if field in _MAPPINGS:
            arguments.setdefault(field, {})[key] = tensor
        else:
            arguments[name] = tensor
    for field in fields(_KINDS[kind]):
        if field.name in arguments and not _is(arguments[field.name], field.type):
            raise TypeError(f"its {field.name} is {arguments[field.name]!r}")
    if kind == "tuning":
        _check_names(arguments["deltas"], arguments["temporal"])
    return arguments


def _is(value: Any, kind: Any) -> bool:
    if kind is float:
        return isinstance(value, float | int) and math.isfinite(value)
    return isinstance(value, kind if isinstance(kind, UnionType) else get_origin(kind) or kind)


def _check_names(deltas: Iterable[str], temporal: Iterable[str]) -> None:
    """Whether a tuning says of the base model's tensors what training changed, and of temporal layers what they are."""
    trained = {name for name in trained_names(deltas) if not is_temporal(name)}
    strange = [name for name in deltas if name not in trained] + [name for name in temporal if not is_temporal(name)]
    if strange:
        raise ValueError(f"it changes {strange[0]:.100}, which one-shot tuning leaves alone")
