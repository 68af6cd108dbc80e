"""Noise that is drawn anew within a place."""

import pytest
import torch
from comfyui_videop2p.videop2p_core.diffusion.fresh_noise import renewed

FRAMES, SHARE = 3, 0.75


@pytest.fixture
def noise():
    return torch.randn(FRAMES, 4, 64, 64, generator=torch.Generator().manual_seed(5))


@pytest.fixture
def place():
    place = torch.zeros(FRAMES, 64, 64)
    place[:, 8:56, 8:56] = 1
    return place


def test_outside_the_place_nothing_changes(noise, place):
    assert torch.equal(renewed(noise, place, SHARE)[:, :, :8], noise[:, :, :8])
    assert torch.equal(renewed(noise, place, 0.0), noise)


def test_there_is_as_much_noise_as_before(noise, place):
    within = renewed(noise, place, SHARE)[:, :, 8:56, 8:56]
    assert within.var().item() == pytest.approx(1, abs=0.05)
    old = noise[:, :, 8:56, 8:56]
    assert (within * old).mean().item() == pytest.approx((1 - SHARE) ** 0.5, abs=0.05)


def test_it_is_drawn_once_for_all_frames(noise, place):
    within = renewed(noise, place, 1.0)[:, :, 8:56, 8:56]
    assert torch.equal(within[0], within[1]) and torch.equal(within[0], within[2])


def test_a_seed_draws_its_own(noise, place):
    assert torch.equal(renewed(noise, place, SHARE, 1), renewed(noise, place, SHARE, 1))
    assert not torch.equal(renewed(noise, place, SHARE, 1), renewed(noise, place, SHARE, 2))
