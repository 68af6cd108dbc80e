"""Edits on Wan, which needs no inflation and no tuning: the laws, and a tiny model that learnt a world of words."""

from types import SimpleNamespace

import comfy.samplers
import pytest
import torch
from comfy.ldm.modules.attention import optimized_attention
from comfy.model_patcher import create_model_options_clone
from comfyui_videop2p.tests.host import wan
from comfyui_videop2p.tests.host.calls import encode, run, sample
from einops import rearrange
from node_helpers import conditioning_set_values

KINDS = ["t2v", "i2v", "2.2 i2v", "2.2 5b", "vace"]
RED, BLUE = "a red ball on sand", "a blue ball on sand"
STAR, BIG = "a red star on sand", "a very big red ball on sand"
FRAMES = 3


@pytest.fixture(scope="module")
def text():
    return wan.tiny_text()


@pytest.fixture(scope="module")
def models():
    return {kind: wan.tiny_wan(kind) for kind in KINDS}


def told(kind, text, prompt):
    """CONDITIONING; an image-to-video model is shown a picture as well."""
    if kind != "i2v":
        return encode(text, prompt)
    seen = SimpleNamespace(
        penultimate_hidden_states=torch.randn(1, 257, 1280, generator=torch.Generator().manual_seed(0))
    )
    return conditioning_set_values(encode(text, prompt), {"clip_vision_output": seen})


def latent_for(model, frames=FRAMES, size=(6, 4), seed=0):
    channels = model.model.latent_format.latent_channels
    samples = torch.randn(1, channels, frames, *size, generator=torch.Generator().manual_seed(seed))
    return {"samples": samples}


def inverted(model, text, latent=None, steps=2, source=RED, kind="", **settings):
    return run(
        "DDIMInvert", model=model, source=told(kind, text, source), null=told(kind, text, ""),
        latent=latent or latent_for(model), steps=steps, method="direct", **settings,
    )  # fmt: skip


def controlled(text, target, source=RED, **settings):
    settings = {"cross_window": 0.0, "temporal_window": 0.0} | settings
    return run("AttentionController", clip=text, source_prompt=source, target_prompt=target, **settings)[0]


def edited(model, inversion, *edits, **inputs):
    (latent,), _, (mask,) = sample(model, inversion, *edits, **inputs)
    return latent["samples"], mask


def at_scale(model, samples):
    """z of a LATENT's samples."""
    return model.model.process_latent_in(samples)


# --- laws -------------------------------------------------------------------------------------------------------------


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
    stock = at_scale(model, stock) * (1 - inversion.sigmas[-1])
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


class Maps:
    """What an edit does to cross attention, by the maps themselves: softmax(q k^T) of both branches, then the pair."""

    def __init__(self, pair, tokens):
        self.pair, self.tokens, self.source, self.edited = pair, tokens, {}, False

    def __call__(self, function, q, k, v, heads, **kwargs):
        options = kwargs["transformer_options"]
        if k.shape[1] != self.tokens or options["cond_or_uncond"] != [0]:
            return function(q, k, v, heads, **kwargs)
        q, k, v = (rearrange(x, "b t (h d) -> b h t d", h=heads) for x in (q, k, v))
        maps = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
        block = options["block_index"]
        if self.edited:
            source, target = self.pair
            maps = self.source[block] @ source + maps * target
        else:
            self.source[block] = maps
        return rearrange(maps @ v, "b h t d -> b t (h d)")


