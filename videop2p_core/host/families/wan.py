"""Wan 2.x, a video model whose text has an attention of its own."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Any

from comfy.ldm.wan.model import VaceWanModel, WanAttentionBlock, WanI2VCrossAttention, WanModel
from comfy.model_patcher import ModelPatcher
from torch import Tensor, nn

from .chosen_blocks import ChosenBlocks, chosen_numbers
from .family import WordMapLayers
from .forward_slots import AttentionSlot, CrossAttentionSlot, SelfAttentionSlot, with_block_slots
from .support import Feature
from .unet import PICTURE
from .whole_clip import WholeClip

NETWORKS = (WanModel, VaceWanModel)  # others attend to more than text and time: a camera, a voice, an actor
VACE, CLIP_VISION, BESIDE = "vace_frames", "clip_vision_output", "time_dim_concat"
PICTURES = (PICTURE, VACE, CLIP_VISION, BESIDE, "reference_latents", "context_latents")


class Wan(WholeClip):
    """Video models that take a clip as one latent; their networks have no slots, so each gets its own."""

    name, called = "Wan 2.1 or 2.2", "a Wan model"
    supports = frozenset({Feature.EXPERTS})
    goes_in_step = True

    def has(self, network: nn.Module) -> bool:
        return type(network) in NETWORKS

    def cross_attention_layers(self, network: nn.Module) -> list[Hashable]:
        return [f"{name}.cross_attn" for name in wan_blocks(network)]

    def slots(self, network: Any) -> Iterator[AttentionSlot]:
        return slots_of(network)

    def word_map_layers(self, network: Any, size: Sequence[int], blocks: str) -> WordMapLayers:
        return chosen_blocks(network, size, blocks)

    def text_channels(self, model: ModelPatcher) -> tuple[int, ...]:
        network: Any = model.get_model_object("diffusion_model")
        return (network.text_dim,)

    def pictures_read(self, base_model: Any) -> tuple[str, ...]:
        return PICTURES

    def recorded_values(self, network: Any, clip: Tensor, tokens: int, cross: bool, temporal: bool) -> int:
        frames, _, height, width = clip.shape
        _, rows, columns = network.patch_size
        places = frames * -(-height // rows) * -(-width // columns)
        return network.dim * (cross * (places + tokens) + temporal * 2 * places)

    def _with_slots(self, model: ModelPatcher) -> ModelPatcher:
        return with_block_slots(super()._with_slots(model), wan_blocks(model.get_model_object("diffusion_model")))


def wan_blocks(network: nn.Module) -> dict[str, WanAttentionBlock]:
    """{name: block} of every block with attention, VACE's beside the main ones, which come first."""
    return {name: module for name, module in network.named_modules() if isinstance(module, WanAttentionBlock)}


def slots_of(network: nn.Module) -> Iterator[AttentionSlot]:
    """Of both attentions of every block."""
    for name, block in wan_blocks(network).items():
        yield SelfAttentionSlot(f"{name}.self_attn", block.self_attn)
        # An image-to-video block looks at the picture first, at the text last.
        turn = int(isinstance(block.cross_attn, WanI2VCrossAttention))
        yield CrossAttentionSlot(f"{name}.cross_attn", block.cross_attn, turn)


class WanBlocks(ChosenBlocks):
    """Of a clip that reference pictures may stand beside."""

    def by_frame(self, probabilities: Tensor, options: dict[str, Any]) -> Tensor:
        frames, rows, columns = options["grid_sizes"]
        if probabilities.shape[2] != frames * rows * columns:
            raise ValueError(
                "the model looks at reference pictures beside the clip, which have no place in a mask: remove them, or "
                "name no words to blend"
            )
        return super().by_frame(probabilities, options)


def chosen_blocks(network: WanModel, size: Sequence[int], choice: str = "") -> WanBlocks:
    """The blocks of a choice, as `chosen_numbers` has it, of a latent of this (height, width)."""
    height, width = (-(-side // patch) for side, patch in zip(size, network.patch_size[1:], strict=True))
    numbers = chosen_numbers(choice, len(network.blocks))
    return WanBlocks((height, width), frozenset(f"blocks.{number}.cross_attn" for number in numbers))
