"""Feature caching: what lies below the full resolution is left out of most evaluations."""

import gc
import weakref

import comfy.controlnet
import comfy.samplers
import pytest
import torch
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from comfy.patcher_extension import WrappersMP
from comfy_extras.nodes_freelunch import FreeU
from comfyui_videop2p.tests.host.calls import SOURCE, encode
from comfyui_videop2p.tests.host.evaluations import evaluated, memory, watched
from comfyui_videop2p.videop2p_core.host.comfy import denoiser
from comfyui_videop2p.videop2p_core.host.families.unet import layers_below
from comfyui_videop2p.videop2p_core.host.model.feature_cache import FeatureCache, cached

__all__ = ["memory"]


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


def test_nothing_is_kept_after_the_call_and_the_model_is_as_it_was(model, clip, latent):
    patches, cache = dict(model.object_patches), FeatureCache(2)
    seen = []

    def ask(denoise, x, sigmas):
        cache.at(0, "a")
        denoise(x, sigmas[0], denoiser.SOURCE)
        seen.extend(
            weakref.ref(value)
            for layers in cache.entry_features.values()
            for value in layers.values()
            if torch.is_tensor(value)
        )

    evaluated(cached(model, cache), clip, latent, ask)
    gc.collect()
    assert seen and not any(ref() is not None for ref in seen)
    assert model.object_patches == patches
    assert not model.get_wrappers(WrappersMP.DIFFUSION_MODEL, "videop2p_caching")


# --- which layers -----------------------------------------------------------------------------------------------------


def unet(**config):
    """Of any size, without weights."""
    common = {"image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": 320, "context_dim": 768}
    attention = {"num_heads": 8, "use_spatial_transformer": True, "transformer_depth_middle": 1}
    return UNetModel(**common | attention | config, device="meta", dtype=torch.float32)


SD15 = {
    "num_res_blocks": 2, "channel_mult": (1, 2, 4, 4), "transformer_depth": [1] * 6 + [0] * 2,
    "transformer_depth_output": [1] * 9 + [0] * 3,
}  # fmt: skip
SDXL = {
    "num_res_blocks": 2, "channel_mult": (1, 2, 4), "transformer_depth": [0, 0, 2, 2, 10, 10],
    "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10], "context_dim": 2048, "num_classes": "sequential",
    "adm_in_channels": 2816,
}  # fmt: skip
ONE_DOWN = {
    "num_res_blocks": 1, "channel_mult": (1, 2), "transformer_depth": [0, 1], "transformer_depth_output": [0, 0, 1, 1]
}  # fmt: skip


@pytest.mark.parametrize("config, first, last", [
    (SD15, "input_blocks.3.0", "output_blocks.8.2"),
    (SD15 | {"resblock_updown": True}, "input_blocks.3.0", "output_blocks.8.2"),
    (SDXL, "input_blocks.3.0", "output_blocks.5.2"),
    (ONE_DOWN, "input_blocks.2.0", "output_blocks.1.2"),
])  # fmt: skip
def test_the_border_is_found_in_any_unet(config, first, last):
    found = layers_below(unet(**config))
    assert (found[0], found[-1]) == (first, last)
    numbers = {int(name.split(".")[1]) for name in found if name.startswith("input")}
    assert numbers == set(range(min(numbers), max(numbers) + 1)) and "middle_block.2" in found


class Leaves:
    """The layers without parts of their own that a UNet evaluates."""

    def __init__(self, model):
        self.seen, unet = set(), model.get_model_object("diffusion_model")
        names = [name for name, module in unet.named_modules() if not list(module.children())]
        self.handles = [unet.get_submodule(name).register_forward_hook(self._see(name)) for name in names]

    def _see(self, name):
        return lambda *_: self.seen.add(name)

    def take(self):
        seen, self.seen = self.seen, set()
        return seen

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for handle in self.handles:
            handle.remove()


def test_a_step_between_evaluates_the_full_resolution_and_nothing_else(demo, clip, latent):
    cache, model = FeatureCache(2), demo[0]
    below = tuple(f"{name}." for name in layers_below(model.get_model_object("diffusion_model")))

    def ask(denoise, x, sigmas):
        def leaves_of(step):
            cache.at(step, "a")
            denoise(x, sigmas[step], denoiser.SOURCE)
            return leaves.take()

        return leaves_of(0), leaves_of(1)

    with Leaves(model) as leaves:
        full, between = evaluated(cached(model, cache), clip, latent, ask)
    assert between == {name for name in full if not name.startswith(below)}
    assert any(name.startswith("input_blocks.1.0") for name in between) and len(between) < len(full) / 3


