"""ControlNets on all branches of an edit, and masks that let it act for a part of the run."""

import pytest
import torch
from comfy_extras.nodes_custom_sampler import Noise_EmptyNoise, SamplerCustomAdvanced
from comfy_extras.nodes_differential_diffusion import DifferentialDiffusion
from comfyui_videop2p.tests.host.calls import SOURCE, TARGET, control, encode, run, sample
from comfyui_videop2p.tests.host.test_context_passes import APART, assert_same
from comfyui_videop2p.tests.host.test_wiring import control_net  # noqa: F401
from comfyui_videop2p.tests.peers.stock import sampled

import nodes as stock

FRAMES, PER_PASS = 5, 3


def drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.slow
def test_control_nets_on_all_branches_each_frame_with_its_picture_in_passes(demo, clip, control_net):  # noqa: F811
    hints, latent = drawn(FRAMES, 128, 128, 3).sigmoid(), {"samples": 2 * drawn(FRAMES, 4, 16, 16)}

    def controlled(*prompts):
        return stock.ControlNetApplyAdvanced().apply_controlnet(*prompts, control_net, hints, 0.5, 0.0, 1.0)

    edit, source, target, _ = control(clip, blend_source="rabbit", cross_window=0.8)
    source, null = controlled(source, encode(clip, ""))
    target, _ = controlled(target, null)
    found = []
    for settings in ({}, {"frames_per_pass": PER_PASS, "pass_overlap": 1}):
        model = run("InflateUNet", model=demo[0], **APART, **settings)[0]
        inversion = run(
            "DDIMInvert", model=model, source=source, null=null, latent=latent, steps=2, method="negative-prompt"
        )[0]
        (edited,), reconstruction, (mask,) = sample(
            model, inversion, edit, source=[source], target=[target], null=[null]
        )
        found.append((inversion.trajectory, reconstruction["samples"], edited["samples"], mask))
    for whole, parts in zip(*found, strict=True):
        assert_same(parts, whole)
    nothing = control(clip, cross_window=0.0, temporal_window=0.0)[0]
    (ours,), *_ = sample(model, inversion, nothing, source=[source], target=[target], null=[null])
    assert_same(ours["samples"], sampled(model, target, null, inversion))


# --- a mask of several greys ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def masked_edit(model, clip, inverting):
    """(MODEL, mask [1, height, width]) -> how far each latent place moved from the clip."""
    inversion = run("DDIMInvert", **inverting | {"steps": 6})[0]
    edit = control(clip, cross_window=0.2)[0]

    def run_with(model, mask):
        guider, sigmas, start = run("DecoupledGuider", model=model, inversion=inversion, edit=edit)
        (given,) = stock.SetLatentNoiseMask().set_mask(start, mask)
        (sampler,) = run("DecoupledSampler")
        edited, _ = SamplerCustomAdvanced.execute(Noise_EmptyNoise(), guider, sampler, sigmas, given).result
        return edited["samples"], (edited["samples"] - start["samples"]).abs()

    return run_with


def test_differential_diffusion_lets_darker_places_change_for_fewer_steps(model, masked_edit):
    gradual = DifferentialDiffusion.execute(model).result[0]
    halves = torch.zeros(1, 128, 128)
    halves[..., 64:] = 1
    assert torch.equal(masked_edit(gradual, halves)[0], masked_edit(model, halves)[0])

    stripes = torch.tensor([0.0, 0.4, 1.0, 1.0]).repeat_interleave(32).expand(1, 128, 128)
    _, moved = masked_edit(gradual, stripes)
    black, grey, white, _ = moved.mean((0, 1, 2)).unflatten(0, (4, 4)).mean(1)
    assert black < 1e-4 < 0.1 * white < grey < white


def test_differential_diffusion_with_a_stock_sampler_on_a_clip_is_that_on_images(demo, clip):
    """Each frame under its own mask."""
    gradual = DifferentialDiffusion.execute(demo[0]).result[0]
    apart = run("InflateUNet", model=gradual, frames_read="window", window=0, temporal_layers=False)[0]
    latent, masks = drawn(2, 4, 16, 16), torch.rand(2, 128, 128, generator=torch.Generator().manual_seed(0))
    target, null = encode(clip, TARGET), encode(clip, SOURCE)

    def drawn_again(model, frames):
        (given,) = stock.SetLatentNoiseMask().set_mask({"samples": latent[frames]}, masks[frames])
        return stock.common_ksampler(
            model, 0, 4, 2.0, "euler", "simple", target, null, given, denoise=0.8, disable_noise=True
        )[0]["samples"]

    clip_of_two = drawn_again(apart, slice(None))
    for frame in range(2):
        alone = drawn_again(gradual, slice(frame, frame + 1))
        torch.testing.assert_close(clip_of_two[frame : frame + 1], alone, atol=1e-3, rtol=1e-3)
