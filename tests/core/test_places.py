import torch
from comfyui_videop2p.videop2p_core.edit.places import affinity, spread

FRAMES, GRID = 2, (6, 8)


def features(thing):
    """Of places that look like each other inside of the thing, and outside of it: [frames, places, channels]."""
    inside = thing.flatten(1)[..., None].float()
    return 12 * torch.cat([inside, 1 - inside], dim=-1)


def thing():
    shape = torch.zeros(FRAMES, *GRID, dtype=torch.bool)
    shape[0, 1:5, 1:4] = shape[1, 2:6, 3:7] = True
    return shape


def test_affinities_are_means_of_maps():
    q, k = torch.randn(2, FRAMES, 48, 8).unbind()
    maps = affinity(q, k, heads=2)
    torch.testing.assert_close(maps.sum(dim=-1), torch.ones(FRAMES, 48))
    heads = [(a @ b.mT / 2).softmax(dim=-1) for a, b in zip(q.split(4, dim=-1), k.split(4, dim=-1), strict=True)]
    torch.testing.assert_close(maps, sum(heads) / 2)


def test_a_word_that_looks_at_a_part_spreads_over_the_thing_and_no_further():
    place = thing()
    word = torch.zeros(FRAMES, *GRID)
    word[0, 2, 2] = word[1, 4, 5] = 1
    found = spread(word, affinity(features(place), features(place), heads=1), GRID)
    assert found.min() == 0 and found.max() == 1
    assert torch.equal(found > 0.4, place)


def test_a_coarse_map_is_spread_on_the_finer_grid():
    place = thing()
    coarse = torch.nn.functional.avg_pool2d(place[:, None].float(), 2)[:, 0]
    assert torch.equal(spread(coarse, affinity(features(place), features(place), heads=1), GRID) > 0.4, place)


def test_a_word_that_looks_nowhere_has_no_place():
    found = spread(torch.zeros(FRAMES, *GRID), affinity(features(thing()), features(thing()), heads=1), GRID)
    assert not found.any()
