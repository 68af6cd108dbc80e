"""Attention Maps on the demo model: where words look in a rendered clip whose true masks are known."""

import re
from dataclasses import replace

import comfy.model_management
import comfy.utils
import latent_preview
import numpy as np
import pytest
import torch
from comfyui_videop2p.demo import scenes
from comfyui_videop2p.tests.host.calls import encode, run
from comfyui_videop2p.videop2p_core.diffusion.inversion import DIRECT_EXACT, InversionSettings
from comfyui_videop2p.videop2p_core.host.edit import attention_maps as maps
from comfyui_videop2p.videop2p_core.host.edit.decoupled_sampling import decoupled_sample
from comfyui_videop2p.videop2p_core.host.edit.edit_inputs import prepare_edit, word_edit
from comfyui_videop2p.videop2p_core.host.source.inversion import invert_latent
from comfyui_videop2p.videop2p_core.images.matte import MatteSettings

FRAMES, STEPS = 2, 2
SCENE = scenes.Scene(500_003, "rabbit", "white", "spotted", "beach")
SOURCE = scenes.caption(SCENE)
TARGET = scenes.caption(replace(SCENE, colour="green"))
BRANCHES = pytest.mark.parametrize("branch", maps.BRANCHES)


@pytest.fixture(autouse=True)
def inference_mode():
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def frames():
    return scenes.clip(SCENE, FRAMES)


@pytest.fixture(scope="module")
def images(frames):
    return torch.from_numpy(np.stack([frame.image for frame in frames]))  # [frames, height, width, 3]


@pytest.fixture(scope="module")
def truth(frames):
    return torch.from_numpy(np.stack([frame.mask for frame in frames])) > 0.5  # [frames, height, width]


@pytest.fixture(scope="module")
def inversion(demo, model, images):
    _, clip, vae = demo
    with torch.inference_mode():
        latent = vae.encode(images)
        return invert_latent(model, encode(clip, SOURCE), encode(clip, ""), latent, InversionSettings("direct", STEPS))


@pytest.fixture(scope="module")
def exact(inversion):
    """The same path, on which an edit shows where its things are."""
    return replace(inversion, method=DIRECT_EXACT)


@pytest.fixture(scope="module")
def edit(clip):
    with torch.inference_mode():
        return word_edit(clip, SOURCE, TARGET, blend_source=("rabbit",), blend_target=("green spotted rabbit",))


@pytest.fixture(scope="module")
def whole(clip):
    """The same edit without blend words."""
    with torch.inference_mode():
        return word_edit(clip, SOURCE, TARGET)


def look(model, inversion, edit, **inputs):
    """(overlays, masks, grid)"""
    return run("AttentionMaps", model=model, inversion=inversion, edit=edit, **inputs)


@BRANCHES
def test_the_word_of_an_object_looks_at_the_object(model, inversion, edit, truth, branch):
    _, (rabbit, beach), _ = look(model, inversion, edit, words="rabbit, on the beach", branch=branch)
    assert rabbit[truth].mean() > 0.4 and rabbit[~truth].mean() < 0.05
    assert beach[truth].mean() < rabbit[truth].mean()


@BRANCHES
@pytest.mark.parametrize("step", [0, 1])
def test_a_sharp_map_ends_where_the_object_does(model, exact, edit, truth, branch, step):
    """Overlap with the true place, at Composite Edit's threshold."""

    def overlap(sharp):
        _, (rabbit,), _ = look(model, exact, edit, words="rabbit", branch=branch, step=step, sharp=sharp)
        inside = rabbit > MatteSettings.threshold
        return ((inside & truth).sum() / (inside | truth).sum()).item()

    assert overlap(True) > max(overlap(False), 0.72)


@BRANCHES
def test_the_mean_of_every_step_is_the_mean(model, inversion, edit, branch):
    parts, prompt = prepare_edit(model, inversion, [edit]), getattr(edit.plan, branch)
    columns = maps.columns_of(prompt, ("rabbit", "beach"), branch)
    maps_of = {"source": maps.source_maps, "target": maps.target_maps}[branch]
    mean = maps_of(model, parts, columns, 0, STEPS)
    steps = [maps_of(model, parts, columns, step, step + 1) for step in range(STEPS)]
    assert mean.shape == (2, FRAMES, 16, 16)
    torch.testing.assert_close(sum(steps) / STEPS, mean, atol=1e-6, rtol=0)
    assert not torch.allclose(*steps, atol=1e-3)


