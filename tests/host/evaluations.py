"""A few evaluations in one sampling call, layers that are counted, and calls of one half or of both."""

import pytest
import torch
from comfyui_videop2p.tests.host.calls import SOURCE, encode
from comfyui_videop2p.videop2p_core.host.comfy import denoiser


def evaluated(model, clip, latent, ask):
    """What `ask(denoise, x, sigmas)` returns, in one sampling call."""
    source, null = encode(clip, SOURCE), encode(clip, "")
    sigmas = denoiser.model_sigmas(model)[[900, 500, 100]]
    with torch.inference_mode():
        return denoiser.run(model, source, null, latent["samples"], sigmas, ask)


def watched(model, name):
    """(a clone, how often the layer `name` was evaluated so far)"""
    calls, model = [], model.clone()
    layer = model.get_model_object(f"diffusion_model.{name}")

    def forward(*args, **kwargs):
        calls.append(name)
        return type(layer).forward(layer, *args, **kwargs)

    model.add_object_patch(f"diffusion_model.{name}.forward", forward)
    return model, calls


@pytest.fixture
def memory(model, monkeypatch):
    """memory(True): both halves fit a call; memory(False): neither fits with the other."""
    kind, free = type(model), [True]
    monkeypatch.setattr(kind, "get_free_memory", lambda self, device: 2**40 if free[0] else 0)
    return lambda fits: free.__setitem__(0, fits)
