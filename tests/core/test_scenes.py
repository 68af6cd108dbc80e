"""The demo world: deterministic, its seeds kept apart, true to its words, its flow exact."""

from dataclasses import replace

import numpy as np
import pytest
from comfyui_videop2p.demo import data, scenes
from comfyui_videop2p.demo.scenes import scene as scene_words
from comfyui_videop2p.demo.scenes import things
from scipy import ndimage

SCENES = [scenes.random_scene(seed) for seed in range(1_000_000, 1_000_016)]
BY_SEED = pytest.mark.parametrize("scene", SCENES, ids=lambda scene: str(scene.seed))
LINE = 2  # pixels that an outline of a sketch or a watercolour is wide


def other(field, value):
    """The value halfway round: neighbours in the list, as red and orange, may look alike."""
    values = scenes.FIELDS[field]
    return values[(values.index(value) + len(values) // 2) % len(values)]


def around(scene, *covered):
    """Where any of these [height, width] is above 0, with the outlines that a style draws there."""
    region = np.maximum.reduce(covered) > 0
    drawn = scene.style in ("sketch", "watercolour")
    return ndimage.binary_dilation(region, np.ones((3, 3)), LINE) if drawn else region


def test_evaluation_seeds_are_refused_in_training():
    with pytest.raises(ValueError, match="belongs to the evaluation"):
        data.training_picture(scenes.FIRST_EVALUATION_SEED)
    data.training_picture(scenes.FIRST_EVALUATION_SEED - 1)


def test_a_seed_gives_the_same_clip_again():
    first, second = (scenes.clip(scenes.random_scene(7), frames=3) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert (a.image == b.image).all() and (a.masks == b.masks).all() and (a.shadow == b.shadow).all()


def test_seeds_give_different_scenes():
    assert len({replace(scenes.random_scene(seed), seed=0) for seed in range(200)}) > 190


@BY_SEED
@pytest.mark.parametrize("field", ["colour", "material"])
def test_another_surface_changes_the_thing_alone(scene, field):
    changed = replace(scene, **{field: other(field, getattr(scene, field))})
    before, after = scenes.render(scene), scenes.render(changed)
    region = around(scene, before.mask, after.mask)
    assert (before.masks == after.masks).all()
    assert (before.image[~region] == after.image[~region]).all()
    assert np.abs(before.image - after.image)[before.mask == 1].mean() > 0.02


@BY_SEED
def test_another_thing_changes_itself_and_its_shadow_alone(scene):
    before, after = scenes.render(scene), scenes.render(replace(scene, object=other("object", scene.object)))
    # A second thing may be shaded by the first, or be seen through it.
    region = around(scene, *before.masks, *after.masks, before.shadow, after.shadow)
    assert (before.image[~region] == after.image[~region]).all()
    assert np.abs(before.image - after.image)[region].mean() > 0.02


@BY_SEED
def test_another_place_leaves_the_things(scene):
    before, after = scenes.render(scene), scenes.render(replace(scene, place=other("place", scene.place)))
    assert (before.masks == after.masks).all()
    assert np.abs(before.image - after.image)[before.masks.sum(axis=0) == 0].mean() > 0.05
    if scene.style == "plain":
        assert (before.image[before.mask == 1] == after.image[before.mask == 1]).all()


@BY_SEED
def test_a_thing_that_leaves_takes_its_pixels_along(scene):
    paired = replace(scene, beside=scene.beside or scene_words.Thing("duck", "white"))
    both = scenes.render(paired)
    assert both.masks.shape == (2, scenes.SIZE, scenes.SIZE)
    assert 0 < both.masks[1].sum() and (both.masks.sum(axis=0) <= 1).all()


@BY_SEED
def test_the_flow_leads_from_frame_to_frame(scene):
    """A frame is found again in the next one, where the flow says, unless it shows what is mirrored or seen through."""
    dull = replace(scene, colour="red", material="spotted", style="plain", beside=None)
    time, later = 3 / 7, 4 / 7
    before, after = scenes.render(dull, time).image, scenes.render(dull, later).image
    shift, visible = scenes.flow(dull, time, later)
    rows, columns = np.mgrid[: scenes.SIZE, : scenes.SIZE]
    at = np.stack([rows + shift[..., 1], columns + shift[..., 0]])
    warped = np.stack([ndimage.map_coordinates(after[..., c], at, order=1, mode="nearest") for c in range(3)], axis=-1)
    mask = scenes.render(dull, time).mask
    # What turns is lit anew, and an outline mixes what lies beside it: the rest of the error is less than this.
    inside = ndimage.binary_erosion(mask == 1, iterations=2) & visible
    error, still = (np.abs(frame - before)[inside].mean() for frame in (warped, after))
    assert error < 0.07 and error < 0.5 * still
    assert np.abs(warped - before)[(mask == 0) & visible].mean() < 0.02
    assert visible.mean() > 0.8


@pytest.mark.parametrize("kind", things.KINDS)
def test_every_thing_is_seen_whole_and_moves(kind):
    scene = scene_words.Scene(1_000_050, kind, "blue", "plain", "meadow")
    frames = scenes.clip(scene, frames=4)
    assert 0.06 < np.mean([frame.mask.mean() for frame in frames]) < 0.5
    assert np.abs(frames[0].mask - frames[-1].mask).mean() > 0.004
    edge = np.concatenate([[f.mask[0], f.mask[-1], f.mask[:, 0], f.mask[:, -1]] for f in frames])
    assert edge.mean() < 0.1


def test_captions_keep_to_the_vocabulary_and_name_the_scene():
    known, rng = set(scenes.caption_words()), np.random.default_rng(0)
    for seed in range(500):
        scene = scenes.random_scene(seed)
        assert set(scenes.varied_caption(scene, rng).replace(",", "").split()) <= known
        words = scenes.caption(scene).split()
        assert set(scenes.word_regions(scene)) <= set(words) <= known


@pytest.mark.parametrize("seed", range(1_000_000, 1_000_060))
def test_a_caption_describes_its_scene(seed):
    scene = scenes.random_scene(seed)
    assert scenes.described(replace(SCENES[0], seed=seed), scenes.caption(scene)) == scene


def test_words_are_said_of_the_right_thing():
    scene = replace(
        SCENES[0], object="rabbit", colour="red", material="plain", beside=scene_words.Thing("car", "blue", "striped")
    )
    regions = scenes.word_regions(scene)
    assert regions["red"] == regions["rabbit"] == "object"
    assert regions["blue"] == regions["striped"] == regions["car"] == "beside"
    assert regions[scene.place] == "background"


def test_any_size_is_rendered():
    frame = scenes.render(SCENES[0], size=96)
    assert frame.image.shape == (96, 96, 3) and frame.mask.shape == frame.shadow.shape == (96, 96)
