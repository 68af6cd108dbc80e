"""The demo world: deterministic, its seeds kept apart, and true to its words."""

from dataclasses import replace

import numpy as np
import pytest
from comfyui_videop2p.demo import data, scenes

SCENES = [scenes.random_scene(seed) for seed in range(1_000_000, 1_000_012)]


def outside(*masks):
    return np.maximum.reduce(masks) == 0


def test_evaluation_seeds_are_refused_in_training():
    with pytest.raises(ValueError, match="belongs to the evaluation"):
        data.training_picture(scenes, scenes.FIRST_EVALUATION_SEED)
    data.training_picture(scenes, scenes.FIRST_EVALUATION_SEED - 1)


def test_a_seed_gives_the_same_clip_again():
    first, second = (scenes.clip(scenes.random_scene(7), frames=3) for _ in range(2))
    assert all((a.image == b.image).all() and (a.mask == b.mask).all() for a, b in zip(first, second, strict=True))


def test_seeds_give_different_scenes():
    assert len({replace(scenes.random_scene(seed), seed=0) for seed in range(200)}) > 150


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: str(scene.seed))
@pytest.mark.parametrize("field", ["object", "colour", "pattern"])
def test_another_word_of_the_object_changes_the_object_alone(scene, field):
    other = next(value for value in scenes.FIELDS[field] if value != getattr(scene, field))
    before, after = scenes.render(scene), scenes.render(replace(scene, **{field: other}))
    away = outside(before.mask, after.mask)
    # A sketch draws a line along every edge, which lies a pixel beside it.
    if scene.style != "sketch":
        assert (before.image[away] == after.image[away]).all()
    assert np.abs(before.image[~away] - after.image[~away]).mean() > 0.02


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: str(scene.seed))
def test_another_background_leaves_the_object(scene):
    other = next(value for value in scenes.BACKGROUNDS if value != scene.background)
    before, after = scenes.render(scene), scenes.render(replace(scene, background=other))
    assert (before.mask == after.mask).all()
    assert np.abs(before.image - after.image)[before.mask == 0].mean() > 0.05
    if scene.style != "sketch":
        assert (before.image[before.mask == 1] == after.image[before.mask == 1]).all()


def test_the_object_moves_and_fills_a_good_part_of_the_frame():
    for scene in SCENES:
        frames = scenes.clip(scene, frames=8)
        assert 0.1 < np.mean([frame.mask.mean() for frame in frames]) < 0.45
        assert np.abs(frames[0].mask - frames[-1].mask).mean() > 0.01


def test_captions_keep_to_the_vocabulary_and_name_the_scene():
    known, rng = set(scenes.caption_words()), np.random.default_rng(0)
    for seed in range(500):
        scene = scenes.random_scene(seed)
        assert set(scenes.varied_caption(scene, rng).replace(",", "").split()) <= known
        caption = scenes.caption(scene).split()
        assert set(scenes.word_regions(scene)) <= set(caption) <= known


def test_any_size_is_rendered():
    frame = scenes.render(SCENES[0], size=192)
    assert frame.image.shape == (192, 192, 3) and frame.mask.shape == (192, 192)


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: str(scene.seed))
def test_a_caption_describes_its_scene(scene):
    assert scenes.described(replace(SCENES[0], seed=scene.seed), scenes.caption(scene)) == scene
