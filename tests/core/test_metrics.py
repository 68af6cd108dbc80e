import pytest
import torch
from comfyui_videop2p.videop2p_core.metrics import HIGHEST, psnr


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
