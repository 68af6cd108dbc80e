"""Edits on Wan, which needs no inflation and no tuning: the laws."""

import sys

import comfy.samplers
import pytest
import torch
from comfy.model_patcher import create_model_options_clone
from comfyui_videop2p.tests.host import wan
from comfyui_videop2p.tests.host.calls import encode, run, sample
from comfyui_videop2p.tests.host.wan_edits import (
    BIG,
    BLUE,
    KINDS,
    RED,
    STAR,
    PlainVAE,
    at_scale,
    controlled,
    drawn,
    edited,
    inverted,
    latent_for,
    models,
    text,
    told,
)
from comfyui_videop2p.videop2p_core.host.model.identity import identity_of
from comfyui_videop2p.videop2p_core.host.storage.official_checkpoint import Weights
from einops import rearrange

__all__ = ["models", "text"]


@pytest.mark.parametrize("kind", KINDS)
def test_without_an_edit_the_target_is_what_the_stock_sampler_draws(models, text, kind):
    model = models[kind]
    inversion, noise, *_ = inverted(model, text)
    ours, _ = edited(model, inversion, controlled(text, BLUE))
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(encode(text, BLUE), encode(text, ""))
    guider.set_cfg(inversion.cfg)
    with torch.inference_mode():
        stock = guider.sample(
            torch.zeros_like(noise["samples"]), noise["samples"], comfy.samplers.sampler_object("euler"),
            inversion.sigmas, disable_pbar=True,
        )  # fmt: skip
    # The stock sampler takes what is left of the noise at the last level off.
    stock = at_scale(model, stock.cpu()) * (1 - inversion.sigmas[-1])
    assert torch.allclose(at_scale(model, ours), stock, atol=1e-4 * stock.std())
    assert ours.shape == noise["samples"].shape


@pytest.mark.parametrize("kind", KINDS)
def test_the_source_comes_back(models, text, kind):
    latent = latent_for(models[kind])
    inversion, _, reconstruction, *_ = inverted(models[kind], text, latent)
    assert torch.allclose(reconstruction["samples"], latent["samples"], atol=1e-5)
    _, kept, _ = sample(models[kind], inversion, controlled(text, BLUE, cross_window=1.0, temporal_window=1.0))
    assert torch.allclose(kept["samples"], latent["samples"], atol=1e-5)


def test_one_prompt_for_both_changes_nothing_in_the_step_that_they_share(models, text):
    inversion, *_ = inverted(models["t2v"], text, steps=1)
    plain, _ = edited(models["t2v"], inversion, controlled(text, RED))
    replayed, _ = edited(models["t2v"], inversion, controlled(text, RED, cross_window=1.0, temporal_window=1.0))
    assert torch.allclose(plain, replayed, atol=1e-5)


@pytest.mark.parametrize("method", ["direct-exact", "virtual"])
def test_after_an_exact_inversion_the_same_prompt_gives_the_source(models, text, method):
    """At guidance 1, bit for bit where the source runs beside it; another prompt does not."""
    latent = latent_for(models["t2v"])
    inversion, *_ = inverted(models["t2v"], text, latent, method=method)
    edits = [controlled(text, prompt, guidance="1", temporal_window=1.0) for prompt in (RED, BLUE)]
    (same, other), source, _ = sample(models["t2v"], inversion, *edits)
    torch.testing.assert_close(source["samples"], latent["samples"], atol=1e-5, rtol=0)
    assert torch.equal(same["samples"], source["samples"])
    assert not torch.allclose(other["samples"], source["samples"], atol=1e-3)


def test_an_edit_may_begin_later_and_go_further_than_its_prompt(models, text):
    inversion, *_ = inverted(models["t2v"], text, steps=4)
    edits = [controlled(text, BLUE, **settings) for settings in ({}, {"strength": 0.5}, {"emphasis": 1.0})]
    edited, source, _ = sample(models["t2v"], inversion, *edits)
    plain, later, further = ((latent["samples"] - source["samples"]).norm() for latent in edited)
    assert 0 < later < plain < further


