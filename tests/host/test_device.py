"""What only shows where the model computes on another device than the program: python dev.py gpu legacy runs these."""

import logging
import sys
from dataclasses import replace

import comfy.model_management as host
import comfy.model_patcher as model_patcher
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from comfyui_videop2p.tests.host import wan
from comfyui_videop2p.tests.host.calls import control, encode, run, sample
from comfyui_videop2p.videop2p_core import device_transfer as ferry
from comfyui_videop2p.videop2p_core.diffusion import editing_loop as guidance
from comfyui_videop2p.videop2p_core.diffusion import inversion, null_text, schedule
from comfyui_videop2p.videop2p_core.diffusion.inversion import Inversion
from comfyui_videop2p.videop2p_core.host.edit.decoupled_sampling import decoupled_sample
from comfyui_videop2p.videop2p_core.host.edit.target import PreparedEdit, Target
from comfyui_videop2p.videop2p_core.host.families.wan import Wan
from comfyui_videop2p.videop2p_core.host.model import free_memory as room
from comfyui_videop2p.videop2p_core.host.model import memory_budget as budget

device = sys.modules.get("pretend_cuda")
pytestmark = pytest.mark.skipif(device is None, reason="needs the pretend device")

CUDA = torch.device("cuda", 0)
STEPS = 3
WINDOWS = {"cross_window": 1.0, "temporal_window": 1.0}
KEPT = {"keep_source": "in memory", "kept_cross_window": 1.0, "kept_temporal_window": 1.0}


def waits(told) -> int:
    return sum(times for what, times in told.items() if what.startswith("waits"))


def of_a_step(work):
    """What each further step of work(steps) adds to the device's notes."""
    work(STEPS)  # the weights are loaded
    told = []
    for steps in (STEPS, 2 * STEPS):
        device.notes()
        work(steps)
        told.append(device.notes())
    return {what: (told[1].get(what, 0) - told[0].get(what, 0)) / STEPS for what in told[0] | told[1]}


# --- waiting ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def inverted(inverting):
    """inverted(steps, **settings): an inversion, the same each time."""
    made = {}

    def make(steps, **settings):
        key = steps, *settings.items()
        if key not in made:
            made[key] = run("DDIMInvert", **inverting | {"steps": steps} | settings)[0]
        return made[key]

    return make


@pytest.mark.parametrize("settings, most", [
    ({}, 1), ({"method": "proximal"}, 1), ({"method": "per-frame null-text", "inner_steps": 1}, 1), (KEPT, 2),
], ids=["direct", "proximal", "null-text", "kept"])  # fmt: skip
def test_a_step_of_an_edit_asks_the_device_once(model, clip, inverted, settings, most):
    """Whether its numbers are any; queries and keys that were kept want their place in page-locked memory back."""
    mask = torch.zeros(1, 32, 32)
    mask[..., 16:] = 1
    edit = control(clip, blend_source="rabbit", blend_target="rabbit", mask=mask, **WINDOWS)[0]
    for steps in (STEPS, 2 * STEPS):
        inverted(steps, **settings)
    told = of_a_step(lambda steps: sample(model, inverted(steps, **settings), edit))
    assert waits(told) <= most, told
    # Texts, a latent, and what layers multiply by: none of it once a layer.
    assert told["copy from memory that is not page-locked"] <= 8, told
    assert not any("float64" in what or "beside device" in what or "indices" in what for what in told)


def test_so_does_one_in_passes_but_for_what_the_host_looks_up(demo, inverting, clip):
    """Twice a step: at which noise level it is."""
    (cut,) = run("InflateUNet", model=demo[0], frames_per_pass=4, pass_overlap=1)
    long = {"samples": 2 * torch.randn(7, 4, 16, 16, generator=torch.Generator().manual_seed(0))}
    paths = {
        steps: run("DDIMInvert", **inverting | {"model": cut, "latent": long, "steps": steps})[0]
        for steps in (STEPS, 2 * STEPS)
    }
    edit = control(clip, blend_source="rabbit", **WINDOWS)[0]
    told = of_a_step(lambda steps: sample(cut, paths[steps], edit))
    assert waits(told) <= 3, told


