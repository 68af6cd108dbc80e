"""Tuning and inversion that are cancelled, or whose server is killed, go on where they stopped, to the same bits."""

import inspect
import subprocess
import sys
from functools import partial
from pathlib import Path
from random import Random

import comfy.controlnet
import comfy.hooks
import comfy.model_patcher
import comfy.ops
import folder_paths
import numpy as np
import pytest
import torch
from comfy.cldm.cldm import ControlNet
from comfy.controlnet import ControlBase
from comfy.hooks import WeightHook
from comfy.model_management import InterruptProcessingException
from comfy.patcher_extension import WrappersMP
from comfy.t2i_adapter.adapter import Adapter
from comfyui_videop2p.tests.host.calls import FRAMES, SOURCE, encode, run
from comfyui_videop2p.tools.faults import crash
from comfyui_videop2p.tools.faults.faults import Calls, calls_of_models, interrupt, run_out_of_memory
from comfyui_videop2p.videop2p_core.host.demo_model import UNET
from comfyui_videop2p.videop2p_core.host.source import resume as unfinished
from comfyui_videop2p.videop2p_core.host.source.run_fingerprint import digest

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def often(monkeypatch, tmp_path):
    """Every second step is kept, in a folder of the test's own."""
    monkeypatch.setattr(folder_paths, "get_system_user_directory", lambda name: str(tmp_path / name))
    for stage in ("TUNING", "INVERSION", "NULL_TEXT"):
        monkeypatch.setattr(unfinished, stage, 2)


def kept_files():
    """Their stages."""
    return sorted(file.name.split("_", 1)[1] for file in unfinished.folder().glob("*.safetensors"))


@pytest.fixture
def runs(model, clip, latent, inverting):
    def tuning(model, **changed):
        settings = {"steps": 6, "learning_rate": 1e-3, "positive": encode(clip, SOURCE), "latent": latent} | changed
        found = run("TuneOnVideo", model=model, **settings)[1]
        return [*found.deltas.values(), *found.temporal.values(), found.losses]

    def inversion(model, **changed):
        settings = inverting | {"steps": 6, "method": "direct", "rounds": 1, "model": model}
        found = run("DDIMInvert", **settings | changed)[0]
        return [found.trajectory] + [found.null] * (found.null is not None)

    def null_text(model):
        return inversion(model, method="shared null-text", inner_steps=2)

    return {"tuning": tuning, "inversion": inversion, "null text": null_text}


def cancelled(operation, model, at):
    with calls_of_models(Calls(at, interrupt)), pytest.raises(InterruptProcessingException):
        operation(model)


def forwards(operation, model):
    calls = Calls()
    with calls_of_models(calls):
        return operation(model), calls.number


@pytest.mark.parametrize("name, at", [("tuning", 5), ("inversion", 9), ("null text", 24), ("null text", 5)])
def test_what_was_cancelled_goes_on(runs, model, name, at):
    expected, whole = forwards(runs[name], model)
    cancelled(runs[name], model, at)
    assert kept_files()
    found, rest = forwards(runs[name], model)
    assert all(map(torch.equal, found, expected)) and rest < whole
    assert not kept_files()


def test_no_frames_are_shown_of_steps_before_those_kept(runs, model):
    def shown(model):
        return runs["tuning"](model, preview_every=2)

    expected, whole = forwards(shown, model)
    cancelled(shown, model, whole - 2)
    found, rest = forwards(shown, model)
    assert whole == 6 + 3 and rest == 1 + 1 + 2 + 1  # the first step anew, the fourth shown, the others done and shown
    assert all(map(torch.equal, found, expected))


# Each a way in which other packs tell their patches what to do, and all the patch itself sees of it.
STRENGTH = 1.0


class Scaled(torch.nn.Module):
    def __init__(self, strength):
        super().__init__()
        self.strength = strength

    def forward(self, strength):
        return strength


def attached(model, strength):
    model.set_attachments("other", {"strength": strength})
    return lambda patcher: patcher.get_attachment("other")["strength"]


def attached_to_another_model(model, strength):
    other = comfy.model_patcher.ModelPatcher(torch.nn.Linear(1, 1), model.load_device, model.offload_device)
    other.set_attachments("other", strength)
    model.set_additional_models("other", [other])
    return lambda patcher: patcher.get_additional_models_with_key("other")[0].get_attachment("other")


