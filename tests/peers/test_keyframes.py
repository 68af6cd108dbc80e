"""Strengths that change on the way, of ControlNets and LoRAs: at every noise level what sampling gives it, in whichever
order levels are taken. A stand-in with Advanced-ControlNet's habits, the pack itself, and the host's own keyframes."""

import comfy.hooks
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from comfy_extras.nodes_hooks import ConditioningSetProperties, ConditioningTimestepsRange, CreateHookLora
from comfyui_videop2p.tests.host.calls import FRAMES, control, encode, run, sample
from comfyui_videop2p.tests.host.test_wiring import control_net  # noqa: F401
from comfyui_videop2p.tests.peers.packs import nodes_of
from comfyui_videop2p.tests.peers.standins.keyframes import Keyframed
from comfyui_videop2p.tests.peers.stock import sampled
from comfyui_videop2p.tests.peers.test_stock_loaders import loras  # noqa: F401
from comfyui_videop2p.videop2p_core.host.comfy.conditioning import control_nets

import nodes as stock

STEPS = 4


def pictures(seed=0):
    return torch.rand(FRAMES, 128, 128, 3, generator=torch.Generator().manual_seed(seed))


class StandIn:
    @staticmethod
    def applied(prompts, control_net, keyframes, strength=0.5):  # noqa: F811
        keyed = Keyframed.of(control_net, keyframes)
        return stock.ControlNetApplyAdvanced().apply_controlnet(*prompts, keyed, pictures(), strength, 0.0, 1.0)

    @staticmethod
    def share_now(keyed):
        return keyed.strength_now / keyed.strength


class AdvancedControlNet:
    def __init__(self):
        self.nodes = nodes_of("ComfyUI-Advanced-ControlNet")

    def run(self, name, *args, **kwargs):
        return self.nodes[name].execute(*args, **kwargs).result

    def applied(self, prompts, control_net, keyframes, strength=0.5):  # noqa: F811
        group = None
        for start, share in keyframes:
            (group,) = self.run("TimestepKeyframe", start, share, prev_timestep_kf=group)
        return self.run(
            "ACN_AdvancedControlNetApply_v2", *prompts, control_net, pictures(), strength, 0.0, 1.0, timestep_kf=group
        )

    @staticmethod
    def share_now(keyed):
        return keyed._current_timestep_keyframe.strength


@pytest.fixture(scope="module", params=[StandIn, AdvancedControlNet], ids=["stand-in", "Advanced-ControlNet"])
def peer(request):
    return request.param()


@pytest.fixture(scope="module")
def prompts(inverting):
    return inverting["source"], inverting["null"]


def inverted(inverting, **inputs):
    return run("DDIMInvert", **inverting | {"steps": STEPS, "method": "direct"} | inputs)[0]


def listening(model, peer, conditioning):
    """(MODEL, {noise level: the share of its strength that the ControlNet was in force with})"""
    shares, listened = {}, model.clone()
    (keyed,) = control_nets(conditioning[0][1])

    def listen(executor, x, timestep, context, y, control, options, **kwargs):
        if control is not None:
            shares.setdefault(round(options["sigmas"][0].item(), 3), set()).add(peer.share_now(keyed))
        return executor(x, timestep, context, y, control, options, **kwargs)

    listened.add_wrapper(WrappersMP.DIFFUSION_MODEL, listen)
    return listened, shares


# The second in force from the middle on; two that start between the same two steps, so that each has one to itself.
SCHEDULES = {"two": [(0.0, 0.25), (0.5, 1.0)], "crowded": [(0.0, 0.2), (0.3, 0.7), (0.31, 1.0)]}


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_an_inversion_meets_each_level_as_sampling_does(peer, control_net, model, inverting, prompts, schedule):  # noqa: F811
    source, null = peer.applied(prompts, control_net, schedule)
    listened, climbing = listening(model, peer, source)
    inversion = inverted(inverting, model=listened, source=source, null=null, rounds=1)
    levels = {round(level, 3) for level in inversion.sigmas[:-1].tolist()}
    listened, falling = listening(model, peer, source)
    sampled(listened, source, null, inversion)
    assert climbing.keys() == falling.keys() == levels and climbing == falling
    assert {share for shares in falling.values() for share in shares} == {share for _, share in schedule}


def test_one_that_begins_halfway_is_the_hosts_own_that_does(peer, control_net, model, clip, inverting, prompts):  # noqa: F811
    late = peer.applied(prompts, control_net, [(0.0, 0.0), (0.5, 1.0)])
    hosts = stock.ControlNetApplyAdvanced().apply_controlnet(*prompts, control_net, pictures(), 0.5, 0.5, 1.0)
    found = []
    for source, null in (late, hosts):
        inversion = inverted(
            inverting, model=model, source=source, null=null, method="shared null-text", steps=2, inner_steps=1
        )  # fmt: skip
        found.append((inversion.trajectory, inversion.null))
    for ours, expected in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)
    always = inverted(inverting, model=model, source=peer.applied(prompts, control_net, [(0.0, 1.0)])[0], steps=2)
    assert not torch.allclose(always.trajectory, found[0][0], atol=1e-2)


