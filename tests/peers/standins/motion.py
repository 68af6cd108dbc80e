"""A stand-in with the habits of AnimateDiff-Evolved: attention over time put into a loaded UNet, while it samples.

Modules of its own stand after transformers, or ResNet blocks where there are none, by injection; group norms are
replaced class-wide and take all frames jointly; the host's sampling function is replaced by its own, which knows no
pre-CFG functions; a clip longer than its context options is evaluated in windows.
"""

import comfy.model_patcher
import comfy.ops
import comfy.samplers
import torch
import torch.nn.functional as F
from comfy.ldm.modules.attention import SpatialTransformer
from comfy.ldm.modules.diffusionmodules.openaimodel import ResBlock
from comfy.patcher_extension import PatcherInjection, WrappersMP
from einops import rearrange
from torch import nn

KEY = "ADE"


class Motion(nn.Module):
    """Attention of each place over the frames of a clip."""

    frames, acts = 1, True

    def __init__(self, channels):
        super().__init__()
        self.attention = nn.MultiheadAttention(channels, 2, batch_first=True)

    def forward(self, x):
        if not self.acts:
            return x
        height = x.shape[2]
        places = rearrange(x, "(b f) c h w -> (b h w) f c", f=self.frames)
        places = places + self.attention(places, places, places)[0]
        return rearrange(places, "(b h w) f c -> (b f) c h w", h=height, w=x.shape[3])


class Motions(nn.Module):
    """One Motion for each block that has ResNet blocks."""

    def __init__(self, unet):
        super().__init__()
        self.at = nn.ModuleDict(
            {
                name.replace(".", "-"): Motion(place.out_channels if isinstance(place, ResBlock) else place.in_channels)
                for name, place in self.places(unet).items()
            }
        )

    @staticmethod
    def places(unet):
        """{name of a block: the layer that a motion module stands after}"""
        blocks = {"middle_block": unet.middle_block} | {
            f"{part}_blocks.{number}": block
            for part in ("input", "output")
            for number, block in enumerate(getattr(unet, f"{part}_blocks"))
        }
        found = {}
        for name, block in blocks.items():
            layers = [layer for kind in (SpatialTransformer, ResBlock) for layer in block if type(layer) is kind]
            if layers:
                found[name] = layers[0]
        return found

    def inject(self, patcher):
        unet = patcher.model.diffusion_model
        for name, layer in self.places(unet).items():
            block = unet.get_submodule(name)
            block.insert(list(block).index(layer) + 1, self.at[name.replace(".", "-")])

    def eject(self, patcher):
        for name in self.at:
            block = patcher.model.diffusion_model.get_submodule(name.replace("-", "."))
            for place in reversed([place for place, layer in enumerate(block) if isinstance(layer, Motion)]):
                block.pop(place)


class Evolved:
    """The wrapper around sampling. context: frames of a window, None for none; until: the noise level down to which
    motion acts."""

    def __init__(self, motions=None, context=None, until=0.0):
        self.motions, self.context, self.until, self.sliding = motions, context, until, False

    def is_using_sliding_context(self):
        return self.sliding

    def __call__(self, executor, noise, *args, **kwargs):
        self.sliding = self.context is not None and len(noise) > self.context
        guider, frames = executor.class_obj, len(noise)
        given = guider.model_options
        guider.model_options = comfy.model_patcher.create_model_options_clone(given)
        guider.model_options["transformer_options"]["ADGS"] = self
        stock = comfy.samplers.sampling_function
        norms = nn.GroupNorm.forward, comfy.ops.disable_weight_init.GroupNorm.forward_comfy_cast_weights

        def norm(group_norm, x):
            joint = rearrange(x, "(b f) c h w -> b c f h w", f=frames)
            joint = F.group_norm(joint, group_norm.num_groups, group_norm.weight, group_norm.bias, group_norm.eps)
            return rearrange(joint, "b c f h w -> (b f) c h w")

        def within(executor, *args, **kwargs):
            nn.GroupNorm.forward = comfy.ops.disable_weight_init.GroupNorm.forward_comfy_cast_weights = norm
            try:
                return executor(*args, **kwargs)
            finally:
                nn.GroupNorm.forward, comfy.ops.disable_weight_init.GroupNorm.forward_comfy_cast_weights = norms

        if self.motions is not None:
            wrappers = guider.model_options["transformer_options"].setdefault("wrappers", {})
            wrappers.setdefault(WrappersMP.DIFFUSION_MODEL, {})["ADE_norm"] = [within]
            for motion in self.motions.at.values():
                motion.frames = frames
        comfy.samplers.sampling_function = sampling_function
        try:
            return executor(noise, *args, **kwargs)
        finally:
            comfy.samplers.sampling_function, guider.model_options = stock, given


def sampling_function(model, x, sigma, uncond, cond, cfg, model_options={}, seed=None):  # noqa: B006
    state = model_options["transformer_options"]["ADGS"]
    for motion in state.motions.at.values() if state.motions else ():
        motion.acts = bool(sigma[0] >= state.until)
    known = {"full_length": len(x), "context_length": None, "sub_idxs": None}
    transformer = {**model_options["transformer_options"], "ad_params": known}
    options = {**model_options, "transformer_options": transformer}
    pair = [cond, None if cfg == 1 else uncond]
    predicted = comfy.samplers.calc_cond_batch(model, pair, x, sigma, options)
    return comfy.samplers.cfg_function(model, *predicted, cfg, x, sigma, options, cond, uncond)


def windows(executor, model, conds, x, sigma, options):
    """Around the evaluation of conditionings: a window after the other, where the clip is too long."""
    state, parts = options["transformer_options"]["ADGS"], []
    if not state.sliding:
        return executor(model, conds, x, sigma, options)
    length = state.context
    for start in range(0, len(x), length):
        frames = list(range(start, min(start + length, len(x))))
        options["transformer_options"]["ad_params"].update(sub_idxs=frames, context_length=len(frames))
        parts.append(executor(model, conds, x[frames], sigma[frames], options))
    return [torch.cat(part) for part in zip(*parts, strict=True)]


def use(model, motions=None, context=None, until=0.0):
    """A clone of MODEL that samples as this pack does."""
    model = model.clone()
    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, Evolved(motions, context, until))
    model.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, KEY, windows)
    if motions is not None:
        patcher = comfy.model_patcher.ModelPatcher(motions, model.load_device, model.offload_device)
        model.set_additional_models(KEY, [patcher])
        model.set_injections(KEY, [PatcherInjection(motions.inject, motions.eject)])
        model.set_model_forward_timestep_embed_patch((Motion, lambda layer, x, *_: layer(x)))
    return model
