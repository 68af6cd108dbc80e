"""Two experts of one model: each draws at its own noise levels, inverted, edited and under stock samplers."""

import hashlib
import re
from dataclasses import replace
from functools import partial

import comfy.model_management
import comfy.samplers
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from comfy_extras.nodes_model_advanced import ModelSamplingSD3
from comfyui_videop2p.tests.families.worlds import BIG, BLUE, CFG, RED, Plain, World
from comfyui_videop2p.tests.host import wan
from comfyui_videop2p.tests.host.calls import run
from comfyui_videop2p.videop2p_core.host.comfy.expert_pair import pair_of
from comfyui_videop2p.videop2p_core.host.comfy.latents import as_latent, latent_out
from comfyui_videop2p.videop2p_core.host.comfy.model_patches import OVERRIDE
from comfyui_videop2p.videop2p_core.host.edit.decoupled_sampling import decoupled_sample
from comfyui_videop2p.videop2p_core.host.edit.edit_inputs import prepare_edit
from comfyui_videop2p.videop2p_core.host.model.identity import full_fingerprint_of, identity_of
from comfyui_videop2p.videop2p_core.storage import artifacts

STEPS, BOUNDARY = 4, 0.875
FULL = {"cross_window": 1.0, "temporal_window": 1.0}


@pytest.fixture(scope="module")
def experts():
    return wan.tiny_wan(seed=1), wan.tiny_wan(seed=2)


@pytest.fixture(scope="module")
def world(experts):
    return World("Wan pair", lambda: (paired(*experts), wan.tiny_text()))


@pytest.fixture(scope="module")
def inversion(world):
    inversion = world.inverted(steps=STEPS)[0]
    assert (inversion.sigmas[:-1] >= BOUNDARY).sum() == 2  # each expert has two steps
    return inversion


def paired(high, low, **settings):
    return run("ModelPair", high_noise=high, low_noise=low, **settings)[0]


def fingerprint(model):
    digest = hashlib.sha256()
    for name, value in sorted(model.model.state_dict().items()):
        digest.update(name.encode() + value.cpu().numpy().tobytes())
    return digest.hexdigest(), dict(model.object_patches), repr(model.model_options), model.model.current_patcher


def drawn_by(model, world, inversion, positive, steps, x=None):
    """A sampler after Euler steps of the host's own guider on a MODEL, between these levels of the inversion."""
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(positive, world.encoded(""))
    guider.set_cfg(CFG)
    sampler = Plain(inversion, x)
    samples, sigmas = as_latent(model.model, inversion.noise), inversion.sigmas[steps]
    with torch.inference_mode():
        guider.sample(samples, samples, sampler, sigmas, disable_pbar=True, seed=0)
    return sampler


def test_no_edit_is_what_two_stock_samplings_draw_bit_for_bit(world, experts, inversion):
    (ours,), *_ = world.edited(inversion, world.controlled(BLUE))
    positive = world.encoded(BLUE)
    first = drawn_by(experts[0], world, inversion, positive, slice(0, 3))
    second = drawn_by(experts[1], world, inversion, positive, slice(2, None), first.x)
    assert torch.equal(ours, latent_out(experts[0].model, second.z).cpu())
    assert torch.equal(ours, world.plain(inversion, positive))
    for alone in experts:
        other = drawn_by(alone, world, inversion, positive, slice(None))
        assert not torch.allclose(ours, latent_out(alone.model, other.z).cpu(), atol=1e-3)


def test_the_inversion_switches_where_the_edit_does(world, experts, inversion):
    """A step up is labelled with the level above, as the step down that it undoes."""
    seen = []

    def watched(name):
        def watch(executor, x, t, *args, **kwargs):
            seen.append((name, round(float(t[0]), 4)))
            return executor(x, t, *args, **kwargs)

        return watch

    clones = [expert.clone() for expert in experts]
    for name, clone in zip(("high", "low"), clones, strict=True):
        clone.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "watch", watched(name))
    pair = World("watched", lambda: (paired(*clones), world.clip))
    again = pair.inverted(steps=STEPS)[0]
    assert torch.equal(again.trajectory, inversion.trajectory)
    inverted, seen[:] = set(seen), []
    pair.edited(again, pair.controlled(BLUE, **FULL))
    levels = [round(float(sigma), 4) for sigma in inversion.sigmas[:-1]]
    assert inverted == set(seen) == {("high" if level >= BOUNDARY else "low", level) for level in levels}


