"""A clip, an edit of it and where it was edited; a tiny CLIP vision model of random weights."""

import json

import comfy.clip_vision
import pytest
import torch
from comfyui_videop2p.nodes.compare import NODES
from comfyui_videop2p.tests.host.checkpoints import with_weights

FRAMES, SIZE = 3, 64
DEMO_WIDTH = 128  # of the demo CLIP
COMPARE, METRICS = NODES


@pytest.fixture(autouse=True)
def inference_mode():
    with torch.inference_mode():
        yield


@pytest.fixture
def source():
    return torch.rand(FRAMES, SIZE, SIZE, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def mask():
    mask = torch.zeros(1, SIZE, SIZE)
    mask[:, 16:40, 8:48] = 1
    return mask


@pytest.fixture
def edited(source, mask):
    """Other colours in the mask, which change from frame to frame, and nothing else."""
    return torch.lerp(
        source, source.roll(1, dims=-1) * torch.tensor([0.2, 0.6, 1.0])[:, None, None, None], mask[..., None]
    )


@pytest.fixture(scope="module")
def vision():
    return vision_model(DEMO_WIDTH)


def vision_model(width):
    with with_weights():
        model = comfy.clip_vision.ClipVisionModel(
            {
                "model_type": "clip_vision_model",
                "hidden_size": 32,
                "image_size": 32,
                "patch_size": 16,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "intermediate_size": 64,
                "hidden_act": "quick_gelu",
                "num_channels": 3,
                "projection_dim": width,
            }
        )
    random = torch.Generator().manual_seed(0)
    model.load_sd({name: torch.randn(t.shape, generator=random) / 4 for name, t in model.get_sd().items()})
    return model


def measure(source, edited, prompt="", **inputs):
    """(report, table)"""
    table, report = METRICS.execute(source, edited, prompt, **inputs).result
    return json.loads(report), table
