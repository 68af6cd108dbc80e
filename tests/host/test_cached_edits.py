"""Edits from cached features: near the exact ones, and wherever an edit goes."""

from itertools import count

import pytest
import torch
from comfy.patcher_extension import WrappersMP
from comfyui_videop2p.demo import videos
from comfyui_videop2p.tests.host.calls import SOURCE, control, encode, run, sample
from comfyui_videop2p.tests.host.evaluations import memory, watched
from comfyui_videop2p.videop2p_core.diffusion import schedule
from comfyui_videop2p.videop2p_core.host.comfy import denoiser
from comfyui_videop2p.videop2p_core.host.model.feature_cache import FeatureCache, cached

__all__ = ["memory"]

STEPS = 8


@pytest.fixture(scope="module")
def frames(demo):
    with torch.inference_mode():
        return {"samples": demo[2].encode(torch.from_numpy(videos.read(videos.file_of(SOURCE))))}


@pytest.fixture(scope="module")
def inversion(model, clip, frames):
    source, null = encode(clip, SOURCE), encode(clip, "")
    given = {"source": source, "null": null, "latent": frames, "method": "direct", "steps": STEPS}
    return run("DDIMInvert", model=model, **given)[0]


def test_every_step_in_full_is_the_model_itself(model, clip, inversion):
    assert not cached(model, FeatureCache(1)).object_patches.keys() - model.object_patches.keys()


def test_an_edit_from_cached_features_is_near_the_exact_one(model, clip, inversion):
    edit = control(clip, blend_source="rabbit")[0]
    exact, near, far = (sample(model, inversion, edit, cache_every=[n])[0][0]["samples"] for n in (1, 2, 4))
    errors = [(latent - exact).square().mean().sqrt() / exact.std() for latent in (near, far)]
    assert 0 < errors[0] < errors[1] < 0.5


def test_the_guider_takes_cached_features_too(model, clip, inversion):
    edit = control(clip, blend_source="rabbit")[0]
    (expected,), *_ = sample(model, inversion, edit, cache_every=[2])
    guider, sigmas, latent = run("DecoupledGuider", model=model, inversion=inversion, edit=edit, cache_every=2)
    (sampler,) = run("DecoupledSampler")
    with torch.inference_mode():
        noise = torch.zeros_like(latent["samples"])
        found = guider.sample(noise, latent["samples"], sampler, sigmas, disable_pbar=True, seed=0)
    torch.testing.assert_close(found.cpu(), expected["samples"])


def test_an_edit_goes_on_where_memory_grows_short_between_full_steps(model, clip, inversion, memory):
    edit, calls, watching = control(clip, blend_source="rabbit")[0], count(), model.clone()
    expected = sample(model, inversion, edit, cache_every=[2])[0][0]["samples"]

    def shorten(executor, *args, **kwargs):
        memory(next(calls) % 4 < 2)  # a step has two calls, the source's and the target's
        return executor(*args, **kwargs)

    watching.add_wrapper(WrappersMP.CALC_COND_BATCH, shorten)
    found = sample(watching, inversion, edit, cache_every=[2])[0][0]["samples"]
    assert next(calls) >= STEPS
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


def test_the_source_runs_down_with_half_the_full_forwards_and_stays_near(model, clip, inversion, frames):
    below, calls = watched(model, "middle_block.0")
    source, null = encode(clip, SOURCE), encode(clip, "")

    def run_down(every):
        cache = FeatureCache(every)

        def algorithm(denoise, z0, sigmas):
            x = schedule.to_x(inversion.noise.to(z0), sigmas[0])
            for step in range(STEPS):
                cache.at(step, "source")
                slope = schedule.direction(x, denoise(x, sigmas[step], denoiser.SOURCE), sigmas[step])
                x = schedule.ddim_step(x, slope, sigmas[step], sigmas[step + 1])
            return schedule.to_z(x, sigmas[-1])

        calls.clear()
        with torch.inference_mode():
            z = denoiser.run(cached(below, cache), source, null, frames["samples"], inversion.sigmas, algorithm)
        return z, len(calls)

    (exact, all_steps), (near, half) = run_down(1), run_down(2)
    assert (all_steps, half) == (STEPS, STEPS // 2)
    error = (near - exact).square().mean().sqrt() / exact.std()
    assert 0 < error < 0.02  # measured 0.006


def test_another_entry_that_begins_between_full_steps_goes_on(model, clip, inversion):
    edit, _, target, _ = control(clip, blend_source="rabbit")
    late = [target[0], [target[0][0], {**target[0][1], "start_percent": 0.2}]]
    (edited,), *_ = sample(model, inversion, edit, target=[late], cache_every=[2])
    assert edited["samples"].isfinite().all()