@BRANCHES
def test_a_prompt_that_comes_into_use_later_has_maps_of_its_own_steps_alone(model, inversion, edit, branch):
    def scheduled(conditioning):
        ((embedding, options),) = conditioning
        late, early = {**options, "start_percent": 0.5}, {**options, "end_percent": 0.5}
        return [[embedding, late], [embedding, early]]

    whole = prepare_edit(model, inversion, [edit])
    parts = prepare_edit(model, inversion, [edit], scheduled(edit.source), [scheduled(edit.target)])
    columns = maps.columns_of(getattr(edit.plan, branch), ("rabbit",), branch)
    maps_of = {"source": maps.source_maps, "target": maps.target_maps}[branch]
    assert maps_of(model, parts, columns, 1, 2).shape == maps_of(model, whole, columns, 1, 2).shape
    with pytest.raises(ValueError, match=f"the {branch} conditioning is not in use in these steps"):
        maps_of(model, parts, columns, 0, 1)


def test_one_step_may_be_shown(model, inversion, edit):
    _, (first,), grid = look(model, inversion, edit, step=1)
    _, (last,), _ = look(model, inversion, edit, step=STEPS)
    assert first.shape == (FRAMES, scenes.SIZE, scenes.SIZE) and not torch.allclose(first, last, atol=1e-2)
    assert grid.ndim == 4


def test_the_source_is_seen_as_the_blend_sees_it(model, inversion, edit):
    """And on its stored path, whatever else the inversion's method would do with it."""
    parts, seen = prepare_edit(model, inversion, [edit]), []
    decoupled_sample(model, parts, progress=seen.append)
    blended = seen[-1].word_maps[0][0][:, 0]  # [frames, rows, columns], summed over the steps
    null = inversion.initial_null.expand(STEPS, 1, -1, -1)
    optimised = replace(inversion, method="shared null-text", null=null)
    for stored in (inversion, optimised):
        parts = prepare_edit(model, stored, [edit])
        (rabbit,) = maps.source_maps(model, parts, parts.targets[0].blend.source[:, :1], 0, STEPS)
        torch.testing.assert_close(rabbit, blended / STEPS, atol=1e-5, rtol=0)


def test_each_word_is_an_item_of_pixel_size(model, inversion, edit, images):
    small = images[:, ::2, ::4]
    for given in (None, images, small):
        overlays, masks, grid = look(model, inversion, edit, words="rabbit, white", images=given)
        assert len(overlays) == len(masks) == 2
        for overlay, mask in zip(overlays, masks, strict=True):
            assert overlay.shape == images.shape and 0 <= overlay.min() and overlay.max() <= 1
            assert mask.shape == (FRAMES, scenes.SIZE, scenes.SIZE) and mask.min() >= 0
            assert (mask.amax((1, 2)) == 1).all()
            assert overlay[mask == 1].mean() > overlay[mask == 0].mean()
        assert grid.shape[0] == 1 and grid.shape[-1] == 3 and 0 <= grid.min() and grid.max() <= 1


def test_a_word_that_nothing_looks_at_is_dark():
    for value in (0.0, -1.0):
        assert (maps.masks_of(torch.full((1, 1, 4, 4), value), (8, 8)) == 0).all()


def test_masks_of_cells_that_reach_past_the_edge_are_cut_there():
    """A latent of 9x7, of which 2x2 are a cell: its pictures are 72x56, its cells would make 80x64."""
    cells = torch.zeros(1, 1, 5, 4)
    cells[..., 3, 2] = 1
    found = maps.masks_of(cells, (72, 56))
    assert torch.equal(found, maps.masks_of(cells, (80, 64))[..., :72, :56])
    rows, columns = (found[0, 0] > 0.5).nonzero().float().mean(dim=0).tolist()
    assert abs(rows - 55.5) < 0.5 and abs(columns - 39.5) < 0.5  # the middle of its pixels, 48 to 63 and 32 to 47