@pytest.mark.parametrize("method", ["direct", "direct-exact", "direct-residual", "virtual"])
def test_the_source_s_own_prompt_gives_the_source(world, method):
    inversion = world.inverted(method, steps=STEPS)[0]
    edits = [world.controlled(prompt, guidance="1", **FULL) for prompt in (RED, BLUE)]
    (same, other), source, _ = world.edited(inversion, *edits)
    torch.testing.assert_close(source, world.pictures, atol=1e-5, rtol=0)
    assert not torch.allclose(other, source, atol=1e-4)
    if method != "direct":
        assert torch.equal(same, source)


@pytest.mark.parametrize("prompt", [BLUE, BIG], ids=["swap", "refine"])
def test_an_edit_is_each_half_on_its_own_model(world, experts, inversion, prompt):
    """The steps of either expert are those of an edit on it alone, from the same latents on."""
    edit = world.controlled(prompt, **FULL, blend_source="ball", blend_start=0.0)
    given = {"source": world.encoded(RED), "null": world.encoded("")}
    after = {}

    def steps_on(model, name, path):
        with torch.inference_mode():
            prepared = prepare_edit(model, path, [edit], given["source"], [world.encoded(prompt)], given["null"])
            decoupled_sample(model, prepared, progress=lambda done: after.setdefault(name, []).append(done))

    steps_on(world.model, "pair", inversion)
    steps_on(experts[0], "high", replace(inversion, base_model="", fingerprint=None))
    for step in range(2):
        assert torch.equal(after["pair"][step].targets[0], after["high"][step].targets[0])
        assert torch.equal(after["pair"][step].masks[0], after["high"][step].masks[0])
    assert not torch.equal(after["pair"][2].targets[0], after["high"][2].targets[0])


def test_nodes_behind_the_pair_act_on_both_and_those_before_on_one(world, experts, inversion):
    calls = []

    def counted(name, function, *args, **kwargs):
        calls.append((name, kwargs["transformer_options"]["sigmas"][0].item() >= BOUNDARY))
        return function(*args, **kwargs)

    clones = [expert.clone() for expert in experts]
    clones[1].model_options["transformer_options"][OVERRIDE] = partial(counted, "low")
    pair = paired(*clones)
    drawn_by(pair, world, inversion, world.encoded(BLUE), slice(None))
    assert set(calls) == {("low", False)}
    calls.clear()
    behind = paired(*experts)
    behind.model_options["transformer_options"][OVERRIDE] = partial(counted, "behind")
    drawn_by(behind, world, inversion, world.encoded(BLUE), slice(None))
    assert set(calls) == {("behind", False), ("behind", True)}


def test_words_are_weighed_by_both(world, experts, inversion):
    model, positive = run("WordWeights", model=world.model, clip=world.clip, text=BLUE, weights="blue: 3")
    ours = drawn_by(model, world, inversion, positive, slice(None))
    weighed = [run("WordWeights", model=one, clip=world.clip, text=BLUE, weights="blue: 3")[0] for one in experts]
    first = drawn_by(weighed[0], world, inversion, positive, slice(0, 3))
    second = drawn_by(weighed[1], world, inversion, positive, slice(2, None), first.x)
    assert torch.equal(ours.z, second.z)


def test_words_are_watched_in_both(world, experts, inversion):
    def watched(model, steps, x=None):
        model, positive, looks = run("WatchWords", model=model, clip=world.clip, text=BLUE, words="blue")
        sampler = drawn_by(model, world, inversion, positive, steps, x)
        (told,) = looks.runs.values()
        return told.maps, sampler.x

    ours, _ = watched(world.model, slice(None))
    first, x = watched(experts[0], slice(0, 3))
    second, _ = watched(experts[1], slice(2, None), x)
    torch.testing.assert_close(ours, (first + second) / 2)
    assert not torch.equal(first, second)


def test_each_is_loaded_when_its_levels_come_and_never_by_force(world, inversion, monkeypatch):
    loads, load = [], comfy.model_management.load_models_gpu

    def loading(models, *args, **kwargs):
        assert not kwargs.get("force_full_load") and kwargs["memory_required"] > 0
        loads.append([model.model for model in models])
        return load(models, *args, **kwargs)

    pair, positive, null = pair_of(world.model), world.encoded(BLUE), world.encoded("")
    monkeypatch.setattr(world, "encoded", lambda text: null)
    monkeypatch.setattr(comfy.model_management, "load_models_gpu", loading)
    drawn_by(world.model, world, inversion, positive, slice(None))
    assert loads == [[pair.high.model], [pair.low.model]]


