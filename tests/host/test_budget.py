"""What the nodes expect to need of memory, and what they give up where there is less."""

import logging

import comfy.model_management
import folder_paths
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from comfy_extras.nodes_custom_sampler import Noise_EmptyNoise, SamplerCustomAdvanced
from comfyui_videop2p.tests.host.calls import FRAMES, SOURCE, STEPS, control, encode, run, sample
from comfyui_videop2p.videop2p_core.diffusion.attention_records import RecordSettings
from comfyui_videop2p.videop2p_core.host.model import free_memory as room
from comfyui_videop2p.videop2p_core.host.model import gradients
from comfyui_videop2p.videop2p_core.host.model import memory_budget as budget
from comfyui_videop2p.videop2p_core.host.model.inflate import temporal_of

LONG = 9  # frames


@pytest.fixture(scope="module")
def long():
    return {"samples": 2 * torch.randn(LONG, 4, 16, 16, generator=torch.Generator().manual_seed(0))}


@pytest.fixture
def free(monkeypatch):
    """free(bytes): all that the host says is free."""

    def patch(amount):
        for module in (budget, room):
            monkeypatch.setattr(module, "free_memory", lambda device: amount)

    return patch


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.INFO)
    return caplog


@pytest.fixture
def checkpointed(monkeypatch):
    """Whether a copy was made that recomputes its activations."""
    asked = []
    real = gradients.checkpoint_blocks
    monkeypatch.setattr(gradients, "checkpoint_blocks", lambda model: (asked.append(model), real(model)))
    return asked


def between(operation, model, clip, beside=0):
    """Free memory that suffices for the way that saves, not for the one that does not."""
    fast, saving = (peak * budget._forward(model, clip["samples"], operation) + beside for peak in operation.peaks)
    return (fast + saving) / 2 + model.model_size()


def seen_by(model):
    """(the model, rows of every call of its UNet)"""
    rows, model = [], model.clone()

    def watch(executor, x, *args, **kwargs):
        rows.append(len(x))
        return executor(x, *args, **kwargs)

    model.add_wrapper(WrappersMP.DIFFUSION_MODEL, watch)
    return model, rows


def warnings_in(log):
    return [record.getMessage() for record in log.records if record.levelno == logging.WARNING]


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
    free(budget.EDIT.peaks[-1] * budget._forward(model, long["samples"][:5], budget.EDIT))
    inversion = run("DDIMInvert", **inverting | {"model": watched, "latent": long})[0]
    rows.clear()
    sample(watched, inversion, control(clip)[0])
    assert max(rows) == 2 * 4
    assert warnings_in(log) == ["Decoupled Sample saves memory: it takes the clip in passes of 4 frames"]

    log.clear()
    rows.clear()
    free(budget.INVERSION.peaks[-1] * budget._forward(model, long["samples"][:5], budget.INVERSION))
    run("DDIMInvert", **inverting | {"model": watched, "latent": long})
    assert max(rows) == 4
    assert warnings_in(log) == ["DDIM inversion saves memory: it takes the clip in passes of 4 frames"]


def test_gradients_step_down_to_smaller_passes(model, clip, long, free, log):
    watched, rows = seen_by(model)
    least = budget.TUNING.peaks[-1] * budget._forward(model, long["samples"][:5], budget.TUNING)
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
    assert kept.kept.folder is None
    free(1.5 * kept.bytes)
    on_disk = run("DDIMInvert", **inverting | {"keep_source": "in memory"})[0].records
    assert on_disk.kept.folder.is_relative_to(tmp_path) and list(on_disk.kept.folder.iterdir())
    assert any(message.startswith("The source's queries and keys are kept on disk") for message in warnings_in(log))


@pytest.mark.parametrize("windows", [(0.0, 0.0), (0.4, 0.7), (1.0, 1.0)])
@pytest.mark.parametrize("size", [(16, 16), (20, 12)])
def test_the_size_of_records_is_foretold_exactly(model, inverting, windows, size):
    clip = torch.randn(FRAMES, 4, *size)
    windows = {"kept_cross_window": windows[0], "kept_temporal_window": windows[1]}
    records = run("DDIMInvert", **inverting | {"latent": {"samples": clip}, "keep_source": "in memory"} | windows)[
        0
    ].records
    tokens = inverting["source"][0][0].shape[1]
    assert budget.kept_bytes(model, clip, RecordSettings(*windows.values()), STEPS, tokens) == records.bytes


# --- weights on a GPU -------------------------------------------------------------------------------------------------


def test_on_a_gpu_weights_take_what_activations_leave_but_those_of_a_copy_stay(model, free, monkeypatch):
    host = comfy.model_management
    monkeypatch.setattr(host, "is_device_cpu", lambda device: False)
    monkeypatch.setattr(host, "current_loaded_models", [])
    monkeypatch.setattr(host, "vram_state", host.VRAMState.NORMAL_VRAM)
    free(2**30)
    weights, temporal = model.model_size(), sum(4 * p.numel() for p in temporal_of(model).model.parameters())
    largest = max(p.nbytes for p in model.model.parameters())
    assert largest <= 2**30 - room.room(model, copied=False) < weights / 4
    assert room.room(model, copied=True) == 2**30 - weights - temporal
    for state in ("HIGH_VRAM", "SHARED"):  # where the host keeps them all there
        monkeypatch.setattr(host, "vram_state", host.VRAMState[state])
        assert room.room(model, copied=False) == 2**30 - weights


