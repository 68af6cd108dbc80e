"""Inflation: an image UNet reads a batch as the frames of a clip (arXiv 2303.04761, section 3.2), by patches alone.

Frame attention is an attn1 patch; temporal layers and the normalisation over frames are object patches on `forward`; a
wrapper around the UNet tells them, for one call, how many frames the batch holds.
"""

from dataclasses import replace

import torch
from comfy.context_windows import create_prepare_sampling_wrapper
from comfy.ldm.modules.diffusionmodules.openaimodel import ResBlock
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP

from ..comfy.other_packs import as_in_its_file, has_motion
from ..families.support import Feature
from ..families.table import known_family
from ..families.unet import transformer_blocks
from .context_passes import Passes
from .forward_patches import BlockThenTime, ForwardPatch, NormOverFrames, forward_of, patch_forward
from .frame_attention import FrameAttention, Inflation, WithFrame0, within_clip_call
from .temporal_layers import temporal_patcher

KEY = "videop2p_inflation"


def inflate(
    model: ModelPatcher, inflation: Inflation, temporal: ModelPatcher | None = None, seed: int = 0
) -> ModelPatcher:
    """A clone of MODEL that reads a batch as the frames of one clip.

    temporal: the patcher of the temporal layers (temporal_patcher); by default untrained ones from `seed`,
    which change nothing. An inflated model may be inflated again, which replaces its inflation; so may its deep copy.
    """
    with as_in_its_file(model):
        return _inflated(model, inflation, temporal, seed)


def _inflated(model: ModelPatcher, inflation: Inflation, temporal: ModelPatcher | None, seed: int) -> ModelPatcher:
    unet = model.get_model_object("diffusion_model")
    _check_family(model, unet)
    model = _without_inflation(model.clone())
    model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, KEY, within_clip_call)
    model.set_model_attn1_patch(FrameAttention(inflation))
    if inflation.temporal_layers:
        temporal = temporal or temporal_patcher(model, seed=seed)
        model.set_additional_models(KEY, [temporal])
        layers = temporal.model.layers()
        for name in transformer_blocks(unet):
            patch_forward(model, BlockThenTime, name, layers[name])
    if inflation.norm_over_frames:
        for name in _joint_norms(unet):
            patch_forward(model, NormOverFrames, name)
    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, WithFrame0(inflation))
    model.set_attachments(KEY, inflation)
    return in_passes(model, inflation.frames_per_pass, inflation.overlap) if inflation.frames_per_pass else model


def in_passes(model: ModelPatcher, frames: int, overlap: int = 2) -> ModelPatcher:
    """A clone of MODEL, inflated or not, that takes clips of more than so many frames in passes."""
    model, inflation = model.clone(), inflation_of(model)
    model.model_options["context_handler"] = Passes.even(frames, overlap)
    create_prepare_sampling_wrapper(model)  # the host reckons its memory for one pass
    if inflation is not None:
        model.set_attachments(KEY, replace(inflation, frames_per_pass=frames, overlap=overlap))
    return model


def inflation_of(model: ModelPatcher) -> Inflation | None:
    """The Inflation of a MODEL, None where it is an image model."""
    return model.get_attachment(KEY)


def sees_frames_alone(model: ModelPatcher, frames: int) -> bool:
    """Whether a MODEL takes a clip of so many frames for pictures that have nothing to do with each other."""
    family = known_family(model.get_model_object("diffusion_model"))
    sees_all = family is not None and family.sees_whole_clip
    return frames > 1 and not (sees_all or inflation_of(model) is not None or has_motion(model))


def temporal_of(model: ModelPatcher) -> ModelPatcher | None:
    """The patcher of an inflated MODEL's temporal layers, None without any."""
    models = model.get_additional_models_with_key(KEY)
    return models[0] if models else None


def _check_family(model: ModelPatcher, unet: torch.nn.Module) -> None:
    family = known_family(unet)
    if family is None or Feature.INFLATION not in family.supports:
        raise ValueError(
            f"a {type(model.model).__name__} model cannot be inflated: connect an image model with a UNet, "
            "of the Stable Diffusion 1.x, 2.x or XL family"
        )


def _joint_norms(unet: torch.nn.Module) -> list[str]:
    blocks = [name for name, module in unet.named_modules() if isinstance(module, ResBlock)]
    return [f"{name}.{norm}" for name in blocks for norm in ("in_layers.0", "out_layers.0")] + ["out.0"]


def _without_inflation(model: ModelPatcher) -> ModelPatcher:
    """Take the patches of an earlier inflation off a clone."""
    inflation = inflation_of(model)
    if inflation is None:
        return model
    model.remove_wrappers_with_key(WrappersMP.DIFFUSION_MODEL, KEY)
    model.remove_wrappers_with_key(WrappersMP.OUTER_SAMPLE, KEY)
    if isinstance(model.model_options.get("context_handler"), Passes):
        del model.model_options["context_handler"]
    model.remove_additional_models(KEY)
    patches = model.model_options["transformer_options"]["patches"]
    patches["attn1_patch"] = [patch for patch in patches["attn1_patch"] if not isinstance(patch, FrameAttention)]
    unet = model.get_model_object("diffusion_model")
    names = [
        *(transformer_blocks(unet) if inflation.temporal_layers else ()),
        *(_joint_norms(unet) if inflation.norm_over_frames else ()),
    ]
    for path in map(forward_of, names):
        patch = model.object_patches.pop(path)
        if not isinstance(patch, ForwardPatch):
            raise ValueError(
                f"another node patched {path} after this model was inflated, so it cannot be inflated again: "
                "put that node before Inflate UNet"
            )
        if patch.inner is not None:
            model.object_patches[path] = patch.inner
    model.remove_attachments(KEY)
    return model
