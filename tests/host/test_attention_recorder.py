"""The source's queries and keys, kept from its inversion; and masks that freeze."""

import gc
import shutil
from dataclasses import replace
from pathlib import Path

import folder_paths
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from comfyui_videop2p.demo import videos
from comfyui_videop2p.tests.host.calls import FRAMES, SOURCE, control, encode, run, sample
from comfyui_videop2p.tools.bench.meter import Meter
from comfyui_videop2p.videop2p_core.diffusion import schedule
from comfyui_videop2p.videop2p_core.diffusion.attention_records import AttentionRecords, RecordSettings
from comfyui_videop2p.videop2p_core.host.comfy import denoiser
from comfyui_videop2p.videop2p_core.host.control.attention_recorder import keeping

STEPS = 6
WINDOWS = {"cross_window": 0.5, "temporal_window": 0.5}
KEPT = {"kept_cross_window": 0.5, "kept_temporal_window": 0.5}


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def tuned(model, clip, latent):
    """Its temporal layers do something."""
    return run("TuneOnVideo", model=model, positive=encode(clip, SOURCE), latent=latent, steps=2, learning_rate=1e-2)[0]


def inverted(model, clip, latent, keep="off", **settings):
    source, null = encode(clip, SOURCE), encode(clip, "")
    given = {"method": "direct", "steps": STEPS, "keep_source": keep}
    return run("DDIMInvert", model=model, source=source, null=null, latent=latent, **given | settings)[0]


def edited(model, inversion, clip, **settings):
    (latent,), _, (mask,) = sample(model, inversion, control(clip, blend_source="rabbit", **WINDOWS | settings)[0])
    return latent["samples"], mask


def metered(model):
    """A clone, and the counter of the clips that its UNet is given."""
    clone, meter = model.clone(), Meter(FRAMES)
    clone.add_wrapper(WrappersMP.DIFFUSION_MODEL, meter)
    return clone, meter


@torch.inference_mode()
def records_of_the_path(model, clip, inversion):
    """Kept where the source branch itself would look: at z of each step."""
    records, source = AttentionRecords(RecordSettings(0.5, 0.5), STEPS), encode(clip, SOURCE)

    def algorithm(denoise, z0, sigmas):
        kept = keeping(denoise, records, sigmas, inversion.source.shape[1], z0.shape[-2:])
        for step in range(STEPS):
            z = inversion.trajectory[STEPS - step]
            kept(schedule.to_x(z.to(sigmas), sigmas[step]), sigmas[step], denoiser.SOURCE)

    latent = model.model.process_latent_out(inversion.trajectory[0])
    denoiser.run(model, source, encode(clip, ""), latent, inversion.sigmas, algorithm)
    return records


def test_an_edit_from_records_of_the_path_itself_is_the_exact_one(tuned, clip, latent):
    inversion = inverted(tuned, clip, latent)
    exact, mask = edited(tuned, inversion, clip)
    kept, kept_mask = edited(tuned, replace(inversion, records=records_of_the_path(tuned, clip, inversion)), clip)
    assert (kept - exact).abs().max() < 1e-2 * exact.std()  # of half precision
    assert torch.equal(mask, kept_mask)
    other, _ = edited(tuned, inversion, clip, cross_window=0.0, temporal_window=0.0)
    assert (other - exact).abs().max() > 0.1 * exact.std()


def test_after_an_exact_inversion_what_it_kept_is_the_sources_own(tuned, clip, latent):
    """And beside it the source is run again for what is not kept: the structure, and the places of things."""
    inversion = inverted(tuned, clip, latent, "in memory", method="direct-exact", kept_cross_window=0.5)
    for settings in ({}, {"structure_window": 1.0}, {"structure_window": 0.5, "blend_start": 1.0}):
        kept, exact = (edited(tuned, one, clip, **settings)[0] for one in (inversion, replace(inversion, records=None)))
        assert (kept - exact).abs().max() < 1e-2 * exact.std()  # of half precision


@pytest.mark.slow
def test_on_a_real_clip_a_kept_edit_is_near_the_exact_one_and_fixed_point_rounds_bring_it_nearer(demo, model, clip):
    with torch.inference_mode():
        frames = {"samples": demo[2].encode(torch.from_numpy(videos.read(videos.file_of(SOURCE))))}

    def error(rounds):
        kept = inverted(model, clip, frames, "in memory", steps=20, rounds=rounds)
        (near, _), (exact, _) = (
            edited(model, inversion, clip, cross_window=0.2) for inversion in (kept, replace(kept, records=None))
        )
        return (near - exact).square().mean().sqrt() / exact.std()

    assert error(3) < 0.002 < error(0) < 0.02  # measured 0.0001 and 0.007