def test_both_are_left_as_they_were(world, experts, inversion):
    before = [fingerprint(model) for model in (world.model, *experts)]
    first, *_ = world.edited(inversion, world.controlled(BLUE, **FULL))

    def cancelled(executor, *args, **kwargs):
        comfy.model_management.interrupt_current_processing(True)
        return executor(*args, **kwargs)

    stopped = experts[1].clone()
    stopped.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "cancel", cancelled)
    broken = World("cancelled", lambda: (paired(experts[0], stopped), world.clip))
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        broken.edited(inversion, broken.controlled(BLUE, **FULL))
    assert [fingerprint(model) for model in (world.model, *experts)] == before
    assert torch.equal(world.edited(inversion, world.controlled(BLUE, **FULL))[0][0], first[0])


def test_an_inversion_knows_both(world, experts, inversion, tmp_path):
    high, low = map(identity_of, experts)
    assert inversion.base_model == f"{high} down to noise 0.875 and {low} below"
    artifacts.save(inversion, tmp_path / "pair.safetensors")
    loaded = artifacts.load_inversion(tmp_path / "pair.safetensors")
    assert identity_of(world.model, loaded) == loaded.base_model
    edit = world.controlled(BLUE, cross_window=1.0)
    assert torch.equal(world.edited(loaded, edit)[0][0], world.edited(inversion, edit)[0][0])
    made = f"was made with {re.escape(inversion.base_model)}, but the model connected is"
    others = {
        f"{low} down to noise 0.875 and {high} below": paired(*reversed(experts)),
        f"{high} down to noise 0.9 and {low} below": paired(*experts, boundary=0.9),
        f"{high}: connect": experts[0],
        f"{low}: connect": experts[1],
    }
    for name, model in others.items():
        other = World("other", lambda model=model: (model, world.clip))
        with pytest.raises(ValueError, match=f"{made} {re.escape(name)}"):
            other.edited(inversion, edit)


def test_the_fingerprint_is_of_both(experts):
    assert len(full_fingerprint_of(paired(*experts))) == 1 + sum(len(full_fingerprint_of(one)) for one in experts)


def test_two_that_are_no_pair_are_refused(world, experts):
    high, low = experts
    shifted, guided, around, lora = low.clone(), low.clone(), low.clone(), world.model.clone()
    sampling = ModelSamplingSD3().patch(low, 5.0)[0].get_model_object("model_sampling")
    shifted.add_object_patch("model_sampling", sampling)
    guided.set_model_sampler_post_cfg_function(lambda args: args["denoised"])
    around.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, "other", lambda executor, *args: executor(*args))
    watched, *_ = run("WatchWords", model=high, clip=world.clip, text=RED)
    weighed, _ = run("WordWeights", model=low, clip=world.clip, text=RED, weights="red: 2")
    named = [expert.clone() for expert in experts]
    for model, noise in zip(named, ("low", "high"), strict=True):
        model.cached_patcher_init = (None, (f"/models/wan2.2_t2v_{noise}_noise_14B.safetensors", {}))
    for pair, sentence in (
        ((high, high), "both inputs hold the same model: connect the high-noise and the low-noise one"),
        ((high, wan.tiny_wan(num_layers=2)), "of different kinds or sizes: connect .* of one release"),
        ((high, wan.tiny_wan("vace")), "of different kinds or sizes"),
        ((high, shifted), "different noise levels: give both the same shift"),
        ((high, guided), "acts on guidance or on whole samplings, which the two models share: put it behind"),
        ((around, high), "acts on guidance or on whole samplings"),
        ((watched, low), "acts on guidance or on whole samplings, .* put it behind Model Pair"),
        ((high, weighed), "comes from Word Weights: put that node behind Model Pair"),
        ((world.model, low), "one of the two models is a pair already"),
        (named, "the other way round .wan2.2_t2v_low_noise_14B.safetensors and .*: swap the two models"),
        ((high, None), "there is no model"),
    ):
        with pytest.raises(ValueError, match=sentence):
            paired(*pair)
    paired(*reversed(named))
    lora.add_patches({"diffusion_model.blocks.0.ffn.0.weight": (torch.zeros(128, 64),)})
    with pytest.raises(
        ValueError, match="a node behind Model Pair .a LoRA, for instance. changes the high-noise model"
    ):
        World("lora", lambda: (lora, world.clip)).inverted(steps=STEPS)
