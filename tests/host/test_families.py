"""The whole way on a small model of every supported family: layout, what it predicts, all that it reads of a prompt."""

from dataclasses import replace

import comfy.model_management
import pytest
import torch
from comfyui_videop2p.tests.host.calls import SOURCE, control, encode, run, sample
from comfyui_videop2p.tests.host.family_worlds import (
    CFG,
    INPAINTING,
    POOLED,
    World,
    changed,
    euler,
    fingerprint,
    random,
)
from comfyui_videop2p.tests.host.models import FAMILIES, tiny
from comfyui_videop2p.videop2p_core.diffusion import schedule
from comfyui_videop2p.videop2p_core.host.comfy.denoiser import prediction_of
from comfyui_videop2p.videop2p_core.host.families.unet import transformer_blocks

LONG = f"{SOURCE}, " + ", ".join(["in the snow under a very blue sky with a few small white clouds"] * 7)  # 2 chunks
# The others differ from these in a part, and take fewer laws. The order keeps a model's tests together.
THREE, MOST = list(FAMILIES)[:3], list(FAMILIES)[:4]
SLOW = [name for name in FAMILIES if name not in MOST]


def families(*names):
    slow = [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in names]
    return pytest.mark.parametrize("world", slow, indirect=True)


@pytest.fixture(scope="module")
def world(request):
    with torch.inference_mode():
        return World(request.param)


def retraced(world, inversion, noise, cfg=1.0):
    """The inversion with a path of which every step is exact: that of the stock sampler under the source prompt."""
    path = []

    def seen(step, denoised, x, steps):
        path.append(schedule.to_z(x.cpu(), inversion.sigmas[step]))

    end = euler(world.model, noise["samples"], world.source, world.null, cfg, inversion.sigmas, seen)
    trajectory = torch.stack([world.at_model_scale(end), *reversed(path)])
    return replace(inversion, trajectory=trajectory, cfg=cfg), end


def assert_close(world, actual, expected, atol=1e-4):
    """At the model's own scale, where latents have a standard deviation of about 1."""
    actual, expected = map(world.at_model_scale, (actual, expected))
    assert actual.isfinite().all() and expected.std() > 0.05
    torch.testing.assert_close(actual, expected, atol=atol * max(1, expected.std().item()), rtol=0)


def differ(world, a, b, by=1e-2):
    return (world.at_model_scale(a) - world.at_model_scale(b)).abs().max() > by


# --- what the tiny models are -----------------------------------------------------------------------------------------


@families(*FAMILIES)
def test_it_reads_all_that_its_conditioning_holds(world):
    """Else no test here could tell a conditioning that was lost on the way."""
    inversion, noise, *_ = world.inverted()

    def drawn(positive):
        return euler(world.image, noise["samples"], positive, world.null, 1.0, inversion.sigmas)

    plain = drawn(world.source)
    others = [world.target]
    if world.family in POOLED:
        others.append(changed(world.source, pooled_output=world.target[0][1]["pooled_output"]))
    if world.family in INPAINTING:
        others.append(changed(world.source, concat_latent_image=world.picture(seed=2)))
        others.append(changed(world.source, concat_mask=1 - world.half_mask()))
    assert all(differ(world, plain, drawn(other)) for other in others)
    assert plain.std(dim=(1, 2, 3)).min() > 0.05
    assert prediction_of(world.image) == ("v" if world.family == "sd2" else "eps")


# --- laws -------------------------------------------------------------------------------------------------------------


@families(*FAMILIES)
def test_no_edit_is_what_the_stock_sampler_draws_of_the_target(world):
    inversion, noise, *_ = world.inverted()
    edited, reconstruction, mask = world.edit(inversion, cross_window=0.0, temporal_window=0.0)
    assert_close(world, edited, euler(world.model, noise["samples"], world.target, world.null, CFG, inversion.sigmas))
    assert (mask == 1).all()
    torch.testing.assert_close(reconstruction, world.latent["samples"], atol=1e-5, rtol=0)


@families(*MOST)
def test_no_edit_is_that_beside_an_optimised_null_text(world):
    inversion, noise, *_ = world.inverted("shared null-text")
    assert not torch.equal(inversion.null[0], inversion.initial_null)
    edited, *_ = world.edit(inversion, cross_window=0.0, temporal_window=0.0)
    assert_close(world, edited, euler(world.model, noise["samples"], world.target, world.null, CFG, inversion.sigmas))


@families(*MOST)
def test_an_edit_into_the_same_prompt_gives_the_source(world):
    """Every step of the path is exact and there is no guidance, so that nothing but the edit could move the target."""
    inversion, noise, *_ = world.inverted()
    exact, clip = retraced(world, inversion, noise)
    edited, reconstruction, _ = world.edit(exact, target=SOURCE, cross_window=1.0, temporal_window=1.0)
    assert_close(world, edited, clip)
    assert_close(world, reconstruction, clip, atol=1e-5)


