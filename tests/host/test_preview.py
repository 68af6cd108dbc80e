"""Previews on nodes: whatever the output's size, there is one."""

import folder_paths
import pytest
import torch
from comfyui_videop2p.tests.host.calls import NODES, run
from comfyui_videop2p.videop2p_core.host.images.preview import LARGEST, LONGEST, previewed
from PIL import Image


@pytest.fixture
def shown(tmp_path, monkeypatch):
    """The pictures in the folder of previews."""
    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path))
    return lambda: [Image.open(path) for path in tmp_path.rglob("*.webp")]


@pytest.mark.parametrize("height, width, size", [(8, 9000, (LONGEST, 22)), (17000, 8, (15, LONGEST))])
def test_a_view_larger_than_a_webp_is_shown_smaller_and_stays_whole(shown, height, width, size):
    clip = torch.rand(1, height, width, 3, generator=torch.Generator().manual_seed(0))
    (frames,) = run("CompareVideos", before=clip, after=clip)
    assert frames.shape[2] == 2 * width and torch.equal(frames[:, -height:, :width], clip)
    (picture,) = shown()
    assert picture.size == size


def test_a_column_of_a_thousand_clips_is_shown(shown):
    clips = list(torch.rand(1000, 1, 4, 4, 3).unbind())
    (sheet,) = run("ContactSheet", images=clips, labels=["a"] * 1000, columns=[1])
    assert sheet.shape[1] > LONGEST
    (picture,) = shown()
    assert picture.height == LONGEST


def test_a_large_view_full_of_detail_is_shown(shown):
    noise = torch.rand(1, 1024, LONGEST, 3, generator=torch.Generator().manual_seed(0))
    assert noise[0, ..., 0].numel() > LARGEST
    run("CompareVideos", before=noise, after=noise, mode="wipe", before_label="", after_label="")
    (picture,) = shown()
    assert 0.99 * LARGEST < picture.width * picture.height < 1.01 * LARGEST


def test_a_large_view_in_half_precision_is_shown(shown):
    """As the host hands images on under --fp16-intermediates."""
    frames = torch.rand(1, 1100, 8000, 3).half()
    (seen,) = run("CompareVideos", before=frames, after=frames, mode="wipe", before_label="", after_label="")
    assert seen.dtype == torch.half and len(shown()) == 1


def test_what_a_webp_holds_is_shown_as_it_is():
    for size in ((64, LONGEST), (2160, 3840)):
        frames = torch.zeros(1, *size, 3)
        assert previewed(frames) is frames


@pytest.mark.parametrize("fps", [0.0, -8.0, torch.nan])
def test_a_sheet_of_no_speed_is_a_sentence(fps):
    with pytest.raises(ValueError, match=f"the fps is {fps:g}: give 0.1 or more"):
        NODES["VP2P_ContactSheet"].execute([torch.zeros(2, 8, 8, 3)], ["a"], [1], [0], [fps])
