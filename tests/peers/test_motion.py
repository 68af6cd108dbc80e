"""Motion modules and sampling replaced while it runs: a stand-in with AnimateDiff-Evolved's habits, and the pack."""

from importlib import import_module

import comfy.samplers
import pytest
import torch
from comfyui_videop2p.tests.host.calls import FRAMES, TARGET, control, encode, predict, run, sample
from comfyui_videop2p.tests.peers.packs import pack
from comfyui_videop2p.tests.peers.standins import motion
from comfyui_videop2p.tests.peers.stock import sampled
from comfyui_videop2p.videop2p_core.diffusion import schedule
from comfyui_videop2p.videop2p_core.host.model.identity import identity_of
from torch import nn


def drawn(module, seed=0):
    """The module with random weights, scaled so that every layer gives about what it is given."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        shape = parameter.shape
        scale = torch.Size(shape[1:]).numel() ** -0.5 if len(shape) > 1 else 0.1
        parameter.copy_(scale * torch.randn(shape, generator=generator) + float(len(shape) == 1))
    return module


class StandIn:
    @staticmethod
    def evolved(model, moving=False, context=None, share=1.0):
        motions = drawn(motion.Motions(model.get_model_object("diffusion_model"))) if moving else None
        return motion.use(model, motions, context, model.get_model_object("model_sampling").percent_to_sigma(share))


class AnimateDiffEvolved:
    """The pack's own nodes, given a motion model of the demo UNet's widths: its files are for those of SD1.5 alone."""

    CHANNELS = (64, 128, 128)

    def __init__(self):
        self.nodes = pack("ComfyUI-AnimateDiff-Evolved").NODE_CLASS_MAPPINGS

    def run(self, name, *args, **kwargs):
        node = self.nodes[name]()
        return getattr(node, node.FUNCTION)(*args, **kwargs)[0]

    def evolved(self, model, moving=False, context=None, share=1.0, settings=None):
        given = {"sample_settings": settings}
        if moving:
            given["m_models"] = self.run("ADE_ApplyAnimateDiffModel", self.motion_model(), end_percent=share)
        if context:
            given["context_options"] = self.run("ADE_StandardStaticContextOptions", context, 1)
        return self.run("ADE_UseEvolvedSampling", model, "use existing", **given)

    def motion_model(self):
        package = pack("ComfyUI-AnimateDiff-Evolved").__name__
        modules = import_module(f"{package}.animatediff.motion_module_ad")
        injection = import_module(f"{package}.animatediff.model_injection")
        info = modules.AnimateDiffInfo(
            sd_type="SD1.5", mm_format=modules.AnimateDiffFormat.ANIMATEDIFF, mm_version=modules.AnimateDiffVersion.V1,
            mm_name="drawn",
        )  # fmt: skip
        marks = {"transformer_blocks.0.attention_blocks.1.pos_encoder.pe": torch.zeros(1, 24, 64)}
        model = modules.AnimateDiffModel(marks, info)
        for kind, widths in (("down", self.CHANNELS), ("up", self.CHANNELS[::-1])):
            blocks = [
                modules.MotionModule(
                    channels, temporal_pe_max_len=24, block_type=kind, block_idx=index, ops=model.ops
                )
                for index, channels in enumerate(widths)
            ]  # fmt: skip
            setattr(model, f"{kind}_blocks", nn.ModuleList(blocks))
        model.mid_block = modules.MotionModule(
            self.CHANNELS[-1], temporal_pe_max_len=24, block_type="mid", ops=model.ops
        )  # fmt: skip
        cpu = torch.device("cpu")
        return injection.create_MotionModelPatcher(drawn(model), load_device=cpu, offload_device=cpu)


@pytest.fixture(scope="module", params=[StandIn, AnimateDiffEvolved], ids=["stand-in", "AnimateDiff-Evolved"])
def evolved(request):
    """(MODEL, moving, context, share of the run) -> MODEL"""
    return request.param().evolved


@pytest.fixture(autouse=True)
def left_as_it_was():
    """Class-wide and module-wide functions are the host's again after each test."""
    stock = nn.GroupNorm.forward, comfy.samplers.sampling_function
    yield
    assert (nn.GroupNorm.forward, comfy.samplers.sampling_function) == stock