def in_a_network(model, strength):
    network = Scaled(strength)
    return lambda patcher: network(network.strength)


def in_a_buffer(model, strength):
    network = torch.nn.Module()
    network.register_buffer("strength", torch.tensor([1.0] * 1000 + [strength]))
    return lambda patcher: network.strength[-1].item()


def in_the_module(model, strength):
    global STRENGTH
    STRENGTH = strength
    return lambda patcher: STRENGTH


def helper():
    return STRENGTH


def in_a_helper(model, strength):
    global STRENGTH
    STRENGTH = strength
    return lambda patcher: helper()


def in_a_class(model, strength):
    class Late:
        def __call__(self, patcher):
            return strength

    return Late()


@pytest.mark.parametrize(
    "told",
    [attached, attached_to_another_model, in_a_network, in_a_buffer, in_the_module, in_a_helper, in_a_class],
    ids=lambda told: told.__name__,
)
def test_what_only_the_last_steps_show_is_another_run(runs, model, told):
    """The first step of an inversion, its cleanest, does not tell them apart."""

    def patched(strength):
        clone = model.clone()
        strength_of = told(clone, strength)

        def late(executor, x, t, *args, **kwargs):
            found, patcher = executor(x, t, *args, **kwargs), executor.class_obj.current_patcher
            return found * strength_of(patcher) if t.max() > 1 else found

        clone.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "late", late)
        return clone

    expected = runs["inversion"](patched(0.5))
    cancelled(runs["inversion"], patched(1.0), 9)
    assert kept_files()
    assert all(map(torch.equal, runs["inversion"](patched(0.5)), expected))


def test_what_a_run_leaves_on_hooks_is_no_input(runs, model, clip):
    """Of a LoRA on the prompt, whose keyframes the host sets anew as they come."""
    hooks = comfy.hooks.create_hook_lora({}, 1.0, 1.0)
    hooks.set_keyframes_on_hooks(comfy.hooks.HookKeyframeGroup())
    source = [[entry, {**options, "hooks": hooks}] for entry, options in encode(clip, SOURCE)]
    cancelled(lambda model: runs["inversion"](model, source=source), model, 9)
    _, calls = forwards(lambda model: runs["inversion"](model, source=source), model)
    assert calls < 12 and not kept_files()


def test_other_inputs_are_another_run(runs, model, latent):
    tuning = runs["tuning"]
    cancelled(tuning, model, 5)
    other = {"samples": latent["samples"] + 1}
    for changed in ({"latent": other}, {"seed": 1}, {"learning_rate": 2e-3}):
        _, calls = forwards(lambda model, changed=changed: tuning(model, **changed), model)
        assert calls == 6
    patched, wrapped = model.clone(), model.clone()
    patched.set_model_attn1_output_patch(lambda out, options: 0.5 * out)
    wrapped.add_wrapper("diffusion_model", lambda executor, *args, **kwargs: executor(*args, **kwargs))
    assert forwards(tuning, patched)[1] == forwards(tuning, wrapped)[1] == 6
    assert kept_files() == ["tuning_whole.safetensors"] and forwards(tuning, model)[1] < 6


def test_a_run_that_keeps_the_source_begins_anew(runs, model):
    """What it keeps is not in the file."""

    def inversion(model):
        return runs["inversion"](model, keep_source="in memory")

    expected, whole = forwards(inversion, model)
    cancelled(runs["inversion"], model, 9)
    cancelled(inversion, model, 9)
    found, again = forwards(inversion, model)
    assert again == whole and all(map(torch.equal, found, expected))
    assert forwards(runs["inversion"], model)[1] < whole  # what another run kept is still there


def test_what_nobody_goes_on_with_is_given_up(runs, model, monkeypatch):
    cancelled(runs["tuning"], model, 5)
    runs["inversion"](model)
    assert kept_files() == ["tuning_whole.safetensors"]
    monkeypatch.setattr(unfinished, "OLD", -1)
    runs["inversion"](model)
    assert not kept_files()


