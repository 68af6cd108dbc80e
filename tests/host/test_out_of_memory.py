"""What the host leaves free for an edit, and what happens where memory runs out all the same."""

import comfy.model_management
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from comfy_extras.nodes_custom_sampler import Noise_EmptyNoise, SamplerCustomAdvanced
from comfyui_videop2p.tests.host.calls import SOURCE, control, encode, run, sample
from comfyui_videop2p.tests.host.short_memory import LONG, checkpointed, free, log, long, seen_by, warnings_in
from comfyui_videop2p.videop2p_core.host.model import memory_budget as budget

__all__ = ["checkpointed", "free", "log", "long"]


@pytest.fixture(scope="module")
def long_inversion(inverting, long):
    return run("DDIMInvert", **inverting | {"latent": long})[0]


# --- what the host leaves free ----------------------------------------------------------------------------------------


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
    needed = budget.EDIT.peaks[-1] * budget._forward(model, long["samples"][:frames], budget.EDIT, [])
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
        inverting["model"], latent["samples"], budget.NULL_TEXT, []
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
    asked = {"inversion": long_inversion, "edit": control(clip, blend_source="rabbit")[0], "branch": branch}
    _, masks, _ = run("AttentionMaps", model=room.around(model), **asked)
    assert max(room.rows[calls + 1 :]) <= 2 * 4 < min(room.rows[:calls])
    assert warnings_in(log) == [f"Attention Maps of the {branch} {PASSES}"]
    _, expected, _ = run("AttentionMaps", model=in_fours(demo[0]), **asked)
    assert all(map(torch.equal, masks, expected))


@pytest.mark.parametrize(("branch", "operation"), [("source", budget.SOURCE_MAPS), ("target", budget.TARGET_MAPS)])
def test_attention_maps_step_down_to_smaller_passes(model, clip, long, long_inversion, free, log, branch, operation):
    watched, rows = seen_by(model)
    free(operation.peaks[-1] * budget._forward(model, long["samples"][:5], operation, []))
    run("AttentionMaps", model=watched, inversion=long_inversion, edit=control(clip)[0], branch=branch)
    assert max(rows) <= 2 * 4
    assert warnings_in(log) == [f"Attention Maps of the {branch} saves memory: it takes the clip in passes of 4 frames"]


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


@pytest.mark.skipif("comfy.model_management.pytorch_attention_enabled()", reason="torch takes it whole")
def test_attention_in_slices_is_said_to_have_no_gradients(inverting, monkeypatch):
    """As the host takes it where hardly anything is free."""
    short = lambda device=None, torch_free_too=False: (2**20, 2**20) if torch_free_too else 2**20
    monkeypatch.setattr(comfy.model_management, "get_free_memory", short)
    with pytest.raises(RuntimeError, match="so little memory is free that ComfyUI takes attention in slices"):
        run("DDIMInvert", **inverting | {"method": "shared null-text", "inner_steps": 1})
