"""Noise that takes the place of the inverted one."""

import pytest
import torch
from comfyui_videop2p.videop2p_core.diffusion.fresh_noise import renewed, shared_noise


@pytest.fixture
def noise():
    return torch.randn(3, 4, 64, 64, generator=torch.Generator().manual_seed(5))


def test_one_draw_serves_all_frames_and_is_standard_normal(noise):
    drawn = shared_noise(noise, 3)
    assert drawn.shape == (1, 4, 64, 64) and torch.equal(drawn, shared_noise(noise, 3))
    assert abs(drawn.mean()) < 0.03 and abs(drawn.std() - 1) < 0.03
    assert not torch.allclose(drawn, shared_noise(noise, 4), atol=0.1)


def test_there_is_as_much_noise_as_before(noise):
    mixed = renewed(noise, 0.75)
    assert mixed.var().item() == pytest.approx(1, abs=0.05)
    assert (mixed * noise).mean().item() == pytest.approx(0.5, abs=0.05)


def test_none_and_all_of_it(noise):
    assert torch.equal(renewed(noise, 0.0), noise)
    assert torch.equal(renewed(noise, 1.0, 2)[1:], shared_noise(noise, 2).expand(2, -1, -1, -1))
