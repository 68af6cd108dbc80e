"""The yardstick of edits on the demo world, without a model: the renderer draws what is right, and
what a person would refuse."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from comfyui_videop2p.demo import scenes
from comfyui_videop2p.demo.acceptance import Truth, accepted, words_seen
from comfyui_videop2p.demo.differences import overlap
from comfyui_videop2p.demo.scenes import silhouettes, staging
from comfyui_videop2p.demo.scenes.frames import render_posed
from scipy import ndimage

SCENE = scenes.Scene(1_000_050, "rabbit", "blue", "plain", "beach")
FRAMES = 2
TIMES = np.linspace(0, 1, FRAMES)
SWAP, RECOLOURED = {"object": "duck"}, {"colour": "pink"}


class Judge:
    """Sees in a picture or its mirror image the scene, of some that it knows, whose clip has a frame most like it."""

    def __init__(self, *known):
        self.known = known

    def __call__(self, pictures):
        pictures = pictures.permute(0, 2, 3, 1).numpy()
        sides = pictures[:, None], pictures[:, None, :, ::-1]
        errors = [
            np.min([np.square(side - rendered(scene)).mean(axis=(2, 3, 4)) for side in sides], axis=(0, 2))
            for scene in self.known
        ]
        seen = [self.known[i] for i in np.argmin(errors, axis=0)]
        return {
            field: torch.tensor([[float(getattr(scene, field) == value) for value in values] for scene in seen])
            for field, values in scenes.FIELDS.items()
        }


@cache
def rendered(scene):
    return np.stack([frame.image for frame in scenes.clip(scene, FRAMES)])


def blurred(frames):
    """In the place of the VAE's round trip."""
    return ndimage.gaussian_filter(frames, (0, 0.7, 0.7, 0)).astype(np.float32)


@cache
def truth_of(scene, **words):
    target = replace(scene, **words)
    frames = rendered(scene)
    return Truth(scene, target, frames, blurred(frames), blurred(rendered(target)))


def refused(truth, edited, *others):
    return accepted(truth, edited.clip(0, 1), Judge(truth.source, truth.target, *others)).refused


def posed(scene, **changes):
    """The clip with the thing changed in place (along x), size and turns."""

    def moved(pose):
        x, y, z = pose.place
        turns = {name: getattr(pose, name) + changes.get(name, 0) for name in ("turn", "lean", "pitch")}
        scale = pose.scale * changes.get("scale", 1)
        return replace(pose, place=(x + changes.get("aside", 0), y, z), scale=scale, **turns)

    poses = [moved(staging.pose(scene, 0, time)) for time in TIMES]
    return np.stack([render_posed(scene, *pair).image for pair in zip(TIMES, poses, strict=True)])


EDITS = [
    (SCENE, SWAP),
    (SCENE, RECOLOURED),
    (SCENE, {"material": "origami"}),
    (replace(SCENE, object="bear", material="striped"), {"material": "shiny"}),
    (replace(SCENE, material="wooden"), {"place": "snow"}),
    (replace(SCENE, place="moon", style="night", colour="white"), {"object": "teapot"}),
    (replace(SCENE, place="snow", style="watercolour", colour="red"), {"object": "star"}),
    (replace(SCENE, object="bear", place="desert", style="sketch"), {"object": "fish"}),
]


@pytest.mark.parametrize("scene, words", EDITS)
def test_the_truth_is_accepted_and_the_source_is_not(scene, words):
    truth = truth_of(scene, **words)
    assert refused(truth, truth.true) == refused(truth, truth.true_round_trip) == ()
    assert "not seen" in refused(truth, truth.frames) and "not seen" in refused(truth, truth.round_trip)


def test_in_a_swap_place_size_and_turns_are_free():
    truth = truth_of(SCENE, **SWAP)
    elsewhere = posed(truth.target, aside=0.2, scale=0.9, turn=0.4, lean=0.15, pitch=-0.15)
    assert refused(truth, blurred(elsewhere)) == ()