@families(*FAMILIES)
def test_proximal_guidance_cancels_for_the_same_prompt(world):
    """The source prompt is the null text: all of its conditioning must be, SDXL's pooled vector too."""
    inversion, *_ = world.inverted("proximal")
    edited, reconstruction, _ = world.edit(inversion, target=SOURCE)
    assert_close(world, edited, reconstruction)


@families(*MOST)
def test_coupled_guidance_of_the_same_prompt_gives_the_source(world):
    inversion, *_ = world.inverted("negative-prompt" if world.family == "sdxl" else "shared null-text")
    edited, reconstruction, _ = world.edit(inversion, target=SOURCE, guidance="coupled")
    assert_close(world, edited, reconstruction)


@families(*MOST)
def test_a_replaced_word_changes_the_clip(world):
    inversion, noise, *_ = world.inverted()
    edited, reconstruction, _ = world.edit(inversion, cross_window=1.0, temporal_window=1.0)
    plain = euler(world.model, noise["samples"], world.target, world.null, CFG, inversion.sigmas)
    assert edited.isfinite().all()
    assert differ(world, edited, reconstruction) and differ(world, edited, plain)


@families(*THREE[:2])
def test_a_weighed_refinement_changes_the_clip(world):
    inversion, *_ = world.inverted()
    refined = f"{SOURCE} at night"
    plain, heavy = (
        world.edit(inversion, refined, cross_window=1.0, word_weights=weights)[0] for weights in ("", "night: 4")
    )
    assert heavy.isfinite().all() and differ(world, plain, heavy)


@families(*FAMILIES)
def test_the_blend_keeps_what_is_outside(world):
    inversion, *_ = world.inverted()
    edited, reconstruction, mask = world.edit(
        inversion, blend_source="rabbit", blend_target="rabbit", threshold=0.9, blend_start=0.0
    )
    inside = mask[:, None, ::8, ::8].bool().expand_as(edited)
    assert 0.02 < inside.float().mean() < 0.98
    torch.testing.assert_close(edited[~inside], reconstruction[~inside], atol=1e-5, rtol=0)
    assert differ(world, edited[inside], reconstruction[inside])


CHUNKED = {
    "sd15": ("shared null-text", LONG, SOURCE),
    "sd2": ("shared null-text", SOURCE, LONG),
    "sdxl": ("direct", LONG, SOURCE),
}


@families(*THREE)
def test_prompts_of_several_chunks(world):
    method, source, target = CHUNKED[world.family]
    conditioning, other = world.encoded(source), world.encoded(target)
    assert {conditioning[0][0].shape[1], other[0][0].shape[1]} == {77, 154}
    inversion, noise, *_ = world.invert(method, source=conditioning)
    plain, *_ = world.edit(inversion, target, source, cross_window=0.0, temporal_window=0.0)
    assert_close(world, plain, euler(world.model, noise["samples"], other, world.null, CFG, inversion.sigmas))
    edited, *_ = world.edit(inversion, target, source, cross_window=1.0, blend_source="rabbit", threshold=0.9)
    assert edited.isfinite().all() and differ(world, edited, plain)


@families(*THREE)
def test_recomputed_activations_change_no_number(world):
    _, tuning, _ = world.tuning
    inflated = run("InflateUNet", model=world.image)[0]
    saved = run(
        "TuneOnVideo", model=inflated, positive=world.source, latent=world.latent, steps=2, learning_rate=1e-3,
        memory="save memory",
    )[1]  # fmt: skip
    torch.testing.assert_close(saved.losses, tuning.losses, rtol=1e-4, atol=0)
    trained = [name for name in tuning.deltas if name.endswith(("attn1.to_q.weight", "attn2.to_q.weight"))]
    assert len(trained) == 2 * len(transformer_blocks(world.image.model.diffusion_model))
    assert all(delta.abs().max() > 0 for delta in tuning.deltas.values())


@families(*FAMILIES)
def test_the_input_model_is_bit_for_bit_what_it_was(world):
    comfy.model_management.unload_all_models()  # takes off what is patched into the weights that all clones share
    assert fingerprint(world.image) == world.before


# --- what SDXL reads beside the text ----------------------------------------------------------------------------------


def test_what_sdxl_reads_beside_the_text_is_asked_for():
    image, clip = tiny("ssd1b")
    given = {"source": encode(clip, SOURCE), "null": encode(clip, ""), "steps": 1, "method": "direct"}
    given |= {"model": image, "latent": {"samples": random(1, 4, 12, 10)}}
    inversion = run("DDIMInvert", **given)[0]
    edit = control(clip)[0]
    with pytest.raises(
        ValueError, match="SDXL a pooled vector.*connect the CLIP Text Encode .* to the null input here"
    ):
        sample(image, inversion, edit)
    sample(image, inversion, edit, null=[given["null"]])
    bare = [[given["null"][0][0], {}]]
    for refused in (
        lambda: sample(image, inversion, edit, null=[bare]),
        lambda: run("DDIMInvert", **given | {"null": bare}),
    ):
        with pytest.raises(ValueError, match="the null conditioning lacks the pooled vector that an SDXL model reads"):
            refused()
