"""A small nonlinear denoiser, with a clip, noise levels and texts for it."""

import pytest
import torch
from comfyui_videop2p.tests.core.sd_schedule import alphas_cumprod, sigmas_of
from comfyui_videop2p.videop2p_core.diffusion import schedule
from torch import nn

FRAMES, CHANNELS, SIDE, TOKENS, WIDTH = 3, 4, 6, 7, 5


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture
def sigmas():
    return schedule.ddim_sigmas(sigmas_of(alphas_cumprod()), 10)


@pytest.fixture
def clip():
    return torch.randn(FRAMES, CHANNELS, SIDE, SIDE, dtype=torch.float64)


class ToyNetwork(nn.Module):
    """A nonlinear denoiser that listens to its text, frame by frame."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Parameter(torch.randn(CHANNELS, CHANNELS, dtype=torch.float64) * 0.4)
        self.read = nn.Parameter(torch.randn(WIDTH, CHANNELS, dtype=torch.float64))
        self.calls = []

    def forward(self, x, sigma, text):
        self.calls.append(text)
        z = x / (1 + sigma**2).sqrt()
        word = (text.mean(dim=1) @ self.read)[:, :, None, None]  # [1 or frames, channels, 1, 1]
        noise = torch.tanh(torch.einsum("fchw,cd->fdhw", z, self.mix) + word)
        return x - sigma * noise


def texts(*shape):
    return torch.randn(*shape, TOKENS, WIDTH, dtype=torch.float64)
