"""An inversion that costs no forward: one noise for all frames, the source predicted beside its edits."""

from dataclasses import replace

import pytest
import torch
from comfy.patcher_extension import WrappersMP
from comfy_extras.nodes_model_advanced import ModelSamplingDiscrete
from comfyui_videop2p.tests.host.calls import FRAMES, SOURCE, STEPS, control, run, sample
from comfyui_videop2p.tools.bench.meter import Meter


@pytest.fixture
def metered(model):
    counted, meter = model.clone(), Meter(FRAMES)
    counted.add_wrapper(WrappersMP.DIFFUSION_MODEL, meter)
    return counted, meter


def virtual(inverting, **settings):
    return run("DDIMInvert", **inverting | {"method": "virtual"} | settings)


def test_it_runs_the_model_in_the_edit_alone(inverting, metered, clip):
    model, meter = metered
    inversion = virtual(inverting, model=model)[0]
    assert meter.forwards() == 0
    sample(model, inversion, control(clip, guidance="5 @ 0, 1 @ 1")[0])
    assert meter.forwards() == 3 * STEPS - 1  # guidance 1 in the last step leaves its null half out


def test_the_same_prompt_gives_the_source(inverting, model, clip, latent):
    inversion = virtual(inverting)[0]
    edits = [control(clip, prompt, guidance="1")[0] for prompt in (SOURCE, "a blue rabbit on the beach")]
    (same, other), source, _ = sample(model, inversion, *edits)
    torch.testing.assert_close(source["samples"], latent["samples"], atol=1e-4, rtol=0)
    assert torch.equal(same["samples"], source["samples"])
    assert not torch.allclose(other["samples"], source["samples"], atol=1e-2)


def test_all_frames_lie_under_one_noise_that_the_seed_draws(inverting, model, clip, latent):
    first, again, another = (virtual(inverting, noise_seed=seed)[0].trajectory for seed in (7, 7, 8))
    assert torch.equal(first, again)
    still = {"samples": latent["samples"][:1].expand(FRAMES, -1, -1, -1)}
    noise = virtual(inverting, latent=still)[0].noise
    assert torch.equal(noise[0], noise[1]) and not torch.allclose(first[-1], another[-1], atol=0.1)


def test_a_check_says_what_the_vae_alone_does(inverting, demo):
    images = torch.rand(FRAMES, 128, 128, 3)
    _, _, _, report, psnr, *_ = virtual(inverting, vae=demo[2], images=images)
    assert "reconstruction" in report and "replay" not in report and f"{psnr:.1f} dB of {psnr:.1f}" in report


def test_rounds_have_nothing_to_repeat(inverting):
    with pytest.raises(ValueError, match="2 rounds were asked for, but virtual has no inversion to repeat: give 0"):
        virtual(inverting, rounds=2)


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_fresh_noise_changes_nothing_that_is_drawn_already(inverting, model, clip, one_thread, share):
    """Two equal draws would add up to more noise than there was."""
    inversion = virtual(inverting)[0]
    plain, fresh = (sample(model, inversion, control(clip, fresh_noise=one)[0])[0][0] for one in (0.0, share))
    assert torch.equal(plain["samples"], fresh["samples"])


def test_a_kept_source_is_no_hindrance_to_fresh_noise(inverting, model, clip, one_thread):
    """Which is of other noise, and reaches less far than this edit looks."""
    kept = virtual(inverting, method="direct-exact", keep_source="in memory")[0]
    change = control(clip, fresh_noise=1.0, cross_window=1.0, temporal_window=1.0)[0]
    edited = [sample(model, path, change)[0][0]["samples"] for path in (kept, replace(kept, records=None))]
    assert torch.equal(*edited)
    after_virtual = sample(model, virtual(inverting)[0], change)[0][0]["samples"]
    torch.testing.assert_close(edited[0], after_virtual, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "prompts", [("a blue rabbit on the beach",), ("a blue rabbit on the beach", "a red star on the beach")]
)
@pytest.mark.parametrize("where", ["in memory", "on disk"])
@pytest.mark.parametrize("method", ["virtual", "direct-exact"])
def test_an_edit_of_a_kept_source_is_the_same_without_running_it_again(
    inverting, metered, clip, method, where, prompts
):
    model, meter = metered
    edits = [
        control(clip, prompt, structure_window=1.0, blend_source="rabbit", blend_start=1.0)[0] for prompt in prompts
    ]
    edited = sample(model, run("DDIMInvert", **inverting | {"model": model, "method": method})[0], *edits)[0]
    meter.forwards()
    windows = {"kept_cross_window": 1.0, "kept_temporal_window": 1.0, "kept_structure_window": 1.0}
    kept = run("DDIMInvert", **inverting | {"model": model, "method": method, "keep_source": where} | windows)[0]
    assert meter.forwards() == STEPS
    again = sample(model, kept, *edits)[0]
    assert meter.forwards() == 2 * STEPS * len(prompts)
    for one, other in zip(edited, again, strict=True):
        torch.testing.assert_close(one["samples"], other["samples"], atol=0.02, rtol=0)


def test_a_structure_that_is_kept_in_part_is_the_same_too(inverting, metered, clip):
    model, meter = metered
    edits = [control(clip, structure_window=1.0)[0]]
    edited = sample(model, virtual(inverting, model=model)[0], *edits)[0]
    kept = virtual(inverting, model=model, keep_source="in memory", kept_structure_window=0.5)[0]
    meter.forwards()
    again = sample(model, kept, *edits)[0]
    assert meter.forwards() == 2 * STEPS + STEPS - STEPS // 2
    torch.testing.assert_close(edited[0]["samples"], again[0]["samples"], atol=0.02, rtol=0)


def test_a_distilled_model_is_not_guided(inverting, metered, clip):
    """LCM, as the host's ModelSamplingDiscrete sets it: guidance is in its weights."""
    model, meter = metered
    (distilled,) = ModelSamplingDiscrete().patch(model, "lcm", zsnr=False)
    inversion = virtual(inverting, model=distilled)[0]
    for guidance, forwards in (("", 2), ("1.5", 3)):
        sample(distilled, inversion, control(clip, guidance=guidance)[0])
        assert meter.forwards() == forwards * STEPS