@pytest.mark.parametrize("kind, target", [("t2v", BLUE), ("t2v", BIG), ("i2v", STAR), ("2.2 5b", BLUE)])
def test_a_step_is_that_of_the_maps_written_out(models, text, kind, target):
    model = models[kind]
    latent = latent_for(model)
    source, aim, null = (told(kind, text, prompt) for prompt in (RED, target, ""))
    given = {"source": [source], "target": [aim], "null": [null]}
    inversion, *_ = inverted(model, text, latent, steps=1, kind=kind)
    edit = controlled(text, target, cross_window=1.0, word_weights="sand: 3")
    ours, _ = edited(model, inversion, edit, **given)

    compiled = edit.plan.compile(1)
    maps = Maps((compiled.source[0], compiled.target[0]), compiled.target.shape[1])
    guider = comfy.samplers.CFGGuider(model)
    guider.inner_set_conds({"source": source, "target": aim, "null": null})

    class OneStep(comfy.samplers.Sampler):
        def sample(self, wrap, sigmas, extra_args, *args, **kwargs):
            options = create_model_options_clone(extra_args["model_options"])
            options.setdefault("transformer_options", {})["optimized_attention_override"] = maps
            x = rearrange(inversion.noise, "f c h w -> 1 c f h w")

            def predicted(name, options):
                return comfy.samplers.calc_cond_batch(
                    wrap.inner_model, [wrap.conds[name], None], x, sigmas[:1], options
                )

            predicted("source", options)
            maps.edited = True
            cond, uncond = predicted("target", options)[0], predicted("null", extra_args["model_options"])[0]
            denoised = uncond + inversion.cfg * (cond - uncond)
            return x + (x - denoised) / sigmas[0] * (sigmas[1] - sigmas[0])

    with torch.inference_mode():
        stock = guider.sample(
            torch.zeros_like(latent["samples"]), latent["samples"], OneStep(), inversion.sigmas, disable_pbar=True
        )
    assert torch.allclose(ours, stock, atol=1e-4 * stock.std())
    plain, _ = edited(model, inversion, controlled(text, target), **given)
    assert not torch.allclose(ours, plain, atol=1e-3 * stock.std())


def test_the_temporal_window_takes_the_sources_attention_over_all_frames(models, text):
    inversion, *_ = inverted(models["t2v"], text)
    plain, _ = edited(models["t2v"], inversion, controlled(text, BLUE))
    moved, _ = edited(models["t2v"], inversion, controlled(text, BLUE, temporal_window=1.0))
    assert not torch.allclose(plain, moved, atol=1e-3)


@pytest.mark.parametrize("kind", ["t2v", "i2v", "vace"])
def test_outside_of_the_blend_words_the_source_is_kept(models, text, kind):
    latent = latent_for(models[kind])
    inversion, *_ = inverted(models[kind], text, latent)
    edit = controlled(text, BLUE, blend_source="red", blend_target="blue", threshold=0.99, blend_start=0.0)
    ours, mask = edited(models[kind], inversion, edit)
    factor = models[kind].model.latent_format.spacial_downscale_ratio
    assert mask.shape == (4 * (FRAMES - 1) + 1, 6 * factor, 4 * factor)
    of_frames = mask[::4, ::factor, ::factor].bool()
    assert 0 < of_frames.float().mean() < 1
    outside = ~of_frames[None, None].expand_as(ours)
    assert torch.allclose(ours[outside], latent["samples"][outside], atol=1e-5)
    assert not torch.allclose(ours[~outside], latent["samples"][~outside], atol=1e-2)


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


def test_masks_of_pictures_serve_latent_frames(models, text):
    model, latent = models["t2v"], latent_for(models["t2v"])
    inversion, *_ = inverted(model, text, latent)
    mask = torch.zeros(4 * (FRAMES - 1) + 1, 48, 32)
    mask[5:] = 1  # the last latent frame's pictures
    ours, out = edited(model, inversion, controlled(text, BLUE, mask=mask))
    assert torch.equal(out[:, 0, 0], torch.tensor([0.0] * 5 + [1.0] * 4))
    assert torch.allclose(ours[:, :, :2], latent["samples"][:, :, :2], atol=1e-5)
    assert not torch.allclose(ours[:, :, 2], latent["samples"][:, :, 2], atol=1e-2)
    with pytest.raises(ValueError, match="3 masks for a clip of 9 pictures"):
        edited(model, inversion, controlled(text, BLUE, mask=mask[:3]))


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


