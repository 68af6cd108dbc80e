"""What other nodes rely on in a sampling call: a seed, a guider's cfg, conditionings to look through, a row a frame."""

import comfy.samplers
import pytest
import torch
from comfy_extras.nodes_context_windows import ContextWindowsManualNode
from comfyui_videop2p.tests.host.calls import STEPS, control, run, sample

custom_sampler = pytest.importorskip("comfy_extras.nodes_custom_sampler")


@pytest.fixture(scope="module")
def exact(model, inverting):
    return run("DDIMInvert", **inverting | {"method": "direct-exact", "steps": STEPS})[0]


def edited(model, clip, inversion, **settings):
    (latent,), *_ = sample(model, inversion, control(clip, **settings)[0])
    return latent["samples"]


@pytest.mark.skipif(not hasattr(custom_sampler, "CFGOverride"), reason="this ComfyUI has no CFG Override")
def test_cfg_override_guides_the_targets(model, clip, exact):
    (overridden,) = custom_sampler.CFGOverride.execute(model, 1.5, 0.0, 1.0).result
    by_node = edited(overridden, clip, exact, guidance="4")
    assert torch.equal(by_node, edited(model, clip, exact, guidance="1.5"))
    assert not torch.allclose(by_node, edited(model, clip, exact, guidance="4"), atol=1e-2)


@pytest.mark.parametrize("method", ["direct-exact", "shared null-text"])
def test_context_windows_with_free_noise_have_a_seed(model, clip, inverting, method):
    settings = {
        "context_length": 2, "context_overlap": 1, "context_schedule": "standard_static", "context_stride": 1,
        "closed_loop": False, "fuse_method": "pyramid", "dim": 0, "freenoise": True,
    }  # fmt: skip
    try:
        (windowed,) = ContextWindowsManualNode.execute(model, **settings).result
    except TypeError:
        pytest.skip("the context windows of this ComfyUI know no free noise")
    inversion = run("DDIMInvert", **inverting | {"model": windowed, "method": method, "steps": STEPS})[0]
    assert inversion.trajectory.isfinite().all() and edited(windowed, clip, inversion).isfinite().all()


def test_patches_that_draw_at_random_repeat(model, clip, inverting):
    def trembling(q, k, v, options):
        return q + 0.1 * torch.randn_like(q), k, v

    shaken = model.clone()
    shaken.set_model_attn2_patch(trembling)
    results = []
    for _ in range(2):
        torch.rand(7)  # whatever else drew in between
        inversion = run("DDIMInvert", **inverting | {"model": shaken, "method": "direct-exact", "steps": STEPS})[0]
        results.append((inversion.trajectory, edited(shaken, clip, inversion)))
    assert all(torch.equal(*pair) for pair in zip(*results, strict=True))


@pytest.mark.parametrize("method", ["direct-exact", "shared null-text"])
def test_a_sampling_function_that_looks_through_the_conditionings(model, clip, inverting, method, monkeypatch):
    """As smZNodes' does, once it is installed."""
    hosts = comfy.samplers.sampling_function

    def looking(model, x, timestep, uncond, cond, *args, **kwargs):
        assert all(entry.get("weight") is None for entry in cond)
        return hosts(model, x, timestep, uncond, cond, *args, **kwargs)

    plain = run("DDIMInvert", **inverting | {"method": method, "steps": STEPS})[0]
    monkeypatch.setattr(comfy.samplers, "sampling_function", looking)
    inversion = run("DDIMInvert", **inverting | {"method": method, "steps": STEPS})[0]
    assert torch.equal(inversion.trajectory, plain.trajectory)
    assert edited(model, clip, inversion).isfinite().all()


@pytest.mark.parametrize("words", ["", "rabbit"])
def test_an_attention_couple_is_refused_in_a_sentence(model, clip, exact, words):
    """Its patch hands each prompt's rows on beside the others', and adds them up behind the attention."""

    def coupled(q, k, v, options):
        return torch.cat([q, q]), torch.cat([k, k]), torch.cat([v, v])

    regional = model.clone()
    regional.set_model_attn2_patch(coupled)
    regional.set_model_attn2_output_patch(lambda out, options: out.chunk(2)[0])
    with pytest.raises(ValueError, match="rows where the clip has [24], as regional prompts"):
        edited(regional, clip, exact, cross_window=0.4, blend_source=words, blend_target=words)
