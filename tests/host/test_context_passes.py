"""Clips longer than one pass."""

import comfy.sample
import pytest
import torch
from comfy_extras.nodes_context_windows import ContextWindowsManualNode
from comfyui_videop2p.tests.host.calls import SOURCE, control, encode, run, sample
from comfyui_videop2p.tests.peers.stock import GUIDANCE
from comfyui_videop2p.videop2p_core.diffusion.windows import even_windows

FRAMES, PER_PASS, STEPS = 9, 4, 3
# Each frame sees itself and frame 0: then it does not matter which others share its pass.
APART = {"temporal_layers": False, "norm_over_frames": False}


@pytest.fixture(scope="module")
def latent():
    return {"samples": 2 * torch.randn(FRAMES, 4, 16, 16, generator=torch.Generator().manual_seed(0))}


@pytest.fixture(scope="module")
def whole(demo):
    return run("InflateUNet", model=demo[0], **APART)[0]


@pytest.fixture(scope="module")
def passes(demo):
    return run("InflateUNet", model=demo[0], **APART, frames_per_pass=PER_PASS, pass_overlap=1)[0]


@pytest.fixture(scope="module")
def windows(demo, whole):
    """ComfyUI's own node, after the inflation."""
    return context_windows(whole)


def context_windows(model, **settings):
    given = {
        "context_length": PER_PASS - 1, "context_overlap": 1, "context_schedule": "standard_static",
        "context_stride": 1, "closed_loop": False, "fuse_method": "pyramid", "dim": 0, "freenoise": False,
    }  # fmt: skip
    return ContextWindowsManualNode.execute(model, **given | settings).result[0]


def inverted(model, clip, latent, method="direct", **settings):
    source, null = encode(clip, SOURCE), encode(clip, "")
    return run(
        "DDIMInvert", model=model, source=source, null=null, latent=latent, steps=STEPS, method=method, **settings
    )


def assert_same(actual, expected):
    """Up to the rounding of batches of other sizes."""
    assert actual.shape == expected.shape
    torch.testing.assert_close(actual, expected, rtol=0, atol=2e-3 * expected.std().item())


@pytest.mark.parametrize("frames, length, overlap", [(64, 15, 2), (16, 15, 2), (17, 3, 1), (100, 7, 3), (5, 5, 2)])
def test_windows_cover_the_clip_and_overlap(frames, length, overlap):
    found = even_windows(frames, length, overlap)
    assert sorted({frame for window in found for frame in window}) == list(range(frames))
    assert all(len(window) == length for window in found)
    assert all(len(set(a) & set(b)) >= overlap for a, b in zip(found, found[1:], strict=False))


def test_64_frames_in_passes_of_16_cost_at_most_a_third_more():
    evaluated = sum(len(window) + (window[0] > 0) for window in even_windows(64, 15, 2))
    assert evaluated / 64 <= 1.35


@pytest.mark.parametrize("kind", ["passes", "windows"])
@pytest.mark.parametrize(
    "method",
    [
        "direct",
        "proximal",
        *(pytest.param(m, marks=pytest.mark.slow) for m in ("negative-prompt", "per-frame null-text")),
    ],
)
def test_an_edit_in_passes_is_that_of_the_whole_clip(request, kind, method, whole, clip, latent):
    edit = control(clip, blend_source="rabbit", blend_target="rabbit", cross_window=0.8)[0]
    found = {}
    for name in ("whole", kind):
        model = request.getfixturevalue(name)
        inversion, noise, *_ = inverted(model, clip, latent, method, inner_steps=2)
        (edited,), _, (mask,) = sample(model, inversion, edit)
        found[name] = noise["samples"], edited["samples"], mask
    for part, expected in zip(found[kind], found["whole"], strict=True):
        assert_same(part, expected)


@pytest.mark.parametrize("name", ["PerturbedAttentionGuidance", "SelfAttentionGuidance"])
def test_guidance_of_other_nodes_is_that_of_the_whole_clip(name, whole, passes, clip, latent):
    edit = control(clip, cross_window=0.8)[0]
    found = []
    for model in (whole, passes):
        patched = GUIDANCE[name](model)
        inversion = inverted(patched, clip, latent)[0]
        found.append(sample(patched, inversion, edit)[0][0]["samples"])
    assert_same(*reversed(found))


@pytest.mark.parametrize("kind", ["passes", "windows"])
def test_a_stock_sampler_takes_passes(request, kind, whole, clip, latent):
    noise = torch.randn(latent["samples"].shape, generator=torch.Generator().manual_seed(1))

    def sampled(model):
        with torch.inference_mode():
            return comfy.sample.sample(
                model, noise, STEPS, 4.0, "euler", "normal", encode(clip, SOURCE), encode(clip, ""), latent["samples"],
                disable_pbar=True, seed=0,
            )  # fmt: skip

    assert_same(sampled(request.getfixturevalue(kind)), sampled(whole))


def test_a_tuning_in_passes_is_that_of_the_whole_clip(whole, passes, clip, latent):
    settings = {"positive": encode(clip, SOURCE), "latent": latent, "steps": 2, "learning_rate": 1e-3}
    one, other = (run("TuneOnVideo", model=model, **settings)[1] for model in (whole, passes))
    torch.testing.assert_close(one.losses, other.losses, rtol=1e-4, atol=0)
    torch.testing.assert_close(one.grad_norms, other.grad_norms, rtol=1e-3, atol=0)


def test_no_pass_holds_more_frames_than_were_asked_for(demo, clip, latent):
    model = run("InflateUNet", model=demo[0], frames_per_pass=PER_PASS, pass_overlap=1)[0]
    rows = []
    model.set_model_unet_function_wrapper(lambda call, given: (rows.append(len(given["input"])), call(
        given["input"], given["timestep"], **given["c"]))[1])  # fmt: skip
    inversion = inverted(model, clip, latent)[0]
    assert max(rows) == PER_PASS
    sample(model, inversion, control(clip, blend_source="rabbit")[0])
    assert max(rows) == 2 * PER_PASS


def test_a_short_clip_is_taken_at_once(demo, clip, latent):
    short = {"samples": latent["samples"][:PER_PASS]}
    in_passes, at_once = (
        run("InflateUNet", model=demo[0], norm_over_frames=True, frames_per_pass=n, pass_overlap=1)[0]
        for n in (PER_PASS, 0)
    )
    noises = [inverted(model, clip, short)[1]["samples"] for model in (in_passes, at_once)]
    assert torch.equal(*noises)


def test_the_norm_over_all_frames_cannot_be_taken_in_passes(demo, clip, latent):
    model = run("InflateUNet", model=demo[0], norm_over_frames=True, frames_per_pass=PER_PASS, pass_overlap=1)[0]
    with pytest.raises(ValueError, match="turn it off in Inflate UNet"):
        inverted(model, clip, latent)


def test_windows_over_another_axis_are_refused(whole, clip, latent):
    with pytest.raises(ValueError, match="set dim to 0"):
        inverted(context_windows(whole, dim=2), clip, latent)


@pytest.mark.parametrize("overlap", [2, 5])
def test_an_overlap_of_half_a_pass_is_refused(demo, overlap):
    with pytest.raises(ValueError, match="less than half as many"):
        run("InflateUNet", model=demo[0], frames_per_pass=PER_PASS, pass_overlap=overlap)