@pytest.mark.parametrize("passes", [{}, {"frames_per_pass": 2, "pass_overlap": 0}], ids=["whole", "in passes"])
def test_an_edit_that_changes_nothing_samples_the_target(peer, control_net, demo, clip, inverting, prompts, passes):  # noqa: F811
    model = run("InflateUNet", model=demo[0], **passes)[0]
    schedule = [(0.0, 0.3), (0.2, 1.0), (0.7, 0.0)]
    source, null = peer.applied(prompts, control_net, schedule)
    target, _ = peer.applied((encode(clip, "a blue rabbit on the beach"), null), control_net, schedule)
    inversion = inverted(inverting, model=model, source=source, null=null)
    nothing = control(clip, cross_window=0.0, temporal_window=0.0)[0]
    (edited,), reconstruction, _ = sample(model, inversion, nothing, source=[source], target=[target], null=[null])
    torch.testing.assert_close(edited["samples"], sampled(model, target, null, inversion), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(reconstruction["samples"], inverting["latent"]["samples"], atol=1e-4, rtol=1e-4)


def test_edits_that_begin_elsewhere_do_not_share_a_place(peer, control_net, model, clip, inverting, prompts):  # noqa: F811
    """One after the other: the second begins where the first has been already."""
    schedule = [(0.0, 1.0), (0.5, 0.0)]
    source, null = peer.applied(prompts, control_net, schedule)
    target, _ = peer.applied((encode(clip, "a green rabbit on the beach"), null), control_net, schedule)
    inversion = inverted(inverting, model=model, source=source, null=null)
    edits = [control(clip, "a green rabbit on the beach", strength=share)[0] for share in (1.0, 0.8)]

    def edited(*edits):
        given = {"source": [source], "target": [target] * len(edits), "null": [null]}
        return [latent["samples"] for latent in sample(model, inversion, *edits, **given)[0]]

    alone, together = [edited(edit)[0] for edit in edits], edited(*edits)
    assert all(map(torch.equal, together, alone))


def test_keyframes_of_a_lora_in_a_hook(loras, model, inverting, prompts):  # noqa: F811
    """The host's own, which climb no better: as two prompts of which each is in use in a part of the run."""
    (hooks,) = CreateHookLora().create_hook("one.safetensors", 1.0, 0.0)
    keyframes = comfy.hooks.HookKeyframeGroup()
    for start, strength in ((0.0, 0.0), (0.5, 1.0)):
        keyframes.add(comfy.hooks.HookKeyframe(strength, start))
    keyed = hooks.clone()
    keyed.set_keyframes_on_hooks(keyframes)

    def late(conditioning):
        return ConditioningSetProperties().set_properties(conditioning, 1.0, "default", hooks=keyed)[0]

    def in_parts(conditioning):
        first, second = (
            ConditioningSetProperties().set_properties(
                conditioning, 1.0, "default", hooks=given,
                timesteps=ConditioningTimestepsRange().create_range(start, end)[0],
            )[0]
            for given, start, end in ((None, 0.0, 0.5), (hooks, 0.5, 1.0))
        )  # fmt: skip
        return first + second

    found = [
        inverted(inverting, model=model, source=apart(prompts[0]), null=apart(prompts[1])).trajectory
        for apart in (late, in_parts, lambda conditioning: conditioning)
    ]
    torch.testing.assert_close(found[0], found[1], atol=1e-3, rtol=1e-3)
    assert not torch.allclose(found[0], found[2], atol=1e-2)
    again = inverted(inverting, model=model, source=late(prompts[0]), null=late(prompts[1])).trajectory
    assert torch.equal(again, found[0])


@pytest.mark.parametrize("node", ["DDIMInvert", "DecoupledSample"])
def test_a_reference_control_net_is_refused_for_what_it_does(node, demo, model, clip, inverting, prompts):
    nodes = AdvancedControlNet()
    (shown,) = nodes.run("ACN_ReferencePreprocessor", demo[2], pictures()[:1], inverting["latent"])
    (reference,) = nodes.run("ACN_ReferenceControlNet", "reference_attn", 0.5, 1.0)
    edit, _, target, _ = control(clip)
    source, target = (
        nodes.run("ACN_AdvancedControlNetApply_v2", text, prompts[1], reference, shown, 1.0, 0.0, 1.0)[0]
        for text in (prompts[0], target)
    )
    with pytest.raises(ValueError, match="calls the model once more in every call.*a reference ControlNet"):
        if node == "DDIMInvert":
            inverted(inverting, model=model, source=source)
        else:
            sample(model, inverted(inverting, model=model, method="virtual"), edit, target=[target])
