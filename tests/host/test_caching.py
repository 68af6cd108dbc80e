"""Feature caching: what lies below the full resolution is left out of most steps."""

import gc
import weakref

import pytest
import torch
from comfy.patcher_extension import WrappersMP
from comfyui_videop2p.demo import videos
from comfyui_videop2p.tests.host.calls import SOURCE, control, encode, run, sample
from comfyui_videop2p.videop2p_core.host import denoiser
from comfyui_videop2p.videop2p_core.host.caching import FeatureCache, cached, layers_below

STEPS = 8


@pytest.fixture(scope="module")
def frames(demo):
    with torch.inference_mode():
        return {"samples": demo[2].encode(torch.from_numpy(videos.read(videos.FOLDER / f"{SOURCE}.mp4")))}


@pytest.fixture(scope="module")
def inversion(model, clip, frames):
    source, null = encode(clip, SOURCE), encode(clip, "")
    given = {"source": source, "null": null, "latent": frames, "method": "direct", "steps": STEPS}
    return run("DDIMInvert", model=model, **given)[0]


def evaluated(model, clip, latent, ask):
    """What `ask(denoise, x, sigmas)` returns, in one sampling call."""
    source, null = encode(clip, SOURCE), encode(clip, "")
    sigmas = denoiser.model_sigmas(model)[[900, 500, 100]]
    with torch.inference_mode():
        return denoiser.run(model, source, null, latent["samples"], sigmas, ask)


def watched(model, name):
    """(a clone, how often the layer `name` was evaluated so far)"""
    calls, model = [], model.clone()
    layer = model.get_model_object(f"diffusion_model.{name}")

    def forward(*args, **kwargs):
        calls.append(name)
        return type(layer).forward(layer, *args, **kwargs)

    model.add_object_patch(f"diffusion_model.{name}.forward", forward)
    return model, calls


def test_every_step_in_full_is_the_model_itself(model, clip, inversion):
    assert not cached(model, FeatureCache(1)).object_patches.keys() - model.object_patches.keys()


def test_what_is_left_out_lies_between_the_first_and_the_last_change_of_resolution(model):
    unet = model.get_model_object("diffusion_model")
    found = layers_below(unet)
    assert "middle_block.0" in found and "input_blocks.0.0" not in found
    assert type(unet.get_submodule(found[0])).__name__ == "Downsample"
    assert type(unet.get_submodule(found[-1])).__name__ == "Upsample"
    assert f"output_blocks.{len(unet.output_blocks) - 1}.0" not in found


def test_a_step_between_leaves_out_what_it_should_and_takes_what_was_kept(model, clip, latent):
    below, calls = watched(model, "middle_block.0")
    above, outer_calls = watched(below, "input_blocks.1.0")
    cache = FeatureCache(3)

    def ask(denoise, x, sigmas):
        found = []
        for step, key in ((0, "a"), (1, "a"), (1, "b"), (2, "a"), (3, "a")):
            cache.at(step, key)
            found.append((denoise(x, sigmas[0], denoiser.SOURCE), len(calls), len(outer_calls)))
        return found

    found = evaluated(cached(above, cache), clip, latent, ask)
    # In full: the first of either key, and the third step after.
    assert [inner for _, inner, _ in found] == [1, 1, 2, 2, 3]
    assert [outer for *_, outer in found] == [1, 2, 3, 4, 5]
    plain = evaluated(model, clip, latent, lambda denoise, x, sigmas: denoise(x, sigmas[0], denoiser.SOURCE))
    assert torch.equal(found[0][0], plain)
    for denoised, *_ in found:  # the same input has the same features
        torch.testing.assert_close(denoised, plain, atol=1e-4, rtol=0)


def test_features_are_not_those_of_another_input(model, clip, latent):
    cache = FeatureCache(2)

    def ask(denoise, x, sigmas):
        cache.at(0, "a")
        denoise(x, sigmas[0], denoiser.SOURCE)
        cache.at(1, "a")
        return denoise(x, sigmas[1], denoiser.SOURCE)

    near = evaluated(cached(model, cache), clip, latent, ask)
    plain = evaluated(model, clip, latent, lambda denoise, x, sigmas: denoise(x, sigmas[1], denoiser.SOURCE))
    assert not torch.allclose(near, plain, atol=1e-3)


def test_an_edit_from_cached_features_is_near_the_exact_one(model, clip, inversion):
    edit = control(clip, blend_source="ball")[0]
    exact, near, far = (sample(model, inversion, edit, cache_every=[n])[0][0]["samples"] for n in (1, 2, 4))
    errors = [(latent - exact).square().mean().sqrt() / exact.std() for latent in (near, far)]
    print(errors)
    assert 0 < errors[0] < errors[1] < 0.5


def test_the_guider_takes_cached_features_too(model, clip, inversion):
    edit = control(clip, blend_source="ball")[0]
    (expected,), *_ = sample(model, inversion, edit, cache_every=[2])
    guider, sigmas, latent = run("DecoupledGuider", model=model, inversion=inversion, edit=edit, cache_every=2)
    (sampler,) = run("DecoupledSampler")
    with torch.inference_mode():
        noise = torch.zeros_like(latent["samples"])
        found = guider.sample(noise, latent["samples"], sampler, sigmas, disable_pbar=True, seed=0)
    torch.testing.assert_close(found, expected["samples"])


def test_nothing_is_kept_after_the_call_and_the_model_is_as_it_was(model, clip, latent):
    patches, cache = dict(model.object_patches), FeatureCache(2)
    seen = []

    def ask(denoise, x, sigmas):
        cache.at(0, "a")
        denoise(x, sigmas[0], denoiser.SOURCE)
        seen.extend(
            weakref.ref(value) for kept in cache.kept.values() for value in kept.values() if torch.is_tensor(value)
        )

    evaluated(cached(model, cache), clip, latent, ask)
    gc.collect()
    assert seen and not any(ref() is not None for ref in seen)
    assert model.object_patches == patches
    assert not model.get_wrappers(WrappersMP.DIFFUSION_MODEL, "videop2p_caching")
