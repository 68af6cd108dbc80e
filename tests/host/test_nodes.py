"""The nodes on the demo model, as ComfyUI calls them: in inference mode, by their schema's names."""

import json
import re

import comfy.model_management
import comfy.utils
import folder_paths
import latent_preview
import numpy as np
import pytest
import torch
from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker
from comfy_extras.nodes_custom_sampler import Noise_EmptyNoise, SamplerCustomAdvanced
from comfyui_videop2p.tests.host.calls import FRAMES, NODES, SOURCE, STEPS, control, predict, run, sample
from comfyui_videop2p.videop2p_core.host.comfy.progress import TuningProgress
from comfyui_videop2p.videop2p_core.host.images import plots as pictures
from comfyui_videop2p.videop2p_core.host.model.identity import base_of, identity_of
from comfyui_videop2p.videop2p_core.images import metrics

OURS = sorted(NODES)


# --- schemas ----------------------------------------------------------------------------------------------------------


def test_the_ids_are_those_that_were_promised():
    assert set(OURS) >= {
        f"VP2P_{name}"
        for name in (
            "InflateUNet",
            "TuneOnVideo",
            "SaveTuning",
            "LoadTuning",
            "DDIMInvert",
            "SaveInversion",
            "LoadInversion",
            "AttentionController",
            "DecoupledSample",
            "DecoupledGuider",
            "DecoupledSampler",
            "AttentionMaps",
            "LoadDemoModel",
        )  # fmt: skip
    }


@pytest.mark.parametrize("node_id", OURS)
def test_every_input_explains_itself_and_is_bounded(node_id):
    schema = NODES[node_id].GET_SCHEMA()
    assert schema.display_name and schema.description and schema.search_aliases
    for entry in (*schema.inputs, *schema.outputs):
        assert entry.tooltip and entry.tooltip.endswith("."), entry.id
    for entry in schema.inputs:
        if isinstance(entry, (io.Int.Input, io.Float.Input)):
            assert entry.min <= entry.default <= entry.max, entry.id
        elif isinstance(entry, io.Combo.Input) and not node_id.startswith("VP2P_Load"):
            assert entry.default in entry.options, entry.id
        elif isinstance(entry, (io.String.Input, io.Boolean.Input)):
            assert entry.default is not None, entry.id


def test_schemas_can_be_sent_to_a_browser():
    for node in NODES.values():
        json.dumps(node.GET_NODE_INFO_V1())


# --- the whole way ----------------------------------------------------------------------------------------------------


def test_invert_control_sample(model, clip, latent, inversion):
    edit, source, target, picture = control(clip, blend_source="rabbit", cross_window=0.8)
    assert torch.equal(source[0][0], inversion.source) and not torch.equal(target[0][0], inversion.source)
    assert picture.shape[0] == 1 and picture.shape[-1] == 3 and picture.min() >= 0 and picture.max() <= 1
    (edited,), reconstruction, (mask,) = sample(model, inversion, edit)
    assert edited["samples"].shape == latent["samples"].shape and edited["samples"].isfinite().all()
    torch.testing.assert_close(reconstruction["samples"], latent["samples"], atol=1e-4, rtol=0)
    assert mask.shape == (FRAMES, 128, 128) and set(mask.unique().tolist()) == {0.0, 1.0}
    kept = (mask[:, ::8, ::8] == 0)[:, None].expand_as(latent["samples"])
    changed = edited["samples"] - reconstruction["samples"]
    assert changed[kept].abs().max() < 1e-4 < changed[~kept].abs().mean()


