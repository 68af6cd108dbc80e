"""ComfyUI's folders beside others that are nobody's to touch; small values to save, a model to load for."""

import os
from pathlib import Path

import folder_paths
import pytest
import torch
from comfyui_videop2p.tests.parity.model import OFFICIAL, image_model
from comfyui_videop2p.videop2p_core.diffusion import inversion as inversions
from comfyui_videop2p.videop2p_core.diffusion.inversion import Inversion
from comfyui_videop2p.videop2p_core.diffusion.tuning import Tuning
from comfyui_videop2p.videop2p_core.host.model.inflate import inflate
from comfyui_videop2p.videop2p_core.host.storage import files

REFERENCE = Path(__file__).parents[1] / "reference"
KINDS = (files.INVERSIONS, files.TUNINGS)
TUNING = Tuning({"a.attn1.to_q.weight": torch.ones(1)}, torch.zeros(1), torch.zeros(1))
INVERSION = Inversion(
    method=inversions.DIRECT, trajectory=torch.randn(3, 2, 4, 2, 2), sigmas=torch.tensor([3.0, 1.0, 0.1]),
    source=torch.randn(1, 3, 2), initial_null=torch.randn(1, 3, 2),
)  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with the folders that are asked for, and others beside them that are nobody's to touch."""
    world = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        for kind in (*KINDS, files.LORAS):
            name = kind if kind == files.LORAS else f"videop2p_{kind}"
            paths = [str(world / "models" / kind)], {".safetensors"} if kind == files.LORAS else set()
            patch.setitem(folder_paths.folder_names_and_paths, name, paths)
        patch.setattr(os, "fsync", lambda handle: None)  # slow, and not what is looked at here
        yield world


@pytest.fixture(scope="module")
def base():
    with torch.inference_mode():
        model = inflate(image_model(REFERENCE), OFFICIAL)
    before = {name: value.clone() for name, value in model.model.state_dict().items()}
    yield model
    assert all(torch.equal(before[name], value) for name, value in model.model.state_dict().items())


def of(model):
    return lambda name: files.load_tuning(name, model)
