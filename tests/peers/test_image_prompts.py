"""Image prompts in the attn2 slots: a stand-in with IPAdapter_plus's habits, and the pack itself."""

from dataclasses import replace

import pytest
import torch
from comfyui_videop2p.tests.host.calls import FRAMES, TARGET, control, encode, run, sample
from comfyui_videop2p.tests.host.test_context_passes import APART, PER_PASS, assert_same
from comfyui_videop2p.tests.host.test_context_passes import FRAMES as MANY
from comfyui_videop2p.tests.host.test_wiring import assert_null_text_runs_on_this_model
from comfyui_videop2p.tests.peers.packs import pack
from comfyui_videop2p.tests.peers.standins import image_prompt
from comfyui_videop2p.tests.peers.stock import sampled
from comfyui_videop2p.videop2p_core.host.families.unet import UNet

TOKENS, WIDTH, SEEN = 4, 128, 32  # tokens an image, their width, what a vision model says of it


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def widths(model):
    """{(block, number): channels} of the UNet's attn2 slots."""
    unet = model.get_model_object("diffusion_model")
    blocks = {"input": unet.input_blocks, "output": unet.output_blocks}
    slots = (slot for slot in UNet().cross_attention_layers(unet) if slot[0] in blocks)
    return {(kind, number): blocks[kind][number][1].in_channels for kind, number, _ in slots}


def stand_in(model, seen, each_frame, weight):
    layers = {
        slot: tuple(noise(channels, WIDTH, seed=seed) / WIDTH**0.5 for seed in (1, 2))
        for slot, channels in widths(model).items()
    }
    embeds = (seen @ noise(SEEN, TOKENS * WIDTH, seed=3) / SEEN**0.5).unflatten(-1, (TOKENS, WIDTH))
    return image_prompt.apply(model, layers, embeds, each_frame, weight)


def ip_adapter(model, seen, each_frame, weight):
    """The pack's own node, given random weights in the layout of its files."""
    nodes = pack("ComfyUI_IPAdapter_plus").NODE_CLASS_MAPPINGS
    slots = [("input", i) for i in (1, 2, 4, 5, 7, 8)] + [("output", i) for i in range(3, 12)] + [("middle", 1)]
    layers, known = {}, widths(model)
    for number, slot in enumerate(slots):
        for seed, name in enumerate(("to_k_ip", "to_v_ip"), 1):
            layers[f"{2 * number + 1}.{name}.weight"] = noise(known.get(slot, 64), WIDTH, seed=seed) / WIDTH**0.5
    weights = {
        "image_proj": {
            "proj.weight": noise(TOKENS * WIDTH, SEEN, seed=3) / SEEN**0.5,
            "proj.bias": torch.zeros(TOKENS * WIDTH),
            "norm.weight": torch.ones(WIDTH),
            "norm.bias": torch.zeros(WIDTH),
        },
        "ip_adapter": layers,
    }
    node = nodes["IPAdapterEmbedsBatch" if each_frame else "IPAdapterEmbeds"]()
    return node.apply_ipadapter(
        model, weights, seen, weight, "linear", 0.0, 1.0, neg_embed=torch.zeros_like(seen)
    )[0]  # fmt: skip


@pytest.fixture(scope="module", params=[stand_in, ip_adapter], ids=["stand-in", "IPAdapter_plus"])
def show(request, demo):
    """(MODEL, what is seen [images, SEEN], each_frame, weight) -> MODEL"""

    def show(model, seen=None, each_frame=False, weight=1.0):
        return request.param(model, noise(1, SEEN) if seen is None else seen, each_frame, weight)

    show.stand_in = request.param is stand_in
    with torch.inference_mode():
        show(demo[0])
    return show


def inverted(inverting, model, **inputs):
    return run("DDIMInvert", **inverting | {"model": model, "steps": 2} | inputs)[0]


@pytest.fixture(scope="module")
def edit(clip):
    return control(clip, blend_source="rabbit", cross_window=0.5)[0]


