"""LTX-Video, whose text has an attention of its own, padded and masked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from comfy.ldm.lightricks.model import LTXVModel
from comfy.model_patcher import ModelPatcher
from torch import nn

from ..comfy.conditioning import Conditioning, tokens_of
from .forward_slots import AttentionSlot, CrossAttentionSlot, SelfAttentionSlot
from .rotary_tables import SharedTables
from .whole_clip import WholeClip

TABLES = "diffusion_model._precompute_freqs_cis"
BLOCKS, GUIDES, VOICE = "transformer_blocks", "keyframe_idxs", "ref_audio"


class LTXV(WholeClip):
    """Video models that take a clip as one latent, and of its text the tokens alone that are no padding."""

    name, called = "LTX-Video", "an LTX model"

    def has(self, network: nn.Module) -> bool:
        return type(network) is LTXVModel

    def slots(self, network: Any) -> Iterator[AttentionSlot]:
        return slots_of(network)

    def blocks(self, network: Any) -> Iterable[str]:
        return [f"{BLOCKS}.{number}" for number in range(len(network.transformer_blocks))]

    def _with_slots(self, model: ModelPatcher) -> ModelPatcher:
        model = super()._with_slots(model)
        network: Any = model.get_model_object("diffusion_model")
        model.add_object_patch(TABLES, SharedTables(network._precompute_freqs_cis))
        return model

    def patch(self, network: Any) -> tuple[int, int, int]:
        return 1, 1, 1

    def channels(self, network: Any) -> int:
        return network.inner_dim

    def text_channels(self, model: ModelPatcher) -> tuple[int, ...]:
        network: Any = model.get_model_object("diffusion_model")
        return (network.caption_channels,)

    def keys_of(self, conditioning: Conditioning) -> int:
        mask = conditioning[0][1].get("attention_mask")
        if mask is not None and mask.is_floating_point():
            raise ValueError(
                "a conditioning weighs the tokens of its text by a mask of fractions, which an edit cannot take apart: "
                "connect that of a CLIP Text Encode"
            )
        return tokens_of(conditioning)

    def pictures_read(self, base_model: Any) -> tuple[str, ...]:
        return ()  # those of LTXVImgToVideo stand in the LATENT

    def check_shown(self, base_model: Any, name: str, options: Mapping[str, Any], frames: int) -> None:
        if options.get(GUIDES) is not None:
            raise ValueError(
                f"the {name} conditioning holds guides (of LTXVAddGuide), whose frames stand behind the clip's own in "
                "its latent, so that an edit cannot tell them apart: connect prompts and latent without them"
            )
        if options.get(VOICE) is not None:
            raise ValueError(
                f"the {name} conditioning brings a voice to speak in (of LTXVReferenceAudio), and an edit draws no "
                "sound: connect it without"
            )

    def reads_more(self, model: ModelPatcher) -> bool:
        return True


def slots_of(network: Any) -> Iterator[AttentionSlot]:
    """Of both attentions of every block, those of the pictures where there is sound as well."""
    for number, block in enumerate(network.transformer_blocks):
        yield SelfAttentionSlot(f"{BLOCKS}.{number}.attn1", block.attn1)
        yield CrossAttentionSlot(f"{BLOCKS}.{number}.attn2", block.attn2)
