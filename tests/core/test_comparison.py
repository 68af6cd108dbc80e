import pytest
import torch
from comfyui_videop2p.videop2p_core.images.comparison import coloured, difference, matched, side_by_side, wipe


@pytest.fixture
def clips():
    return torch.rand(2, 2, 4, 10, 3, generator=torch.Generator().manual_seed(0))


def test_the_first_is_to_the_left(clips):
    view = side_by_side(*clips)
    assert torch.equal(view[:, :, :10], clips[0]) and torch.equal(view[:, :, 10:], clips[1])


@pytest.mark.parametrize("position, border", [(0, 0), (0.3, 3), (1, 10)])
def test_a_wipe_changes_clips_at_its_border(clips, position, border):
    view = wipe(*clips, position)
    assert torch.equal(view[:, :, :border], clips[0, :, :, :border])
    assert torch.equal(view[:, :, border:], clips[1, :, :, border:])


def test_a_difference_is_absolute_and_brightened(clips):
    before = torch.full((1, 2, 2, 3), 0.5)
    after = before + torch.tensor([0.1, -0.1, 0.4])
    torch.testing.assert_close(difference(before, after, 4), torch.tensor([0.4, 0.4, 1]).expand_as(before))
    assert not difference(clips[0], clips[0], 100).any()


def test_grey_is_repeated_and_alpha_left_out(clips):
    images = clips[0]
    assert torch.equal(coloured(torch.cat([images, images[..., :1]], dim=-1)), images)
    for channels in (1, 2):
        assert torch.equal(coloured(images[..., :channels]), images[..., :1].expand_as(images))


def test_clips_are_brought_to_the_size_of_the_first():
    before, after = torch.zeros(2, 4, 8, 4), torch.full((2, 8, 8, 1), 0.5)
    after[:, ::2] = 0  # rows that a downscale must average
    before, after = matched(before, after)
    assert before.shape == after.shape == (2, 4, 8, 3)
    torch.testing.assert_close(after[:, 1:-1], torch.full((2, 2, 8, 3), 0.25), atol=0.05, rtol=0)


def test_a_single_frame_serves_all(clips):
    for pair in ((clips[0, :1], clips[1]), (clips[0], clips[1, :1])):
        assert [len(clip) for clip in matched(*pair)] == [2, 2]


def test_clips_of_other_lengths_do_not_fit():
    with pytest.raises(ValueError, match="the before video has 2 frames, the after video 3"):
        matched(*(torch.zeros(count, 2, 2, 3) for count in (2, 3)))
