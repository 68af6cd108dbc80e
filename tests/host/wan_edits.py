"""Inversions and edits on tiny Wan models of every kind."""

from types import SimpleNamespace

import pytest
import torch
from comfyui_videop2p.tests.host import wan
from comfyui_videop2p.tests.host.calls import encode, run, sample
from node_helpers import conditioning_set_values

KINDS = ["t2v", "i2v", "2.2 i2v", "2.2 5b", "vace"]
RED, BLUE = "a red ball on sand", "a blue ball on sand"
STAR, BIG = "a red star on sand", "a very big red ball on sand"
FRAMES = 3


@pytest.fixture(scope="module")
def text():
    return wan.tiny_text()


@pytest.fixture(scope="module")
def models():
    return {kind: wan.tiny_wan(kind) for kind in KINDS}


def told(kind, text, prompt):
    """CONDITIONING; an image-to-video model is shown a picture as well, VACE a video."""
    if kind == "i2v":
        seen = SimpleNamespace(penultimate_hidden_states=drawn(1, 257, 1280))
        return conditioning_set_values(encode(text, prompt), {"clip_vision_output": seen})
    if kind == "vace":
        return conditioning_set_values(encode(text, prompt), video())
    return encode(text, prompt)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def video(frames=FRAMES, controls=1):
    """What WanVaceToVideo puts into a conditioning."""
    return {
        "vace_frames": [drawn(1, 32, frames, 6, 4, seed=i) for i in range(controls)],
        "vace_mask": [torch.ones(1, 64, frames, 6, 4)] * controls,
        "vace_strength": [1.0] * controls,
    }


def latent_for(model, frames=FRAMES, size=(6, 4), seed=0):
    channels = model.model.latent_format.latent_channels
    samples = torch.randn(1, channels, frames, *size, generator=torch.Generator().manual_seed(seed))
    return {"samples": samples}


def inverted(model, text, latent=None, steps=2, source=RED, kind="", method="direct", **settings):
    return run(
        "DDIMInvert", model=model, source=told(kind, text, source), null=told(kind, text, ""),
        latent=latent or latent_for(model), steps=steps, method=method, **settings,
    )  # fmt: skip


def controlled(text, target, source=RED, **settings):
    settings = {"cross_window": 0.0, "temporal_window": 0.0} | settings
    return run("AttentionController", clip=text, source_prompt=source, target_prompt=target, **settings)[0]


def edited(model, inversion, *edits, **inputs):
    (latent,), _, (mask,) = sample(model, inversion, *edits, **inputs)
    return latent["samples"], mask


def at_scale(model, samples):
    """z of a LATENT's samples."""
    return model.model.process_latent_in(samples)


class PlainVAE:
    """As the host's for Wan, with no weights: what it decodes is the latent's first channel."""

    latent_channels = 16

    def spacial_compression_encode(self):
        return 8

    def vae_encode_crop_pixels(self, pixels):
        return pixels

    def decode(self, latent):  # [1, channels, frames, height, width] -> [1, pictures, height, width, 3]
        value = latent[:, 0].repeat_interleave(8, -1).repeat_interleave(8, -2)
        value = torch.cat([value[:, :1], value[:, 1:].repeat_interleave(4, 1)], dim=1)
        return value[..., None].expand(*value.shape, 3).clamp(0, 1)
