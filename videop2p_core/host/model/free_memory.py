"""What of a device's memory activations may take, and the host asked to leave it to them.

The host loads as many weights as leave room for one forward, and keeps the others in main memory, from where they
travel as layers need them. So activations may take nearly all of a device, where the host knows what they need.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import comfy.model_management
import torch
from comfy.model_management import VRAMState
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from comfy.sampler_helpers import estimate_memory
from torch import nn

from .gradients import computed_in, in_own_precision
from .inflate import temporal_of

KEY = "videop2p_room"
OFFLOADING = (VRAMState.NO_VRAM, VRAMState.LOW_VRAM, VRAMState.NORMAL_VRAM)


def free_memory(device: torch.device) -> int:
    """Bytes, by the host's account."""
    return comfy.model_management.get_free_memory(device)


def room(model: ModelPatcher, copied: bool) -> int:
    """Bytes that activations of a MODEL may take at most; copied: of a copy of it, whose weights stay on the device."""
    device = model.load_device
    free = free_memory(device)
    if comfy.model_management.is_device_cpu(device):  # where the weights are there already, but no copy of them is
        return free - copied * _copied_bytes(model)
    entries = [entry for entry in comfy.model_management.current_loaded_models if entry.model is not None]
    loaded = sum(entry.model_loaded_memory() for entry in entries if entry.device == device)
    return free + loaded - (_copied_bytes(model) if copied else least_loaded(model))


def least_loaded(model: ModelPatcher) -> int:
    """Bytes of a MODEL's weights that are on its device at once where activations take the rest."""
    if not model.is_dynamic() and comfy.model_management.vram_state not in OFFLOADING:
        return model.model_size()
    layers = max(_layer_bytes(module, computed_in(model)) for module in model.model.modules())
    return min(model.model_size(), (1 + comfy.model_management.NUM_STREAMS) * layers)  # some travel ahead


def cast_bytes(model: ModelPatcher) -> int:
    """Bytes of the weights of a MODEL's copy for gradients that are stored in another type than they compute in: what
    they are cast to is kept for the backward pass, where activations are."""
    dtype = torch.float32 if computed_in(model) == torch.float16 else computed_in(model)
    network = model.get_model_object("diffusion_model")
    cast = sum(weight.numel() for *_, weight, computed in in_own_precision(network) if computed != dtype)
    return cast * comfy.model_management.dtype_size(dtype)


@dataclass(frozen=True)
class Room:
    """A wrapper around the host's loading for sampling. needed: bytes"""

    needed: float

    def __call__(
        self, executor: Any, model: ModelPatcher, noise_shape: Sequence[int], conds: Any, *args: Any, **kwargs: Any
    ) -> Any:
        # The host knows what a forward needs, not what an edit does: it is told of wider frames. What it counts of
        # pictures beside the clip grows with none of them.
        clip = model.model.memory_required(list(noise_shape))
        _, forward = estimate_memory(model, noise_shape, conds)
        times = max(1.0, (self.needed - (forward - clip)) / clip)
        *shape, width = noise_shape
        return executor(model, [*shape, math.ceil(times * width)], conds, *args, **kwargs)


def leave_room(model: ModelPatcher, needed: float) -> None:
    """Ask the host to leave so many bytes free of weights while this MODEL, a clone of one's own, samples."""
    model.remove_wrappers_with_key(WrappersMP.PREPARE_SAMPLING, KEY)
    model.add_wrapper_with_key(WrappersMP.PREPARE_SAMPLING, KEY, Room(needed))


def room_left(model: ModelPatcher) -> float:
    """What `leave_room` asked for."""
    return max((wrapper.needed for wrapper in model.get_wrappers(WrappersMP.PREPARE_SAMPLING, KEY)), default=0)


def _copied_bytes(model: ModelPatcher) -> int:
    wider = sum(
        weight.numel() * (computed.itemsize - weight.dtype.itemsize)
        for *_, weight, computed in in_own_precision(model.model)
    )
    temporal = temporal_of(model)
    layers = 0 if temporal is None else sum(4 * value.numel() for value in temporal.model.parameters())  # in float32
    return model.model_size() + wider + layers


def _layer_bytes(module: nn.Module, dtype: torch.dtype) -> int:
    """Of a layer's own weights, and of those once more that it casts to what it computes in."""
    parameters = list(module.parameters(recurse=False))
    cast = sum(p.numel() for p in parameters if p.dtype != dtype) * comfy.model_management.dtype_size(dtype)
    return sum(p.nbytes for p in parameters) + cast