def test_only_the_newest_are_kept(runs, model, monkeypatch):
    monkeypatch.setattr(unfinished, "MOST", 2)
    for seed in range(4):
        cancelled(lambda model, seed=seed: runs["tuning"](model, seed=seed), model, 5)
    assert len(kept_files()) == 3  # one more since it was looked at
    assert forwards(lambda model: runs["tuning"](model, seed=3), model)[1] < 6


def test_a_cancel_in_the_last_stage_costs_no_more_than_that(runs, model):
    """While the source is run down again, both stages before being done."""
    expected, whole = forwards(runs["null text"], model)
    cancelled(runs["null text"], model, whole - 1)
    assert "null_text_whole.safetensors" in kept_files()
    found, rest = forwards(runs["null text"], model)
    assert all(map(torch.equal, found, expected)) and rest < whole / 2


def test_out_of_memory_goes_on_from_what_was_kept(runs, model, caplog):
    """In the way that saves memory, to the same numbers."""
    expected, whole = forwards(runs["tuning"], model)
    short = Calls(4, run_out_of_memory)
    with calls_of_models(short):
        found = runs["tuning"](model)
    assert all(map(torch.equal, found, expected)) and "ran out of memory" in caplog.text
    assert short.number < whole + 4 and not kept_files()  # the first anew, then those from the third on


def test_what_a_run_leaves_on_a_controlnet_is_no_input(runs, model, clip):
    """The host takes it off after success alone."""

    def controlled(strength):
        control = Hints(strength)
        return [[entry, {**options, "control": control}] for entry, options in encode(clip, SOURCE)]

    class Hints(ControlBase):
        def __init__(self, strength):
            super().__init__()
            self.set_cond_hint(torch.zeros(1, 3, 64, 64), strength)
            self.network = torch.nn.Linear(2, 2)
            torch.nn.init.constant_(self.network.weight, strength)

        def get_control(self, x, *args):
            self.cond_hint = strength = self.strength * torch.ones_like(x)
            return {"output": [strength.mean().expand(len(x), 1, 1, 1)], "middle": [], "input": []}

        def get_models(self):
            return []

    positive = controlled(0.1)
    tuning = runs["tuning"]
    cancelled(lambda model: tuning(model, positive=positive), model, 5)
    assert forwards(lambda model: tuning(model, positive=controlled(0.2)), model)[1] == 6
    assert forwards(lambda model: tuning(model, positive=positive), model)[1] < 6


def control_net():
    settings = {name: value for name, value in UNET.items() if name in inspect.signature(ControlNet).parameters}
    network = ControlNet(hint_channels=3, dtype=torch.float32, operations=comfy.ops.disable_weight_init, **settings)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    return network


def control_lora():
    own = "input_hint_block", "zero_convs", "middle_block_out"
    return comfy.controlnet.ControlLora(
        {name: value.detach() for name, value in control_net().state_dict().items() if name.startswith(own)}
    )


def t2i_adapter():
    network = Adapter(channels=[64, 128, 128], nums_rb=1, cin=192, ksize=1, sk=True, use_conv=False, xl=False)
    return comfy.controlnet.T2IAdapter(network, 3, 8, "nearest-exact")


def controlled_by_a_network():
    return comfy.controlnet.ControlNet(control_net(), load_device=torch.device("cpu"))


@pytest.mark.parametrize("make", [controlled_by_a_network, control_lora, t2i_adapter])
def test_what_a_run_leaves_on_the_hosts_own_controls_is_no_input(runs, model, clip, make):
    control = make().copy().set_cond_hint(torch.rand(FRAMES, 3, 128, 128), 1.0, (0.0, 1.0))
    source = [
        [entry, {**options, "control": control, "control_apply_to_uncond": False}]
        for entry, options in encode(clip, SOURCE)
    ]
    cancelled(lambda model: runs["inversion"](model, source=source), model, 9)
    _, calls = forwards(lambda model: runs["inversion"](model, source=source), model)
    assert calls < 12 and not kept_files()


# --- the name of a run's inputs ---------------------------------------------------------------------------------------


class Patch:
    def __init__(self, strength):
        self.strength = strength

    def __call__(self, x):
        return self.strength * x


def closure(strength):
    return lambda x: strength * x


