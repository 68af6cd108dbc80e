"""The temporal layers of an inflated UNet: weights of our own, held beside the model and loaded with it."""

from collections.abc import Mapping
from typing import Any

import comfy.model_patcher
import comfy.ops
import torch
from comfy.model_patcher import ModelPatcher
from torch import nn

from ...diffusion.attention import TemporalAttention
from ..families.unet import transformer_blocks


class TemporalLayers(nn.Module):
    """One temporal attention a transformer block, under the block's own name.

    state_dict keys: `<block name>.attn_temp.{to_q,to_k,to_v,to_out.0}.*` and `<block name>.norm_temp.*`.
    operations: makes the layers, torch.nn's own or the host's, which may have no weights before they are given some.
    """

    def __init__(
        self,
        unet: nn.Module,
        operations: Any = nn,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        for name, block in transformer_blocks(unet).items():
            channels = block.n_heads * block.d_head
            layer = TemporalAttention(channels, block.n_heads, operations, device, dtype)
            parent: nn.Module = self
            *path, last = name.split(".")
            for part in path:
                if part not in parent._modules:
                    parent.add_module(part, nn.Module())
                parent = parent.get_submodule(part)
            parent.add_module(last, layer)

    def layers(self) -> dict[str, TemporalAttention]:
        """{block name: TemporalAttention}"""
        return {name: module for name, module in self.named_modules() if isinstance(module, TemporalAttention)}


def temporal_shapes(unet: nn.Module) -> dict[str, torch.Size]:
    """The shape of every tensor of a UNet's temporal layers."""
    return {name: value.shape for name, value in TemporalLayers(unet, device="meta").state_dict().items()}


def untrained(unet: nn.Module, seed: int) -> dict[str, torch.Tensor]:
    """The state of temporal layers that are the identity, from one seed: float32, on the CPU."""
    generator = torch.Generator().manual_seed(seed)
    layers = TemporalLayers(unet)
    for layer in layers.layers().values():
        layer.reset(generator)
    return layers.state_dict()


def temporal_patcher(
    model: ModelPatcher,
    state: Mapping[str, torch.Tensor] | None = None,
    seed: int = 0,
    dtype: torch.dtype | None = None,
    kind: type[ModelPatcher] | None = None,
) -> ModelPatcher:
    """Temporal layers for a MODEL, as a patcher of their own: from a state dict, else untrained from a seed.

    dtype: of the weights; by default the one that the model computes in. kind: of the patcher, the host's for models by
    default.
    """
    unet = model.get_model_object("diffusion_model")
    dtype = dtype or model.model.get_dtype_inference()
    layers = TemporalLayers(unet, comfy.ops.manual_cast, model.offload_device, dtype)
    state = untrained(unet, seed) if state is None else state
    # Layers that wait for their weights take them as they come, in whatever precision.
    layers.load_state_dict({name: value.to(model.offload_device, dtype) for name, value in state.items()})
    layers.requires_grad_(False)
    kind = kind or comfy.model_patcher.CoreModelPatcher
    return kind(layers, model.load_device, model.offload_device)
