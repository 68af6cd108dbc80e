"""A ComfyUI MODEL from a reference directory: unet_config.json, weights.safetensors, diffusers_to_ldm.json."""

import json
from functools import lru_cache
from pathlib import Path

import comfy.model_management
import comfy.model_patcher
import comfy.supported_models
import torch
from comfy.ldm.modules.attention import attention_pytorch
from comfy.patcher_extension import WrappersMP
from einops import rearrange, repeat
from safetensors.torch import load_file

from ...videop2p_core.host.model.frame_attention import Inflation
from ...videop2p_core.host.model.inflate import inflate
from ...videop2p_core.host.model.temporal_layers import temporal_patcher

OFFICIAL = Inflation(frames_read="first", temporal_layers=True, norm_over_frames=True)


class Width:
    """An entry of channel_mult that yields its own width: the host multiplies, the reference names widths."""

    def __init__(self, channels):
        self.channels = channels

    def __mul__(self, _):
        return self.channels

    __rmul__ = __mul__


def load_json(directory, name):
    return json.loads((Path(directory) / f"{name}.json").read_text())


def load_tensors(directory, name):
    return load_file(Path(directory) / f"{name}.safetensors")


@lru_cache(maxsize=2)
def weights(directory):
    """({LDM name: tensor} of the image UNet, the same of the temporal layers), in float32."""
    names = load_json(directory, "diffusers_to_ldm")
    tensors = {names[name]: tensor.float() for name, tensor in load_tensors(directory, "weights").items()}
    temporal = {name for name in tensors if "attn_temp" in name or "norm_temp" in name}
    image = {name: tensor for name, tensor in tensors.items() if name not in temporal}
    return image, {name: tensors[name] for name in temporal}


def unet_config(directory, dtype=torch.float32):
    """The host's constructor values for the reference's: a UNet of the SD-1.5 layout of any width."""
    config = load_json(directory, "unet_config")
    if config["norm_num_groups"] != 32:
        raise ValueError(f"the host's UNet has 32 groups a norm, the reference {config['norm_num_groups']}")
    widths, layers = config["block_out_channels"], config["layers_per_block"]
    attended = [1] * (len(widths) - 1) + [0]  # every level but the coarsest
    return {
        "image_size": config["sample_size"],
        "in_channels": config["in_channels"],
        "out_channels": config["out_channels"],
        "model_channels": widths[0],
        "channel_mult": tuple(map(Width, widths)),
        "num_res_blocks": [layers] * len(widths),
        "transformer_depth": [depth for depth in attended for _ in range(layers)],
        "transformer_depth_output": [depth for depth in attended for _ in range(layers + 1)],
        "transformer_depth_middle": 1,
        "context_dim": config["cross_attention_dim"],
        "use_spatial_transformer": True,
        "use_linear_in_transformer": False,
        "legacy": False,
        "adm_in_channels": None,
        "use_temporal_attention": False,
        "dtype": dtype,
    }


def image_model(directory, dtype=torch.float32):
    """MODEL without any inflation. float64 tells a law from rounding."""
    heads = load_json(directory, "unet_config")["attention_head_dim"]

    class Reference(comfy.supported_models.SD15):
        unet_extra_config = {"num_heads": heads, "num_head_channels": -1}

    device = comfy.model_management.get_torch_device()
    model = Reference(unet_config(directory, dtype)).get_model({}, "", "cpu")
    # Layers that wait for their weights take them as they come, in whatever precision.
    model.diffusion_model.load_state_dict({name: value.to(dtype) for name, value in weights(directory)[0].items()})
    patcher = comfy.model_patcher.ModelPatcher(model, load_device=device, offload_device=torch.device("cpu"))
    patcher.cached_patcher_init = (_reload, (directory, dtype))
    # The host's choice for CPUs takes five times as long at 64x64.
    patcher.model_options["transformer_options"]["optimized_attention_override"] = _fused
    return patcher


def _fused(_, *args, **kwargs):
    return attention_pytorch(*args, **kwargs)


def _reload(directory, dtype, disable_dynamic=False):
    return image_model(directory, dtype)


def inflated_model(directory, inflation=OFFICIAL, dtype=torch.float32):
    """MODEL as the reference ran it: first frame, norm over frames, the reference's temporal weights."""
    model = image_model(directory, dtype)
    temporal = temporal_patcher(model, weights(directory)[1]) if inflation.temporal_layers else None
    return inflate(model, inflation, temporal)


def frames_of(video):
    """The reference's latents, [batch, channels, frames, h, w], as the host's: [batch * frames, channels, h, w]."""
    return rearrange(video, "b c f h w -> (b f) c h w")


def video_of(frames, batch=1):
    return rearrange(frames, "(b f) c h w -> b c f h w", b=batch)


def predict_noise(model, video, timesteps, context):
    """The reference's unet(video, timesteps, context), through a MODEL's own apply_model.

    video [batch, channels, frames, h, w], timesteps [1 or batch], context [batch, tokens, channels] -> like video
    """
    comfy.model_management.load_models_gpu([model, *model.get_nested_additional_models()])
    batch, _, frames, _, _ = video.shape
    device = model.load_device
    sigma = model.get_model_object("model_sampling").sigmas[timesteps].to(device)
    sigma = repeat(sigma.expand(batch), "b -> (b f)", f=frames)
    options = {
        **model.model_options["transformer_options"],
        "wrappers": {WrappersMP.DIFFUSION_MODEL: dict(model.wrappers.get(WrappersMP.DIFFUSION_MODEL, {}))},
        "cond_or_uncond": [0] * batch,
    }
    column = sigma[:, None, None, None]
    x = frames_of(video).to(device) * (1 + column**2).sqrt()
    denoised = model.model.apply_model(
        x, sigma, c_crossattn=repeat(context, "b t c -> (b f) t c", f=frames).to(device), transformer_options=options
    )
    return video_of((x - denoised) / column, batch).cpu()
