"""Wan 2.x, a video model whose text has an attention of its own: the slots that an edit needs in its blocks.

The host has none there, so object patches on the attentions' `forward` make them: where a sampling call carries a
control, what the attention computes goes through it. Without one they change nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from comfy.ldm.wan.model import VaceWanModel, WanAttentionBlock, WanI2VCrossAttention, WanModel
from comfy.model_patcher import ModelPatcher
from einops import rearrange
from torch import Tensor, nn

from ...edit.prompt import shortened
from ..comfy.model_patches import CONTROL, AttentionCall, SlotAttention, host_attention
from .family import Family, WordMapLayers
from .unet import PICTURE

NETWORKS = (WanModel, VaceWanModel)  # others attend to more than text and time: a camera, a voice, an actor
OVERRIDE = "optimized_attention_override"
ATTENTIONS = ("self_attn", "cross_attn")
VACE, CLIP_VISION, BESIDE = "vace_frames", "clip_vision_output", "time_dim_concat"
PICTURES = (PICTURE, VACE, CLIP_VISION, BESIDE, "reference_latents", "context_latents")


class Wan(Family):
    """Video models that take a clip as one latent; their networks have no slots, so each gets its own."""

    sees_whole_clip = True
    no_inflation = (
        "a Wan model sees all frames together as it is: connect it to DDIM Invert, without Inflate UNet, Tune on Video "
        "or Load Tuning"
    )

    def has(self, network: nn.Module) -> bool:
        return type(network) in NETWORKS

    def cross_attention_layers(self, network: nn.Module) -> list[Hashable]:
        return [f"{name}.cross_attn" for name in wan_blocks(network)]

    def with_slots(self, model: ModelPatcher) -> ModelPatcher:
        return with_slots(model)

    def fill_attention(
        self, cross: SlotAttention | None, frame: SlotAttention | None, executor: Any, *args: Any, **kwargs: Any
    ) -> Tensor:
        return executor(*args, **kwargs)  # the slots ask by themselves

    def word_map_layers(self, network: Any, size: Sequence[int], blocks: str) -> WordMapLayers:
        return chosen_blocks(network, size, blocks)

    def text_channels(self, model: ModelPatcher) -> int | None:
        network: Any = model.get_model_object("diffusion_model")
        return network.text_dim

    def pictures_read(self, base_model: Any) -> tuple[str, ...]:
        return PICTURES

    def recorded_values(self, network: Any, clip: Tensor, tokens: int, cross: bool, temporal: bool) -> int:
        frames, _, height, width = clip.shape
        _, rows, columns = network.patch_size
        places = frames * -(-height // rows) * -(-width // columns)
        return len(wan_blocks(network)) * network.dim * (cross * (places + tokens) + temporal * 2 * places)


def wan_blocks(network: nn.Module) -> dict[str, WanAttentionBlock]:
    """{name: block} of every block with attention, VACE's beside the main ones, which come first."""
    return {name: module for name, module in network.named_modules() if isinstance(module, WanAttentionBlock)}


def with_slots(model: ModelPatcher) -> ModelPatcher:
    """A clone of MODEL whose attentions ask a control where there is one."""
    model = model.clone()
    for name, block in wan_blocks(model.get_model_object("diffusion_model")).items():
        for kind in ATTENTIONS:
            path = f"diffusion_model.{name}.{kind}.forward"
            if path in model.object_patches:
                raise ValueError(
                    f"another node computes the attention of this model itself (it patched {path}), so that an edit "
                    "cannot: remove that node (normalised attention guidance, for instance)"
                )
            slot = CrossAttentionSlot if kind == "cross_attn" else SelfAttentionSlot
            model.add_object_patch(path, slot(f"{name}.{kind}", getattr(block, kind)))
    return model


@dataclass(frozen=True)
class AttentionSlot:
    """An object patch on the `forward` of one attention, `module`."""

    name: str
    module: nn.Module = field(repr=False)

    def __call__(self, *args: Any, transformer_options: dict[str, Any], **kwargs: Any) -> Tensor:
        control = transformer_options.get(CONTROL)
        if control is not None:
            transformer_options = {**transformer_options, OVERRIDE: self.asking(control, transformer_options)}
        return type(self.module).forward(self.module, *args, transformer_options=transformer_options, **kwargs)

    def asking(self, control: Any, options: dict[str, Any]) -> Callable[..., Tensor]:
        """What the host is to call in the place of its own attention."""
        raise NotImplementedError


class SelfAttentionSlot(AttentionSlot):
    """Of all places of all frames to each other: what stands for the attention over time of an inflated model."""

    def asking(self, control: Any, options: dict[str, Any]) -> Callable[..., Tensor]:
        def override(_: Any, q: Tensor, k: Tensor, v: Tensor, heads: int, **_kwargs: Any) -> Tensor:
            return control.temporal(self.name, options, host_attention(options))(q, k, v, heads)

        return override


class CrossAttentionSlot(AttentionSlot):
    """Of all places of all frames to the text."""

    def asking(self, control: Any, options: dict[str, Any]) -> Callable[..., Tensor]:
        turns = count()
        # An image-to-video block looks at the picture first, at the text last.
        text = 1 if isinstance(self.module, WanI2VCrossAttention) else 0

        def override(_: Any, q: Tensor, k: Tensor, v: Tensor, heads: int, **_kwargs: Any) -> Tensor:
            if next(turns) != text:
                return host_attention(options)(q, k, v, heads)
            return control.cross_attention(AttentionCall(self.name, None, q, k, v, {**options, "n_heads": heads}))

        return override


@dataclass(frozen=True)
class ChosenBlocks:
    """The blocks whose cross attention makes word maps. grid: (rows, columns) of the places of a frame."""

    grid: tuple[int, int]
    blocks: frozenset[str]

    def feed(self, layer: Hashable, options: dict[str, Any]) -> bool:
        return layer in self.blocks

    def by_frame(self, probabilities: Tensor, options: dict[str, Any]) -> Tensor:
        """[1, heads, places of all frames, groups] -> [frames, heads, places, groups]"""
        frames, rows, columns = options["grid_sizes"]
        if probabilities.shape[2] != frames * rows * columns:
            raise ValueError(
                "the model looks at reference pictures beside the clip, which have no place in a mask: remove them, or "
                "name no words to blend"
            )
        return rearrange(probabilities, "1 heads (f places) groups -> f heads places groups", f=frames)


def chosen_blocks(network: WanModel, size: Sequence[int], choice: str = "") -> ChosenBlocks:
    """The blocks of a choice such as '8-20, 24' (counted from 0), of a latent of this (height, width).

    By default the middle half: the first blocks look at single places, the last ones at how they are drawn. Raises
    ValueError, in a sentence, for what is no choice of the network's blocks.
    """
    last = len(network.blocks) - 1
    numbers = _numbers(choice, last) if choice.strip() else range((last + 1) // 4, max(3 * (last + 1) // 4, 1))
    height, width = (-(-side // patch) for side, patch in zip(size, network.patch_size[1:], strict=True))
    return ChosenBlocks((height, width), frozenset(f"blocks.{number}.cross_attn" for number in numbers))


def _numbers(choice: str, last: int) -> list[int]:
    numbers = []
    for part in choice.split(","):
        match = re.fullmatch(r"\s*(\d{1,9})\s*(?:-\s*(\d{1,9})\s*)?", part)
        start, end = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not start <= end <= last:
            raise ValueError(
                f"'{shortened(part)}' names no blocks of this model: write their numbers from 0 to {last} as '8-20, 24'"
            )
        numbers += range(start, end + 1)
    return numbers
