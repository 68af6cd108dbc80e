"""What the nodes expect to need of memory, and what they give up where there is less."""

import comfy.model_management
import folder_paths
import pytest
import torch
from comfy.sampler_helpers import estimate_memory
from comfyui_videop2p.tests.host import wan
from comfyui_videop2p.tests.host.calls import FRAMES, SOURCE, STEPS, control, encode, run, sample
from comfyui_videop2p.tests.host.models import tiny_model
from comfyui_videop2p.tests.host.short_memory import checkpointed, free, log, long, seen_by, warnings_in
from comfyui_videop2p.tests.host.wan_kinds import TOLD
from comfyui_videop2p.videop2p_core.diffusion.attention_records import RecordSettings
from comfyui_videop2p.videop2p_core.host.model import free_memory as room
from comfyui_videop2p.videop2p_core.host.model import memory_budget as budget
from comfyui_videop2p.videop2p_core.host.model.inflate import temporal_of

__all__ = ["checkpointed", "free", "log", "long"]

S2V = TOLD["s2v"]


def between(operation, model, clip, beside=0):
    """Free memory that suffices for the way that saves, not for the one that does not."""
    fast, saving = (peak * budget._forward(model, clip["samples"], operation, []) + beside for peak in operation.peaks)
    return (fast + saving) / 2 + model.model_size()


def test_plenty_of_memory_gives_nothing_up(inverting, clip, log, checkpointed):
    inversion = run("DDIMInvert", **inverting | {"method": "shared null-text", "inner_steps": 1})[0]
    sample(inverting["model"], inversion, control(clip)[0])
    messages = [record.getMessage() for record in log.records]
    for name in ("Null-text optimisation", "Decoupled Sample"):
        assert any(message.startswith(f"{name} expects to need ") for message in messages)
    assert not warnings_in(log) and not checkpointed


def test_null_text_steps_down_to_checkpointing(inverting, latent, free, log, checkpointed):
    free(between(budget.NULL_TEXT, inverting["model"], latent))
    run("DDIMInvert", **inverting | {"method": "shared null-text", "inner_steps": 1})
    assert checkpointed
    assert warnings_in(log) == [
        "Null-text optimisation saves memory: it computes activations twice instead of keeping them"
    ]


def test_tuning_steps_down_to_checkpointing(model, clip, latent, free, log, checkpointed):
    free(between(budget.TUNING, model, latent, budget.trained_bytes(model)))
    run("TuneOnVideo", model=model, positive=encode(clip, SOURCE), latent=latent, steps=1)
    assert checkpointed
    assert warnings_in(log) == ["Tune on Video saves memory: it computes activations twice instead of keeping them"]


def test_inversion_and_edit_step_down_to_smaller_passes(model, clip, inverting, long, free, log):
    watched, rows = seen_by(model)
    # Enough for the inversion of the whole clip.
    free(budget.EDIT.peaks[-1] * budget._forward(model, long["samples"][:5], budget.EDIT, []))
    inversion = run("DDIMInvert", **inverting | {"model": watched, "latent": long})[0]
    rows.clear()
    sample(watched, inversion, control(clip)[0])
    assert max(rows) == 2 * 4
    assert warnings_in(log) == ["Decoupled Sample saves memory: it takes the clip in passes of 4 frames"]

    log.clear()
    rows.clear()
    free(budget.INVERSION.peaks[-1] * budget._forward(model, long["samples"][:5], budget.INVERSION, []))
    run("DDIMInvert", **inverting | {"model": watched, "latent": long})
    assert max(rows) == 4
    assert warnings_in(log) == ["DDIM inversion saves memory: it takes the clip in passes of 4 frames"]


def test_gradients_step_down_to_smaller_passes(model, clip, long, free, log):
    watched, rows = seen_by(model)
    least = budget.TUNING.peaks[-1] * budget._forward(model, long["samples"][:5], budget.TUNING, [])
    free(least + budget.trained_bytes(model) + model.model_size())
    run("TuneOnVideo", model=watched, positive=encode(clip, SOURCE), latent=long, steps=1)
    assert max(rows) == 4
    assert warnings_in(log) == ["Tune on Video saves memory: it takes the clip in passes of 4 frames"]


