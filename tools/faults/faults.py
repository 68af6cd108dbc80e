"""Faults at the n-th call of the model, and what a MODEL and the process are like before and after."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import comfy.model_management
import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor

KEY = "faults"


class Injected(RuntimeError):
    """What a neighbouring node might raise."""


def interrupt() -> None:
    comfy.model_management.interrupt_current_processing()


def run_out_of_memory() -> None:
    raise torch.OutOfMemoryError("out of memory, on purpose")


def fail() -> None:
    raise Injected("failed on purpose")


FAULTS: dict[str, tuple[Callable[[], None], type[BaseException]]] = {
    "interruption": (interrupt, comfy.model_management.InterruptProcessingException),
    "out of memory": (run_out_of_memory, torch.OutOfMemoryError),
    "another node's error": (fail, Injected),
}


@dataclass
class Calls:
    """A wrapper around the UNet: counts its calls, and lets something go wrong at one of them (counted from 0)."""

    at: int | None = None
    fault: Callable[[], None] | None = None
    number: int = 0

    def __call__(self, executor, *args, **kwargs):
        if self.number == self.at:
            self.fault()
        self.number += 1
        return executor(*args, **kwargs)


def calling(model, calls: Calls):
    """A clone of MODEL whose calls are counted."""
    model = model.clone()
    model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, KEY, calls)
    return model


def state_of(model) -> tuple:
    """All that an operation must leave as it was: weights, and what is patched onto the MODEL."""
    digest = hashlib.sha256()
    for name, value in sorted(model.model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.contiguous().cpu().view(torch.uint8).numpy().tobytes())
    patched = model.model_options, model.object_patches, model.patches, model.injections, model.attachments
    return digest.hexdigest(), structure(patched), structure(model.additional_models)


def structure(value):
    """What stands where in nested containers; what is no container stands for itself, whatever goes on inside."""
    if isinstance(value, dict):
        return {key: structure(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [structure(item) for item in value]
    return id(value)


def live_bytes() -> int:
    """What all tensors of the process take, once nothing that is not needed is left."""
    gc.collect()
    storages = {}
    for found in gc.get_objects():
        # isinstance would ask proxies of other libraries what they are.
        if issubclass(type(found), Tensor) and found.layout == torch.strided and found.device.type != "meta":
            storage = found.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def equal(found: Iterable[Tensor], expected: Iterable[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