class PlainVAE:
    """As the host's for Wan, with no weights: what it decodes is the latent's first channel."""

    latent_channels = 16

    def spacial_compression_encode(self):
        return 8

    def vae_encode_crop_pixels(self, pixels):
        return pixels

    def decode(self, latent):  # [1, channels, frames, height, width] -> [1, pictures, height, width, 3]
        value = latent[:, 0].repeat_interleave(8, -1).repeat_interleave(8, -2)
        value = torch.cat([value[:, :1], value[:, 1:].repeat_interleave(4, 1)], dim=1)
        return value[..., None].expand(*value.shape, 3).clamp(0, 1)


def test_the_reconstruction_is_checked_for_every_picture(models, text):
    model, latent = models["t2v"], latent_for(models["t2v"])
    images = PlainVAE().decode(latent["samples"])[0]
    *_, report, psnr, plot = inverted(model, text, latent, vae=PlainVAE(), images=images)
    assert "replay at guidance 1" in report and 0 < psnr < 99 and plot.ndim == 4
    with pytest.raises(ValueError, match="the latent holds 9 frames of 32 x 48: connect the images that were encoded"):
        inverted(model, text, latent, vae=PlainVAE(), images=images[:3])


def test_an_inversion_is_kept_in_a_file(models, text, folders):
    inversion, *_ = inverted(models["t2v"], text)
    run("SaveInversion", inversion=inversion, filename_prefix="wan")
    (loaded,) = run("LoadInversion", inversion_name="wan_00001_.safetensors")
    edit = controlled(text, BLUE, cross_window=1.0)
    assert torch.equal(edited(models["t2v"], loaded, edit)[0], edited(models["t2v"], inversion, edit)[0])


@pytest.mark.parametrize("branch", ["source", "target"])
def test_maps_of_words_are_shown_for_every_picture(models, text, branch):
    inversion, *_ = inverted(models["t2v"], text)
    _, masks, *_ = run(
        "AttentionMaps", model=models["t2v"], inversion=inversion, edit=controlled(text, BLUE), words="ball",
        branch=branch,
    )  # fmt: skip
    assert masks[0].shape == (9, 48, 32) and masks[0].max() == 1


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings, sentence",
    [
        ({"method": "shared null-text"}, "on a video model the inversion method is direct"),
        ({"method": "direct", "keep_source": "in memory"}, "nothing is kept: set keep_source to off"),
        ({"method": "direct", "latent": {"samples": torch.zeros(3, 16, 6, 4)}}, r"takes \[1, 16, frames, height"),
    ],
)
def test_an_inversion_that_cannot_be_is_refused(models, text, settings, sentence):
    given = {"latent": latent_for(models["t2v"]), "steps": 2} | settings
    with pytest.raises(ValueError, match=sentence):
        run("DDIMInvert", model=models["t2v"], source=encode(text, RED), null=encode(text, ""), **given)


def test_what_wan_does_not_need_is_refused(models, text):
    for call in (
        lambda: run("InflateUNet", model=models["t2v"]),
        lambda: run(
            "TuneOnVideo", model=models["t2v"], positive=encode(text, RED), latent=latent_for(models["t2v"]), steps=1
        ),
    ):
        with pytest.raises(ValueError, match="sees all frames together as it is: connect it to DDIM Invert"):
            call()


def test_what_an_edit_cannot_run_under_is_refused(models, text):
    model = models["t2v"]
    inversion, *_ = inverted(model, text)
    edit = controlled(text, BLUE)
    with pytest.raises(ValueError, match="no levels to leave out: set cache_every to 1"):
        edited(model, inversion, edit, cache_every=[2])
    for asked in ("4", "2-1", "all", "1;2", "0-9"):
        with pytest.raises(ValueError, match="names no blocks of this model: write their numbers from 0 to 3"):
            edited(model, inversion, controlled(text, BLUE, blend_source="ball", blend_blocks=asked))
    guided = model.clone()
    guided.add_object_patch("diffusion_model.blocks.1.cross_attn.forward", optimized_attention)
    with pytest.raises(ValueError, match="another node computes the attention of this model itself"):
        edited(guided, inversion, edit)
    windowed = model.clone()
    windowed.model_options["context_handler"] = object()
    with pytest.raises(ValueError, match="remove the node that gives context windows"):
        edited(windowed, inversion, edit)


