"""Guidance against its formulas, element by element."""

import pytest
import torch
from comfyui_videop2p.tests.core.toy_network import CHANNELS, FRAMES, SIDE
from comfyui_videop2p.videop2p_core.diffusion.guidance import classifier_free_guidance, proximal


def test_classifier_free_guidance_is_its_formula():
    uncond, cond = torch.randn(2, FRAMES, CHANNELS, SIDE, SIDE).unbind()
    for ours, u, c in zip(
        *(x.flatten().tolist() for x in (classifier_free_guidance(uncond, cond, 7.5), uncond, cond)), strict=True
    ):
        assert ours == pytest.approx(7.5 * c - 6.5 * u, abs=1e-4)


@pytest.mark.parametrize("soft", [False, True])
def test_proximal_is_its_formula_element_by_element(soft):
    guidance = torch.randn(FRAMES, CHANNELS, SIDE, SIDE)
    found = proximal(guidance, quantile=0.7, soft=soft)
    for frame, result in zip(guidance, found, strict=True):
        threshold = sorted(frame.abs().flatten().tolist())
        position = 0.7 * (len(threshold) - 1)
        below = int(position)
        q = threshold[below] + (position - below) * (threshold[below + 1] - threshold[below])
        for d, ours in zip(frame.flatten().tolist(), result.flatten().tolist(), strict=True):
            if soft:
                naive = d - max(-q, min(q, d))
            else:
                naive = d if abs(d) > q else 0.0
            assert ours == pytest.approx(naive, abs=1e-6)


def test_proximal_leaves_three_tenths_of_each_frame_whatever_its_scale():
    guidance = torch.randn(2, 10, 10, 10) * torch.tensor([1.0, 100.0]).reshape(2, 1, 1, 1)
    kept = (proximal(guidance) != 0).float().mean(dim=(1, 2, 3))
    torch.testing.assert_close(kept, torch.tensor([0.3, 0.3]))
    torch.testing.assert_close(proximal(-2 * guidance), -2 * proximal(guidance))


def test_a_quantile_outside_its_range_is_named():
    with pytest.raises(ValueError, match="quantile is 1.2"):
        proximal(torch.randn(1, 2), quantile=1.2)
