"""Small models of every supported family: the host's own classes and layouts, few channels, random weights.

What a family is known by is as in its checkpoints: depth and place of the attention blocks, heads, kind of projection,
what is predicted, what a CONDITIONING holds. Weights are scaled so that every layer gives about what it is given; that
goes for the layers too that training begins with at zero, which would hide all that comes before them.
"""

from dataclasses import dataclass

import comfy.model_base
import comfy.ops
import comfy.sd
import torch
from comfy import latent_formats, model_management, model_patcher, sd1_clip, sdxl_clip, supported_models
from comfy.cldm.cldm import ControlNet as ControlNetwork
from comfy.controlnet import ControlNet
from comfy.supported_models_base import ClipTarget
from comfy.text_encoders import sd2_clip
from comfyui_videop2p.tests.host.checkpoints import Noise, with_weights
from comfyui_videop2p.videop2p_core.host.demo_model import DEMO_FILE, UNET, VAE_PREFIX, read_demo_file, with_prefix

TEXT = {"num_hidden_layers": 3, "intermediate_size": 64}  # the least of which one is the last but one
COMMON = {
    "image_size": 32, "in_channels": 4, "out_channels": 4, "use_spatial_transformer": True, "legacy": False,
    "use_checkpoint": False, "use_temporal_attention": False, "adm_in_channels": None,
}  # fmt: skip
SD = COMMON | {
    "num_res_blocks": [2, 2, 2, 2], "channel_mult": [1, 2, 4, 4], "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
    "transformer_depth_middle": 1, "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
}  # fmt: skip
SD15 = SD | {"model_channels": 32, "context_dim": 768, "use_linear_in_transformer": False}
# A head has 64 channels.
SD2 = SD | {"model_channels": 64, "context_dim": 1024, "use_linear_in_transformer": True, "channel_mult": [1, 1, 2, 2]}
SDXL = COMMON | {
    "model_channels": 32, "num_res_blocks": [2, 2, 2], "channel_mult": [1, 2, 4], "context_dim": 2048,
    "transformer_depth": [0, 0, 2, 2, 10, 10], "transformer_depth_middle": 10,
    "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10], "use_linear_in_transformer": True,
    "num_classes": "sequential", "adm_in_channels": 2816,
}  # fmt: skip
SSD1B = SDXL | {
    "transformer_depth": [0, 0, 2, 2, 4, 4], "transformer_depth_middle": -1,
    "transformer_depth_output": [0, 0, 0, 1, 1, 2, 10, 4, 4],
}  # fmt: skip
KOALA = SDXL | {
    "num_res_blocks": [1, 1, 1], "transformer_depth": [0, 2, 5], "transformer_depth_middle": -2,
    "transformer_depth_output": [0, 0, 2, 2, 5, 5],
}  # fmt: skip
INPAINT = {"in_channels": 9}


class VPrediction(supported_models.SD20):
    """SD2.x as its 768 checkpoints are; the host tells them by the spread of a trained weight."""

    def model_type(self, state_dict, prefix=""):
        return comfy.model_base.ModelType.V_PREDICTION


class SixteenChannels(supported_models.SD15):
    """A UNet for the latents of a newer VAE, as some fine-tunes have."""

    latent_format = latent_formats.SD3

    def inpaint_model(self):
        return False


@dataclass(frozen=True)
class Family:
    """unet: the host's class and its configuration; clip: tokenizer and text encoder."""

    unet: type
    config: dict
    clip: tuple = (sd1_clip.SD1Tokenizer, sd1_clip.SD1ClipModel)


CLIP_H = sd2_clip.SD2Tokenizer, sd2_clip.SD2ClipModel
CLIP_L_AND_G = sdxl_clip.SDXLTokenizer, sdxl_clip.SDXLClipModel
FAMILIES = {
    "sd15": Family(supported_models.SD15, SD15),
    "sd2": Family(VPrediction, SD2, CLIP_H),
    "sdxl": Family(supported_models.SDXL, SDXL, CLIP_L_AND_G),
    "sd15_inpaint": Family(supported_models.SD15, SD15 | INPAINT),
    "sd2_inpaint": Family(supported_models.SD20, SD2 | INPAINT, CLIP_H),
    "sdxl_inpaint": Family(supported_models.SDXL, SDXL | INPAINT, CLIP_L_AND_G),
    "ssd1b": Family(supported_models.SSD1B, SSD1B, CLIP_L_AND_G),
    "koala": Family(supported_models.KOALA_700M, KOALA, CLIP_L_AND_G),
    "sixteen_channels": Family(SixteenChannels, SD15 | {"in_channels": 16, "out_channels": 16}),
}


def tiny(family: str):
    """MODEL and CLIP of a family, in float32 on the host's devices."""
    return tiny_model(family), tiny_clip(family)


def tiny_model(family: str, disable_dynamic=False) -> model_patcher.ModelPatcher:
    kind = FAMILIES[family]
    config = kind.unet(kind.config)
    config.set_inference_dtype(torch.float32, None)
    with with_weights():
        model = config.get_model({}, "", model_management.unet_offload_device())
    fill(model)
    patcher_of = model_patcher.ModelPatcher if disable_dynamic else model_patcher.CoreModelPatcher
    patcher = patcher_of(model, model_management.get_torch_device(), model_management.unet_offload_device())
    patcher.cached_patcher_init = (tiny_model, (family,))
    return patcher


def tiny_clip(family: str) -> comfy.sd.CLIP:
    """With CLIP's own tokenizer and widths, so that a CONDITIONING is what the family's UNets read."""
    configs = {f"clip_{letter}_model_config": TEXT for letter in "lhg"}
    with with_weights():
        clip = comfy.sd.CLIP(ClipTarget(*FAMILIES[family].clip), model_options=configs)
    fill(clip.cond_stage_model)
    return clip


def tiny_vae() -> comfy.sd.VAE:
    """The demo model's: 4 channels, an eighth of the size."""
    tensors, metadata = read_demo_file(DEMO_FILE)
    return comfy.sd.VAE(sd=with_prefix(tensors, VAE_PREFIX), metadata=metadata)


def demo_control_net() -> ControlNet:
    """A ControlNet of the demo UNet's architecture, of random weights, as Load ControlNet gives one."""
    with torch.inference_mode():
        settings = {key: value for key, value in UNET.items() if key != "out_channels"}
        with with_weights():
            network = ControlNetwork(**settings, hint_channels=3, operations=comfy.ops.manual_cast)
        network.load_state_dict(Noise(values=2**22).weights(network))
        return ControlNet(network, load_device=model_management.get_torch_device())


@torch.no_grad()
def fill(module: torch.nn.Module, seed: int = 0) -> None:
    """Normal weights of standard deviation 1 / sqrt(inputs); norms and biases change nothing."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        if parameter.ndim > 1:
            parameter.normal_(std=parameter[0].numel() ** -0.5, generator=generator)
        else:
            parameter.fill_(float(name.endswith("weight")))
