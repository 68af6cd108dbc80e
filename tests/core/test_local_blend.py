import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from comfyui_videop2p.videop2p_core.edit.local_blend import (
    Blend,
    blend_grid,
    blend_latents,
    check_grid,
    fit_mask,
    local_mask,
    step_maps,
    threshold_maps,
    word_columns,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

REFERENCE = Path(__file__).parents[1] / "reference"
NAME = "g5_edits_localblend"


# --- the reference ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cases():
    tensors = load_file(REFERENCE / f"{NAME}.safetensors")
    cases = json.loads((REFERENCE / f"{NAME}.json").read_text(encoding="utf-8"))
    return [(tensors[f"{name}.mask_maps"], tensors[f"{name}.masks"], case) for name, case in cases.items()]


def test_the_references_maps_give_the_references_masks(cases):
    assert cases
    for maps, masks, case in cases:  # [steps, 2, frames, rows, columns], [steps, 2, frames, height, width]
        blend = Blend(word_columns(1, []), word_columns(1, []), *case["mask_th"])
        size = tuple(masks.shape[-2:])
        for branches, expected in zip(maps, masks, strict=True):
            source, target = (torch.stack([m, torch.zeros_like(m)], 1) for m in branches)
            assert torch.equal(local_mask(blend, source, source, size), expected[0].float())
            assert torch.equal(local_mask(blend, source, target, size), expected[1].float())


def test_it_acts_from_the_step_that_the_reference_acts_from(cases):
    for _, _, case in cases:
        blend, steps = Blend(word_columns(1, []), word_columns(1, [])), case["num_steps"]
        assert [step for step in range(steps) if blend.acts(step, steps)] == case["mask_step_indices"]


# --- which layers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "size, grid",
    [
        ((64, 64), (16, 16)),  # 512 x 512, as published
        ((96, 64), (24, 16)),
        ((64, 40), (16, 10)),
        ((64, 36), (32, 18)),  # a quarter would be 9 cells wide
        ((24, 24), (12, 12)),
        ((16, 16), (16, 16)),  # half would be 8 cells wide too
        ((8, 8), (8, 8)),
        ((61, 61), (16, 16)),  # the reference's range of sides is 61 to 64
        ((45, 77), (12, 20)),
    ],
)
def test_a_quarter_of_the_resolution_or_the_next_finer(size, grid):
    assert blend_grid(*size) == grid


@settings(max_examples=30, deadline=None)
@given(st.integers(16, 300), st.integers(16, 300))
def test_grids_are_those_of_strided_convolutions(height, width):
    latent = torch.empty(1, 1, height, width, device="meta")
    levels = [latent]
    for _ in range(2):
        levels.append(F.conv2d(levels[-1], torch.empty(1, 1, 3, 3, device="meta"), stride=2, padding=1))
    coarsest_first = [tuple(level.shape[-2:]) for level in reversed(levels)]
    enough = [grid for grid in coarsest_first if min(grid) >= 10]
    assert blend_grid(height, width) == enough[0]


# --- maps ------------------------------------------------------------------------------------------------------------


def test_step_maps_are_the_mean_over_layers_and_heads():
    generator = torch.Generator().manual_seed(0)
    layers = [torch.rand(3, heads, 6, 2, generator=generator) for heads in (8, 8, 4)]
    maps = step_maps(layers, (2, 3))
    assert maps.shape == (3, 2, 2, 3)
    for frame in range(3):
        for group in range(2):
            for row in range(2):
                for column in range(3):
                    mean = sum(layer[frame, :, row * 3 + column, group].mean() for layer in layers) / 3
                    assert maps[frame, group, row, column] == pytest.approx(mean.item(), abs=1e-6)


def test_attention_of_the_columns_is_the_sum_of_the_words_probabilities():
    generator = torch.Generator().manual_seed(0)
    q, k = (torch.randn(2, 4, n, 8, generator=generator) for n in (6, 7))
    columns = word_columns(7, (2, 3), (5,))
    probabilities = (q @ k.mT / 8**0.5).softmax(-1)
    attended = F.scaled_dot_product_attention(q, k, columns.expand(2, 4, 7, 2))
    assert torch.allclose(attended[..., 0], probabilities[..., [2, 3]].sum(-1), atol=1e-6)
    assert torch.allclose(attended[..., 1], probabilities[..., 5], atol=1e-6)