def test_weights_that_are_cast_count_where_activations_are_kept(model, latent, log):
    cast = model.clone()
    cast.set_model_compute_dtype(torch.bfloat16)
    weights = model.model_size() / 2
    for operation in (budget.NULL_TEXT, budget.TUNING):
        for way in (0, 1):
            found = [budget.expected(operation, m, latent["samples"], way=way)[0].needed for m in (cast, model)]
            assert found[0] - found[1] == pytest.approx(0 if way else weights, rel=0.01)


@pytest.mark.parametrize("shape", [(9, 4, 16, 16), (1, 16, 5, 12, 20)])
def test_the_host_is_told_how_much_to_leave_free(model, shape):
    forward = model.model.memory_required(list(shape))
    for needed in (0.3 * forward, 4 * forward, 11.3 * forward):
        asked = room.Room(needed)(lambda model, shape: model.model.memory_required(shape), model, shape)
        assert max(needed, forward) - 1 < asked < 1.1 * max(needed, forward)


@pytest.fixture
def left(monkeypatch):
    """What the host was told to leave free of weights, each time it loaded."""
    told, load = [], comfy.model_management.load_models_gpu

    def listening(*args, minimum_memory_required=None, **kwargs):
        if minimum_memory_required is not None:  # for sampling
            told.append(minimum_memory_required)
        return load(*args, minimum_memory_required=minimum_memory_required, **kwargs)

    monkeypatch.setattr(comfy.model_management, "load_models_gpu", listening)
    return told


@pytest.mark.parametrize("frames", [LONG, 5])
def test_the_host_leaves_free_what_an_edit_needs_whole_or_in_passes(
    model, clip, long, long_inversion, free, left, frames
):
    needed = budget.EDIT.peaks[-1] * budget._forward(model, long["samples"][:frames], budget.EDIT)
    free(needed)
    edit = control(clip)[0]
    left.clear()
    sample(model, long_inversion, edit)
    guider, sigmas, start = run("DecoupledGuider", model=model, inversion=long_inversion, edit=edit)
    with torch.inference_mode():
        SamplerCustomAdvanced.execute(Noise_EmptyNoise(), guider, *run("DecoupledSampler"), sigmas, start)
    of_passes = needed if frames == LONG else needed * 4 / 5
    assert len(left) == 2 and all(of_passes <= told < 1.2 * of_passes for told in left)


def test_so_it_does_for_a_null_text(inverting, latent, left):
    run("DDIMInvert", **inverting | {"method": "shared null-text", "inner_steps": 1})
    assert max(left) >= budget.NULL_TEXT.peaks[0] * budget._forward(
        inverting["model"], latent["samples"], budget.NULL_TEXT
    )


# --- out of memory all the same ---------------------------------------------------------------------------------------


class Room:
    """A wrapper around the UNet that runs out of memory where `suffices(rows)` says no."""

    def __init__(self, suffices):
        self.suffices, self.rows = suffices, []

    def __call__(self, executor, x, *args, **kwargs):
        self.rows.append(len(x))
        if not self.suffices(len(x)):
            raise torch.OutOfMemoryError("out of memory, on purpose")
        return executor(x, *args, **kwargs)

    def around(self, model):
        model = model.clone()
        model.add_wrapper(WrappersMP.DIFFUSION_MODEL, self)
        return model


PASSES = "ran out of memory and begins again: it takes the clip in passes of 4 frames"
TWICE = "ran out of memory and begins again: it computes activations twice instead of keeping them"


@pytest.fixture(scope="module")
def long_inversion(inverting, long):
    return run("DDIMInvert", **inverting | {"latent": long})[0]


def in_fours(model):
    return run("InflateUNet", model=model, frames_per_pass=4, pass_overlap=1)[0]


def test_an_edit_that_runs_out_of_memory_goes_on_in_smaller_passes(demo, model, clip, long_inversion, log):
    edit = control(clip)[0]
    edited = sample(Room(lambda rows: rows <= 2 * 4).around(model), long_inversion, edit)[0][0]["samples"]
    assert warnings_in(log) == [f"Decoupled Sample {PASSES}"]
    expected = sample(in_fours(demo[0]), long_inversion, edit)[0][0]["samples"]
    assert torch.equal(edited, expected)


