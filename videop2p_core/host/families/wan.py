"""Wan 2.x, a video model whose text has an attention of its own.

What else a Wan model looks at (a camera, a voice, a pose, reference pictures) comes in beside that attention, the same
for source and target. Tokens of reference pictures stand before the clip's or behind them: their attention is edited as
the clip's is, and no mask or map has places for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import prod
from typing import Any

import torch
from comfy.conds import CONDConstant
from comfy.ldm.wan.ar_model import CausalWanModel
from comfy.ldm.wan.model import (
    CameraWanModel,
    HumoWanModel,
    SCAIL2WanModel,
    SCAILWanModel,
    VaceWanModel,
    WanAttentionBlock,
    WanModel,
    WanModel_S2V,
)
from comfy.ldm.wan.model_animate import AnimateWanModel
from comfy.ldm.wan.model_wandancer import WanDancerModel
from comfy.model_base import WAN22_WanDancer
from comfy.model_patcher import ModelPatcher
from torch import Tensor, nn

from ..comfy.latents import grid_of
from ..comfy.model_patches import SlotAttention, options_of, with_options
from ..seam.host_check import version
from .chosen_blocks import ChosenBlocks, chosen_numbers
from .family import WordMapLayers
from .forward_slots import AttentionSlot, CrossAttentionSlot, SelfAttentionSlot
from .shown import PICTURE, check_number, numbers_shown
from .support import Feature
from .whole_clip import WholeClip

NETWORKS = (
    WanModel, VaceWanModel, CameraWanModel, HumoWanModel, WanModel_S2V, AnimateWanModel, SCAILWanModel, SCAIL2WanModel,
    WanDancerModel,
)  # fmt: skip
VACE, VOICE, CAMERA, CONTROL_VIDEO = "vace_frames", "audio_embed", "camera_conditions", "control_video"
REFERENCES, REFERENCE_MASKS = "reference_latents", "ref_mask_28ch"
RATE = "fps"
CONTEXT, APPENDED, POSE, MOTION = "context_latents", "time_dim_concat", "pose_video_latent", "reference_motion"
IN_TOKENS = REFERENCES, CONTEXT, APPENDED, POSE, MOTION
PICTURES = (
    PICTURE, VACE, VOICE, REFERENCE_MASKS, *IN_TOKENS, "clip_vision_output", "clip_vision_output_ref",
    CAMERA, CONTROL_VIDEO, "face_video_pixels", "driving_mask_28ch",
)  # fmt: skip
FOR_EACH_FRAME = {CAMERA: "views of a camera", CONTROL_VIDEO: "frames of a control video"}
CLIP_PLACES = "videop2p_clip_places"  # where a call's options say which of its tokens are the clip's


class Wan(WholeClip):
    """Video models that take a clip as one latent; their networks have no slots, so each gets its own."""

    name, called = "Wan 2.1 or 2.2", "a Wan model"
    supports = frozenset({Feature.EXPERTS})
    relatives = {
        CausalWanModel: "draws a clip block by block by what it keeps of the blocks before, where an edit takes all "
        "frames at once"
    }

    def has(self, network: nn.Module) -> bool:
        return type(network) in NETWORKS

    def slots(self, network: Any) -> Iterator[AttentionSlot]:
        return slots_of(network)

    def blocks(self, network: Any) -> Iterable[str]:
        return wan_blocks(network)

    def patch(self, network: Any) -> tuple[int, int, int]:
        return network.patch_size

    def channels(self, network: Any) -> int:
        return network.dim

    def fill_attention(
        self, cross: SlotAttention | None, frame: SlotAttention | None, executor: Any, *args: Any, **kwargs: Any
    ) -> Tensor:
        options, places = options_of(args, kwargs), clip_places(executor.class_obj.diffusion_model, args[0], kwargs)
        args, kwargs = with_options(args, kwargs, {**options, CLIP_PLACES: places})
        return super().fill_attention(cross, frame, executor, *args, **kwargs)

    def word_map_layers(self, network: Any, size: Sequence[int], blocks: str) -> WordMapLayers:
        return chosen_blocks(network, size, blocks)

    def text_channels(self, model: ModelPatcher) -> tuple[int, ...]:
        network: Any = model.get_model_object("diffusion_model")
        return (network.text_dim,)

    def pictures_read(self, base_model: Any) -> tuple[str, ...]:
        return PICTURES

    def check_shown(self, base_model: Any, name: str, options: Mapping[str, Any], frames: int) -> None:
        super().check_shown(base_model, name, options, frames)
        if options.get(RATE) is not None and has_a_rate_for_each_row(base_model):
            raise ValueError(
                f"ComfyUI {version()} fails where a WanDancer model is guided and the {name} conditioning brings "
                "music, as it hands the model a frame rate for each half: update ComfyUI, 0.30.0 runs it"
            )
        controls = options.get(VACE) or ()
        if len(controls) > 1:
            raise ValueError(
                f"the {name} conditioning has {len(controls)} VACE controls and an edit takes one: remove all "
                "WanVaceToVideo nodes but one"
            )
        for called, number in for_each_frame(options):
            check_number(name, called, number, frames)
        number = voiced_frames(options.get(VOICE), frames)
        if number != frames:
            raise ValueError(
                f"the {name} conditioning has a voice of {number} latent frames, the clip {frames}: give the node that "
                "made it the clip's length, and a sound that lasts as long"
            )

    def places_beside(self, network: Any, options: Mapping[str, Any]) -> int:
        return tokens_beside(network, options) * prod(network.patch_size)


def wan_blocks(network: nn.Module) -> dict[str, WanAttentionBlock]:
    """{name: block} of every block with attention, VACE's beside the main ones, which come first."""
    return {name: module for name, module in network.named_modules() if isinstance(module, WanAttentionBlock)}