class Maps:
    """What an edit does to attention, written out: cross attention by the maps themselves, softmax(q k^T) of both
    branches and then the pair; attention over all frames with the source's queries and keys."""

    def __init__(self, pair, tokens, temporal):
        self.pair, self.tokens, self.temporal = pair, tokens, temporal
        self.source, self.edited, self.call = [], False, 0

    def __call__(self, function, q, k, v, heads, **kwargs):
        if kwargs["transformer_options"]["cond_or_uncond"] != [0]:
            return function(q, k, v, heads, **kwargs)
        cross, over_frames = k.shape[1] == self.tokens, k.shape[1] == q.shape[1]
        q, k, v = (rearrange(x, "b t (h d) -> b h t d", h=heads) for x in (q, k, v))
        maps = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
        if self.edited:
            # Both branches call the same attentions in the same order.
            source, target = (part.to(maps) for part in self.pair)
            if cross:
                maps = self.source[self.call] @ source + maps * target
            elif over_frames and self.temporal:
                maps = self.source[self.call]
        else:
            self.source.append(maps)
        self.call += 1
        return rearrange(maps @ v, "b h t d -> b t (h d)")


WRITTEN_OUT = [("t2v", BLUE, 0), ("t2v", BIG, 1), ("i2v", STAR, 0), ("2.2 5b", BLUE, 1), ("vace", BLUE, 1)]


@pytest.mark.parametrize("kind, target, temporal", WRITTEN_OUT)
def test_a_step_is_that_of_the_maps_written_out(models, text, kind, target, temporal):
    model = models[kind]
    latent = latent_for(model)
    source, aim, null = (told(kind, text, prompt) for prompt in (RED, target, ""))
    given = {"source": [source], "target": [aim], "null": [null]}
    inversion, *_ = inverted(model, text, latent, steps=1, kind=kind)
    edit = controlled(text, target, cross_window=1.0, temporal_window=float(temporal), word_weights="sand: 3")
    ours, _ = edited(model, inversion, edit, **given)

    compiled = edit.plan.compile(1)
    maps = Maps((compiled.source[0], compiled.target[0]), compiled.target.shape[1], temporal)
    guider = comfy.samplers.CFGGuider(model)
    guider.inner_set_conds({"source": source, "target": aim, "null": null})

    class OneStep(comfy.samplers.Sampler):
        def sample(self, wrap, sigmas, extra_args, *args, **kwargs):
            options = create_model_options_clone(extra_args["model_options"])
            options.setdefault("transformer_options", {})["optimized_attention_override"] = maps
            x = rearrange(inversion.noise, "f c h w -> 1 c f h w").to(sigmas.device)

            def predicted(name, options):
                entry = wrap.conds[name]
                return comfy.samplers.calc_cond_batch(wrap.inner_model, [entry, None], x, sigmas[:1], options)[0]

            predicted("source", options)
            maps.edited, maps.call = True, 0
            cond, uncond = predicted("target", options), predicted("null", extra_args["model_options"])
            denoised = uncond + inversion.cfg * (cond - uncond)
            return x + (x - denoised) / sigmas[0] * (sigmas[1] - sigmas[0])

    with torch.inference_mode():
        stock = guider.sample(
            torch.zeros_like(latent["samples"]), latent["samples"], OneStep(), inversion.sigmas, disable_pbar=True
        ).cpu()
    assert torch.allclose(ours, stock, atol=1e-4 * stock.std())
    plain, _ = edited(model, inversion, controlled(text, target), **given)
    assert not torch.allclose(ours, plain, atol=1e-3 * stock.std())


def test_the_guider_and_the_sampler_do_what_the_node_does(models, text):
    model = models["t2v"]
    inversion, *_ = inverted(model, text)
    edit = controlled(text, BLUE, cross_window=0.5, blend_source="ball", blend_target="ball")
    whole, _ = edited(model, inversion, edit)
    guider, sigmas, latent = run("DecoupledGuider", model=model, inversion=inversion, edit=edit)
    (sampler,) = run("DecoupledSampler")
    with torch.inference_mode():
        noise = torch.zeros_like(latent["samples"])
        out = guider.sample(noise, latent["samples"], sampler, sigmas, disable_pbar=True)
    assert torch.equal(out.cpu(), whole)


