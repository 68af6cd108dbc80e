import pytest
import torch
from comfyui_videop2p.videop2p_core.diffusion import attention
from comfyui_videop2p.videop2p_core.diffusion.attention import (
    TemporalAttention,
    edited_attention,
    frames_read,
    head_groups,
    read_frames,
    word_probabilities,
)
from einops import rearrange

HEADS = 2


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def maps(q, k):
    """The attention maps themselves: [rows, heads, tokens, keys]."""
    q, k = (rearrange(x, "b t (h d) -> b h t d", h=HEADS) for x in (q, k))
    return (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)


def apply_maps(maps, v):
    return rearrange(maps @ rearrange(v, "b t (h d) -> b h t d", h=HEADS), "b h t d -> b t (h d)")


def random(*shape):
    return torch.randn(shape, dtype=torch.float64)


@pytest.mark.parametrize(
    "rule, expected",
    [
        ("first", [[0], [0], [0], [0]]),
        ("first+previous", [[0, 0], [0, 0], [0, 1], [0, 2]]),
        ("first+self", [[0, 0], [0, 1], [0, 2], [0, 3]]),
        ("first+previous+self", [[0, 0, 0], [0, 0, 1], [0, 1, 2], [0, 2, 3]]),
        ("window", [[0, 1, 2], [0, 1, 2], [1, 2, 3], [1, 2, 3]]),
        ("all", [[0, 1, 2, 3]] * 4),
    ],
)
def test_which_frames_a_frame_reads(rule, expected):
    assert frames_read(rule, 4).tolist() == expected
    assert frames_read(rule, 1).tolist() == [[0]]


def test_a_window_wider_than_the_clip_reads_all_of_it():
    assert frames_read("window", 3, window=5).tolist() == frames_read("all", 3).tolist()


def test_an_unknown_rule_names_the_known_ones():
    with pytest.raises(ValueError, match="'last' is not one of: first, first\\+previous"):
        frames_read("last", 4)


@pytest.mark.parametrize("rule", attention.FRAMES_READ)
def test_frame_attention_is_attention_over_the_frames_read(rule):
    frames, tokens, batch = 4, 5, 2
    x = random(batch * frames, tokens, 6)
    table = frames_read(rule, frames)
    read = read_frames(x, table)
    for row in range(batch * frames):
        clip = x[row // frames * frames :][:frames]
        expected = torch.cat([clip[frame] for frame in table[row % frames].tolist()])
        assert torch.equal(read[row], expected)


@pytest.mark.parametrize("source_is_zero, target_is_zero", [(False, False), (False, True), (True, False)])
def test_the_edited_attention_is_that_of_the_edited_map(source_is_zero, target_is_zero):
    frames, tokens, before, after = 3, 7, 5, 6
    q, source_q = random(frames, tokens, 8), random(frames, tokens, 8)
    k, v, source_k = random(frames, after, 8), random(frames, after, 8), random(frames, before, 8)
    source = random(before, after) * (not source_is_zero)
    target = random(after) * (not target_is_zero)
    edited = maps(source_q, source_k) @ source + maps(q, k) * target
    result = edited_attention(q, k, v, source_q, source_k, source, target, HEADS)
    assert (result - apply_maps(edited, v)).abs().max() < 1e-12


def test_word_probabilities_are_columns_of_the_map():
    q, k = random(3, 7, 8).float(), random(3, 6, 8).float()
    words = torch.tensor([[1, 0], [0, 0], [1, 0], [0, 1], [0, 0], [0, 0]]).float()
    expected = torch.stack([maps(q, k)[..., [0, 2]].sum(-1), maps(q, k)[..., 3]], dim=-1)
    torch.testing.assert_close(word_probabilities(q, k, words, HEADS), expected, atol=1e-6, rtol=1e-5)


def test_many_rows_are_split(monkeypatch):
    q, k, v = random(10, 3, 8), random(10, 3, 8), random(10, 3, 8)
    whole = attention.attention(q, k, v, HEADS)
    monkeypatch.setattr(attention, "ROWS_AT_ONCE", 4)
    torch.testing.assert_close(attention.attention(q, k, v, HEADS), whole, atol=1e-14, rtol=0)


def temporal_layer():
    layer = TemporalAttention(8, HEADS)
    layer.reset(torch.Generator().manual_seed(0))
    return layer


def test_an_untrained_temporal_layer_is_the_identity():
    h = torch.randn(6, 5, 8)
    assert torch.equal(temporal_layer()(h, 3), h)


def test_an_untrained_temporal_layer_can_learn():
    layer = temporal_layer()
    layer(torch.randn(6, 5, 8), 3).square().sum().backward()
    assert layer.attn_temp.to_out[0].weight.grad.abs().max() > 0


def test_temporal_attention_runs_over_the_frames_of_each_place_and_clip():
    frames, places, batch = 3, 5, 2
    layer = temporal_layer().double()
    torch.nn.init.normal_(layer.attn_temp.to_out[0].weight)
    torch.nn.init.normal_(layer.attn_temp.to_out[0].bias)
    h = random(batch * frames, places, 8)
    result = layer(h, frames)
    own = layer.attn_temp
    for clip in range(batch):
        for place in range(places):
            x = layer.norm_temp(h[clip * frames : (clip + 1) * frames, place])[None]  # [1, frames, channels]
            out = own.to_out[0](apply_maps(maps(own.to_q(x), own.to_k(x)), own.to_v(x)))[0]
            for frame in range(frames):
                row = clip * frames + frame
                torch.testing.assert_close(result[row, place], h[row, place] + out[frame])


@pytest.mark.parametrize("heads, groups", [(1, 1), (2, 2), (12, 4), (9, 3), (7, 1)])
def test_groups_of_heads_are_computed_each_by_itself(heads, groups):
    q, k, v = torch.randn(3, 2, 5, 4 * heads).unbind()
    parts = head_groups(4 * heads, heads)
    assert len(parts) == groups
    apart = [attention.attention(*(x[..., channels] for x in (q, k, v)), some) for channels, some in parts]
    assert torch.equal(torch.cat(apart, dim=-1), attention.attention(q, k, v, heads))