def test_where_nothing_is_left_to_save_it_says_so_and_goes_on(demo, clip, inverting, long, free, log):
    model = run("InflateUNet", model=demo[0], norm_over_frames=True)[0]
    free(0)
    run("DDIMInvert", **inverting | {"model": model, "latent": long})
    assert warnings_in(log) == ["DDIM inversion may run out of memory: there is nothing left to save"]


def test_records_step_down_to_the_disk(inverting, free, log, tmp_path, monkeypatch):
    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path))
    kept = run("DDIMInvert", **inverting | {"keep_source": "in memory"})[0].records
    assert kept.settings.folder is None
    free(1.5 * kept.bytes)
    on_disk = run("DDIMInvert", **inverting | {"keep_source": "in memory"})[0].records
    assert on_disk.settings.folder.is_relative_to(tmp_path) and list(on_disk.settings.folder.iterdir())
    assert any(message.startswith("The source's queries and keys are kept on disk") for message in warnings_in(log))


@pytest.mark.parametrize("windows", [(0.0, 0.0, 0.0), (0.4, 0.7, 0.7), (1.0, 1.0, 1.0)])
@pytest.mark.parametrize("size", [(16, 16), (20, 12)])
def test_the_size_of_records_is_foretold_exactly(model, inverting, windows, size):
    clip = torch.randn(FRAMES, 4, *size)
    windows = dict(zip(("cross", "temporal", "structure"), windows, strict=True))
    inputs = {f"kept_{name}_window": share for name, share in windows.items()}
    latent = {"samples": clip}
    records = run("DDIMInvert", **inverting | {"latent": latent, "keep_source": "in memory"} | inputs)[0].records
    tokens = inverting["source"][0][0].shape[1]
    assert budget.kept_bytes(model, clip, RecordSettings(**windows), STEPS, tokens) == records.bytes


# --- weights on a GPU -------------------------------------------------------------------------------------------------


def test_on_a_gpu_weights_take_what_activations_leave_but_those_of_a_copy_stay(free, monkeypatch):
    model, host = run("InflateUNet", model=tiny_model("sd15"))[0], comfy.model_management
    monkeypatch.setattr(host, "is_device_cpu", lambda device: False)
    monkeypatch.setattr(host, "current_loaded_models", [])
    monkeypatch.setattr(host, "vram_state", host.VRAMState.NORMAL_VRAM)
    free(2**30)
    weights, temporal = model.model_size(), sum(4 * p.numel() for p in temporal_of(model).model.parameters())
    largest = max(p.nbytes for p in model.model.parameters())
    assert largest <= 2**30 - room.room(model, copied=False) < weights / 4
    assert room.room(model, copied=True) == 2**30 - weights - temporal
    for state in ("HIGH_VRAM", "SHARED"):  # where the host keeps them all there, unless it loads them as they are used
        monkeypatch.setattr(host, "vram_state", host.VRAMState[state])
        assert model.is_dynamic() or room.room(model, copied=False) == 2**30 - weights


def test_weights_that_are_cast_count_where_activations_are_kept(latent, log):
    model = tiny_model("sd15")
    cast = model.clone()
    cast.set_model_compute_dtype(torch.bfloat16)
    weights = model.model_size() / 2
    for operation in (budget.NULL_TEXT, budget.TUNING):
        for way in (0, 1):
            found = [budget.expected(operation, m, latent["samples"], [], way=way)[0].needed for m in (cast, model)]
            assert found[0] - found[1] == pytest.approx(0 if way else weights, rel=0.01)


@pytest.mark.parametrize("shape, shown", [((9, 4, 16, 16), {}), ((1, 16, 5, 12, 20), {}), ((1, 16, 3, 6, 4), S2V)])
def test_the_host_is_told_how_much_to_leave_free(model, shape, shown):
    """As much beside pictures that it counts by itself."""
    model, conds = wan.tiny_wan("s2v", num_layers=2) if shown else model, {"positive": [shown]}
    _, forward = estimate_memory(model, shape, conds)
    assert (forward > model.model.memory_required(list(shape))) == bool(shown)
    for needed in (0.3 * forward, 4 * forward, 11.3 * forward):
        asked = room.Room(needed)(lambda *given: estimate_memory(*given)[1], model, shape, conds)
        assert max(needed, forward) - 1 < asked < 1.1 * max(needed, forward)