def inverted(inverting, model, **inputs):
    return run("DDIMInvert", **inverting | {"model": model, "steps": 2} | inputs)[0]


def edited(model, inverting, edit):
    inversion = inverted(inverting, model, method="negative-prompt")
    (target,), source, (mask,) = sample(model, inversion, edit)
    return inversion.trajectory, source["samples"], target["samples"], mask


@pytest.fixture(scope="module")
def edit(clip):
    return control(clip, blend_source="rabbit", cross_window=0.5)[0]


@pytest.fixture(scope="module")
def bare(model, inverting, edit):
    with torch.inference_mode():
        return edited(model, inverting, edit)


@pytest.mark.parametrize("order", ["before", "after"])
def test_its_sampling_alone_changes_nothing(evolved, demo, model, inverting, edit, bare, order):
    patched = run("InflateUNet", model=evolved(demo[0]))[0] if order == "before" else evolved(model)
    assert all(map(torch.equal, edited(patched, inverting, edit), bare))


def test_motion_modules_act_before_inflation_and_after_it_alike(evolved, demo, model, inverting, edit, bare):
    before = edited(run("InflateUNet", model=evolved(demo[0], moving=True))[0], inverting, edit)
    after = edited(evolved(model, moving=True), inverting, edit)
    for one, other, plain in zip(before, after, bare, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
        assert not torch.allclose(one, plain, atol=1e-2) or one.unique().numel() <= 2  # a mask
    assert all(map(torch.equal, edited(model, inverting, edit), bare))  # and leave no trace


def test_an_edit_that_is_nothing_is_what_the_hosts_own_guider_makes(evolved, model, clip, inverting):
    moving = evolved(model, moving=True)
    inversion = inverted(inverting, moving)
    (ours,), *_ = sample(moving, inversion, control(clip, cross_window=0.0, temporal_window=0.0)[0])
    assert torch.equal(ours["samples"], sampled(moving, encode(clip, TARGET), encode(clip, ""), inversion))


def test_the_source_runs_as_it_was_inverted(evolved, model, inverting, edit):
    moving = evolved(model, moving=True)
    inversion, _, replayed, *_ = run("DDIMInvert", **inverting | {"model": moving, "method": "negative-prompt"})
    _, source, _ = sample(moving, inversion, edit)
    torch.testing.assert_close(source["samples"], replayed["samples"], atol=1e-4, rtol=1e-4)


class FirstStepUp(comfy.samplers.Sampler):
    """Of an inversion, by the host's own guider: z."""

    def sample(self, guider, sigmas, extra_args, callback, noise, latent_image, *args, **kwargs):
        low, high = sigmas[-1], sigmas[-2]
        x, estimate = (schedule.to_x(latent_image, sigma) for sigma in (low, high))
        slope = schedule.direction(estimate, guider(estimate, high.expand(len(x)), **extra_args), high)
        return schedule.to_z(schedule.ddim_step(x, slope, low, high), high)


def test_an_inversion_moves_as_long_as_the_motion_does(evolved, model, inverting):
    """At its first step, of the least noise, only what moves to the end of a run does."""
    found = []
    for share in (1.0, 0.5):
        moving = evolved(model, moving=True, share=share)
        inversion = inverted(inverting, moving)
        guider = comfy.samplers.CFGGuider(moving)
        guider.set_conds(inverting["source"], inverting["null"])
        latent = inverting["latent"]["samples"]
        step = guider.sample(
            torch.zeros_like(latent), latent, FirstStepUp(), inversion.sigmas, disable_pbar=True, seed=0
        )
        found.append(model.model.process_latent_out(inversion.trajectory[1]))
        torch.testing.assert_close(found[-1], step, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(*found, atol=1e-2)


def test_other_clones_of_the_checkpoint_know_nothing_of_it(evolved, demo, model, inverting, edit):
    """Modules stay in the UNet until another MODEL is loaded, and layers' names move."""
    moving, name = evolved(model, moving=True), identity_of(model)

    def inflated():
        return run("InflateUNet", model=demo[0], norm_over_frames=True)[0]

    joint = inflated()
    inversion = inverted(inverting, joint)
    expected = sample(joint, inversion, edit, cache_every=[2])[0][0]["samples"]
    inverted(inverting, moving)
    assert identity_of(model) == name
    assert torch.equal(sample(joint, inversion, edit, cache_every=[2])[0][0]["samples"], expected)
    inverted(inverting, moving)
    assert torch.equal(inverted(inverting, inflated()).trajectory, inversion.trajectory)


# --- refused ----------------------------------------------------------------------------------------------------------


def refused(sentence):
    return pytest.raises(ValueError, match=sentence)


def test_one_norm_over_frames_is_enough(evolved, demo, inverting):
    joint = evolved(run("InflateUNet", model=demo[0], norm_over_frames=True)[0], moving=True)
    with refused("take the norm over frames themselves: turn it off in Inflate UNet"):
        inverted(inverting, joint)


@pytest.mark.parametrize("work", ["tuning", "null-text"])
def test_motion_modules_are_not_differentiated_through(evolved, model, inverting, work):
    moving = evolved(model, moving=True)
    with pytest.raises(RuntimeError, match="holds weights that were loaded for inference"):
        if work == "tuning":
            run("TuneOnVideo", model=moving, positive=inverting["source"], latent=inverting["latent"], steps=1)
        else:
            inverted(inverting, moving, method="shared null-text", inner_steps=1)


def test_features_with_motion_modules_among_them_are_not_cached(evolved, model, inverting, edit):
    moving = evolved(model, moving=True)
    inversion = inverted(inverting, moving)
    with refused("are not cached: set cache every to 1"):
        sample(moving, inversion, edit, cache_every=[2])


def test_it_takes_no_passes(evolved, demo, inverting):
    short = run("InflateUNet", model=demo[0], frames_per_pass=3, pass_overlap=1)[0]
    many = {"samples": torch.zeros(5, 4, 16, 16)}
    with refused("takes the whole clip at once, but it comes in passes"):
        inverted(inverting, evolved(short), latent=many)
    assert inverted(inverting, evolved(short)).trajectory.isfinite().all()  # a clip that needs none


def test_proximal_guidance_is_missed(evolved, model, inverting, edit):
    patched = evolved(model)
    inversion = inverted(inverting, patched, method="proximal")
    with refused("leaves proximal guidance out: choose another method"):
        sample(patched, inversion, edit)


def test_windows_without_frame_0(evolved, demo, model, clip, inverting, edit, bare):
    """Of its own; where the clip fits into one there are none."""
    assert all(map(torch.equal, edited(evolved(model, context=FRAMES), inverting, edit), bare))
    many = {"samples": 2 * torch.randn(4, 4, 16, 16, generator=torch.Generator().manual_seed(0))}
    inversion = inverted(inverting, model, latent=many)
    cut = evolved(model, context=FRAMES)
    with refused("cut the clip into windows of their own"):
        inverted(inverting, cut, latent=many)
    with refused("cut the clip into windows of their own"):
        sample(cut, inversion, edit)
    with refused("which got 2 of 4 frames at a time"):
        predict(cut, clip, many)


@pytest.mark.parametrize("setting", ["custom_cfg", "iteration_opts"])
def test_settings_that_take_the_place_of_an_edit(model, inverting, setting):
    pack = AnimateDiffEvolved()
    given = {
        "custom_cfg": lambda: pack.run("ADE_CustomCFGSimple", cfg=3.0),
        "iteration_opts": lambda: pack.run("ADE_IterationOptsDefault", 2, 0, 0),
    }[setting]()
    settings = pack.run("ADE_AnimateDiffSamplingSettings", 0, "FreeNoise", "comfy", 0, **{setting: given})
    with refused("sample settings of AnimateDiff-Evolved"):
        inverted(inverting, pack.evolved(model, settings=settings))