def test_several_edits_come_back_in_order_from_one_pass_of_the_source(model, clip, inversion):
    edits = [control(clip, f"a {colour} rabbit on the beach", temporal_window=1.0)[0] for colour in ("blue", "green")]
    calls = []

    def count(executor, *args, **kwargs):
        calls.append(len(args[0]))
        return executor(*args, **kwargs)

    counted = model.clone()
    counted.add_wrapper_with_key("diffusion_model", "count", count)
    together, _, masks = sample(counted, inversion, *edits)
    rows_together = sum(calls)
    alone = [sample(counted, inversion, edit)[0][0]["samples"] for edit in edits]
    rows_alone = sum(calls) - rows_together
    assert len(together) == len(masks) == 2 and all((mask == 1).all() for mask in masks)
    for latent, expected in zip(together, alone, strict=True):
        torch.testing.assert_close(latent["samples"], expected, atol=1e-4, rtol=0)
    assert not torch.allclose(*alone, atol=1e-2)
    # source: its frames a step; a target: twice that
    assert rows_together == STEPS * FRAMES * 5 and rows_alone == STEPS * FRAMES * 6


def test_the_stock_sampler_gives_the_same_edit(model, clip, inversion):
    edit = control(clip)[0]
    expected = sample(model, inversion, edit)[0][0]["samples"]
    guider, sigmas, start = run("DecoupledGuider", model=model, inversion=inversion, edit=edit)
    (sampler,) = run("DecoupledSampler")
    with torch.inference_mode():
        edited, _ = SamplerCustomAdvanced.execute(Noise_EmptyNoise(), guider, sampler, sigmas, start).result
    assert torch.equal(edited["samples"], expected)


def test_one_edit_serves_inversions_of_any_steps(model, clip, inverting):
    edit = control(clip)[0]
    for steps in (2, 4):
        inversion = run("DDIMInvert", **inverting | {"steps": steps})[0]
        assert sample(model, inversion, edit)[0][0]["samples"].isfinite().all()


def test_a_mask_limits_the_edit_and_a_whole_prompt_may_weigh(model, clip, inversion):
    mask = torch.zeros(1, 64, 64)
    mask[:, :32] = 1
    edit = control(clip, mask=mask, cross_window=0.4, word_weights="blue: 3, the beach: 0.5")[0]
    (edited,), reconstruction, (used,) = sample(model, inversion, edit)
    assert used.shape == (FRAMES, 128, 128) and (used[:, :64] == 1).all() and (used[:, 64:] == 0).all()
    changed = (edited["samples"] - reconstruction["samples"]).abs()
    assert changed[:, :, 8:].max() < 1e-4 < changed[:, :, :8].mean()


def test_a_mask_may_take_the_place_of_the_words(model, clip, inversion):
    mask = torch.zeros(1, 64, 64)
    mask[:, :32] = 1
    words = {"blend_source": "rabbit", "mask": mask}
    used = {
        mode: sample(model, inversion, control(clip, mask_mode=mode, **words)[0])[2][0] for mode in ("limit", "replace")
    }
    assert (used["replace"][:, :64] == 1).all() and (used["replace"][:, 64:] == 0).all()
    assert (used["limit"] <= used["replace"]).all() and (used["limit"] < used["replace"]).any()


def test_null_text_inversion_has_a_reconstruction_and_a_report(inverting):
    inversion, noise, reconstruction, report, *_ = run(
        "DDIMInvert", **inverting | {"method": "shared null-text", "steps": 2, "inner_steps": 1}
    )
    assert inversion.null.shape == (2, 1, 77, 128)
    assert noise["samples"].shape == reconstruction["samples"].shape == inverting["latent"]["samples"].shape
    assert "null text: 2 updates" in report and re.search(r"error \d+\.\d+ %", report)


# --- the reconstruction, checked --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pictures_in(demo):
    """Frames of the demo clip, and its latent."""
    clip = run("LoadDemoClip", clip=SOURCE)[0]
    frames = clip.get_components().images[:FRAMES]
    with torch.inference_mode():
        return frames, {"samples": demo[2].encode(frames)}


@pytest.mark.parametrize("method", ["direct", "negative-prompt", "shared null-text"])
def test_an_inversion_says_what_it_brings_back(demo, inverting, pictures_in, method):
    frames, latent = pictures_in
    given = {"latent": latent, "method": method, "vae": demo[2], "images": frames, "inner_steps": 1, "steps": 10}
    inversion, _, reconstruction, report, psnr, plot, _ = run("DDIMInvert", **inverting | given)
    with torch.inference_mode():
        bound = metrics.psnr(demo[2].decode(latent["samples"]), frames)
        replayed = demo[2].decode(reconstruction["samples"])
    assert 10 < psnr < bound + 1
    if method == "direct":  # whose reconstruction is the clip, but not its replay
        assert psnr < metrics.psnr(replayed, frames)
    else:
        assert psnr == pytest.approx(metrics.psnr(replayed, frames), abs=0.5)  # a mean of frames, not over them
    assert re.search(rf"{psnr:.1f} dB of \d+\.\d: ", report)
    assert plot.shape[0] == 1 and plot.shape[-1] == 3 and plot.std() > 0.01