@pytest.mark.parametrize("changes", [{"aside": 0.35}, {"scale": 1.3}])
def test_where_the_shape_is_kept_so_is_the_place(changes):
    truth = truth_of(SCENE, **RECOLOURED)
    assert "outline" in refused(truth, blurred(posed(truth.target, **changes)))


def test_another_thing_or_colour_is_refused():
    swapped, recoloured = truth_of(SCENE, **SWAP), truth_of(SCENE, **RECOLOURED)
    robot, green = replace(SCENE, object="robot"), replace(SCENE, colour="green")
    assert "not seen" in refused(swapped, blurred(rendered(robot)), robot)
    assert {"not seen", "colour"} <= set(refused(recoloured, blurred(rendered(green)), green))


def left(truth):
    """What the old thing covers and the new one does not touch, and what its shadow does."""
    beyond = ~ndimage.binary_dilation(truth.new.touches, np.ones((1, 3, 3)), 2)
    return truth.old.covers & beyond, truth.old.touches & ~truth.old.covers & beyond


@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda truth, edited: edited + 0.15 * (truth.away > 12)[..., None], "far background"),
        (lambda truth, edited: edited + 0.15 * ((truth.away > 2) & (truth.away <= 12))[..., None], "ring"),
        (lambda truth, edited: np.where(truth.new.covers[..., None], edited[..., [1, 2, 0]], edited), "colour"),
        (lambda truth, edited: np.where(left(truth)[0][..., None], truth.frames, edited), "rests"),
        (lambda truth, edited: np.where(left(truth)[0][..., None], 0.5, edited), "old place"),
        (lambda truth, edited: edited + 0.2 * (np.arange(FRAMES) % 2)[:, None, None, None], "flicker"),
        (lambda truth, edited: np.where(half(truth.new.covers)[..., None], truth.without, edited), "outline"),
    ],
)
def test_what_a_person_would_refuse_is_refused_by_its_name(spoil, words):
    truth = truth_of(SCENE, **SWAP)
    assert words in refused(truth, spoil(truth, truth.true_round_trip).astype(np.float32))


def half(covered):
    middle = np.nonzero(covered)[2].mean()
    return covered & (np.arange(covered.shape[2]) < middle)


@pytest.mark.parametrize("first, last, share", [(3, 4, 1), (3, 5, 6 / 8), (0, 1, 7 / 8), (0, 8, 0)])
def test_a_frame_is_seen_together_with_its_neighbours(first, last, share):
    truth = truth_of(SCENE, **SWAP)
    old, new = (np.concatenate([rendered(scene)] * 4) for scene in (truth.source, truth.target))
    new[first:last] = old[first:last]
    assert words_seen(truth.target, new, Judge(truth.source, truth.target)) == share


def test_a_shadow_that_stays_is_a_rest_of_the_thing():
    truth = truth_of(replace(SCENE, object="boat"), object="heart")
    shadow = left(truth)[1] & truth.old.seen
    assert shadow.sum() > 50
    kept = np.where(left(truth)[1][..., None], truth.frames, truth.true_round_trip)
    assert "rests" in refused(truth, kept.astype(np.float32))


@pytest.mark.parametrize("kind", scenes.FIELDS["object"])
def test_a_thing_is_found_in_the_pose_that_it_is_drawn_in(kind):
    scene, time = replace(SCENE, object=kind, colour="red", place="snow"), 0.5
    true = staging.pose(scene, 0, time)
    frame = render_posed(scene, time, replace(true, turn=true.turn + 0.3, scale=true.scale * 0.85, pitch=0.1))
    without = scenes.render_empty(scene, time)
    found = silhouettes.best_frame(scene, time, frame.image, without)
    assert overlap(found.mask > 0.5, frame.mask > 0.5) > 0.85


def test_the_empty_scene_is_what_is_seen_beside_the_things():
    for scene in (SCENE, replace(SCENE, place="city", style="night"), replace(SCENE, style="sketch")):
        frame, empty = scenes.render(scene), scenes.render_empty(scene, 0.5)
        beside = ~ndimage.binary_dilation((frame.mask > 0) | (frame.shadow > 0), iterations=3)
        assert beside.mean() > 0.4 and (frame.image[beside] == empty[beside]).all()