@pytest.mark.parametrize("half", [2**13, 2**27])
@pytest.mark.parametrize("in_step", [True, False], ids=["block by block", "whole"])
def test_a_video_models_source_goes_to_main_memory_and_comes_back(monkeypatch, half, in_step):
    monkeypatch.setattr(ferry, "HALF", half)
    monkeypatch.setattr(Wan, "goes_in_step", in_step)
    text, steps = wan.tiny_text(wan.SHORT), (2, 4)
    source, null = encode(text, wan.CAPTIONS[0]), encode(text, "")
    prompts = {"source_prompt": wan.CAPTIONS[0], "target_prompt": wan.CAPTIONS[2], "blend_source": "ball"}
    edit = run("AttentionController", clip=text, **prompts, **WINDOWS)[0]
    latent = {"samples": torch.randn(1, 16, 3, 6, 4, generator=torch.Generator().manual_seed(0))}
    here, there = wan.tiny_wan(), wan.tiny_wan()
    there = model_patcher.CoreModelPatcher(there.model, load_device=CUDA, offload_device=here.offload_device)
    given = {"source": source, "null": null, "latent": latent, "method": "direct"}
    paths = {n: run("DDIMInvert", model=here, steps=n, **given)[0] for n in steps}
    edited = [sample(model, paths[2], edit)[0][0]["samples"] for model in (here, there)]
    assert torch.allclose(*edited, atol=1e-4 * edited[0].std())  # the device computes attention by another formula
    told = []
    for n in steps:
        device.notes()
        sample(there, paths[n], edit)
        told.append({what.removeprefix("waits for the device: "): times for what, times in device.notes().items()})
    if half == 2**27:  # a smaller one is waited for in between
        in_between = wan.SIZES["num_layers"] if in_step else 0  # before the target goes through a block
        assert told[1]["an event"] - told[0]["an event"] == 2 * (1 + in_between)  # once a step
    assert told[1]["a copy to main memory"] == told[0]["a copy to main memory"]


@pytest.mark.parametrize("settings, most", [
    ({}, 2), (KEPT, 4), ({"method": "shared null-text", "inner_steps": 3}, 12),
], ids=["direct", "kept", "null-text"])  # fmt: skip
def test_a_step_of_an_inversion_waits_a_few_times(inverting, settings, most):
    """For its latent on the way to main memory, and to know whether it is any; with kept queries and keys for these
    once, and to know which step it is. Every update of a null text asks for its loss."""
    told = of_a_step(lambda steps: run("DDIMInvert", **inverting | {"steps": steps} | settings))
    assert waits(told) <= most, told


# --- memory -----------------------------------------------------------------------------------------------------------

LONG, MANY = 64, 50  # frames, steps
TEXT = (77, 768)
LATENT, TEXTS = 4 * LONG * 4 * 64 * 64, 4 * LONG * TEXT[0] * TEXT[1]  # bytes of one step


class Enough(Exception):
    pass


def sigmas():
    return torch.linspace(10, 0.1, MANY + 1, device=CUDA)


def predicted(x, sigma, conditioning):
    """As a model would, by a text that it takes to where it computes."""
    if isinstance(conditioning, torch.Tensor):
        x = x + conditioning.to(CUDA).mean()
    return 0.9 * x / (1 + sigma**2)


def above(before) -> int:
    return device.peak() - before


@pytest.fixture
def before():
    device.reset_peak()
    return device.held()


@torch.no_grad()
def long_inversion():
    """Of a long clip by the method that keeps most; 0.76 GB of null texts in main memory, 0.21 GB of latents."""
    return Inversion(
        method=inversion.PER_FRAME_NULL_TEXT, trajectory=torch.zeros(MANY + 1, LONG, 4, 64, 64), sigmas=sigmas().cpu(),
        source=torch.zeros(1, *TEXT), initial_null=torch.zeros(1, *TEXT), null=torch.zeros(MANY, LONG, *TEXT),
    )  # fmt: skip


def test_an_inversion_holds_a_few_latents_of_a_long_clip(before):
    trajectory = inversion.ddim_invert(predicted, torch.zeros(LONG, 4, 64, 64, device=CUDA), sigmas(), None)
    assert trajectory.device.type == "cpu" and len(trajectory) == MANY + 1
    assert above(before) < 10 * LATENT  # measured 7; all of them are 51