@pytest.mark.parametrize(
    "make",
    [
        float,
        Patch,
        closure,
        lambda value: Patch(value).__call__,
        lambda value: {"a": [torch.full((2,), float(value))]},
        lambda value: torch.full((), value, dtype=torch.bfloat16),
        lambda value: {value, "b"},
        lambda value: (value, [value], {}),
    ],
)
def test_equal_inputs_have_one_name_and_others_another(make):
    assert digest(make(1)) == digest(make(1)) != digest(make(2))


def test_inputs_of_other_shapes_and_orders_have_other_names():
    names = [digest(x) for x in ([1, [2]], [[1], 2], [1, 2], (1, 2), [], {}, torch.zeros(2, 3), torch.zeros(3, 2))]
    assert len({*names, digest([1], [2])}) == len(names) + 1
    inner = []
    inner.append(inner)
    assert digest(inner) == digest(inner)


def test_a_part_of_a_large_network_is_told_apart():
    def masked(strength):
        mask = torch.ones(512, 512)
        mask[:, 100:120] = strength
        network = torch.nn.Module()
        network.register_buffer("mask", mask)
        return network

    assert digest(masked(1)) == digest(masked(1)) != digest(masked(2))


FRESH = """
import runpy
runpy.run_path({pack!r})["use_host"]()
from comfyui_videop2p.tests.host.test_unfinished import VALUES, digest
print(digest(VALUES))
"""
VALUES = torch.sigmoid, partial(torch.softmax, dim=1), [].append, {len, max}, torch.Tensor.add


def test_names_are_the_same_in_every_process():
    program = FRESH.format(pack=str(Path(__file__).parents[2] / "tools" / "pack.py"))
    fresh = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert fresh.stdout.split() == [digest(VALUES)], fresh.stderr


class Secretive:
    def __getattribute__(self, name):
        raise RuntimeError("nothing is told")


class Endless(dict):
    def items(self):
        raise KeyError


@pytest.mark.parametrize("kind", [Secretive, lambda: [Endless(a=1)], lambda: torch.nn.LazyLinear(2), lambda: 10**5000])
def test_what_cannot_be_looked_at_ends_no_run(kind):
    assert digest(kind()) is None


def test_networks_are_told_apart_by_their_weights(model):
    linear, same = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    same.load_state_dict(linear.state_dict())
    assert digest(linear) == digest(same) != digest(torch.nn.Linear(2, 2)) != digest(torch.nn.SiLU())
    clone = model.clone()
    assert digest(clone) == digest(model) is not None
    clone.set_model_attn2_patch(closure(1))
    assert digest(clone) != digest(model)


class Slotted:
    __slots__ = ("strength", "__private")

    def __init__(self, strength):
        self.strength, self.__private = 0, strength


class Named(dict):
    def __init__(self, strength):
        self.strength = strength


@pytest.mark.parametrize("kind", [WeightHook, np.float32, np.ones, Slotted, Named, Scaled])
def test_what_hides_its_content_is_told_apart(kind):
    assert None is not digest(kind(1)) != digest(kind(2))


def test_code_is_told_apart():
    assert digest(lambda x: x + 1) != digest(lambda x: x + 2) != digest(lambda x: x - 2)


def counting():
    count = 0

    def patch(x):
        nonlocal count
        count += 1
        return x

    return patch


def counting_globally(x):
    global STRENGTH
    STRENGTH += x
    return x


def counting_within(x):
    def count():
        nonlocal x
        x += 1

    return count


def test_a_patch_with_a_state_of_its_own_has_no_name():
    assert digest(counting()) is None and digest(counting_globally) is None and digest(counting_within) is not None


@pytest.mark.parametrize("value", [object(), torch.eye(2).to_sparse(), torch.Generator(), Random(1), {"a": [object()]}])
def test_what_cannot_be_told_apart_has_no_name(value):
    """So that nothing is kept of the run."""
    assert digest(value) is None and unfinished.Run(None).stage("tuning", 1, None).of_same_run(torch.ones(1)) is None


# --- a server that is killed ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_tuning_goes_on_after_its_server_was_killed():
    (figure,) = crash.figures(short=True)
    assert figure.number == 1 and not figure.wrong, figure.wrong
