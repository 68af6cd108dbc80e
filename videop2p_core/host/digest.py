"""One name for the inputs of a run, the same in every process: what nodes hand on and patch onto a MODEL."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from enum import Enum
from pathlib import PurePath
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType

import numpy as np
import torch
from comfy.context_windows import IndexListContextHandler
from comfy.controlnet import ControlBase
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from .inflate import Clip

PLAIN = (
    str, bytes, int, float, complex, type(None), type(...), slice, range, np.generic, torch.dtype, torch.device, Enum,
    PurePath, BuiltinFunctionType,
)  # fmt: skip
# What a run leaves on the objects that it used, and a fresh process has not.
KINDS = (ModuleType, type, Clip)
WHILE_RUNNING = {
    ControlBase: {
        "cond_hint", "timestep_range", "extra_concat", "model_sampling_current", "control_input", "multigpu_clones",
    },
    IndexListContextHandler: {"_model", "_step"},
}  # fmt: skip
MOST = 100_000  # values looked at
SAMPLES, VALUES = 64, 256  # weights of a network looked at, and values of each


def digest(*values) -> str | None:
    """Of all that can be told apart in values: containers, tensors bit by bit, functions with their code and what they
    enclose, objects with their attributes, networks with samples of their weights.

    None where there is something that cannot be told apart from another: no run is to be taken for another's.
    """
    found, met, waiting = hashlib.sha256(), {}, list(reversed(values))
    while waiting:
        value = waiting.pop()
        found.update(f"{type(value).__module__}.{type(value).__qualname__} ".encode())
        if isinstance(value, PLAIN):
            found.update(f"{value!r} ".encode(errors="surrogatepass"))
        elif id(value) in met:
            found.update(f"{met[id(value)][0]} ".encode())
        else:
            met[id(value)] = len(met), value  # held, so that no other one gets its id
            parts = _parts(value)
            if parts is None or len(met) > MOST:
                return None
            found.update(f"{len(parts)} ".encode())
            waiting += reversed(parts)
    return found.hexdigest()[:32]


def _parts(value) -> list | None:
    """What a value consists of, in the end of PLAIN ones; None where that cannot be said."""
    if isinstance(value, KINDS):
        return [getattr(value, "__qualname__", ""), getattr(value, "__module__", "")]
    if isinstance(value, Tensor):
        return _of_tensor(value)
    if isinstance(value, torch.nn.Module):
        names = sorted(name for name, _ in value.named_parameters())
        chosen = set(names[:: max(len(names) // SAMPLES, 1)])
        sampled = [tensor.detach().flatten()[:VALUES] for name, tensor in value.named_parameters() if name in chosen]
        return [*names, *sampled]
    if isinstance(value, ModelPatcher):
        return [value.model, value.patches, value.object_patches, value.model_options]
    if isinstance(value, np.ndarray):
        return None if value.dtype.hasobject else [value.dtype.str, value.shape, value.tobytes()]
    if isinstance(value, Mapping):
        return [part for item in value.items() for part in item]
    if isinstance(value, (list, tuple)):
        return list(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=repr)
    if isinstance(value, MethodType):
        return [value.__func__, value.__self__]
    if isinstance(value, functools.partial):
        return [value.func, value.args, value.keywords]
    if isinstance(value, CodeType):
        return [value.co_code, value.co_consts, value.co_names]
    if isinstance(value, FunctionType):
        given = value.__module__, value.__qualname__, value.__code__, value.__defaults__, value.__kwdefaults__
        return [*given, *_enclosed(value)]
    return _attributes(value)


def _of_tensor(tensor):
    if tensor.is_meta:
        return [str(tensor.dtype), tuple(tensor.shape)]
    try:
        content = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    except (RuntimeError, TypeError, NotImplementedError):  # sparse, nested, quantised
        return None
    return [str(tensor.dtype), tuple(tensor.shape), hashlib.sha256(content).digest()]


def _enclosed(function):
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # of a variable without a value
            pass


def _attributes(value):
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
    if not (hasattr(value, "__dict__") or slots):
        return None
    own = getattr(value, "__dict__", {}) | {name: getattr(value, name) for name in slots if hasattr(value, name)}
    left_out = {name for kind, names in WHILE_RUNNING.items() if isinstance(value, kind) for name in names}
    return [part for name, content in own.items() if name not in left_out for part in (name, content)]
