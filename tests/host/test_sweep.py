"""Sweep Edits and Contact Sheet: many edits of the demo model from one inversion, and how they are shown."""

import re
from pathlib import Path

import folder_paths
import pytest
import torch
from comfyui_videop2p.tests.host.calls import FRAMES, NODES, STEPS, TARGET, control, run, sample
from comfyui_videop2p.videop2p_core.host.images.contact_sheet import LEGIBLE, SIDE, contact_sheet
from PIL import Image

GREEN = "a green star on the beach"


# --- the edits --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def edit(clip):
    return control(clip, temporal_window=1.0, blend_source="rabbit", blend_target="rabbit")[0]


def sweep(edit, **inputs):
    """(edits, labels, columns)"""
    return run("SweepEdits", edit=edit, **inputs)


def test_each_is_the_edit_that_a_controller_of_its_own_would_make(clip, edit):
    edits, labels, columns = sweep(edit, cross_windows="0.2, 0.8", word=" blue ", word_weights="0.5, 2")
    given = {"temporal_window": 1.0, "blend_source": "rabbit", "blend_target": "rabbit"}
    assert [swept.plan for swept in edits] == [
        control(clip, cross_window=window, word_weights=f"blue: {weight}", **given)[0].plan
        for weight in (0.5, 2)
        for window in (0.2, 0.8)
    ]
    assert labels == ["cross 0.2, blue × 0.5", "cross 0.8, blue × 0.5", "cross 0.2, blue × 2", "cross 0.8, blue × 2"]
    assert columns == 2 and all(swept.target is edit.target for swept in edits)


def test_further_prompts_are_encoded(clip, edit):
    edits, labels, columns = sweep(edit, cross_windows="", target_prompts=f"\n {GREEN}\n", clip=clip)
    assert columns == 1 and labels == [f"cross 0.2: {TARGET}", f"cross 0.2: {GREEN}"]
    own, green = edits
    assert own == edit
    expected, _, target, _ = control(clip, GREEN, temporal_window=1.0, blend_source="rabbit")  # without blend_target
    assert green.plan == expected.plan and torch.equal(green.target[0][0], target[0][0])
    assert green.source is edit.source


def test_all_are_edited_from_one_pass_of_the_source(model, clip, inversion, edit):
    edits, *_ = sweep(edit, cross_windows="0, 1", target_prompts="a green rabbit on the beach", clip=clip)
    rows = []

    def count(executor, x, *args, **kwargs):
        rows.append(len(x))
        return executor(x, *args, **kwargs)

    counted = model.clone()
    counted.add_wrapper_with_key("diffusion_model", "count", count)
    edited, _, masks = sample(counted, inversion, *edits)
    assert len(edited) == len(masks) == len(edits) == 4
    assert sum(rows) == STEPS * FRAMES * (1 + 2 * len(edits))
    ((alone,), *_) = sample(model, inversion, edits[2])
    torch.testing.assert_close(edited[2]["samples"], alone["samples"], atol=1e-4, rtol=0)
    assert not torch.allclose(edited[2]["samples"], edited[3]["samples"], atol=1e-3)