def test_the_check_of_a_reconstruction_costs_nothing_unless_asked_for(model, inverting, demo, pictures_in):
    rows = []

    def count(executor, *args, **kwargs):
        rows.append(len(args[0]))
        return executor(*args, **kwargs)

    counted = model.clone()
    counted.add_wrapper_with_key("diffusion_model", "count", count)
    frames, latent = pictures_in
    asked = inverting | {"model": counted, "latent": latent}
    *_, psnr, plot, _ = run("DDIMInvert", **asked)
    assert sum(rows) == STEPS * FRAMES
    assert isinstance(psnr, ExecutionBlocker) and "vae and images" in plot.message
    rows.clear()
    run("DDIMInvert", **asked, vae=demo[2], images=frames)
    assert sum(rows) == 2 * STEPS * FRAMES


def test_pictures_that_were_not_encoded_are_refused(inverting, demo, pictures_in):
    frames, latent = pictures_in
    asked = inverting | {"latent": latent}
    with pytest.raises(ValueError, match=r"the images are 2 of 64 x 64, the latent holds 2 frames of 128 x 128"):
        run("DDIMInvert", **asked, vae=demo[2], images=frames[:, :64, :64])
    with pytest.raises(ValueError, match="connect the images input as well"):
        run("DDIMInvert", **asked, vae=demo[2])


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_saved_inversion_comes_back_and_nothing_is_overwritten(folders, inversion):
    for _ in range(2):
        assert run("SaveInversion", inversion=inversion, filename_prefix="clips/rabbit") is None
    names = folder_paths.get_filename_list("videop2p_inversions")
    assert names == ["clips/rabbit_00001_.safetensors", "clips/rabbit_00002_.safetensors"]
    loaded = run("LoadInversion", inversion_name=names[1])[0]
    assert torch.equal(loaded.trajectory, inversion.trajectory) and loaded.base_model == inversion.base_model


def test_a_saved_tuning_gives_the_tuned_model_again(folders, model, tuning, clip, latent):
    tuned, value, plot = tuning
    assert plot.shape[0] == 1 and plot.shape[-1] == 3 and plot.std() > 0.01
    run("SaveTuning", tuning=value)
    loaded, _ = run("LoadTuning", model=model, tuning_name="tuning_00001_.safetensors")
    assert identity_of(loaded) == identity_of(tuned) != identity_of(model)
    with torch.inference_mode():
        samples = [predict(m, clip, latent) for m in (model, tuned, loaded)]
    assert torch.equal(samples[1], samples[2]) and not torch.allclose(samples[0], samples[1], atol=1e-4)
    # now that it is loaded, its weights hold the tuning: the base model is still known
    assert base_of(tuned) == base_of(model) == value.base_model


# --- progress ---------------------------------------------------------------------------------------------------------


class Stop:
    """A progress hook that interrupts after the first step."""

    def __init__(self, stop=True):
        self.seen, self.stop = [], stop

    def __call__(self, value, total, preview, node_id=None):
        self.seen.append((value, total, preview))
        if self.stop:
            comfy.model_management.interrupt_current_processing()


@pytest.fixture
def hook(monkeypatch):
    def install(stop):
        hook = Stop(stop)
        monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", hook)
        return hook

    latent_preview.set_preview_method("latent2rgb")
    yield install
    latent_preview.set_preview_method("default")
    comfy.model_management.interrupt_current_processing(False)


