"""One name for the inputs of a run, the same in every process: what nodes hand on and patch onto a MODEL."""

from __future__ import annotations

import dis
import functools
import hashlib
import logging
import sys
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from pathlib import Path, PurePath
from types import (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodType,
    ModuleType,
    WrapperDescriptorType,
)

import numpy as np
import torch
from comfy.context_windows import IndexListContextHandler
from comfy.controlnet import ControlBase, ControlLora
from comfy.hooks import HookKeyframe, HookKeyframeGroup
from comfy.model_base import BaseModel
from comfy.model_patcher import ModelPatcher
from comfy.ops import CastWeightBiasOp
from torch import Tensor

from ...log import LOG
from ..comfy.base_weights import original_weights
from ..comfy.other_packs import as_in_its_file
from ..model.frame_attention import Clip

PLAIN = (
    str, bytes, int, float, complex, type(None), type(...), slice, range, np.generic, torch.dtype, torch.device, Enum,
    PurePath,
)  # fmt: skip
NAMED = (
    ModuleType, logging.Logger, Clip, ClassMethodDescriptorType, GetSetDescriptorType, MemberDescriptorType,
    MethodDescriptorType, WrapperDescriptorType, type(functools.cache(repr)),
)  # fmt: skip
# What a run leaves on the objects that it used, and a fresh process has not.
WHILE_RUNNING = {
    ControlBase: {
        "cond_hint", "timestep_range", "extra_concat", "model_sampling_current", "control_input", "multigpu_clones",
    },
    ControlLora: {"control_model", "manual_cast_dtype"},  # made of its weights
    torch.nn.AvgPool2d: {"padding"},  # a T2I-Adapter's
    IndexListContextHandler: {"_model", "_step"},
    HookKeyframe: {"start_t"},
    HookKeyframeGroup: {
        "_current_keyframe", "_current_used_steps", "_current_index", "_current_strength", "_curr_t", "curr_t",
    },
    # What the host notes on a network while it is loaded, and torch on every one.
    torch.nn.Module: vars(torch.nn.Module()).keys() - {"_forward_hooks", "_forward_pre_hooks"} | {
        "current_patcher", "current_weight_patches_uuid", "device", "dynamic_patchers", "dynamic_pins", "dynamic_vbars",
        "lowvram_patch_counter", "model_loaded_weight_memory", "model_lowvram", "model_offload_buffer_memory",
        "seed_key", "skip_injection", "_pin_state", "_v",
    },
}  # fmt: skip
# Of a class, what says nothing of its objects or has no content that can be read.
UNSAID = {
    "__annotations__", "__dict__", "__doc__", "__orig_bases__", "__parameters__", "__slotnames__", "__weakref__",
    "_abc_impl",
}  # fmt: skip
OURS = __name__.removesuffix(".host.source.run_fingerprint")
HOSTS = {
    "comfy", "comfy_api", "comfy_execution", "comfy_extras", "folder_paths", "latent_preview", "node_helpers", "nodes",
}  # fmt: skip
INSTALLED = {"site-packages", "dist-packages"}
MOST = 100_000  # values looked at
WHOLE, VALUES = 2**16, 2**12  # the largest tensor of a network that is read whole, and values read of larger ones


def digest(*values) -> str | None:
    """Of all that can be told apart in values: containers, tensors bit by bit, functions with their code, what they
    enclose and what they name of their modules, objects with their attributes and classes, networks with their settings
    and values out of each of their tensors. What is the host's, Python's or an installed library's goes by its name.

    None where there is something that cannot be told apart from another: no run is to be taken for another's.
    """
    try:
        return _digest(values)
    except Exception as error:  # whatever the objects of other packs do when they are looked at
        LOG.debug(f"Video-P2P: the inputs of a run have no name, so nothing is kept of it: {error!r}")
        return None