def test_a_wan_that_attends_to_more_is_refused(models, text):
    other = wan.tiny_wan("camera")
    with pytest.raises(ValueError, match="cannot edit with a WAN21_Camera model: connect an image model with a UNet"):
        inverted(other, text, latent_for(models["t2v"]))


def test_blocks_are_chosen_on_a_video_model_alone(model, clip, inversion):
    edit = run(
        "AttentionController", clip=clip, source_prompt="a red ball on the beach",
        target_prompt="a blue ball on the beach", blend_source="ball", blend_blocks="1",
    )[0]  # fmt: skip
    with pytest.raises(ValueError, match="blend blocks can be chosen on a video model alone"):
        sample(model, inversion, edit)


# --- a model that learnt some words -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def learnt():
    return wan.learnt()


@pytest.fixture(scope="module")
def ball(learnt):
    """(model, text, inversion of a red ball, z of it, where it is)."""
    text = wan.tiny_text(wan.SHORT)
    z, where = wan.clip_of(RED, seed=1)
    latent = {"samples": learnt.model.process_latent_out(z[None])}
    inversion, *_ = inverted(learnt, text, latent, steps=25, cfg=3.0)
    return learnt, text, inversion, z, where.bool()


def result(ball, target, **settings):
    """(how blue, how much of a star it is where the ball was, -1 to 1; z of the edit; its mask a latent frame)."""
    model, text, inversion, _, where = ball
    edit = controlled(text, target, **{"cross_window": 0.2, "temporal_window": 0.2} | settings)
    samples, mask = edited(model, inversion, edit)
    z = at_scale(model, samples)[0]
    inside = z[:, where]
    return -inside[:8].mean().item() / 1.5, -inside[8:].mean().item() / 1.5, z, mask[::4, ::8, ::8].bool()


@pytest.mark.parametrize("kind", ["replace", "refine"])
def test_a_swapped_word_shows_and_the_others_stay(ball, kind):
    red, ball_shape, *_ = result(ball, RED, edit=kind)
    blue, _, *_ = result(ball, BLUE, edit=kind)
    still_red, star, *_ = result(ball, STAR, edit=kind)
    assert blue > red + 0.5
    assert star > ball_shape + 1 and still_red < 0


def test_a_words_weight_turns_it_up_and_down(ball):
    blues = [result(ball, BLUE, cross_window=0.8, word_weights=f"blue: {weight}")[0] for weight in (-2, 1, 6)]
    assert blues[0] + 0.1 < blues[1] < blues[2] - 0.1


def test_words_look_where_their_thing_is(ball):
    model, text, inversion, _, where = ball
    _, (red, sand), _ = run(
        "AttentionMaps",
        model=model,
        inversion=inversion,
        edit=controlled(text, BLUE, blend_blocks="0"),
        words="red, sand",
    )
    red, sand = (mask[::4, 4::8, 4::8] for mask in (red, sand))
    assert red[where].mean() > 1.5 * red[~where].mean()
    assert sand[where].mean() < sand[~where].mean()


def test_blend_words_keep_the_edit_on_the_thing(ball):
    *_, z, where = ball
    blend = {"blend_source": "red", "blend_target": "blue", "threshold": 0.6, "blend_blocks": "0"}
    free, kept = result(ball, BLUE), result(ball, BLUE, **blend)
    mask = kept[3]
    assert mask[where].float().mean() > 0.95
    assert mask.float().mean() < 0.6  # the pooling makes 16 of 36 places of a thing on 4
    assert torch.allclose(kept[2][:, ~mask], z[:, ~mask], atol=1e-4)
    assert (free[2] - z)[:, ~where].square().mean() > 0.01
    assert kept[0] > result(ball, RED, **blend | {"blend_target": "red"})[0] + 0.3


def test_other_blocks_find_another_place(ball):
    blend = {"blend_source": "red", "threshold": 0.6}
    usual, middle, last = (result(ball, BLUE, **blend, blend_blocks=blocks)[3] for blocks in ("", "1-2", "3"))
    assert torch.equal(usual, middle) and not torch.equal(usual, last)
