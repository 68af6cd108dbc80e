"""One name for the inputs of a run, the same in every process: what nodes hand on and patch onto a MODEL."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from enum import Enum
from types import FunctionType, MethodType, ModuleType
from uuid import uuid4

import numpy as np
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

PLAIN = (str, bytes, int, float, complex, type(None), torch.dtype, torch.device, Enum)
KINDS = (torch.nn.Module, ModelPatcher, ModuleType, type)
MOST = 100_000  # values looked at


def digest(*values) -> str:
    """Of all that can be told apart in values, whatever they are: containers, tensors bit by bit, functions with what
    they enclose, objects with their public attributes. Networks are told apart by their kind alone; see identity_of.

    What is another one in every process (a uuid, say) gives another name in each, and so does what has no end: no run
    is taken for another's.
    """
    found, met, waiting = hashlib.sha256(), {}, list(reversed(values))
    while waiting:
        value = waiting.pop()
        found.update(f"{type(value).__module__}.{type(value).__qualname__} ".encode())
        if isinstance(value, PLAIN):
            found.update(f"{value!r} ".encode(errors="surrogatepass"))
        elif id(value) in met:
            found.update(f"{met[id(value)][0]} ".encode())
        elif len(met) == MOST:
            return uuid4().hex
        else:
            met[id(value)] = len(met), value  # held, so that no other one gets its id
            said, parts = _taken_apart(value)
            found.update(f"{said} {len(parts)} ".encode())
            waiting += reversed(parts)
    return found.hexdigest()[:32]


def _taken_apart(value) -> tuple[str, list]:
    """What there is to say of a value itself, and what it consists of."""
    if isinstance(value, KINDS):
        return getattr(value, "__qualname__", ""), []
    if isinstance(value, Tensor):
        if value.is_meta:
            return f"{value.dtype} {list(value.shape)}", []
        content = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        return f"{value.dtype} {list(value.shape)} {hashlib.sha256(content).hexdigest()}", []
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape} {hashlib.sha256(value.tobytes()).hexdigest()}", []
    if isinstance(value, Mapping):
        return "", [part for item in value.items() for part in item]
    if isinstance(value, (list, tuple)):
        return "", list(value)
    if isinstance(value, (set, frozenset)):
        return "", sorted(value, key=repr)
    if isinstance(value, MethodType):
        return "", [value.__func__, value.__self__]
    if isinstance(value, functools.partial):
        return "", [value.func, value.args, value.keywords]
    if isinstance(value, FunctionType):
        name = f"{value.__module__}.{value.__qualname__}"
        return name, [value.__defaults__, value.__kwdefaults__, *_enclosed(value)]
    own = vars(value) if hasattr(value, "__dict__") else {}
    return "", [part for name, content in own.items() if not name.startswith("_") for part in (name, content)]


def _enclosed(function):
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # of a variable without a value
            pass
