"""One name for the inputs of a run, the same in every process: what nodes hand on and patch onto a MODEL."""

from __future__ import annotations

import dis
import functools
import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from pathlib import PurePath
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType

import numpy as np
import torch
from comfy.context_windows import IndexListContextHandler
from comfy.controlnet import ControlBase
from comfy.hooks import HookKeyframe, HookKeyframeGroup
from comfy.model_base import BaseModel
from comfy.model_patcher import ModelPatcher
from comfy.ops import CastWeightBiasOp
from torch import Tensor

from .beside import as_in_its_file
from .inflate import Clip
from .original import original_weights

PLAIN = (
    str, bytes, int, float, complex, type(None), type(...), slice, range, np.generic, torch.dtype, torch.device, Enum,
    PurePath, BuiltinFunctionType,
)  # fmt: skip
FUNCTIONS = (FunctionType, BuiltinFunctionType, type(functools.cache(repr)))
KINDS = (ModuleType, type, logging.Logger, Clip)  # told apart by their names
# What a run leaves on the objects that it used, and a fresh process has not.
WHILE_RUNNING = {
    ControlBase: {
        "cond_hint", "timestep_range", "extra_concat", "model_sampling_current", "control_input", "multigpu_clones",
    },
    IndexListContextHandler: {"_model", "_step"},
    HookKeyframe: {"start_t"},
    HookKeyframeGroup: {
        "_current_keyframe", "_current_used_steps", "_current_index", "_current_strength", "_curr_t", "curr_t",
    },
}  # fmt: skip
# What the host notes on a network while it is loaded, and torch on every one.
WHILE_LOADED = vars(torch.nn.Module()).keys() - {"_forward_hooks", "_forward_pre_hooks"} | {
    "current_patcher", "current_weight_patches_uuid", "device", "dynamic_patchers", "dynamic_pins", "dynamic_vbars",
    "lowvram_patch_counter", "model_loaded_weight_memory", "model_lowvram", "model_offload_buffer_memory",
    "seed_key", "skip_injection", "_pin_state", "_v",
}  # fmt: skip
MOST = 100_000  # values looked at
VALUES = 4096  # of each tensor of a network that are looked at, at least, where it has as many


def digest(*values) -> str | None:
    """Of all that can be told apart in values: containers, tensors bit by bit, functions with their code, what they
    enclose and the data of their modules that they name, objects with their attributes, networks with their settings
    and values out of each of their tensors.

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
        return _of_network(value)
    if isinstance(value, ModelPatcher):
        return _of_model(value)
    if isinstance(value, np.ndarray):
        return None if value.dtype.hasobject else [value.dtype.str, value.shape, value.tobytes()]
    if isinstance(value, Mapping):
        return [part for item in value.items() for part in item] + _own(value)
    if isinstance(value, (list, tuple)):
        return [*value, *_own(value)]
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=repr) + _own(value)
    if isinstance(value, MethodType):
        return [value.__func__, value.__self__]
    if isinstance(value, functools.partial):
        return [value.func, value.args, value.keywords]
    if isinstance(value, CodeType):
        return [value.co_code, value.co_consts, value.co_names]
    if isinstance(value, FunctionType):
        return _of_function(value)
    return _of_object(value)


def _of_tensor(tensor):
    if tensor.is_meta:
        return [str(tensor.dtype), tuple(tensor.shape)]
    try:
        content = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    except (RuntimeError, TypeError, NotImplementedError):  # sparse, nested, quantised
        return None
    return [str(tensor.dtype), tuple(tensor.shape), hashlib.sha256(content).digest()]


def _of_network(network: torch.nn.Module):
    tensors = [*network.named_parameters(), *network.named_buffers()]
    modules = list(network.modules())
    settings = [_without(vars(module), WHILE_LOADED) for module in modules if not isinstance(module, CastWeightBiasOp)]
    return [*map(type, modules), *settings, *_looked_at(tensors)]


def _of_model(model: ModelPatcher):
    """All that is patched onto it, and its network as it is without."""
    patched = (
        model.patches, model.object_patches, model.model_options, model.wrappers, model.callbacks, model.injections,
        model.hook_patches, model.attachments, model.additional_models,
    )  # fmt: skip
    if not isinstance(model.model, BaseModel):
        return [model.model, *patched]
    with as_in_its_file(model) as own:
        weights = [(name, entries[0][0]) for name, entries in original_weights(own).items()]
    return [type(model.model), type(model.model.model_config), *_looked_at(weights), *patched]


def _looked_at(tensors: Iterable[tuple[str, Tensor]]) -> Iterator:
    """Of tensors by their names: a training changes every value, and there may be gigabytes of them."""
    for name, tensor in tensors:
        values = tensor.detach().flatten()
        yield from (name, tuple(tensor.shape), values[:: max(len(values) // VALUES, 1)])


def _of_function(function):
    code = function.__code__
    if any(_written(code)):  # a state that a later process would not have
        return None
    given = function.__module__, function.__qualname__, code, function.__defaults__, function.__kwdefaults__
    return [*given, function.__dict__, *_enclosed(function), *_named(function)]


def _written(code: CodeType) -> Iterator[str]:
    """Variables outside of a function that it writes to."""
    for step in dis.get_instructions(code):
        if step.opname == "STORE_GLOBAL" or step.opname == "STORE_DEREF" and step.argval in code.co_freevars:
            yield step.argval
    for inner in _inner(code):
        yield from (name for name in _written(inner) if name not in code.co_cellvars)


def _enclosed(function) -> Iterator:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # of a variable without a value
            pass


def _named(function) -> Iterator:
    """The data of its module that a function names; functions and classes go by their names in its code."""
    for name in sorted(_names_in(function.__code__)):
        value = function.__globals__.get(name)
        if not isinstance(value, (ModuleType, type, *FUNCTIONS)):
            yield from (name, value)


def _names_in(code: CodeType) -> set[str]:
    return set(code.co_names).union(*map(_names_in, _inner(code)))


def _inner(code: CodeType) -> list[CodeType]:
    return [part for part in code.co_consts if isinstance(part, CodeType)]


def _of_object(value):
    kind = type(value)
    if _hides_state(kind) or not (hasattr(value, "__dict__") or _slots(kind)):
        return None
    left_out = {name for known, names in WHILE_RUNNING.items() if isinstance(value, known) for name in names}
    slots = {name: getattr(value, name) for name in _slots(kind) if hasattr(value, name)}
    return _own(value, left_out) + [part for item in slots.items() for part in item]


def _own(value, left_out=frozenset()) -> list:
    """Its attributes, apart from slots."""
    return [part for item in _without(getattr(value, "__dict__", {}), left_out).items() for part in item]


def _without(attributes, left_out) -> dict:
    return {name: value for name, value in attributes.items() if name not in left_out}


def _slots(kind) -> list[str]:
    """The names by which attributes in slots are found."""
    found = []
    for owner in kind.__mro__:
        slots = vars(owner).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            private = name.startswith("__") and not name.endswith("__")
            found.append(f"_{owner.__name__.lstrip('_')}{name}" if private else name)
    return [name for name in found if name not in ("__dict__", "__weakref__")]


def _hides_state(kind) -> bool:
    """Whether its objects have room for more than their attributes, as those of classes written in C may."""
    words = (kind.__dictoffset__ > 0) + (kind.__weakrefoffset__ > 0) + len(_slots(kind))
    return kind.__basicsize__ > object.__basicsize__ + words * tuple.__itemsize__
