"""Checkpoints of the official code: put into files, loaded for a model, compared."""

from pathlib import Path

import pytest
import torch
from comfyui_videop2p.tests.host.calls import run
from comfyui_videop2p.tests.parity import g1
from comfyui_videop2p.tests.parity.model import OFFICIAL, image_model, load_tensors, predict_noise
from comfyui_videop2p.videop2p_core.host.model.inflate import inflate
from safetensors.torch import save_file

REFERENCE = Path(__file__).parents[1] / "reference"
FILE = "diffusion_pytorch_model.safetensors"
BLOCK = "mid_block.attentions.0.transformer_blocks.0"
QUERY = "middle_block.1.transformer_blocks.0.attn1.to_q.weight"
CHANGE = 0.01


@pytest.fixture(scope="module")
def official():
    """The tensors of a checkpoint that the official code made, by its names."""
    return {name: tensor.float() for name, tensor in load_tensors(REFERENCE, "weights").items()}


@pytest.fixture(scope="module")
def base():
    """The MODEL that it was made on."""
    with torch.inference_mode():
        return inflate(image_model(REFERENCE), OFFICIAL)


@pytest.fixture(scope="module")
def trained(official):
    """Another: all queries tuned."""
    generator = torch.Generator().manual_seed(0)
    queries = [name for name in official if name.endswith(("attn1.to_q.weight", "attn2.to_q.weight"))]
    return official | {
        name: official[name] + CHANGE * torch.randn(official[name].shape, generator=generator) for name in queries
    }


@pytest.fixture
def tunings(folders):
    return folders / "tunings"


def put(tensors, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    torch.save(tensors, path) if path.suffix == ".bin" else save_file(tensors, path, {"format": "pt"})


def load(model, name):
    return run("LoadTuning", model=model, tuning_name=name)


def predicted(model, case="a"):
    tensors = load_tensors(REFERENCE, g1.NAME)
    with torch.inference_mode():
        return predict_noise(model, *(tensors[f"{case}.{part}"] for part in ("sample", "timestep", "context")))


def refused(sentence):
    return pytest.raises(ValueError, match=sentence)


def same_tuning(found, expected, **tolerance):
    for part in ("deltas", "temporal"):
        one, other = getattr(found, part), getattr(expected, part)
        assert one.keys() == other.keys()
        for name in one:
            torch.testing.assert_close(one[name], other[name], **tolerance)