@pytest.mark.parametrize(
    "inputs, sentence",
    [
        ({"cross_windows": "0,5;x"}, "'5;x' in cross_windows is no number"),
        ({"word": "blue", "word_weights": "much"}, "'much' in word_weights is no number"),
        ({"cross_windows": "2"}, "windows lie between 0 and 1"),
        ({"word": "red"}, "'red' is not a word of the target prompt: a, blue, rabbit, on, the, beach"),
        ({"target_prompts": GREEN}, "further target prompts need to be encoded: connect the CLIP"),
        ({"cross_windows": ", ".join(["0.5"] * 65)}, "the sweep has 65 edits, 64 are the most"),
    ],
)
def test_what_cannot_be_tried_is_named(edit, inputs, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        sweep(edit, **inputs)


# --- the sheet --------------------------------------------------------------------------------------------------------


def shades(*values, frames=3, height=64, width=96):
    """A clip of one shade each; later frames are a little brighter."""
    frame = torch.arange(frames)[:, None, None, None] / 20
    return [(value + frame).expand(-1, height, width, 3) for value in values]


def cells(sheet, rows, columns):
    """The middle of each cell's picture, which stands at its lower end: [rows * columns, frames]."""
    parts = [part for row in sheet.chunk(rows, 1) for part in row.chunk(columns, 2)]
    return torch.stack([part[:, -32, part.shape[2] // 2, 0] for part in parts])


def test_clips_stand_row_by_row():
    sheet = contact_sheet(shades(0.1, 0.2, 0.3, 0.4, 0.5), list("abcde"), 2)
    assert sheet.shape[0] == 3 and sheet.shape[-1] == 3 and 0 <= sheet.min() and sheet.max() <= 1
    expected = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5])[:, None] + torch.tensor([0, 0.05, 0.1])
    found = cells(sheet, 3, 2)
    torch.testing.assert_close(found[:5], expected, atol=1e-4, rtol=0)
    assert found[5].unique().numel() == 1  # nothing moves where no clip is


def test_one_frame_may_be_shown():
    sheet = contact_sheet(shades(0.1, 0.2), ["a", "b"], 2, frame=3)
    assert sheet.shape[0] == 1
    torch.testing.assert_close(cells(sheet, 1, 2), torch.tensor([[0.2], [0.3]]), atol=1e-4, rtol=0)


def test_each_has_its_own_label():
    plain, other = (contact_sheet(shades(0.5, 0.5), ["cross 0.2", text], 2) for text in ("cross 0.2", "blue × 2"))
    differs = (plain != other).any(-1).any(0)
    left, right = differs.chunk(2, 1)
    assert right.any() and not left.any() and not right[-64:].any()


def test_labels_of_unlike_length_keep_the_grid():
    long = "a red striped rabbit on the beach: cross 0.5, striped × 2"
    sheet = contact_sheet(shades(0.1, 0.2, 0.3, 0.4), ["a", long, long, "b"], 2)
    torch.testing.assert_close(cells(sheet, 2, 2)[:, 0], torch.tensor([0.1, 0.2, 0.3, 0.4]), atol=1e-4, rtol=0)


def test_clips_are_shown_in_the_size_of_the_first():
    small = contact_sheet([*shades(0.1), *shades(0.2, height=30, width=200)], ["a", "b"], 2)
    same = contact_sheet(shades(0.1, 0.2), ["a", "b"], 2)
    torch.testing.assert_close(small, same, atol=1e-4, rtol=0)


def test_a_sheet_has_its_bounds():
    large = contact_sheet(shades(*[0.5] * 3, frames=1, height=512, width=1024), list("abc"), 3)
    assert SIDE * 0.99 < large.shape[2] < SIDE * 1.01
    small = contact_sheet(shades(0.5, 0.5, height=33, width=65), list("ab"), 64)
    assert 2 * LEGIBLE <= small.shape[2] < 2.1 * LEGIBLE and small.shape[1] % 2 == 0


@pytest.mark.parametrize(
    "labels, clips, frame, sentence",
    [
        (["a"], shades(0.1, 0.2), 0, "there are 2 clips and 1 labels: connect as many labels as clips"),
        (["a", "b"], [*shades(0.1), *shades(0.2, frames=2)], 0, "clip 2 has 2 frames, the first 3"),
        (["a"], shades(0.1), 4, "frame 4 was asked for, but the clips have 3"),
    ],
)
def test_what_does_not_fit_a_sheet_is_named(labels, clips, frame, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        contact_sheet(clips, labels, 2, frame)


@pytest.mark.parametrize("frame, animated", [(0, True), (2, False)])
def test_the_preview_moves_if_the_sheet_does(tmp_path, monkeypatch, frame, animated):
    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path))
    output = NODES["VP2P_ContactSheet"].execute(shades(0.1, 0.9), ["a", "b"], [2], [frame], [10.0])
    shown = output.ui.as_dict()
    (entry,) = shown["images"]
    assert entry["type"] == "temp" and shown.get("animated", (False,)) == (animated,)
    (sheet,) = output.result
    with Image.open(Path(tmp_path, entry["subfolder"], entry["filename"])) as picture:
        assert getattr(picture, "n_frames", 1) == len(sheet) and picture.size == (sheet.shape[2], sheet.shape[1])
        if animated:
            picture.load()
            assert picture.info["duration"] == 100
