"""Edits on Wan, which needs no inflation and no tuning: the laws, and a tiny model that learnt a world of words."""

import sys
from types import SimpleNamespace

import comfy.samplers
import pytest
import torch
from comfy.ldm.modules.attention import optimized_attention
from comfy.model_patcher import create_model_options_clone
from comfy.patcher_extension import WrappersMP
from comfyui_videop2p.tests.host import wan
from comfyui_videop2p.tests.host.calls import encode, run, sample
from comfyui_videop2p.videop2p_core.host.model import memory_budget as budget
from comfyui_videop2p.videop2p_core.host.model.identity import identity_of
from comfyui_videop2p.videop2p_core.host.storage.official_checkpoint import Weights
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
    """CONDITIONING; an image-to-video model is shown a picture as well, VACE a video."""
    if kind == "i2v":
        seen = SimpleNamespace(penultimate_hidden_states=drawn(1, 257, 1280))
        return conditioning_set_values(encode(text, prompt), {"clip_vision_output": seen})
    if kind == "vace":
        return conditioning_set_values(encode(text, prompt), video())
    return encode(text, prompt)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def video(frames=FRAMES, controls=1):
    """What WanVaceToVideo puts into a conditioning."""
    return {
        "vace_frames": [drawn(1, 32, frames, 6, 4, seed=i) for i in range(controls)],
        "vace_mask": [torch.ones(1, 64, frames, 6, 4)] * controls,
        "vace_strength": [1.0] * controls,
    }


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


def test_a_noise_mask_keeps_the_source_where_it_is_0(models, text):
    """Of Wan 2.2 5B too, where a sampler of the host's would tell the model that those places are clean."""
    for kind in ("t2v", "2.2 5b"):
        model = models[kind]
        inversion, *_ = inverted(model, text)
        guider, sigmas, latent = run("DecoupledGuider", model=model, inversion=inversion, edit=controlled(text, BLUE))
        (sampler,) = run("DecoupledSampler")
        whole, _ = edited(model, inversion, controlled(text, BLUE))
        mask = torch.ones(1, 1, FRAMES, 6, 4)
        mask[:, :, 0] = 0
        with torch.inference_mode():
            given = torch.zeros_like(latent["samples"]), latent["samples"], sampler, sigmas
            out = guider.sample(*given, denoise_mask=mask, disable_pbar=True).cpu()
            everywhere = guider.sample(*given, denoise_mask=torch.ones_like(mask), disable_pbar=True).cpu()
        assert torch.allclose(out[:, :, 0], latent["samples"][:, :, 0], atol=1e-5)
        assert not torch.allclose(out[:, :, 1:], latent["samples"][:, :, 1:], atol=1e-2)
        assert torch.allclose(everywhere, whole, atol=1e-4)
        pictures = torch.ones(4 * (FRAMES - 1) + 1, 6, 4)
        pictures[0] = 0
        alike, _ = edited(model, inversion, controlled(text, BLUE, mask=pictures))
        assert torch.allclose(out, alike, atol=1e-4)


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


def test_pictures_that_the_branches_do_not_share_are_refused(models, text):
    """Nothing of what goes by a picture is the same without it."""
    for kind in ("vace", "i2v"):
        inversion, *_ = inverted(models[kind], text, steps=1, kind=kind)
        source, target, null = (told(kind, text, prompt) for prompt in (RED, BLUE, ""))
        given = {"source": [source], "target": [target], "null": [null]}
        edit = controlled(text, BLUE)
        with pytest.raises(ValueError, match="the clip was inverted with a picture for the model to go by"):
            edited(models[kind], inversion, edit)
        with pytest.raises(
            ValueError, match="the source conditioning has a picture .*, the target conditioning has none"
        ):
            edited(models[kind], inversion, edit, **given | {"target": [encode(text, BLUE)]})
        edited(models[kind], inversion, edit, **given)


@pytest.mark.parametrize(
    "kind, added, sentence",
    [
        ("vace", video(FRAMES + 1), "4 latent frames of VACE control, the clip 3 latent frames"),
        ("vace", video(controls=2), "2 VACE controls and an edit takes one"),
        ("2.2 i2v", {"concat_latent_image": torch.zeros(1, 16, 5, 6, 4)}, "5 pictures to paint in, the clip 3"),
        ("t2v", {"time_dim_concat": torch.zeros(1, 16, 2, 6, 4)}, "reference pictures beside the clip"),
    ],
)
def test_pictures_of_another_number_are_refused(models, text, kind, added, sentence):
    shown = {
        name: conditioning_set_values(encode(text, prompt), added) for name, prompt in (("source", RED), ("null", ""))
    }
    with pytest.raises(ValueError, match=sentence):
        run("DDIMInvert", model=models[kind], latent=latent_for(models[kind]), steps=1, method="direct", **shown)


def test_a_node_that_leaves_model_calls_out_is_refused(models, text):
    inversion, *_ = inverted(models["t2v"], text)
    lazy, calls = models["t2v"].clone(), []

    def every_second(executor, x, *args, **kwargs):
        calls.append(x)
        return executor(x, *args, **kwargs) if len(calls) % 2 else x

    lazy.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "lazy", every_second)
    with pytest.raises(ValueError, match="another node on this model left out 4 layers"):
        edited(lazy, inversion, controlled(text, BLUE, cross_window=1.0))


def test_a_clip_that_the_vae_did_not_take_whole_is_told_so(models, text):
    latent = latent_for(models["t2v"])
    images = PlainVAE().decode(latent["samples"])[0]
    with pytest.raises(ValueError, match=r"of 10 its VAE took the first 9, so give it 4 n \+ 1 frames"):
        inverted(models["t2v"], text, latent, vae=PlainVAE(), images=torch.cat([images, images[:1]]))


def test_steps_that_leave_nothing_of_the_clip_are_refused(models, text):
    with pytest.raises(ValueError, match="500 steps would end in noise without any of the clip"):
        inverted(models["t2v"], text, steps=500)


def test_an_edit_without_memory_for_a_step_of_the_source_is_refused(models, text, monkeypatch):
    inversion, *_ = inverted(models["t2v"], text)
    monkeypatch.setattr(budget, "free_memory", lambda device: 2**18)
    edited(models["t2v"], inversion, controlled(text, BLUE))
    with pytest.raises(ValueError, match="set the temporal window to 0, which takes two thirds of it"):
        edited(models["t2v"], inversion, controlled(text, BLUE, cross_window=1.0, temporal_window=1.0))


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