def test_it_acts_before_inflation_and_after_it_alike(show, demo, model, inverting, edit):
    before, after = run("InflateUNet", model=show(demo[0]))[0], show(model)
    bare = inverted(inverting, model, method="negative-prompt")
    plain, *_ = sample(model, bare, edit)
    first, second = (inverted(inverting, m, method="negative-prompt") for m in (before, after))
    assert torch.equal(first.trajectory, second.trajectory)
    assert not torch.allclose(first.trajectory, bare.trajectory, atol=1e-2)
    (one,), source, mask = sample(before, first, edit)
    (other,), *others = sample(after, second, edit)
    assert torch.equal(one["samples"], other["samples"]) and torch.equal(source["samples"], others[0]["samples"])
    assert not torch.allclose(one["samples"], plain[0]["samples"], atol=1e-2)
    assert torch.equal(sample(model, bare, edit)[0][0]["samples"], plain[0]["samples"])  # and leaves no trace


def test_two_of_them_share_their_slots_in_any_order(show, demo, model, inverting, edit):
    other = noise(1, SEEN, seed=7)

    def inflate(image):
        return run("InflateUNet", model=image)[0]

    together = inflate(show(show(demo[0]), other))
    apart = show(inflate(show(demo[0])), other)
    inversions = [inverted(inverting, m) for m in (together, apart)]
    results = [sample(m, i, edit)[0][0]["samples"] for m, i in zip((together, apart), inversions, strict=True)]
    assert torch.equal(*results)
    assert not torch.allclose(results[0], sample(show(model), inversions[0], edit)[0][0]["samples"], atol=1e-2)


def test_an_edit_that_is_nothing_is_what_the_hosts_own_guider_makes(show, model, clip, inverting):
    shown = show(model)
    inversion = inverted(inverting, shown)
    (ours,), *_ = sample(shown, inversion, control(clip, cross_window=0.0, temporal_window=0.0)[0])
    assert torch.equal(ours["samples"], sampled(shown, encode(clip, TARGET), encode(clip, ""), inversion))


def test_each_frame_has_an_image_of_its_own(show, demo, clip, inverting):
    """Frames that see themselves alone are images, each under its own."""
    seen, apart = noise(FRAMES, SEEN), {"frames_read": "window", "window": 0, "temporal_layers": False}
    model = show(run("InflateUNet", model=demo[0], **apart)[0], seen, each_frame=True)
    inversion = inverted(inverting, model)
    target, null = encode(clip, TARGET), encode(clip, "")
    frames = sampled(model, target, null, inversion)
    for frame in range(FRAMES):
        alone = replace(inversion, trajectory=inversion.trajectory[:, frame : frame + 1])
        image = sampled(show(demo[0], seen[frame : frame + 1]), target, null, alone)
        torch.testing.assert_close(frames[frame : frame + 1], image, atol=1e-3, rtol=1e-3)


@pytest.mark.slow
def test_each_frame_keeps_its_image_in_passes(show, demo, clip, inverting, edit):
    seen, latent = noise(MANY, SEEN), {"samples": 2 * noise(MANY, 4, 16, 16)}
    found = []
    for settings in ({}, {"frames_per_pass": PER_PASS, "pass_overlap": 1}):
        model = show(run("InflateUNet", model=demo[0], **APART, **settings)[0], seen, each_frame=True)
        inversion = inverted(inverting, model, latent=latent)
        (edited,), _, (mask,) = sample(model, inversion, edit)
        found.append((inversion.trajectory, edited["samples"], mask))
    for whole, part in zip(*found, strict=True):
        assert_same(part, whole)


def test_an_image_for_the_edit_alone_leaves_the_source_as_it_was(show, model, inverting, edit):
    """What an image prompt is for: the clip is inverted without it."""
    inversion = inverted(inverting, model)
    (plain,), before, _ = sample(model, inversion, edit)
    (styled,), source, _ = sample(show(model), inversion, edit)
    assert torch.equal(source["samples"], before["samples"])
    assert not torch.allclose(styled["samples"], plain["samples"], atol=1e-2)


def test_it_is_there_while_the_model_is_tuned_on_and_differentiated(show, model, inverting, tuning):
    source, null, latent = inverting["source"], inverting["null"], inverting["latent"]
    tuned, learnt, _ = run("TuneOnVideo", model=show(model, weight=3.0), positive=source, latent=latent, steps=2)
    assert learnt.losses[0] != pytest.approx(tuning[1].losses[0].item(), rel=1e-3)
    assert_null_text_runs_on_this_model(tuned, source, null, latent)