def slots_of(network: Any) -> Iterator[AttentionSlot]:
    """Of both attentions of every block."""
    for name, block in wan_blocks(network).items():
        yield SelfAttentionSlot(f"{name}.self_attn", block.self_attn)
        yield CrossAttentionSlot(f"{name}.cross_attn", block.cross_attn, text_turn(network))


def text_turn(network: Any) -> int:
    """Which of the attentions of a block's `cross_attn` looks at the text."""
    return int(network.img_emb is not None)  # an image-to-video block looks at its picture first


def clip_places(network: Any, x: Tensor, conditions: Mapping[str, Any]) -> slice:
    """Which tokens of a network's call are the clip's; conditions: what the call has beside latent and text, by the
    names of the host's BaseModel."""
    reference = conditions.get("reference_latent")
    leads = isinstance(network, SCAILWanModel) or network.ref_conv is not None  # else it stands behind, or is not read
    before = prod(grid_of(reference, network.patch_size)) if leads and reference is not None else 0
    return slice(before, before + prod(grid_of(x, network.patch_size)))


def has_a_rate_for_each_row(base_model: Any) -> bool:
    """Whether the host hands WanDancer, which reads one frame rate for a call, one for each of its rows."""
    if not isinstance(base_model, WAN22_WanDancer):
        return False
    noise = torch.zeros(1, base_model.latent_format.latent_channels, 1, 2, 2)
    conds = base_model.extra_conds(noise=noise, device=noise.device, fps=30.0)
    return not isinstance(conds[RATE], CONDConstant)


def tokens_beside(network: Any, options: Mapping[str, Any]) -> int:
    """How many tokens stand beside the clip's in a network's attention to itself, for the pictures that an entry of a
    CONDITIONING shows."""
    references, pose, motion = options.get(REFERENCES) or [], options.get(POSE), options.get(MOTION)
    appended = options.get(APPENDED)
    pictures = [*(options.get(CONTEXT) or ()), *([] if appended is None else [appended])]
    if isinstance(network, SCAILWanModel):
        pictures += [*references, *([] if pose is None else [pose])]
    elif network.ref_conv is not None:
        pictures += [picture[:, :, :1] for picture in references[-1:]]
    elif isinstance(network, (HumoWanModel, WanModel_S2V)):
        pictures += references[-1:]
    tokens = sum(prod(grid_of(picture, network.patch_size)) for picture in pictures)
    if motion is not None and isinstance(network, WanModel_S2V):  # packed into the room of one and a half frames
        tokens += -(-3 * prod(motion.shape[-2:]) // (2 * prod(network.patch_size)))
    return tokens


def for_each_frame(options: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """(what an entry of a CONDITIONING has one of for each latent frame beside pictures to paint in, how many)."""
    yield from numbers_shown(options, FOR_EACH_FRAME)
    for pictures in options.get(VACE) or ():
        yield "latent frames of VACE control", pictures.shape[2]
    masks = options.get(REFERENCE_MASKS)  # [1, references and frames, channels, height, width]
    if masks is not None:
        yield "masks of who is who", masks.shape[1] - len(options.get(REFERENCES) or ())


def voiced_frames(voice: Tensor | None, frames: int) -> int:
    """Of how many latent frames a voice is, for a clip of `frames`."""
    if voice is None:
        return frames
    if voice.ndim == 5:  # HuMo's [1, frames, windows, layers, channels]
        return voice.shape[1]
    if voice.ndim == 4:  # S2V's [1, layers, channels, 4 frames], of which the model cuts off what is too long
        return min(voice.shape[3] // 4, frames)
    return frames


class WanBlocks(ChosenBlocks):
    """Of a clip that reference pictures may stand beside."""

    def by_frame(self, probabilities: Tensor, options: dict[str, Any]) -> Tensor:
        return super().by_frame(probabilities[:, :, options[CLIP_PLACES]], options)


def chosen_blocks(network: WanModel, size: Sequence[int], choice: str = "") -> WanBlocks:
    """The blocks of a choice, as `chosen_numbers` has it, of a latent of this (height, width)."""
    height, width = (-(-side // patch) for side, patch in zip(size, network.patch_size[1:], strict=True))
    numbers = chosen_numbers(choice, len(network.blocks))
    return WanBlocks((height, width), frozenset(f"blocks.{number}.cross_attn" for number in numbers))