def _digest(values) -> str | None:
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
    if isinstance(value, NAMED):
        return [getattr(value, "__name__", ""), getattr(value, "__qualname__", ""), getattr(value, "__module__", "")]
    if isinstance(value, type):
        return _of_class(value)
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
        names = [_digest([item]) for item in value]
        return None if None in names else [*sorted(names), *_own(value)]
    if isinstance(value, MethodType):
        return [value.__func__, value.__self__]
    if isinstance(value, functools.partial):
        return [value.func, value.args, value.keywords]
    if isinstance(value, (staticmethod, classmethod)):
        return [value.__func__]
    if isinstance(value, property):
        return [value.fget, value.fset, value.fdel]
    if isinstance(value, functools.cached_property):
        return [value.func]
    if isinstance(value, CodeType):
        return [value.co_code, value.co_consts, value.co_names]
    if isinstance(value, FunctionType):
        return _of_function(value)
    if isinstance(value, BuiltinFunctionType):
        bound = [] if isinstance(value.__self__, (ModuleType, type)) else [value.__self__]
        return [value.__module__, value.__qualname__, *bound]
    return _of_object(value)


def _of_tensor(tensor):
    if tensor.is_meta:
        return [str(tensor.dtype), tuple(tensor.shape)]
    content = tensor.data.cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return [str(tensor.dtype), tuple(tensor.shape), hashlib.sha256(content).digest()]


def _of_network(network: torch.nn.Module):
    tensors = [*network.named_parameters(), *network.named_buffers()]
    modules = list(network.modules())
    settings = [_own(module) for module in modules if not isinstance(module, CastWeightBiasOp)]
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
        values = tensor.data.flatten()
        if len(values) > WHOLE:
            values = values[_places(len(values)).to(values.device)]
        yield from (name, tuple(tensor.shape), values)


@functools.lru_cache(maxsize=64)
def _places(length: int) -> Tensor:
    """Drawn, as at even distances they might all lie in one column."""
    return torch.randint(length, (VALUES,), generator=torch.Generator().manual_seed(0))


# --- code -------------------------------------------------------------------------------------------------------------


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
    """What a function names of its module, and of the modules of its pack."""
    names = sorted(_names_in(function.__code__))
    for name in names:
        value = function.__globals__.get(name)
        if isinstance(value, ModuleType) and not _is_installed(value.__name__):
            yield from ((name, inner, vars(value)[inner]) for inner in names if inner in vars(value))
        elif isinstance(value, FunctionType) and _is_installed(value.__module__):
            yield from (name, value.__qualname__)
        else:
            yield from (name, value)


def _names_in(code: CodeType) -> set[str]:
    return set(code.co_names).union(*map(_names_in, _inner(code)))


def _inner(code: CodeType) -> list[CodeType]:
    return [part for part in code.co_consts if isinstance(part, CodeType)]


def _of_class(kind: type):
    """Its bases by name, and what stands in those that are a pack's or were made when a node ran."""
    told = [base for base in kind.__mro__ if not _is_installed(base.__module__) or "<locals>" in base.__qualname__]
    inside = [item for base in told for item in vars(base).items() if item[0] not in UNSAID]
    return [*(f"{base.__module__}.{base.__qualname__}" for base in kind.__mro__), *inside]


@functools.cache
def _is_installed(module: str | None) -> bool:
    """Whether a module is the host's, Python's, a library's or this pack's own, and not another pack's."""
    root = str(module).partition(".")[0]
    if root in HOSTS or root in sys.stdlib_module_names or f"{module}.".startswith(f"{OURS}."):
        return True
    file = getattr(sys.modules.get(module), "__file__", None)
    return file is not None and not INSTALLED.isdisjoint(Path(file).parts)


# --- objects ----------------------------------------------------------------------------------------------------------


def _of_object(value):
    kind = type(value)
    if _hides_state(kind) or not (hasattr(value, "__dict__") or _slots(kind)):
        return None
    slots = {name: getattr(value, name) for name in _slots(kind) if hasattr(value, name)}
    return [kind, *_own(value), *slots.items()]


def _own(value) -> list:
    """Its attributes, apart from slots."""
    left_out = {name for kind, names in WHILE_RUNNING.items() if isinstance(value, kind) for name in names}
    return [item for item in getattr(value, "__dict__", {}).items() if item[0] not in left_out]


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