def test_so_does_one_under_the_stock_sampler(demo, model, clip, long_inversion, log):
    edit = control(clip)[0]
    roomy = Room(lambda rows: rows <= 2 * 4).around(model)
    guider, sigmas, start = run("DecoupledGuider", model=roomy, inversion=long_inversion, edit=edit)
    (sampler,) = run("DecoupledSampler")
    with torch.inference_mode():
        edited, _ = SamplerCustomAdvanced.execute(Noise_EmptyNoise(), guider, sampler, sigmas, start).result
    assert warnings_in(log) == [f"Decoupled Sample {PASSES}"]
    expected = sample(in_fours(demo[0]), long_inversion, edit)[0][0]["samples"]
    assert torch.equal(edited["samples"], expected)


@pytest.mark.parametrize(("branch", "calls"), [("source", 2), ("target", 4)])
def test_attention_maps_go_on_in_smaller_passes_without_what_they_had_collected(
    demo, model, clip, long_inversion, log, branch, calls
):
    """In two steps that went well: as many calls of the whole clip are let through."""
    room = Room(lambda rows: rows <= 2 * 4 or len(room.rows) <= calls)
    asked = {"inversion": long_inversion, "edit": control(clip, blend_source="ball")[0], "branch": branch}
    _, masks, _ = run("AttentionMaps", model=room.around(model), **asked)
    assert max(room.rows[calls + 1 :]) <= 2 * 4 < min(room.rows[:calls])
    assert warnings_in(log) == [f"Attention Maps {PASSES}"]
    _, expected, _ = run("AttentionMaps", model=in_fours(demo[0]), **asked)
    assert all(map(torch.equal, masks, expected))


@pytest.mark.parametrize(("branch", "operation"), [("source", budget.SOURCE_MAPS), ("target", budget.TARGET_MAPS)])
def test_attention_maps_step_down_to_smaller_passes(model, clip, long, long_inversion, free, log, branch, operation):
    watched, rows = seen_by(model)
    free(operation.peaks[-1] * budget._forward(model, long["samples"][:5], operation))
    run("AttentionMaps", model=watched, inversion=long_inversion, edit=control(clip)[0], branch=branch)
    assert max(rows) <= 2 * 4
    assert warnings_in(log) == ["Attention Maps saves memory: it takes the clip in passes of 4 frames"]


def test_an_inversion_goes_on_in_smaller_passes(inverting, long, log):
    room = Room(lambda rows: rows <= 4)
    run("DDIMInvert", **inverting | {"model": room.around(inverting["model"]), "latent": long})
    assert warnings_in(log) == [f"DDIM inversion {PASSES}"] and room.rows.count(LONG) == 1


def test_one_that_keeps_the_source_is_not_cut(inverting, long, log):
    """Its edits would have to be cut alike."""
    roomy = Room(lambda rows: rows <= 4).around(inverting["model"])
    with pytest.raises(torch.OutOfMemoryError):
        run("DDIMInvert", **inverting | {"model": roomy, "latent": long, "keep_source": "in memory"})


@pytest.mark.usefixtures("one_thread")
def test_gradients_go_on_with_checkpoints_to_the_same_bits(model, clip, latent, inverting, log, checkpointed):
    tuning = {"positive": encode(clip, SOURCE), "latent": latent, "steps": 2, "learning_rate": 1e-3}
    null_text = inverting | {"method": "shared null-text", "inner_steps": 1}
    expected = run("TuneOnVideo", model=model, **tuning)[1], run("DDIMInvert", **null_text)[0]
    roomy = Room(lambda rows: checkpointed or not torch.is_grad_enabled()).around(model)
    tuned = run("TuneOnVideo", model=roomy, **tuning)[1]
    assert len(checkpointed) == 1 and all(map(torch.equal, tuned.deltas.values(), expected[0].deltas.values()))
    checkpointed.clear()
    inverted = run("DDIMInvert", **null_text | {"model": roomy})[0]
    assert len(checkpointed) == 1 and torch.equal(inverted.null, expected[1].null)
    assert warnings_in(log) == [f"Tune on Video {TWICE}", f"Null-text optimisation {TWICE}"]


def test_where_nothing_smaller_is_left_the_host_hears_of_it(model, clip, long_inversion):
    room = Room(lambda rows: False)
    with pytest.raises(torch.OutOfMemoryError):
        sample(room.around(model), long_inversion, control(clip)[0])
    whole, smallest = room.rows
    assert whole == LONG and smallest < 5


def test_another_error_is_no_reason_to_begin_again(model, clip, long_inversion, log):
    def failing(rows):
        room.rows.append("failed")
        raise RuntimeError("of another kind")

    room = Room(failing)
    with pytest.raises(RuntimeError, match="of another kind"):
        sample(room.around(model), long_inversion, control(clip)[0])
    assert room.rows.count("failed") == 1 and not warnings_in(log)


def test_attention_in_slices_is_said_to_have_no_gradients(inverting, monkeypatch):
    """As the host takes it where hardly anything is free."""
    short = lambda device=None, torch_free_too=False: (2**20, 2**20) if torch_free_too else 2**20
    monkeypatch.setattr(comfy.model_management, "get_free_memory", short)
    with pytest.raises(RuntimeError, match="so little memory is free that ComfyUI takes attention in slices"):
        run("DDIMInvert", **inverting | {"method": "shared null-text", "inner_steps": 1})
