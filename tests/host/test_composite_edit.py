"""Composite Edit: the edited thing in the file's own frames."""

import numpy as np
import pytest
import torch
from comfyui_videop2p.tests.host.calls import FRAMES, control, run
from comfyui_videop2p.tests.host.refusals import refused
from comfyui_videop2p.videop2p_core.host.images import composite_edit
from scipy.ndimage import distance_transform_edt

SIDE = 64
PLAIN = {"threshold": 0.4, "grow": 0, "feather": 0}


@pytest.fixture(autouse=True)
def inference_mode():
    with torch.inference_mode():
        yield


def square(left, side=SIDE):
    place = torch.zeros(FRAMES, side, side)
    place[:, side // 4 : 3 * side // 4, left : left + side // 4] = 1
    return place


def frames(place, colour):
    return torch.where(place[..., None] > 0, torch.tensor(colour), torch.tensor([0.1, 0.4, 0.7]))


@pytest.fixture
def clips():
    """(source, edited, old place, new place)"""
    old, new = square(8), square(32)
    return frames(old, [0.9, 0.1, 0.1]), frames(new, [0.2, 0.9, 0.2]) + 0.01, old, new


def test_outside_every_pixel_is_the_files(clips):
    source, edited, old, new = clips
    images, matte = run("CompositeEdit", source=source, edited=edited, old_place=old, new_place=new, **PLAIN)
    assert torch.equal(matte > 0, (old + new) > 0)
    assert torch.equal(images[matte == 0], source[matte == 0])
    torch.testing.assert_close(images[matte == 1], edited[matte == 1])


def test_the_things_are_kept_where_all_around_them_is_new(clips):
    source, edited, old, new = clips
    given = {"source": source, "edited": edited, "old_place": old, "new_place": new}
    around, within = (run("CompositeEdit", **given, **PLAIN, keep_things=keep)[1] for keep in (True, False))
    torch.testing.assert_close(around, 1 - within)


def test_a_smaller_edit_is_set_into_the_full_frames(clips):
    _, edited, old, new = clips
    large = torch.rand(FRAMES, 3 * SIDE, 3 * SIDE, 4)
    images, matte = run("CompositeEdit", source=large, edited=edited, old_place=old, new_place=new, **PLAIN)
    assert images.shape == (FRAMES, 3 * SIDE, 3 * SIDE, 3) and matte.shape == images.shape[:3]
    assert torch.equal(images[matte == 0], large[..., :3][matte == 0]) and 0.05 < matte.mean() < 0.5


def test_a_place_is_grown_by_so_many_pixels(clips):
    source, edited, old, new = clips
    given = {"source": source, "edited": edited, "old_place": old, "new_place": new}
    exact, grown = (run("CompositeEdit", **given, **PLAIN | {"grow": grow})[1] > 0 for grow in (0, 3))
    away = np.stack([distance_transform_edt(~one) for one in exact.numpy()])
    assert torch.equal(grown, torch.from_numpy(away <= 3)) and grown.sum() > exact.sum()


def test_rests_of_the_old_thing_go_with_it_and_nothing_else_does():
    """A wheel, whose place is faint, and a spot elsewhere; the edit takes both away."""
    body, wheel, spot = (torch.zeros(FRAMES, 2 * SIDE, 2 * SIDE) for _ in range(3))
    body[:, 40:80, 40:80], wheel[:, 80:96, 48:64], spot[:, 10:24, 100:114] = 1, 1, 1
    edited = torch.full((*body.shape, 3), 0.8)
    source = torch.where((body + wheel + spot)[..., None] > 0, torch.zeros(3), edited)
    places = {"old_place": body + 0.25 * (wheel + spot), "new_place": torch.zeros_like(body)}

    def images(edited, rests):
        return run("CompositeEdit", source=source, edited=edited, **places, **PLAIN, rests=rests)[0]

    plain, whole = (images(edited, rests) for rests in (False, True))
    assert (plain[:, 86:94, 50:62] == 0).all() and (whole[:, 86:94, 50:62] == 0.8).all()
    assert torch.equal(whole[spot > 0], source[spot > 0])
    assert torch.equal(images(source, True), source)


def test_what_is_faint_everywhere_is_no_thing():
    """A planet that both places half show; a thing's own faint edge stays."""
    thing, planet = (torch.zeros(FRAMES, 2 * SIDE, 2 * SIDE) for _ in range(2))
    thing[:, 40:80, 40:80], planet[:, 10:24, 100:114] = 1, 1
    thing[:, 80:90, 40:80] = 0.5
    place = thing + 0.5 * planet
    grey = torch.full((*thing.shape, 3), 0.5)
    settings = {**PLAIN, "grow": 0, "feather": 0, "threshold": 0.4}
    _, matte = run("CompositeEdit", source=grey, edited=grey + 0.1, old_place=place, new_place=place, **settings)
    assert not matte[planet > 0].any() and matte[:, 42:84, 42:78].all()


def test_colours_are_matched_where_the_new_thing_is_not(clips):
    source, edited, old, new = clips
    places = {"source": source, "old_place": old, "new_place": torch.zeros_like(new), **PLAIN}
    paler = (source + 0.2).clamp(max=1)
    plain, near = (run("CompositeEdit", edited=paler, match_colours=on, **places)[0] for on in (False, True))
    assert (near - source).abs().mean() < 0.5 * (plain - source).abs().mean()


def test_many_frames_are_what_each_alone_is(clips, monkeypatch):
    monkeypatch.setattr(composite_edit, "AT_ONCE", 3 * SIDE**2)
    source, edited, old, new = (clip.repeat(10, *[1] * (clip.ndim - 1)) for clip in clips)
    images, _ = run("CompositeEdit", source=source, edited=edited, old_place=old, new_place=new, **PLAIN)
    alone, _ = run("CompositeEdit", source=clips[0], edited=clips[1], old_place=clips[2], new_place=clips[3], **PLAIN)
    torch.testing.assert_close(images, alone.repeat(10, 1, 1, 1))


def test_frames_in_halves_are_set_in(clips):
    source, edited, old, new = (clip.half() for clip in clips)
    images, matte = run("CompositeEdit", source=source, edited=edited, old_place=old, new_place=new, **PLAIN)
    assert torch.equal(images[matte == 0], source[matte == 0]) and images.isfinite().all()


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"edited": torch.rand(FRAMES + 1, SIDE, SIDE, 3)}, f"the source has {FRAMES} frames, the edited clip"),
        ({"old_place": torch.rand(FRAMES + 1, 8, 8)}, f"the old place has {FRAMES + 1} masks for {FRAMES} frames"),
        ({"new_place": torch.full((1, 8, 8), torch.nan)}, "the mask holds values that are not numbers"),
        ({"source": torch.full((FRAMES, SIDE, SIDE, 3), torch.inf)}, "the source holds values that are not numbers"),
    ],
)
def test_what_does_not_fit_is_named(clips, change, sentence):
    given = dict(zip(("source", "edited", "old_place", "new_place"), clips, strict=True)) | PLAIN
    with refused(sentence):
        run("CompositeEdit", **given | change)


def test_an_edit_says_where_its_things_are(model, clip, inverting):
    inversion = run("DDIMInvert", **inverting | {"method": "direct-exact", "model": model})[0]
    words = {"blend_source": "rabbit", "blend_target": "rabbit"}
    with_words, without = control(clip, **words)[0], control(clip)[0]
    edits = {"model": [model], "inversion": [inversion], "edit": [with_words, without]}
    *_, old, new = run("DecoupledSample", **edits)
    for (place, nothing), size in ((old, 128), (new, 128)):
        assert place.shape == nothing.shape == (FRAMES, size, size)
        assert place.amin() >= 0 and 0.5 < place.amax() <= 1 and 0 < place.mean() < 0.9
        assert (nothing == 1).all()