@pytest.mark.skipif("pretend_cuda" in sys.modules, reason="the pretend device has no kernels for 8 bits")
def test_a_model_in_8_bits_is_inverted_and_edited_by_what_was_inverted_in_half_precision():
    ways = {"half": {}, "scaled": {"eight_bits": True}, "cast": {"dtype": torch.float8_e4m3fn}, "other": {"seed": 1}}
    with torch.inference_mode():
        loaded = {name: wan.loaded_wan(**{"eight_bits": False} | way) for name, way in ways.items()}
    source, null = [[drawn(1, 20, 4096), {}]], [[drawn(1, 20, 4096, seed=1), {}]]
    inversions = {
        name: run(
            "DDIMInvert", model=model, source=source, null=null, latent=latent_for(model), steps=2, method="direct"
        )[0]
        for name, model in loaded.items()
    }
    names = {name: inversion.base_model for name, inversion in inversions.items()}
    assert all(name.startswith("WAN21_T2V ") for name in names.values()) and len(set(names.values())) == 4
    for made, inversion in inversions.items():
        assert inversion.trajectory.isfinite().all()
        for name, model in loaded.items():
            assert (identity_of(model, inversion) == names[made]) is ((made == "other") is (name == "other"))
    half, scaled = (Weights(loaded[name], patched=True)["blocks.0.cross_attn.q.weight"] for name in ("half", "scaled"))
    assert 0 < (half - scaled).norm() < 0.05 * half.norm()


def test_the_model_is_left_as_it_was(models, text):
    model = models["t2v"]
    weights = {name: value.clone() for name, value in model.model.state_dict().items()}
    options, patches = repr(model.model_options), dict(model.object_patches)
    inversion, *_ = inverted(model, text)
    first, _ = edited(model, inversion, controlled(text, BLUE))
    edited(model, inversion, controlled(text, STAR, cross_window=1.0, temporal_window=1.0, blend_source="ball"))
    assert repr(model.model_options) == options and model.object_patches == patches
    assert all(torch.equal(value, weights[name]) for name, value in model.model.state_dict().items())
    again, _ = edited(model, inversion, controlled(text, BLUE))
    assert torch.equal(first, again)


def test_another_nodes_attention_is_kept(models, text):
    """As a node for another kernel has it, for every attention of the model."""
    model = models["t2v"].clone()
    calls = []

    def override(function, *args, **kwargs):
        calls.append(kwargs["transformer_options"]["block_index"])
        return function(*args, **kwargs)

    model.model_options["transformer_options"]["optimized_attention_override"] = override
    inversion, *_ = inverted(model, text)
    edit = controlled(text, BLUE, cross_window=1.0, temporal_window=1.0)
    calls.clear()
    ours, _ = edited(model, inversion, edit)
    assert set(calls) == set(range(4))
    assert torch.equal(ours, edited(models["t2v"], inversion, edit)[0])


def test_the_reconstruction_is_checked_for_every_picture(models, text):
    model, latent = models["t2v"], latent_for(models["t2v"])
    images = PlainVAE().decode(latent["samples"])[0]
    *_, report, psnr, plot, _ = inverted(model, text, latent, vae=PlainVAE(), images=images)
    assert "replay at guidance 1" in report and 0 < psnr < 99 and plot.ndim == 4
    with pytest.raises(ValueError, match="the latent holds 9 frames of 32 x 48: connect the images that were encoded"):
        inverted(model, text, latent, vae=PlainVAE(), images=images[:3])


def test_an_inversion_is_kept_in_a_file(models, text, folders):
    inversion, *_ = inverted(models["t2v"], text)
    run("SaveInversion", inversion=inversion, filename_prefix="wan")
    (loaded,) = run("LoadInversion", inversion_name="wan_00001_.safetensors")
    edit = controlled(text, BLUE, cross_window=1.0)
    assert torch.equal(edited(models["t2v"], loaded, edit)[0], edited(models["t2v"], inversion, edit)[0])
