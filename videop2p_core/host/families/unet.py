"""UNets of image models (Stable Diffusion 1.x, 2.x, XL), whose frames lie on the batch axis."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import comfy.model_base
from comfy.ldm.modules.attention import BasicTransformerBlock, SpatialVideoTransformer
from comfy.ldm.modules.diffusionmodules.openaimodel import Downsample, TimestepEmbedSequential, UNetModel, Upsample
from comfy.model_patcher import ModelPatcher
from torch import Tensor, nn

from ...diffusion.inversion import METHODS
from ...edit.curves import KeyFrames
from ...edit.local_blend import blend_grid, check_grid
from ..comfy.model_patches import ControlledSlot, SlotAttention, options_of, with_options
from .family import Family, WordMapLayers
from .shown import PICTURE
from .support import EVERY, Feature

UNGUIDED = KeyFrames(((0.0, 1.0),))  # guidance is in the weights


class UNet(Family):
    """The host has slots for what stands in cross attention: each sampling call fills them for itself."""

    name, called = "Stable Diffusion 1.x, 2.x or XL", "an image model"
    supports = EVERY - {Feature.SOUND, Feature.EXPERTS}
    inversions = METHODS

    def has(self, network: nn.Module) -> bool:
        return isinstance(network, UNetModel) and not any(
            isinstance(module, SpatialVideoTransformer) for module in network.modules()
        )

    def cross_attention_layers(self, network: nn.Module) -> list[Hashable]:
        return [slot(name) for name in transformer_blocks(network)]

    def with_slots(self, model: ModelPatcher) -> ModelPatcher:
        return model

    def fill_attention(
        self, cross: SlotAttention | None, frame: SlotAttention | None, executor: Any, *args: Any, **kwargs: Any
    ) -> Tensor:
        options, layers = options_of(args, kwargs), transformer_blocks(executor.class_obj.diffusion_model)
        replace = dict(options.get("patches_replace", {}))
        for kind, attend in (("attn2", cross), ("attn1", frame)):
            if attend is not None:
                slots = dict(replace.get(kind, {}))
                for layer in map(slot, layers):
                    slots[layer] = ControlledSlot(attend, layer, slots.get(layer, slots.get(layer[:2])))
                replace[kind] = slots
        args, kwargs = with_options(args, kwargs, {**options, "patches_replace": replace})
        return executor(*args, **kwargs)

    def word_map_layers(self, network: Any, size: Sequence[int], blocks: str) -> WordMapLayers:
        if blocks.strip():
            raise ValueError(
                "blend blocks can be chosen on a video model alone, an image model's mask comes from the layers of one "
                "resolution: leave them empty"
            )
        grid = blend_grid(*size)
        check_grid(grid, [cells_of(network, name, size) for name in transformer_blocks(network)])
        return LayersOnGrid(grid)

    def text_channels(self, model: ModelPatcher) -> tuple[int, ...]:
        channels = model.model.model_config.unet_config.get("context_dim")
        return () if channels is None else (channels,)

    def pictures_read(self, base_model: Any) -> tuple[str, ...]:
        takes_more = base_model.model_config.unet_config["in_channels"] > base_model.latent_format.latent_channels
        return (PICTURE,) if takes_more else ()

    def edit_guidance(self, model: ModelPatcher) -> KeyFrames | None:
        if hasattr(model.get_model_object("model_sampling"), "skip_steps"):  # the host's sampling of LCM models
            return UNGUIDED
        return getattr(type(model.model.model_config), "edit_guidance", None)  # of the demo model

    def reads_pooled(self, model: ModelPatcher) -> bool:
        return isinstance(model.model, comfy.model_base.SDXL)

    def reads_more(self, model: ModelPatcher) -> bool:
        return model.model.adm_channels > 0


@dataclass(frozen=True)
class LayersOnGrid:
    """The layers that work on so many (rows, columns)."""

    grid: tuple[int, int]

    def feed(self, layer: Hashable, options: dict[str, Any]) -> bool:
        return tuple(options["activations_shape"][-2:]) == self.grid

    def by_frame(self, probabilities: Tensor, options: dict[str, Any]) -> Tensor:
        return probabilities


def transformer_blocks(unet: nn.Module) -> dict[str, BasicTransformerBlock]:
    """{name: block} for every transformer block, in the order in which the UNet runs them."""
    return {name: module for name, module in unet.named_modules() if isinstance(module, BasicTransformerBlock)}


def cells_of(unet: UNetModel, name: str, size: Sequence[int]) -> tuple[int, int]:
    """(rows, columns) that the transformer block of this name works on, for a latent of size (height, width)."""
    section, number, *_ = name.split(".")
    halvings = sum(isinstance(module, Downsample) for module in unet.input_blocks.modules())
    if section == "input_blocks":
        halvings = sum(
            isinstance(m, Downsample) for block in unet.input_blocks[: int(number)] for m in block.children()
        )
    elif section == "output_blocks":
        halvings -= sum(
            isinstance(m, Upsample) for block in unet.output_blocks[: int(number)] for m in block.children()
        )
    rows, columns = size
    for _ in range(halvings):
        rows, columns = (rows + 1) // 2, (columns + 1) // 2
    return rows, columns


def slot(name: str) -> tuple[str, int, int]:
    """The host's name of a transformer block's attention: ('input', 4, 0) of input_blocks.4.1.transformer_blocks.0."""
    # input_blocks.4.1.transformer_blocks.0 is called ("input", 4, 0) by the host; the middle block's number is 0.
    block, number, *_, index = name.split(".")
    kind = block.removesuffix("_blocks").removesuffix("_block")
    return kind, 0 if kind == "middle" else int(number), int(index)


def layers_below(unet: nn.Module) -> list[str]:
    """The layers from the first Downsample to the last Upsample, in the order in which the UNet runs them."""
    blocks = {name: block for name, block in unet.named_modules() if isinstance(block, TimestepEmbedSequential)}
    layers = {f"{name}.{index}": layer for name, block in blocks.items() for index, layer in enumerate(block)}
    first, *_ = (index for index, layer in enumerate(layers.values()) if _resizes(layer, Downsample))
    *_, last = (index for index, layer in enumerate(layers.values()) if _resizes(layer, Upsample))
    return list(layers)[first : last + 1]


def _resizes(layer: nn.Module, kind: type[nn.Module]) -> bool:
    return any(isinstance(module, kind) for module in layer.modules())  # ResNet blocks may hold one
