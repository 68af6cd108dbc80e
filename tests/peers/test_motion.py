"""Motion modules and sampling replaced while it runs: a stand-in with AnimateDiff-Evolved's habits, and the pack."""

import comfy.samplers
import pytest
import torch
from comfyui_videop2p.tests.host.calls import TARGET, control, encode, run, sample
from comfyui_videop2p.tests.peers.packs import pack
from comfyui_videop2p.tests.peers.standins import motion
from comfyui_videop2p.tests.peers.stock import sampled
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
    def evolved(model, moving=False, context=None):
        motions = drawn(motion.Motions(model.get_model_object("diffusion_model"))) if moving else None
        return motion.use(model, motions, context)


class AnimateDiffEvolved:
    """The pack's own nodes, given a motion model of the demo UNet's widths: its files are for those of SD1.5 alone."""

    CHANNELS = (64, 128, 128)

    def __init__(self):
        self.nodes = pack("ComfyUI-AnimateDiff-Evolved").NODE_CLASS_MAPPINGS

    def run(self, name, *args, **kwargs):
        node = self.nodes[name]()
        return getattr(node, node.FUNCTION)(*args, **kwargs)[0]

    def evolved(self, model, moving=False, context=None, settings=None):
        given = {"sample_settings": settings}
        if moving:
            given["m_models"] = self.run("ADE_ApplyAnimateDiffModel", self.motion_model())
        if context:
            given["context_options"] = self.run("ADE_StandardStaticContextOptions", context, 1)
        return self.run("ADE_UseEvolvedSampling", model, "use existing", **given)

    def motion_model(self):
        package = pack("ComfyUI-AnimateDiff-Evolved").__name__
        from importlib import import_module

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
                    channels, temporal_pe_max_len=24, block_type=getattr(modules.BlockType, kind.upper()), block_idx=index,
                    ops=model.ops,
                )
                for index, channels in enumerate(widths)
            ]  # fmt: skip
            setattr(model, f"{kind}_blocks", nn.ModuleList(blocks))
        cpu = torch.device("cpu")
        return injection.create_MotionModelPatcher(drawn(model), load_device=cpu, offload_device=cpu)


@pytest.fixture(scope="module", params=[StandIn, AnimateDiffEvolved], ids=["stand-in", "AnimateDiff-Evolved"])
def evolved(request):
    """(MODEL, moving, context) -> MODEL"""
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
    return control(clip, blend_source="ball", cross_window=0.5)[0]


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