def test_a_null_text_for_each_frame_holds_a_few_steps_of_texts(before):
    path = long_inversion()
    optimised = null_text.optimise_null_text(
        predicted, path.trajectory, path.sigmas.to(CUDA), None, path.initial_null.to(CUDA), per_frame=True,
        inner_steps=1,
    )  # fmt: skip
    assert optimised.null.shape == path.null.shape and optimised.null.device.type == "cpu"
    assert above(before) < 12 * TEXTS + 12 * LATENT  # of texts 50 would be all


def test_a_replay_holds_a_step_of_texts(before):
    inversion.replay(predicted, long_inversion().on(CUDA), None)
    assert above(before) < 2 * TEXTS + 10 * LATENT


def test_an_edit_holds_a_step_of_texts(before):
    def denoise(sigma, asked):
        return [predicted(x, sigma, branch.null) for branch, x in asked]

    guidance.edit_clip(denoise, long_inversion().on(CUDA))
    assert above(before) < 2 * TEXTS + 16 * LATENT


@torch.inference_mode()
def test_so_it_does_under_the_hosts_guider(model, inverting, clip, before):
    """64 frames, 50 steps: of each frame a null text for each step, 0.2 GB in this small model's width."""
    source, null = inverting["source"], inverting["null"]
    tokens, channels = source[0][0].shape[1:]
    path = Inversion(
        method=inversion.PER_FRAME_NULL_TEXT, trajectory=torch.zeros(MANY + 1, LONG, 4, 8, 8),
        sigmas=schedule.ddim_sigmas(model.get_model_object("model_sampling").sigmas, MANY), source=source[0][0],
        initial_null=null[0][0], null=torch.zeros(MANY, LONG, tokens, channels),
    )  # fmt: skip
    peaks = []

    def progress(done):
        peaks.append(device.peak())
        raise Enough

    plan = control(clip, blend_source="rabbit", **WINDOWS)[0]
    target = Target(plan.target, plan.plan.compile(MANY), plan.plan.blend())
    with pytest.raises(Enough):
        decoupled_sample(model, PreparedEdit(path, source, null, [target]), progress=progress)
    without = replace(path, method=inversion.DIRECT, null=None)
    device.reset_peak()
    with pytest.raises(Enough):
        decoupled_sample(model, PreparedEdit(without, source, null, [target]), progress=progress)
    assert peaks[0] - peaks[1] < path.null.nbytes / 10, (peaks, path.null.nbytes)


# --- weights and activations ------------------------------------------------------------------------------------------


@pytest.fixture
def memory(monkeypatch):
    """memory(bytes): all that the device has beside what is held now; no more is to be had."""
    monkeypatch.setattr(host, "EXTRA_RESERVED_VRAM", 0)
    monkeypatch.setattr(host, "minimum_inference_memory", lambda: 0)
    whole = device.MEMORY

    def limit(amount):
        with torch.inference_mode():
            host.unload_all_models()
        amount = int(device.held() + amount)
        monkeypatch.setattr(device, "MEMORY", amount)
        device._library.pretend_limit(0, amount)

    yield limit
    device._library.pretend_limit(0, whole)


def test_weights_make_room_for_activations_instead_of_cutting_the_clip(model, inverting, clip, memory, caplog):
    caplog.set_level(logging.INFO)
    long = {"samples": 2 * torch.randn(9, 4, 16, 16, generator=torch.Generator().manual_seed(0))}
    path, edit = run("DDIMInvert", **inverting | {"latent": long})[0], control(clip, **WINDOWS)[0]
    expected = sample(model, path, edit)[0][0]["samples"]
    loaded, watched = [], model.clone()

    def watch(executor, x, *args, **kwargs):
        loaded.append(model.loaded_size())
        return executor(x, *args, **kwargs)

    watched.add_wrapper(WrappersMP.DIFFUSION_MODEL, watch)
    needed = budget.EDIT.peaks[-1] * budget._forward(model, long["samples"], budget.EDIT, [])
    memory(needed + room.least_loaded(model) + model.model_size() / 4)
    caplog.clear()
    edited = sample(watched, path, edit)[0][0]["samples"]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    if not model.is_dynamic():  # such weights leave by themselves, when activations come to need their room
        assert 0 < max(loaded) < model.model_size() / 2  # a quarter was left to them
    assert torch.equal(edited, expected)
