"""Under dynamic VRAM, ComfyUI's default on NVIDIA, its layers have no weights until a state dict is loaded."""

import comfy.memory_management
import comfy.model_management
import pytest
import torch
from comfyui_videop2p.tests.host.calls import SOURCE, encode, run
from comfyui_videop2p.tests.host.short_memory import free
from comfyui_videop2p.videop2p_core.host.demo_model import load_demo_model
from comfyui_videop2p.videop2p_core.host.model.free_memory import cast_bytes, room
from comfyui_videop2p.videop2p_core.host.model.gradients import computed_in, differentiable_copy
from comfyui_videop2p.videop2p_core.host.model.inflate import temporal_of
from comfyui_videop2p.videop2p_core.host.source.tuning import tuned
from comfyui_videop2p.videop2p_core.host.storage.official_checkpoint import Layout

__all__ = ["free"]


@pytest.fixture
def waiting(monkeypatch):
    """The demo model, inflated while layers wait for their weights."""
    monkeypatch.setattr(comfy.memory_management, "aimdo_enabled", True)
    with torch.inference_mode():
        demo = load_demo_model()
    return run("InflateUNet", model=demo[0])[0], demo[1]


def test_an_inflated_model_has_all_its_weights(waiting, model):
    """`model` was made of layers that have theirs at once."""
    expected, found = (temporal_of(inflated).model.state_dict() for inflated in (model, waiting[0]))
    assert found.keys() == expected.keys() and len(found) == 7 * len(temporal_of(model).model.layers())
    assert all(torch.equal(found[name].cpu(), expected[name].cpu()) for name in expected)
    assert Layout(waiting[0]).shapes == Layout(model).shapes


def test_it_learns_what_a_model_learns_whose_layers_wait_for_nothing(waiting, inverting, tuning):
    model, clip = waiting
    learnt = run(
        "TuneOnVideo", model=model, positive=encode(clip, SOURCE), latent=inverting["latent"], steps=2,
        learning_rate=1e-3,
    )  # fmt: skip
    torch.testing.assert_close(learnt[1].losses, tuning[1].losses, rtol=1e-5, atol=0)
    assert all(delta.any() for delta in learnt[1].deltas.values())
    assert tuned(model, learnt[1]) and tuned(model, tuning[1])


def test_the_copy_that_is_trained_has_the_precision_of_the_model(waiting):
    """The demo model's file is in half precision, to which a LoRA would be rounded."""
    with torch.inference_mode(False), differentiable_copy(waiting[0]) as copy:
        kinds = {parameter.dtype for parameter in copy.model.diffusion_model.parameters()}
    assert kinds == {waiting[0].model.get_dtype()}


def test_the_copy_is_counted_in_the_precision_of_the_model(waiting, free, monkeypatch):
    monkeypatch.setattr(comfy.model_management, "current_loaded_models", [])
    free(2**30)
    with torch.inference_mode(False), differentiable_copy(waiting[0]) as copy:
        parts, dtype = (copy.model, temporal_of(copy).model), computed_in(copy)
        held = sum(tensor.nbytes for part in parts for tensor in part.state_dict().values())
        cast = sum(
            weight.numel() * dtype.itemsize
            for weight in copy.model.diffusion_model.parameters()
            if weight.dtype != dtype
        )
    assert 2**30 - room(waiting[0], copied=True) == held
    assert cast_bytes(waiting[0]) == cast