# --- beside others ----------------------------------------------------------------------------------------------------


def halves(denoise, x, sigma, options=None):
    """(conditional, unconditional) prediction, batched as the host likes."""
    conds, sigma = denoise.guider.conds, sigma.to(x).expand(len(x))
    pair = [conds[denoiser.SOURCE], conds[denoiser.NULL]]
    return comfy.samplers.calc_cond_batch(denoise.guider.inner_model, pair, x, sigma, options or denoise.model_options)


@pytest.mark.parametrize("together", [True, False])
def test_halves_keep_their_features_however_they_are_batched(model, clip, latent, memory, together):
    below, calls = watched(model, "middle_block.0")
    cache = FeatureCache(2)

    def ask(denoise, x, sigmas):
        memory(together)
        cache.at(0, "a")
        exact = halves(denoise, x, sigmas[0])
        before = len(calls)
        memory(not together)
        cache.at(1, "a")
        near = halves(denoise, x, sigmas[0])
        assert before == (1 if together else 2) and len(calls) == before
        return exact, near

    exact, near = evaluated(cached(below, cache), clip, latent, ask)
    assert not torch.allclose(*exact, atol=1e-2)
    for one, other in zip(exact, near, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=0)


def test_another_evaluation_within_a_step_has_features_of_its_own(model, clip, latent, memory):
    """As perturbed attention guidance asks for it: an entry once more, otherwise attended."""
    cache = FeatureCache(3)

    def ask(denoise, x, sigmas):
        perturb = {"attn1_patch": [*transformer(denoise)["patches"]["attn1_patch"], nothing_attended]}
        perturbed = {**denoise.model_options, "transformer_options": {**transformer(denoise), "patches": perturb}}
        found = []
        for step in range(3):
            cache.at(step, "a")
            found.append([halves(denoise, x, sigmas[0], options)[0] for options in (None, perturbed)])
        return found

    memory(False)
    exact, *near = evaluated(cached(model, cache), clip, latent, ask)
    assert not torch.allclose(*exact, atol=1e-2)
    for step in near:
        for one, other in zip(exact, step, strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=0)


def transformer(denoise):
    return denoise.model_options["transformer_options"]


def nothing_attended(n, context, value, options):
    return 0 * n, context, value


class Added(comfy.controlnet.ControlBase):
    """A ControlNet that adds one number everywhere, in place as all of them."""

    def get_control(self, x, *args):
        one = x.new_ones(1, 1, 1, 1)
        return {"input": [], "middle": [one], "output": [one] * 9}

    def copy(self):
        return Added()


def test_what_writes_into_features_finds_them_whole(demo, clip, latent, caplog):
    """FreeU, and ControlNets: their shapes fit, and what was kept stays what it was."""
    (free,) = FreeU.execute(demo[0], 1.1, 1.5, 0.9, 0.2).result
    cache = FeatureCache(3)
    source, null = encode(clip, SOURCE), encode(clip, "")
    sigmas = denoiser.model_sigmas(free)[[900, 100]]

    def predictions(source):
        def ask(denoise, x, sigmas):
            found = []
            for step in range(3):
                cache.at(step, "a")
                found.append(denoise(x, sigmas[0], denoiser.SOURCE))
            return found

        with torch.inference_mode():
            return denoiser.run(cached(free, cache), source, null, latent["samples"], sigmas, ask)

    plain, controlled = predictions(source), predictions([[source[0][0], {**source[0][1], "control": Added()}]])
    assert not torch.allclose(plain[0], controlled[0], atol=1e-2)
    for full, *between in (plain, controlled):
        for near in between:
            torch.testing.assert_close(near, full, atol=1e-4, rtol=0)
    assert not caplog.records


def test_the_cache_itself_goes_when_the_host_loads_another_model(model, clip, latent):
    def ask(denoise, x, sigmas):
        return denoise(x, sigmas[0], denoiser.SOURCE)

    cache = FeatureCache(2)
    evaluated(cached(model, cache), clip, latent, ask)
    gone = weakref.ref(cache)
    del cache
    evaluated(model, clip, latent, ask)
    gc.collect()
    assert gone() is None