def test_the_words_are_those_to_blend_or_else_all(edit, whole):
    assert maps.words_of(edit.plan, "source") == ("rabbit",)
    assert maps.words_of(edit.plan, "target") == ("green spotted rabbit",)
    assert maps.words_of(whole.plan, "source") == ("a", "white", "spotted", "rabbit", "on", "the", "beach")
    assert maps.words_of(edit.plan, "source", ("the beach",)) == ("the beach",)


@pytest.mark.parametrize("blended", [True, False])
def test_looking_leaves_the_edit_as_it_is(model, inversion, edit, whole, blended):
    parts = prepare_edit(model, inversion, [edit if blended else whole])

    def edited(targets):
        return decoupled_sample(model, replace(parts, targets=targets))

    columns = maps.columns_of(edit.plan.target, ("green", "beach"), "target")
    plain, watched = edited(parts.targets), edited([maps.watched(parts.targets[0], columns)])
    torch.testing.assert_close(watched.targets[0], plain.targets[0], atol=1e-5, rtol=0)
    assert (plain.masks[0] is not None) == blended
    if blended:
        assert torch.equal(watched.masks[0], plain.masks[0]) and 0 < plain.masks[0].mean() < 1


@pytest.mark.parametrize(
    "branch, step, sharp, rows",
    [
        ("source", 0, False, STEPS),
        ("source", 0, True, STEPS),
        ("source", 2, False, 1),
        ("source", 1, True, 2),
        ("target", 0, False, 3 * STEPS),
    ],
)
def test_the_source_costs_one_conditional_prediction_a_step(model, inversion, edit, branch, step, sharp, rows):
    calls = []

    def count(executor, x, *args, **kwargs):
        calls.append(len(x))
        return executor(x, *args, **kwargs)

    counted = model.clone()
    counted.add_wrapper_with_key("diffusion_model", "count", count)
    look(counted, inversion, edit, branch=branch, step=step, sharp=sharp)
    assert sum(calls) == FRAMES * rows


@pytest.mark.parametrize(
    "branch, step, sharp, total",
    [("source", 0, False, STEPS), ("source", 2, False, 1), ("source", 1, True, 2), ("target", 0, False, STEPS)],
)
def test_every_step_is_shown_and_may_be_the_last(model, inversion, edit, monkeypatch, branch, step, sharp, total):
    seen = []

    def hook(value, total, preview, node_id=None):
        seen.append((value, total, preview[0]))
        if cancelling:
            comfy.model_management.interrupt_current_processing()

    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", hook)
    latent_preview.set_preview_method("latent2rgb")
    try:
        cancelling = False
        look(model, inversion, edit, branch=branch, step=step, sharp=sharp)
        assert seen == [(value + 1, total, "JPEG") for value in range(total)]
        seen.clear()
        cancelling = True
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            look(model, inversion, edit, branch=branch)
        assert [value for value, *_ in seen] == [1]
    finally:
        latent_preview.set_preview_method("default")
        comfy.model_management.interrupt_current_processing(False)


@pytest.mark.parametrize(
    "inputs, sentence",
    [
        ({"words": "rabbit, star"}, f"'star' is not a word of the source prompt: {SOURCE.replace(' ', ', ')}"),
        ({"words": "white", "branch": "target"}, "'white' is not a word of the target prompt"),
        ({"step": -1}, f"step -1 was asked for, but the inversion has {STEPS}"),
        ({"step": STEPS + 1}, f"step {STEPS + 1} was asked for, but the inversion has {STEPS}"),
        ({"branch": "target", "sharp": True}, "after an inversion by direct an edit does not show what looks alike"),
        ({"images": torch.zeros(3, 128, 128, 3)}, f"there are 3 images for a clip of {FRAMES} frames"),
    ],
)
def test_what_does_not_fit_is_named_before_any_work(model, inversion, edit, inputs, sentence):
    def no_work(executor, *args, **kwargs):
        raise AssertionError("the model was run before the input was looked at")

    idle = model.clone()
    idle.add_wrapper_with_key("diffusion_model", "no work", no_work)
    with pytest.raises(ValueError, match=re.escape(sentence)):
        look(idle, inversion, edit, **inputs)
