"""What a MODEL and the process are like, to be compared before and after."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor

from ...videop2p_core.host.comfy.base_weights import values_of


def state_of(model) -> tuple:
    """All that an operation must leave as it was: weights, and what is patched onto the MODEL."""
    digest = hashlib.sha256()
    for name, value in sorted(values_of(model.model).items()):
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
