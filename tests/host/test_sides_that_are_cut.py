"""Frames whose sides are no multiples of a VAE's factor: the host encodes their middle, and whatever holds frames
against decoded ones takes that part of them."""

import pytest
import torch
from comfyui_videop2p.videop2p_core.edit.local_blend import fit_mask
from comfyui_videop2p.videop2p_core.host.images.compare_videos import DIFFERENCE, compare
from comfyui_videop2p.videop2p_core.host.images.composite_edit import composite_edit
from comfyui_videop2p.videop2p_core.host.images.contact_sheet import contact_sheet
from comfyui_videop2p.videop2p_core.host.images.edit_metrics import measure
from comfyui_videop2p.videop2p_core.host.images.edit_region import edit_region
from comfyui_videop2p.videop2p_core.host.images.plots import heat_overlay
from comfyui_videop2p.videop2p_core.images.crop import encoded_part
from comfyui_videop2p.videop2p_core.images.matte import MatteSettings

SIZES = [(134, 134), (126, 224), (270, 480)]


@pytest.fixture(params=SIZES, ids=str)
def clips(demo, request):
    """(frames of a size that is cut, what the VAE encodes of them)"""
    torch.manual_seed(0)
    frames = torch.rand(2, *request.param, 3)
    return frames, demo[2].vae_encode_crop_pixels(frames)


def test_the_part_is_the_hosts_own(clips):
    frames, kept = clips
    part = encoded_part(frames.shape[1:3], kept.shape[1:3])
    assert torch.equal(frames[:, *part.window], kept) and part.of == frames.shape[1:3]


@pytest.mark.parametrize(
    ("size", "decoded"), [((128, 128), (128, 128)), ((134, 134), (120, 128)), ((134, 134), (64, 64))]
)
def test_other_sizes_are_no_part(size, decoded):
    assert encoded_part(size, decoded) is None


def test_what_is_compared_and_measured_lies_on_itself(clips):
    frames, kept = clips
    assert compare(frames, kept, DIFFERENCE, 0.5, 4.0, "", "").max() == 0
    assert compare(kept, frames, DIFFERENCE, 0.5, 4.0, "", "").max() == 0
    assert measure(frames, kept).figures["psnr"] == 100
    corner = torch.zeros(2, *frames.shape[1:3])
    corner[:, :64, :64] = 1
    assert measure(frames, kept, corner).figures["psnr"] == 100
    sheet = contact_sheet([frames, kept], ["", ""], columns=2)
    left, right = sheet.chunk(2, dim=2)
    assert torch.equal(left, right)


def test_an_edit_is_set_in_where_it_was_cut_from(clips):
    frames, kept = clips
    place = torch.zeros(2, *kept.shape[1:3])
    place[:, 40:80, 40:80] = 1
    result, matte = composite_edit(frames, kept, place, place, MatteSettings(match_colours=False))
    torch.testing.assert_close(result, frames, atol=1e-6, rtol=0)
    assert matte.shape == frames.shape[:3] and matte.max() == 1


def test_masks_lie_where_the_frames_do(clips):
    frames, kept = clips
    top, left = ((whole - part) // 2 for whole, part in zip(frames.shape[1:3], kept.shape[1:3], strict=True))
    masks = torch.zeros(2, *kept.shape[1:3])
    masks[:, :32, 32:64] = 1
    region = edit_region(masks, frames, threshold=0.5, fill=False, grow=0, feather=0, steady=0).mask
    assert region[:, : top + 32, left + 32 : left + 64].all() and region.sum() == 2 * (top + 32) * 32
    heat = torch.zeros(2, *kept.shape[1:3])
    assert torch.equal(heat_overlay(heat, frames), heat_overlay(heat, kept))
    cells = tuple(side // 8 for side in kept.shape[1:3])
    whole = torch.zeros(2, *frames.shape[1:3])
    whole[:, top + 16 : top + 48, left + 8 : left + 40] = 1
    expected = torch.zeros(2, *cells)
    expected[:, 2:6, 1:5] = 1
    assert torch.equal(fit_mask(whole, 2, cells), expected)
