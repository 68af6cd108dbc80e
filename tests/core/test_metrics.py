import pytest
import torch
from comfyui_videop2p.videop2p_core.images.metrics import (
    HIGHEST,
    clip_score,
    frame_consistency,
    object_semantic_variance,
    psnr,
    ssim,
)


def test_psnr_is_that_of_the_formula():
    a = torch.full((2, 4, 4, 3), 0.5)
    assert psnr(a, a + 0.1) == pytest.approx(20.0, abs=1e-4)
    assert psnr(a, a) == HIGHEST


def test_a_mask_leaves_the_rest_out():
    a, b, mask = torch.zeros(1, 2, 2, 3), torch.zeros(1, 2, 2, 3), torch.zeros(1, 2, 2)
    b[0, 0, 0] = 0.1
    mask[0, 0, 0] = 1
    assert psnr(a, b, mask) == pytest.approx(20.0, abs=1e-4)
    assert psnr(a, b, 1 - mask) == HIGHEST
    with pytest.raises(ValueError, match="the mask is empty"):
        psnr(a, b, 0 * mask)


def test_ssim_of_two_flat_greys_is_that_of_their_means():
    a, b = torch.full((1, 16, 16, 3), 0.2), torch.full((1, 16, 16, 3), 0.8)
    luminance = (2 * 0.2 * 0.8 + 0.01**2) / (0.2**2 + 0.8**2 + 0.01**2)  # without contrast the other factor is 1
    assert ssim(a, b) == pytest.approx(luminance, abs=1e-3)
    assert ssim(a, a) == pytest.approx(1, abs=1e-4)


def test_ssim_sees_structure_where_the_mask_is():
    a = torch.rand(2, 16, 32, 3, generator=torch.Generator().manual_seed(0))
    b, mask = a.clone(), torch.zeros(2, 16, 32)
    b[:, :, :16] = 1 - a[:, :, :16]
    mask[:, :, 22:] = 1  # further from the change than the window reaches
    assert ssim(a, b, mask) == pytest.approx(1, abs=1e-5)
    assert ssim(a, b, 1 - mask) < 0 < ssim(a, b) < 0.6
    with pytest.raises(ValueError, match="the mask is empty"):
        ssim(a, b, 0 * mask)
    with pytest.raises(ValueError, match="it takes 6 pixels a side"):
        ssim(a[:, :5], b[:, :5])


def test_consistency_is_the_mean_cosine_of_neighbours():
    features = torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, 3.0]])
    assert frame_consistency(features) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="fewer than two frames"):
        frame_consistency(features[:1])


def test_an_objects_variance_is_summed_over_channels():
    features = torch.tensor([[0.0, 1.0, 5.0], [2.0, 3.0, 5.0]])
    assert object_semantic_variance(features) == pytest.approx(1 + 1 + 0)
    with pytest.raises(ValueError, match="fewer than two frames"):
        object_semantic_variance(features[:1])


def test_a_score_is_a_hundred_cosines():
    features, text = torch.tensor([[3.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.5, 0.0]])
    assert clip_score(features, text) == pytest.approx(50)
    assert clip_score(features[:1], -text) == pytest.approx(-100)
