"""What is measured on: a Stable Diffusion 1.5 of random weights, a clip of noise, random prompts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from unittest.mock import patch

import comfy.memory_management
import comfy.model_management
import comfy.supported_models
import torch
from comfy.model_patcher import ModelPatcher

from ...videop2p_core.host.model.frame_attention import Inflation
from ...videop2p_core.host.model.inflate import in_passes, inflate

TOKENS = 77
LONG, PER_PASS = 64, 16  # frames
UNET = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 320,
    "num_res_blocks": [2, 2, 2, 2],
    "channel_mult": (1, 2, 4, 4),
    "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
    "transformer_depth_middle": 1,
    "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
    "context_dim": 768,
    "use_spatial_transformer": True,
    "use_linear_in_transformer": False,
    "legacy": False,
    "adm_in_channels": None,
}

Build = Callable[[], ModelPatcher]  # makes an image MODEL; new processes are sent it, so it must pickle


def sd15(dtype: torch.dtype = torch.float32) -> ModelPatcher:
    """A MODEL of SD1.5's size."""
    with patch.object(comfy.memory_management, "aimdo_enabled", False):  # layers have weights before they are given any
        model = comfy.supported_models.SD15({**UNET, "dtype": dtype}).get_model({}, "", "cpu")
    randomise(model.diffusion_model)
    device = comfy.model_management.get_torch_device()
    return ModelPatcher(model, load_device=device, offload_device=torch.device("cpu"))


@torch.no_grad()
def randomise(network: torch.nn.Module) -> None:
    """Weights under which every layer gives about what it is given, so that values stay finite."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in network.named_parameters():
        if parameter.ndim > 1:
            parameter.normal_(std=parameter[0].numel() ** -0.5, generator=generator)
        else:
            parameter.fill_(name.endswith("weight"))  # norms and biases change nothing


@dataclass(frozen=True)
class Work:
    """image, inflated: one MODEL before and after inflation; source, target, null: CONDITIONING;
    latent [frames, 4, size, size]."""

    image: ModelPatcher
    inflated: ModelPatcher
    source: list
    target: list
    null: list
    latent: torch.Tensor


def work_on(build: Build, frames: int, size: int, per_pass: int = 0) -> Work:
    """A clip of random latents; `per_pass`: frames at once, 0 for all."""
    image = build()
    generator = torch.Generator().manual_seed(0)
    width = image.model.model_config.unet_config["context_dim"]
    prompts = ([[torch.randn(1, TOKENS, width, generator=generator), {}]] for _ in range(3))
    latent = torch.randn(frames, 4, size, size, generator=generator)
    inflated = inflate(image, Inflation("first"))
    return Work(image, in_passes(inflated, per_pass) if per_pass else inflated, *prompts, latent)