def test_a_model_without_such_layers_gets_a_sentence():
    with pytest.raises(ValueError, match="works on 16x12 cells, so it has no word maps"):
        check_grid((16, 12), [(32, 24), (8, 6)])
    check_grid((16, 12), [(32, 24), (16, 12)])


# --- masks -----------------------------------------------------------------------------------------------------------


def test_a_spotlight_is_pooled_resized_and_thresholded():
    maps = torch.zeros(1, 5, 4)
    maps[0, 1, 2] = 1
    lit = threshold_maps(maps, (10, 8), 0.3)
    expected = torch.zeros(10, 8, dtype=torch.bool)
    expected[0:6, 2:8] = True  # the cell and its neighbours, two pixels a cell
    assert torch.equal(lit[0], expected)
    assert threshold_maps(maps, (10, 8), 0.3, pool=False).sum() == 4


def test_each_frame_is_divided_by_its_own_maximum():
    maps = torch.zeros(2, 4, 4)
    maps[0, 0, 0], maps[1, 3, 3] = 1.0, 0.01
    assert threshold_maps(maps, (4, 4), 0.5).sum((1, 2)).tolist() == [4, 4]


@pytest.mark.parametrize("frames, size", [(1, (16, 16)), (3, (24, 16)), (8, (16, 24)), (5, (23, 17))])
def test_masks_are_unions_less_what_is_subtracted(frames, size):
    grid = size[0] // 2, size[1] // 2

    def pixel(mask, *cell):
        """The mask [frames] at the first pixel of a cell."""
        row, column = (-(-place * side // cells) for place, side, cells in zip(cell, size, grid, strict=True))
        return mask[:, row, column].bool()

    blend = Blend(word_columns(1, []), word_columns(1, []))
    source, target = torch.zeros(2, frames, 2, *grid)
    source[:, 0, 1, 1] = 1
    target[:, 0, grid[0] - 2, grid[1] - 2] = 1
    union = local_mask(blend, source, target, size)
    assert union.shape == (frames, *size) and set(union.unique().tolist()) == {0.0, 1.0}
    assert pixel(union, 1, 1).all() and pixel(union, grid[0] - 2, grid[1] - 2).all()
    assert not pixel(union, 1, grid[1] - 2).any()

    for branch in (source, target):  # a word to subtract counts on either branch
        branch[:, 1, 1, 1] = 1
        less = local_mask(blend, source, target, size)
        assert not pixel(less, 1, 1).any()
        assert pixel(less, 0, 2).all() and pixel(less, grid[0] - 2, grid[1] - 2).all()
        branch[:, 1] = 0


def test_words_without_any_attention_give_an_empty_mask_not_nan():
    nothing = torch.zeros(2, 2, 8, 8)
    mask = local_mask(Blend(word_columns(1, []), word_columns(1, [])), nothing, nothing, (16, 16))
    assert torch.equal(mask, torch.zeros(2, 16, 16))


def test_columns_of_words():
    assert word_columns(5, (1, 3), (3, 4)).T.tolist() == [[0, 1, 0, 1, 0], [0, 0, 0, 1, 1]]


def test_a_users_mask_fits_the_latent():
    mask = torch.zeros(1, 64, 48)
    mask[:, :32] = 1
    fitted = fit_mask(mask, 3, (8, 6))
    assert fitted.shape == (3, 8, 6) and fitted[:, :4].eq(1).all() and fitted[:, 4:].eq(0).all()
    for wrong in (torch.zeros(2, 8, 8), torch.zeros(8, 8)):
        with pytest.raises(ValueError, match="the clip 3 frames: give"):
            fit_mask(wrong, 3, (8, 6))


def test_latents_are_the_target_inside_and_the_source_outside():
    source, target = torch.randn(2, 2, 4, 6, 5)
    mask = (torch.rand(2, 6, 5) > 0.5).float()
    blended = blend_latents(source, target, mask)
    inside = mask.bool()[:, None].expand_as(source)
    assert torch.equal(blended[~inside], source[~inside])
    assert torch.allclose(blended[inside], target[inside], atol=1e-6)
