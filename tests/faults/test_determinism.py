"""The same seed and inputs, the same bits: again, in another process, and on every way that promises it.

Promised on one machine at one thread: each operation, again and in a process of its own; `save memory` as fast; a
source kept on disk as in memory; several edits at once as each by itself; Decoupled Guider as Decoupled Sample.
Measured, not promised: several threads, which add up in another order, and the host's ways to save memory, which
compute the halves of guidance one after the other or attention in slices. The loading of weights in parts needs a GPU.
Passes, cached features and edits of a kept source are other numbers by construction.
"""

import os
import subprocess
import sys
from dataclasses import dataclass
from functools import partial

import comfy.model_management
import pytest
import torch
from comfy.ldm.modules.attention import attention_split, attention_sub_quad
from comfy.model_patcher import ModelPatcher
from comfy_extras.nodes_custom_sampler import Noise_EmptyNoise, SamplerCustomAdvanced
from comfyui_videop2p.tests.faults.injected import Calls, calls_of_models
from comfyui_videop2p.tests.faults.operations import OPERATIONS, SOURCE, null_text, run, tuning
from comfyui_videop2p.tests.faults.states import equal
from comfyui_videop2p.tools.environment import ROOT
from comfyui_videop2p.tools.pack import host_path
from comfyui_videop2p.videop2p_core.diffusion.attention_records import RecordSettings
from comfyui_videop2p.videop2p_core.host.edit.decoupled_guider import DecoupledGuider, DecoupledSampler
from comfyui_videop2p.videop2p_core.host.edit.edit_inputs import prepare_edit, sample, word_edit
from comfyui_videop2p.videop2p_core.host.source.inversion import new_folder
from safetensors.torch import load_file

OTHERS = "a red star on the beach", "a red striped rabbit on the beach"
FORWARD = [name for name in OPERATIONS if name not in ("null text", "tuning")]  # without gradients
SCARCE = 2**20  # bytes: a tenth of what one attention of the world takes
THREADS = 2
SAME = "the same bits"


def far(found, expected):
    """The largest difference of all tensors."""
    apart = max((a - b).abs().max().item() for a, b in zip(found, expected, strict=True))
    return SAME if equal(found, expected) else f"{apart:.0e} off"


def test_other_bits_are_told():
    values = torch.ones(3)
    near = values.nextafter(torch.tensor(2.0))
    assert far([values, values], [values, values]) == SAME
    assert far([values, near], [values, values]) == "1e-07 off"


# --- what is promised -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def expected(world):
    return {name: [value.clone() for value in run(operation, world)] for name, operation in OPERATIONS.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", OPERATIONS)
def test_the_same_operation_again(world, expected, name):
    assert far(run(OPERATIONS[name], world), expected[name]) == SAME


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """A folder of what another process made."""
    folder = tmp_path_factory.mktemp("elsewhere")
    command = [sys.executable, ROOT / "tools" / "pack.py", "tests.faults.operations", folder]
    subprocess.run(command, env={**os.environ, "COMFYUI_PATH": str(host_path())}, check=True)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", OPERATIONS)
def test_the_same_operation_in_another_process(elsewhere, expected, name):
    found = load_file(elsewhere / f"{name}.safetensors")
    assert far([found[key] for key in sorted(found, key=int)], expected[name]) == SAME


def targets(world, model, inversion, *edits):
    return sample(model, prepare_edit(model, inversion, edits)).targets


def of_kept_source(world, model, on_disk):
    kept = RecordSettings(0.5, 0.5, new_folder() if on_disk else None)
    return targets(world, model, world.inverted(model, record_settings=kept), world.edit)


def three_edits(world, model, at_once):
    others = [word_edit(world.clip, SOURCE, target, cross=0.75, temporal=0.25) for target in OTHERS]
    edits = [world.edit, *others]
    calls = [edits] if at_once else [[edit] for edit in edits]
    return [made for each in calls for made in targets(world, model, world.inversion, *each)]


def under_custom_sampler(world, model):
    guider = DecoupledGuider(model, prepare_edit(model, world.inversion, [world.edit]))
    given = Noise_EmptyNoise(), guider, DecoupledSampler(), world.inversion.sigmas, world.latent
    return [SamplerCustomAdvanced.execute(*given).result[0]["samples"]]


@pytest.mark.slow
@pytest.mark.parametrize(
    "one, other",
    [
        (partial(tuning, steps=2, checkpointing=True), partial(tuning, steps=2)),
        (partial(null_text, checkpointing=True), null_text),
        (partial(of_kept_source, on_disk=True), partial(of_kept_source, on_disk=False)),
        (partial(three_edits, at_once=True), partial(three_edits, at_once=False)),
        (under_custom_sampler, lambda world, model: targets(world, model, world.inversion, world.edit)),
    ],
    ids=[
        "tuning that saves memory as fast", "null text that saves memory as fast", "source kept on disk as in memory",
        "edits at once as each by itself", "Decoupled Guider as Decoupled Sample",
    ],
)  # fmt: skip
def test_two_ways_to_the_same_bits(world, one, other):
    assert far(run(one, world), run(other, world)) == SAME


# --- what is measured -------------------------------------------------------------------------------------------------


@dataclass
class Asked:
    """Answers the host's question for free memory, in its own words, and counts."""

    free: int
    number: int = 0

    def __call__(self, *args, torch_free_too=False):
        self.number += 1
        return (self.free, self.free) if torch_free_too or True in args else self.free


def attending(model, attention):
    """The MODEL with this in place of the host's attention."""
    model = model.clone()
    options = model.model_options["transformer_options"]
    options["optimized_attention_override"] = lambda _, *args, **kwargs: attention(*args, **kwargs)
    return model


# The host short of memory, which only looks as if it were.
SAVINGS = {
    "halves of guidance one after the other": (ModelPatcher, 0, None),
    "attention in slices, sub-quadratic": (comfy.model_management, SCARCE, attention_sub_quad),
    "attention in slices, split": (comfy.model_management, SCARCE, attention_split),
}


# Those with gradients have no halves, and slices of the host's sub-quadratic attention no gradients.
@pytest.mark.slow
@pytest.mark.parametrize("name", FORWARD)
@pytest.mark.parametrize("way", SAVINGS)
def test_how_far_off_the_hosts_ways_to_save_memory_are(world, way, name, monkeypatch, measured):
    place, free, attention = SAVINGS[way]
    model = attending(world.model, attention) if attention else world.model
    plain, counted, asked = Calls(), Calls(), Asked(free)
    with calls_of_models(plain):
        whole = run(OPERATIONS[name], world, model)
    monkeypatch.setattr(place, "get_free_memory", asked)
    with calls_of_models(counted):
        found = run(OPERATIONS[name], world, model)
    measured(f"{far(found, whole)}, in {counted.number} calls for {plain.number}")
    assert asked.number, "the host did not ask for its free memory"
    if not attention and name == "edit":
        assert (plain.number, counted.number) == (8, 12)


@pytest.mark.slow
@pytest.mark.parametrize("name", OPERATIONS)
def test_how_far_off_several_threads_are(world, expected, name, measured):
    torch.set_num_threads(THREADS)
    try:
        first, second = run(OPERATIONS[name], world), run(OPERATIONS[name], world)
    finally:
        torch.set_num_threads(1)
    measured(f"{far(first, expected[name])}, again {far(second, first)}")