def test_inversion_and_sampling_show_every_step(hook, model, clip, inverting, inversion):
    edit = control(clip)[0]
    for work, steps in (
        (lambda: run("DDIMInvert", **inverting), STEPS),
        (lambda: run("DDIMInvert", **inverting | {"method": "negative-prompt"}), 2 * STEPS),
        (lambda: sample(model, inversion, edit), STEPS),
    ):
        bar = hook(stop=False)
        work()
        assert [seen[:2] for seen in bar.seen] == [(step + 1, steps) for step in range(steps)]
        assert all(preview[0] == "JPEG" and preview[1].size == (16, 16) for *_, preview in bar.seen)


@pytest.mark.parametrize("method", ["none", "latent2rgb"])  # of the host's own previews: the curve is none of them
def test_the_loss_curve_is_the_preview_of_a_tuning(hook, model, method):
    latent_preview.set_preview_method(method)
    bar, progress = hook(stop=False), TuningProgress(2, model.model.latent_format, seconds=0)
    progress([0.5])
    progress([0.5, 0.25])
    assert [seen[:2] for seen in bar.seen] == [(1, 2), (2, 2)]
    assert bar.seen[1][2][1].size == tuple(pictures.loss_plot([0.5, 0.25]).shape[2:0:-1])


def test_a_tuning_shows_the_clip_as_the_model_sees_it(hook, monkeypatch, model, latent, inverting):
    bar = hook(stop=False)
    monkeypatch.setattr("time.monotonic", lambda: 0.0)  # never time to draw the curve for its own sake
    inputs = {"model": model, "positive": inverting["source"], "latent": latent, "steps": 4}
    _, watched, plot = run("TuneOnVideo", **inputs, preview_every=2)
    previews = {step: preview[1] for step, _, preview in bar.seen if preview}  # the host may leave out the other steps
    assert list(previews) == [2, 4]
    _, height, width, _ = plot.shape
    assert all(preview.width == width and preview.height > height for preview in previews.values())
    below = np.asarray(previews[4])[height:]
    assert below.std() > 5  # frames, not an empty strip
    # The same training: threads add gradients in any order, but another noise would change the first digits.
    plain = run("TuneOnVideo", **inputs)[1]
    torch.testing.assert_close(watched.losses, plain.losses)
    torch.testing.assert_close(dict(watched.deltas), dict(plain.deltas), atol=1e-6, rtol=0)


def test_a_tuning_ends_where_the_loss_is_flat(model, latent, inverting):
    tuning = run(
        "TuneOnVideo", model=model, positive=inverting["source"], latent=latent, steps=40, patience=5,
        learning_rate=1e-7,
    )[1]  # fmt: skip
    assert tuning.steps == 10  # one probe later


def test_everything_can_be_cancelled_within_a_step(hook, model, clip, latent, inverting, inversion):
    edit = control(clip)[0]
    before = identity_of(model)
    for work in (
        lambda: run("DDIMInvert", **inverting),
        lambda: run("DDIMInvert", **inverting | {"method": "per-frame null-text"}),
        lambda: run("TuneOnVideo", model=model, positive=inverting["source"], latent=latent, steps=5),
        lambda: sample(model, inversion, edit),
    ):
        bar = hook(stop=True)
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            work()
        assert [value for value, *_ in bar.seen] == [1]
    assert identity_of(model) == before


def test_a_mask_that_lets_nothing_change_is_refused(clip):
    """As Load Image makes it of a picture without transparency."""
    with pytest.raises(ValueError, match="the mask is 0 everywhere, so that nothing may change: connect one that is 1"):
        control(clip, mask=torch.zeros(1, 64, 64))


def test_an_inversion_says_that_inflate_unet_was_forgotten(demo, inverting, caplog):
    quick = {"method": "virtual", "steps": STEPS}
    assert "Inflate UNet" not in run("DDIMInvert", **inverting | quick)[3]
    report = run("DDIMInvert", **inverting | quick | {"model": demo[0]})[3]
    assert "sees every frame by itself" in report and "put Inflate UNet before this node" in caplog.text
    single = {"samples": inverting["latent"]["samples"][:1]}
    assert "Inflate UNet" not in run("DDIMInvert", **inverting | quick | {"model": demo[0], "latent": single})[3]
