import torch
from comfyui_videop2p.videop2p_core.images.matte import along_edges, composite, matte

SIDE = 128


def disc(x, y, radius, side=SIDE):
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return ((columns - x) ** 2 + (rows - y) ** 2 < radius**2)[None]


def picture(place):
    return torch.where(place[..., None], torch.tensor([0.9, 0.2, 0.2]), torch.tensor([0.2, 0.5, 0.8]))


def coarse(place, cells=16):
    return torch.nn.functional.avg_pool2d(place[None].float(), SIDE // cells)[0]


def overlap(a, b):
    return ((a & b).sum() / (a | b).sum()).item()


def test_a_coarse_place_follows_the_edges_of_its_picture():
    place = disc(60, 70, 30)
    plain = torch.nn.functional.interpolate(coarse(place)[None], size=(SIDE, SIDE), mode="bicubic")[0] > 0.4
    assert overlap(along_edges(coarse(place), picture(place)) > 0.4, place) > 0.98 > overlap(plain, place)


def test_it_covers_the_old_thing_and_the_new_one():
    old, new = disc(50, 64, 24), disc(70, 64, 24)
    places = coarse(old), coarse(new), picture(old), picture(new)
    exact, grown = (matte(*places, threshold=0.4, grow=grow, feather=0) > 0.5 for grow in (0, 2))
    assert overlap(exact, old | new) > 0.99
    around = torch.nn.functional.max_pool2d((old | new)[None].float(), 5, stride=1, padding=2)[0] > 0
    assert overlap(grown, around) > 0.99


def test_feathering_leaves_it_soft_at_the_edge_alone():
    place = disc(64, 64, 30)
    settings = {"threshold": 0.4, "grow": 0}
    hard, soft = (matte(*[coarse(place)] * 2, *[picture(place)] * 2, feather=f, **settings) for f in (0, 4))
    assert set(hard.unique().tolist()) == {0.0, 1.0}
    between = (soft > 0) & (soft < 1)
    assert between.any() and not between[disc(64, 64, 20)].any() and not between[~disc(64, 64, 40)].any()


def test_outside_every_pixel_is_the_sources():
    source, edited = torch.rand(2, 3, 8, 8, 3).unbind()
    mask = torch.zeros(3, 8, 8)
    mask[:, :4] = 1
    mask[:, 4] = 0.5
    frames = composite(source, edited, mask)
    assert torch.equal(frames[:, 5:], source[:, 5:])
    torch.testing.assert_close(frames[:, :4], edited[:, :4])
    torch.testing.assert_close(frames[:, 4], (source[:, 4] + edited[:, 4]) / 2)
