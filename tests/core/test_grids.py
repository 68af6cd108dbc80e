import pytest
import torch
import torch.nn.functional as F
from comfyui_videop2p.videop2p_core.edit.grids import fitted
from comfyui_videop2p.videop2p_core.edit.local_blend import threshold_maps
from comfyui_videop2p.videop2p_core.edit.places import spread


def places(cells, covers):
    """[1, 1, cells, 1]: where the middle of each cell lies, in places of the picture."""
    return (covers * torch.arange(cells) + (covers - 1) / 2)[None, None, :, None]


@pytest.mark.parametrize(
    "side, cells, covers", [(135, 68, 2), (135, 34, 4), (135, 17, 8), (129, 33, 4), (1080, 68, 16)]
)
def test_a_place_stays_where_it_is(side, cells, covers):
    finer = fitted(places(cells, covers), (side, 1), "bilinear")[0, 0, :, 0]
    inside = slice(covers // 2, covers * (cells - 1))  # between the middles of the first and the last cell
    torch.testing.assert_close(finer[inside], torch.arange(side).float()[inside])
    assert fitted(places(cells, covers), (side, 1))[0, 0, :, 0].equal(
        places(cells, covers)[0, 0, :, 0].repeat_interleave(covers)[:side]
    )


@pytest.mark.parametrize("cells, coarser", [(33, 17), (34, 17), (17, 9)])
def test_on_a_coarser_grid_too(cells, coarser):
    found = fitted(places(cells, 1), (coarser, 1), "bilinear")[0, 0, :, 0]
    torch.testing.assert_close(found[:-1], places(coarser, 2)[0, 0, :-1, 0])


@pytest.mark.parametrize("size", [(8, 12), (32, 48), (7, 13), (5, 30)])
@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
def test_what_reaches_past_no_edge_is_scaled_as_ever(size, mode):
    maps = torch.rand(2, 3, 8, 12)
    if size == (7, 13):  # 12 cells are no halves of 13, but 8 are halves of none of 7
        maps = maps[..., :5, :]
    assert torch.equal(fitted(maps, size, mode), F.interpolate(maps, size=size, mode=mode))


def test_a_blend_mask_covers_the_cells_that_look():
    maps = torch.zeros(1, 3, 4)
    maps[0, 1, 2] = 1
    mask = threshold_maps(maps, (5, 7), 0.3, pool=False)
    right = torch.zeros(1, 5, 7, dtype=torch.bool)
    right[0, 2:4, 4:6] = True
    assert torch.equal(mask, right)


def test_a_word_spreads_on_cells_of_which_the_last_reach_past_the_edge():
    word, alike = torch.zeros(1, 3, 3), torch.eye(25)[None]
    word[0, 2, 2] = 1
    found = spread(word, alike, (5, 5))
    right = F.interpolate(word[:, None], size=(6, 6), mode="bilinear")[:, 0, :5, :5]
    torch.testing.assert_close(found, right / right.amax())
