import torch
from comfyui_videop2p.videop2p_core.images.matte import along_edges, colours_matched, composite, feathered, sure, things

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
    place = things(coarse(old), coarse(new), picture(old), picture(new))
    assert overlap(place > 0.4, old | new) > 0.99 and not (sure(place) & ~(old | new)).any()


def test_what_is_drawn_around_the_new_thing_takes_the_sources_colours():
    """The edit is paler all over; the thing itself, on half of the matte, stays as it is drawn."""
    new, matte = disc(44, 64, 20), disc(64, 64, 40)
    source = torch.full((1, SIDE, SIDE, 3), 0.5)
    edited = torch.where(new[..., None], torch.tensor([0.9, 0.1, 0.1]), source + 0.2)
    frames = colours_matched(source, edited, matte.float(), new.float())
    around = matte & ~disc(44, 64, 26)
    assert torch.equal(frames[disc(44, 64, 14)], edited[disc(44, 64, 14)])
    assert (frames - source)[around].abs().mean() < 0.2 * (edited - source)[around].abs().mean()
    assert torch.equal(colours_matched(source, source, matte.float(), new.float()), source)


def test_feathering_leaves_it_soft_at_the_edge_alone():
    region = disc(64, 64, 30).float()
    assert torch.equal(feathered(region, 0), region)
    soft = feathered(region, 4)
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
