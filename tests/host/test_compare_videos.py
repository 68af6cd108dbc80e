"""Compare Videos: labels, the preview, and what it refuses."""

import folder_paths
import pytest
import torch
from comfyui_videop2p.tests.host.clip_pairs import COMPARE, FRAMES, SIZE, edited, inference_mode, mask, source
from comfyui_videop2p.videop2p_core.host.images import compare_videos as comparing
from comfyui_videop2p.videop2p_core.host.images import plots as pictures
from PIL import Image

__all__ = ["edited", "inference_mode", "mask", "source"]


def compare(before, after, mode, before_label="source", after_label="edit", **inputs):
    defaults = {entry.id: entry.default for entry in COMPARE.GET_SCHEMA().inputs if hasattr(entry, "default")}
    given = {"mode": mode, "before_label": before_label, "after_label": after_label, **inputs}
    return COMPARE.execute(before, after, **defaults | given)


@pytest.mark.parametrize("mode, wide", list(zip(comparing.MODES, (2 * SIZE, SIZE, SIZE), strict=True)))
def test_labels_stand_above_and_cover_nothing(source, edited, mode, wide):
    plain, named = (compare(source, edited, mode, *labels)[0] for labels in (("", ""), ("source", "edit")))
    strip = named.shape[1] - SIZE
    assert plain.shape == (FRAMES, SIZE, wide, 3) and named.shape == (FRAMES, SIZE + strip, wide, 3) and strip % 2 == 0
    assert torch.equal(named[:, strip:], plain)
    assert named[:, :strip].amax() > 0.5 > named[:, :strip].mean()


def test_one_label_leaves_room_for_both(source, edited):
    (frames,) = compare(source, edited, "side by side", before_label="").result
    above = frames[:, : frames.shape[1] - SIZE]
    assert above[:, :, :SIZE].std() < 1e-6 < above[:, :, SIZE:].std()


def test_a_long_label_is_made_small_and_then_cut():
    images = torch.zeros(1, 32, 64, 3)
    whole, cut, more = (
        pictures.labelled(images, text)[0, :-32] for text in ("a red rabbit", "a word " * 9, "a word " * 99)
    )
    assert torch.equal(cut, more)
    assert all(strip[:, -4:].max() < 0.1 < strip[:, 32:-6].max() for strip in (whole, cut))
    assert torch.equal(pictures.labelled(images, "a word", "right")[0, :-32, :4], whole[:, -4:])


def test_a_label_of_several_lines_stands_in_one():
    images = torch.zeros(1, 32, 256, 3)
    assert torch.equal(pictures.labelled(images, "a robot\n: 0.2"), pictures.labelled(images, "a robot : 0.2"))


def test_a_wipe_lets_each_label_stand_over_its_clip(source, edited):
    strips = [compare(source, edited, "wipe", *labels)[0][:, :-SIZE] for labels in (("a", "b"), ("a", ""), ("", "b"))]
    half = SIZE // 2
    assert torch.equal(strips[0][:, :, :half], strips[1][:, :, :half])
    assert torch.equal(strips[0][:, :, half:], strips[2][:, :, half:])
    assert all(strip.std() > 0 for strip in (strips[1][:, :, :half], strips[2][:, :, half:]))


def test_the_preview_is_an_animation_in_the_temp_folder(source, edited, tmp_path, monkeypatch):
    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path))
    answer = compare(source, edited, "side by side", fps=10.0)
    shown = answer.ui.as_dict()
    (entry,) = shown["images"]
    assert entry["type"] == "temp" and shown["animated"] == (True,)
    with Image.open(tmp_path / entry["filename"]) as file:
        file.load()
        assert file.n_frames == FRAMES and file.size == tuple(answer[0].shape[2:0:-1])
        assert file.info["duration"] == 100
    assert "animated" not in compare(source[:1], edited[:1], "wipe").ui.as_dict()


@pytest.mark.parametrize(
    "mode, inputs, sentence",
    [
        ("wipe", {"position": torch.nan}, "the position is nan: it lies between 0 and 1"),
        ("wipe", {"position": 9.0}, "the position is 9"),
        ("difference", {"gain": torch.nan}, "the gain is nan: give a number above 0"),
        ("difference", {"gain": torch.inf}, "the gain is inf"),
        ("wipe", {"fps": 0.0}, "the fps is 0: give 0.1 or more"),
    ],
)
def test_a_number_that_is_none_is_a_sentence(source, edited, mode, inputs, sentence):
    with pytest.raises(ValueError, match=sentence):
        compare(source, edited, mode, **inputs)


def test_unequal_clips_are_a_sentence(source, edited):
    with pytest.raises(ValueError, match="the before video has 3 frames, the after video 2"):
        compare(source, edited[:2], "wipe")


@pytest.mark.parametrize("mode", comparing.MODES)
def test_odd_sides_are_one_longer_so_that_video_encoders_take_them(mode):
    before, after = torch.rand(2, FRAMES, 7, 9, 3)
    (view,) = compare(before, after, mode, "", "").result
    width = 18 if mode == comparing.SIDE_BY_SIDE else 10
    assert view.shape == (FRAMES, 8, width, 3)
    assert torch.equal(view[:, 7], view[:, 6]) and (width == 18 or torch.equal(view[:, :, 9], view[:, :, 8]))