def test_a_kept_source_is_not_run_again(tuned, clip, latent):
    model, meter = metered(tuned)
    inversion = inverted(model, clip, latent, "in memory", **KEPT)
    assert meter.forwards() == STEPS
    edited(model, inversion, clip)
    assert meter.forwards() == 2 * STEPS
    edited(model, replace(inversion, records=None), clip)
    assert meter.forwards() == 3 * STEPS


def test_records_on_disk_are_those_in_memory_and_go_with_the_inversion(tuned, clip, latent, temporary):
    memory, disk = (inverted(tuned, clip, latent, keep, **KEPT) for keep in ("in memory", "on disk"))
    assert disk.records.bytes == memory.records.bytes > 0
    for one, other in zip(edited(tuned, memory, clip), edited(tuned, disk, clip), strict=True):
        assert torch.equal(one, other)
    files = list(Path(temporary).rglob("*.safetensors"))
    assert len(files) == STEPS and sum(file.stat().st_size for file in files) > disk.records.bytes
    del disk
    gc.collect()
    assert not list(Path(temporary).rglob("*.safetensors"))


def test_an_emptied_temporary_folder_is_named_before_the_model_runs(tuned, clip, latent, temporary):
    model, meter = metered(tuned)
    inversion = inverted(model, clip, latent, "on disk", **KEPT)
    meter.forwards()
    for left in temporary.iterdir():
        shutil.rmtree(left)
    with pytest.raises(ValueError, match="the kept source is gone from the temporary folder"):
        edited(model, inversion, clip)
    assert not meter.forwards()


def test_records_hold_no_more_than_the_windows_and_the_word_maps_need(tuned, clip, latent):
    found = {
        windows: inverted(
            tuned, clip, latent, "in memory", kept_cross_window=windows[0], kept_temporal_window=windows[1]
        ).records.bytes
        for windows in ((0.0, 0.0), (0.5, 0.0), (0.5, 0.5), (1.0, 1.0))
    }
    sizes = list(found.values())
    assert sizes == sorted(sizes) and len(set(sizes)) == 4


@pytest.mark.parametrize("window", ["cross", "temporal"])
def test_an_edit_beyond_the_kept_windows_says_so(tuned, clip, latent, window):
    inversion = inverted(tuned, clip, latent, "in memory", **KEPT)
    with pytest.raises(ValueError, match=f"invert with a larger kept {window} window, or keep nothing"):
        edited(tuned, inversion, clip, **{f"{window}_window": 1.0})


def test_a_method_that_needs_the_source_in_every_step_keeps_nothing(tuned, clip, latent):
    with pytest.raises(ValueError, match="choose one of direct, direct-exact, virtual, or keep nothing"):
        inverted(tuned, clip, latent, "in memory", method="proximal")


def test_a_saved_inversion_leaves_its_records_behind(tuned, clip, latent, folders):
    inversion = inverted(tuned, clip, latent, "in memory", **KEPT)
    run("SaveInversion", inversion=inversion)
    (loaded,) = run("LoadInversion", inversion_name="inversion_00001_.safetensors")
    assert loaded.records is None
    exact, _ = edited(tuned, replace(inversion, records=None), clip)
    assert torch.equal(edited(tuned, loaded, clip)[0], exact)


def test_passes_keep_as_well_and_must_be_the_same(demo, clip):
    long = {"samples": 2 * torch.randn(7, 4, 16, 16, generator=torch.Generator().manual_seed(0))}
    shape = {"model": demo[0], "temporal_layers": False}
    whole, passes, others = (run("InflateUNet", **shape, frames_per_pass=n, pass_overlap=1)[0] for n in (0, 4, 5))
    expected, mask = edited(whole, inverted(whole, clip, long, "in memory", **KEPT), clip)
    inversion = inverted(passes, clip, long, "on disk", **KEPT)
    found, found_mask = edited(passes, inversion, clip)
    assert (found - expected).abs().max() < 1e-2 * expected.std()
    assert torch.equal(found_mask, mask)
    with pytest.raises(ValueError, match="the same frames per pass"):
        edited(others, inversion, clip)


def test_a_frozen_mask_costs_no_more_source(tuned, clip, latent):
    (model, meter), inversion = metered(tuned), inverted(tuned, clip, latent)
    settings = {"cross_window": 0.2, "temporal_window": 0.2}
    moving, mask = edited(model, inversion, clip, **settings)
    assert meter.forwards() == 3 * STEPS
    frozen, frozen_mask = edited(model, inversion, clip, **settings, blend_freeze=0.5)
    assert meter.forwards() == 2 * STEPS + STEPS // 2
    assert not torch.equal(moving, frozen)
    late, late_mask = edited(model, inversion, clip, **settings, blend_freeze=1.0)
    assert torch.equal(late, moving) and torch.equal(late_mask, mask)
