"""The weights of a MODEL's network as its loader left them, and what is patched onto them."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher, get_key_weight
from torch import Tensor

from .quantised_weights import is_foreign, is_gguf, unpacked

NETWORK = "diffusion_model."


def original_weights(model: ModelPatcher) -> dict[str, list]:
    """{name: [(weight, convert), *patches]} of the network, as the host's get_key_patches has it.

    `convert(weight)` is the weight in numbers where it is kept quantised in a way that is known. The host's own
    stumbles over what quantised layers keep beside their weights.
    """
    with model.use_ejected():
        names = [name for name, _ in model.model.named_parameters() if name.startswith(NETWORK)]
    return {name: [_original(model, name), *model.patches.get(name, ())] for name in names}


def values_of(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The tensors of a network by their names, to be read.

    The host moves weights inside of inference mode and outside of it; those that were made in the one and moved in the
    other have no version to be detached at, but their data.
    """
    return {name: value.data for name, value in module.state_dict(keep_vars=True).items()}


def _original(model: ModelPatcher, name: str) -> tuple[Tensor, Callable[..., Tensor | None]]:
    weight, _, convert = get_key_weight(model.model, name)
    if name in model.backup:
        weight = model.backup[name].weight
    if name in model.hook_backup:
        weight = model.hook_backup[name][0]
    if is_gguf(weight):
        convert = partial(unpacked, layer=layer_of(model, name))
    return weight if is_foreign(weight) else weight.data, convert or _as_it_is  # see values_of


def layer_of(model: ModelPatcher, name: str) -> torch.nn.Module:
    """The layer that a weight of this name belongs to."""
    return model.model.get_submodule(name.rpartition(".")[0])


def _as_it_is(weight: Tensor, **_: Any) -> Tensor:
    return weight
