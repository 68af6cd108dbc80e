"""ComfyUI's own model patches beside ours: before and after Inflate UNet, in inversion, tuning and edit."""

from dataclasses import replace

import pytest
import torch
from comfy.ldm.modules.attention import optimized_attention
from comfyui_videop2p.demo import videos
from comfyui_videop2p.tests.host.calls import FRAMES, TARGET, control, encode, predict, run, sample
from comfyui_videop2p.tests.host.test_wiring import assert_null_text_runs_on_this_model
from comfyui_videop2p.tests.peers.stock import DEEP_SHRINK, GUIDANCE, UNET, sampled
from comfyui_videop2p.videop2p_core.host.families.unet import UNet

NODES = GUIDANCE | UNET
# Frames that see themselves alone are images.
APART = {"frames_read": "window", "window": 0, "temporal_layers": False}
SOME = [
    "PerturbedAttentionGuidance", "SelfAttentionGuidance", "NAGuidance", "RescaleCFG", "APG", "FreeU_V2",
    "PatchModelAddDownscale, full size",
]  # fmt: skip
EDIT = {"blend_source": "rabbit", "cross_window": 0.5}


def edited(model, inverting, edit, method="negative-prompt", **settings):
    """(inversion, source, target, mask) of an edit; negative-prompt, as its source is run again and not put back."""
    torch.manual_seed(5)  # token merging draws
    inversion = run("DDIMInvert", **inverting | {"model": model, "steps": 2, "method": method})[0]
    (target,), source, (mask,) = sample(model, inversion, edit, **settings)
    return inversion.trajectory, source["samples"], target["samples"], mask


@pytest.fixture(scope="module")
def edit(clip):
    return control(clip, **EDIT)[0]


@pytest.fixture(scope="module")
def bare(model, inverting, edit):
    return edited(model, inverting, edit)


def same(one, other, atol=0.0):
    return [torch.allclose(a, b, rtol=0, atol=atol) for a, b in zip(one, other, strict=True)]


@pytest.mark.parametrize("name", NODES)
def test_order_does_not_matter_and_the_effect_is_where_it_belongs(demo, model, inverting, edit, bare, name):
    before = edited(run("InflateUNet", model=NODES[name](demo[0]))[0], inverting, edit)
    after = edited(NODES[name](model), inverting, edit)
    assert all(same(before, after))
    # Self-attention guidance computes one layer's attention by itself, and so rounds otherwise.
    trajectory, source, target, _ = same(after, bare, 1e-4)
    assert not target
    assert trajectory == source == (name in GUIDANCE)


def test_without_the_nodes_all_is_as_it_was(model, inverting, edit, bare):
    assert all(same(edited(model, inverting, edit), bare))


@pytest.mark.parametrize("name", SOME)
def test_an_edit_that_is_nothing_is_what_the_hosts_own_guider_makes(model, clip, inverting, name):
    patched = NODES[name](model)
    inversion = run("DDIMInvert", **inverting | {"model": patched, "steps": 2})[0]
    nothing = control(clip, cross_window=0.0, temporal_window=0.0)[0]
    (ours,), *_ = sample(patched, inversion, nothing)
    theirs = sampled(patched, encode(clip, TARGET), encode(clip, ""), inversion)
    assert torch.equal(ours["samples"], theirs)


@pytest.mark.parametrize("name", SOME)
def test_frames_that_see_themselves_alone_are_images(demo, clip, inverting, name):
    image = NODES[name](demo[0])
    apart = run("InflateUNet", model=image, **APART)[0]
    inversion = run("DDIMInvert", **inverting | {"model": apart, "steps": 2})[0]
    target, null = encode(clip, TARGET), encode(clip, "")
    frames = sampled(apart, target, null, inversion)
    for frame in range(FRAMES):
        alone = replace(inversion, trajectory=inversion.trajectory[:, frame : frame + 1])
        torch.testing.assert_close(frames[frame : frame + 1], sampled(image, target, null, alone), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", sorted(UNET.keys() - {"FreeU_V2", "TomePatchModel", "ModelComputeDtype"}))
def test_tuning_and_null_text_run_on_the_patched_model(model, inverting, name, tuning):
    tuned, learnt, _ = run(
        "TuneOnVideo", model=UNET[name](model), positive=inverting["source"], latent=inverting["latent"], steps=2
    )
    assert (learnt.losses[0] == tuning[1].losses[0]) == name.startswith("PatchModelAddDownscale")
    assert_null_text_runs_on_this_model(tuned, inverting["source"], inverting["null"], inverting["latent"])


@pytest.mark.parametrize("patch, bound", [
    (UNET["FreeU_V2"], 0.05), (DEEP_SHRINK(block_number=3, downscale_after_skip=True, end_percent=0.35), 0.2)
])  # fmt: skip
def test_cached_features_fit(demo, model, clip, inverting, patch, bound):
    """On a real clip, where the model alone is 3 % off; a size that changes from step to step costs more."""
    frames = {"samples": demo[2].encode(torch.from_numpy(videos.read(videos.FIRST)[:FRAMES]))}
    patched, changed = patch(model), control(clip, cross_window=0.5)[0]
    inversion = run("DDIMInvert", **inverting | {"model": patched, "latent": frames, "steps": 20})[0]
    exact, near = (sample(patched, inversion, changed, cache_every=[n])[0][0]["samples"] for n in (1, 2))
    assert 0 < (near - exact).square().mean().sqrt() / exact.std() < bound


# --- self-attention that another node holds ---------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["first", "first+self", "window"])
def test_what_holds_self_attention_sees_each_frame_by_itself(demo, clip, latent, rule):
    """An occupant that computes plain attention changes nothing."""
    seen, image = [], demo[0].clone()

    def plain(q, k, v, options):
        seen.append(k.shape == v.shape == q.shape)
        return optimized_attention(q, k, v, options["n_heads"])

    image.set_model_attn1_replace(plain, "middle", 0, 0)
    settings = {"frames_read": rule, "temporal_layers": False}
    held, free = (run("InflateUNet", model=m, **settings)[0] for m in (image, demo[0]))
    torch.testing.assert_close(predict(held, clip, latent), predict(free, clip, latent), atol=1e-3, rtol=1e-4)
    assert seen and all(seen)


def test_where_all_self_attention_is_nothing_frames_are_images(demo, clip, latent):
    """One that gives the values back, as perturbed attention does, gives each frame its own."""
    image = demo[0].clone()
    for slot in UNet().cross_attention_layers(image.get_model_object("diffusion_model")):
        image.set_model_attn1_replace(lambda q, k, v, options: v, *slot)
    frames = predict(run("InflateUNet", model=image, temporal_layers=False)[0], clip, latent)
    for frame, samples in enumerate(latent["samples"].split(1)):
        alone = predict(image, clip, {"samples": samples})
        torch.testing.assert_close(frames[frame : frame + 1], alone, atol=1e-4, rtol=1e-4)
