"""Cosmos-Predict2, a model of pictures or of clips, whose text has an attention of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from comfy.ldm.cosmos.predict2 import MiniTrainDIT
from comfy.model_patcher import ModelPatcher
from torch import nn

from .forward_slots import AttentionSlot, CrossAttentionSlot, SelfAttentionSlot
from .whole_clip import WholeClip


class CosmosPredict2(WholeClip):
    """Models that take a clip as one latent: Video2World draws clips, Text2Image single pictures."""

    name, called = "Cosmos-Predict2", "a Cosmos-Predict2 model"

    def has(self, network: nn.Module) -> bool:
        return type(network) is MiniTrainDIT

    def slots(self, network: Any) -> Iterator[AttentionSlot]:
        """Of both attentions of every block."""
        for number, block in enumerate(network.blocks):
            yield SelfAttentionSlot(f"blocks.{number}.self_attn", block.self_attn)
            yield CrossAttentionSlot(f"blocks.{number}.cross_attn", block.cross_attn)

    def blocks(self, network: Any) -> Iterable[str]:
        return [f"blocks.{number}" for number in range(len(network.blocks))]

    def patch(self, network: Any) -> tuple[int, int, int]:
        return network.patch_temporal, network.patch_spatial, network.patch_spatial

    def channels(self, network: Any) -> int:
        return network.model_channels

    def text_channels(self, model: ModelPatcher) -> tuple[int, ...]:
        network: Any = model.get_model_object("diffusion_model")
        return (network.blocks[0].cross_attn.context_dim,)

    def pictures_read(self, base_model: Any) -> tuple[str, ...]:
        return ()  # those of CosmosPredict2ImageToVideoLatent stand in the LATENT

    def check_shown(self, base_model: Any, name: str, options: Mapping[str, Any], frames: int) -> None:
        super().check_shown(base_model, name, options, frames)
        if frames > 1 and not base_model.image_to_video:
            raise ValueError(
                f"the clip has {frames} latent frames and this Cosmos-Predict2 draws single pictures: load its "
                "Video2World model, or give one frame"
            )
