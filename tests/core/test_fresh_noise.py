"""Noise that takes the place of the inverted one, and moves."""

import pytest
import torch
from comfyui_videop2p.videop2p_core.diffusion.fresh_noise import FINE, centres, moving_noise, renewed, shared_noise

FRAMES, SIDE = 3, 16


@pytest.fixture
def clip():
    return torch.zeros(FRAMES, 4, SIDE, SIDE)


def place_at(*corners, side=4):
    """A square place in each frame, on a grid as fine as the noise that is carried along."""
    place = torch.zeros(len(corners), FINE * SIDE, FINE * SIDE)
    for frame, (row, column) in zip(place, corners, strict=True):
        frame[row : row + side, column : column + side] = 1
    return place


def test_one_draw_serves_all_frames_and_is_standard_normal():
    clip = torch.zeros(8, 4, 64, 64)
    noise = shared_noise(clip, 3)
    assert noise.shape == (1, 4, 64, 64) and torch.equal(noise, shared_noise(clip, 3))
    assert abs(noise.mean()) < 0.03 and abs(noise.std() - 1) < 0.03
    assert not torch.allclose(noise, shared_noise(clip, 4), atol=0.1)


def test_noise_goes_where_the_place_goes(clip):
    steps = [(40, 40), (40 + 2 * FINE, 40), (40, 40 - 3 * FINE)]
    noise = moving_noise(clip, place_at(*steps))
    torch.testing.assert_close(noise[1], noise[0].roll(2, dims=1))
    torch.testing.assert_close(noise[2], noise[0].roll(-3, dims=2))
    torch.testing.assert_close(noise[:1], shared_noise(clip))


def test_it_moves_by_less_than_a_place_of_the_latent_and_stays_normal():
    clip = torch.zeros(2, 16, 64, 64)
    place = torch.zeros(2, 512, 512)
    place[0, 100:150, 100:150] = place[1, 104:154, 100:150] = 1  # half a place further down
    first, second = moving_noise(clip, place)
    assert abs(second.std() - 1) < 0.02
    correlation = (first * second).mean()
    assert 0.4 < correlation < 0.6  # half of what makes up each number is the same


def test_a_place_is_where_most_of_it_is():
    torch.testing.assert_close(
        centres(place_at((40, 60))), torch.tensor([[42 / 128, 62 / 128]]).double(), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(centres(torch.zeros(1, 8, 6)), torch.full((1, 2), 0.5).double())


def test_as_much_noise_as_before():
    noise, fresh = torch.randn(2, 2, 4, 64, 64)
    assert torch.equal(renewed(noise, fresh, 0.0), noise) and torch.equal(renewed(noise, fresh, 1.0), fresh)
    assert abs(renewed(noise, fresh, 0.5).std() - 1) < 0.02
