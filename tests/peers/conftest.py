import pytest
import torch
from comfyui_videop2p.tests.host.conftest import (  # noqa: F401
    clip,
    demo,
    inverting,
    latent,
    model,
    tuning,
)


@pytest.fixture(autouse=True)
def inference_mode():
    """As ComfyUI runs nodes."""
    with torch.inference_mode():
        yield
