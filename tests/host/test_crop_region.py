"""Crop Region, and Composite Edit that sets the edit of a crop back."""

import pytest
import torch
from comfyui_videop2p.tests.host.calls import run

FRAMES, HEIGHT, WIDTH = 3, 96, 128


@pytest.fixture
def images():
    return torch.rand(FRAMES, HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def masks():
    """A thing of 20 x 20 that goes from left to right by 10 pixels a frame."""
    masks = torch.zeros(FRAMES, HEIGHT, WIDTH)
    for frame in range(FRAMES):
        masks[frame, 40:60, 30 + 10 * frame : 50 + 10 * frame] = 1
    return masks


def test_the_window_holds_the_thing_in_all_frames(images, masks):
    part, inside, crop = run("CropRegion", images=images, masks=masks, longest=64, margin=0.25)
    assert (crop.top, crop.left, crop.height, crop.width) == (30, 20, 40, 60)  # 20 x 40, and 10 on each side
    assert part.shape == (FRAMES, 48, 64, 3) and inside.shape == (FRAMES, 48, 64)
    assert all(0.1 < one.mean() < 0.25 for one in inside)


def test_the_window_ends_where_the_frames_do(images, masks):
    _, _, crop = run("CropRegion", images=images, masks=masks, longest=64, margin=4.0)
    assert (crop.top, crop.left, crop.height, crop.width) == (0, 0, HEIGHT, WIDTH)
    part, *_ = run("CropRegion", images=images, masks=torch.ones(1, 8, 8), longest=128, margin=0.0)
    assert torch.equal(part, images)


def test_an_edit_of_it_is_set_back_and_the_rest_is_the_files(images, masks):
    part, inside, crop = run("CropRegion", images=images, masks=masks, longest=64, margin=0.25)
    places = {"old_place": inside, "new_place": inside, "threshold": 0.4, "grow": 0, "feather": 0}
    edited = torch.zeros_like(part)
    whole, matte = run("CompositeEdit", source=images, edited=edited, crop=crop, **places)
    assert whole.shape == images.shape and matte.shape == masks.shape
    assert torch.equal(whole[matte == 0], images[matte == 0]) and (whole[matte == 1] == 0).all()
    assert ((matte > 0) & (masks > 0)).sum() > 0.8 * ((matte > 0) | (masks > 0)).sum()
    outside = torch.ones_like(matte, dtype=torch.bool)
    outside[:, *crop.window] = False
    assert not matte[outside].any()


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"masks": torch.zeros(1, 8, 8)}, "the masks are empty"),
        ({"masks": torch.ones(2, 8, 8)}, "there are 2 masks for 3 frames"),
        ({"longest": 8}, "the longest side is 8"),
    ],
)
def test_what_does_not_fit_is_named(images, masks, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        run("CropRegion", **{"images": images, "masks": masks, "longest": 64, "margin": 0.25} | changes)


def test_a_crop_of_another_clip_is_named(images, masks):
    part, inside, crop = run("CropRegion", images=images, masks=masks, longest=64, margin=0.25)
    places = {"old_place": inside, "new_place": inside, "threshold": 0.4, "grow": 0, "feather": 0}
    with pytest.raises(ValueError, match="the crop is of frames of 128 x 96, the source's are 64 x 48"):
        run("CompositeEdit", source=part, edited=part, crop=crop, **places)
