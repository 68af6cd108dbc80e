"""What the VAE makes of training pictures: the judge is shown them too, as every edit has been through the VAE."""

from __future__ import annotations

import numpy as np
import torch
from einops import rearrange
from safetensors.torch import load_file

from . import data, runs
from .train_vae import build_taesd


@torch.inference_mode()
def round_trips(first: int) -> np.ndarray:
    """Of PART training seeds from `first` on, decoded once from the latents that the UNet learns from: [PART, height,
    width, 3] uint8."""
    file = runs.part("trips", first)
    if not file.exists():
        vae = build_taesd()
        vae.load_state_dict(load_file(runs.VAE))
        latents = torch.from_numpy(np.load(runs.part("latents", first))[:, 0])
        pictures = torch.cat([vae.taesd_decoder(some).clamp(0, 1) for some in latents.split(50)])
        data.save(file, (rearrange(pictures, "n c h w -> n h w c") * 255).round().to(torch.uint8).numpy())
    return np.load(file, mmap_mode="r")
