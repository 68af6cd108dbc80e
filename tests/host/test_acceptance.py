"""The yardstick of edits: it takes what is right and refuses each thing that a person would refuse."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from comfyui_videop2p.demo import scenes
from comfyui_videop2p.demo.acceptance import Truth, accepted
from comfyui_videop2p.demo.accepted_edits import KINDS, AcceptedCase
from comfyui_videop2p.demo.evaluation_world import World
from comfyui_videop2p.demo.judge import load_judge

SCENE = scenes.Scene(1_000_007, "rabbit", "red", "plain", "beach")
FRAMES = 4


def rendered(scene, frames=FRAMES):
    return np.stack([frame.image for frame in scenes.clip(scene, frames)])


@pytest.fixture(scope="module")
def judge():
    return load_judge()


@pytest.fixture(scope="module")
def trip(demo):
    """What the VAE makes of frames."""
    vae = demo[2]

    def through(frames):
        with torch.inference_mode():
            return vae.decode(vae.encode(torch.from_numpy(frames))).numpy()

    return through


@pytest.fixture(scope="module")
def truth_of(trip):
    def truth(**words):
        target = replace(SCENE, **words)
        source = rendered(SCENE)
        return Truth(SCENE, target, source, trip(source), trip(rendered(target)))

    return truth


@pytest.mark.parametrize("words", [{"object": "star"}, {"colour": "blue"}, {"material": "spotted"}])
def test_the_truth_is_accepted_and_the_source_is_not(truth_of, judge, words):
    truth = truth_of(**words)
    assert accepted(truth, truth.true_round_trip, judge).refused == ()
    assert "not seen" in accepted(truth, truth.round_trip, judge).refused


def test_a_thing_that_stays_where_it_is_misses_the_motion(truth_of, trip, judge):
    truth = truth_of(object="heart")
    still = np.where(truth.new.covers[:1, ..., None], truth.true[:1], truth.without).astype(np.float32)
    assert accepted(truth, truth.true_round_trip, judge).missed < 0.1
    assert accepted(truth, trip(still), judge).missed == pytest.approx(1, abs=0.1)


def left_half(things):
    middle = np.nonzero(things)[2].mean()
    return things & (np.arange(things.shape[2]) < middle)


@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda truth, edited: edited + 0.15 * (truth.away > 12)[..., None], "far background"),
        (lambda truth, edited: edited + 0.15 * ((truth.away > 2) & (truth.away <= 12))[..., None], "ring"),
        (lambda truth, edited: np.where(truth.new.covers[..., None], edited[..., ::-1], edited), "colour"),
        (
            lambda truth, edited: np.where((truth.old.covers & ~truth.new.covers)[..., None], truth.frames, edited),
            "rests",
        ),
        (lambda truth, edited: edited + 0.2 * (np.arange(FRAMES) % 2)[:, None, None, None], "flicker"),
        (lambda truth, edited: np.where(left_half(truth.new.covers)[..., None], truth.without, edited), "outline"),
    ],
)
def test_what_a_person_would_refuse_is_refused(truth_of, judge, spoil, words):
    truth = truth_of(object="star")
    edited = spoil(truth, truth.true_round_trip).clip(0, 1).astype(np.float32)
    assert words in accepted(truth, edited, judge).refused


def test_each_kind_of_edit_changes_its_own_field():
    world = World(None, None, None, None, [], 0, None, None)
    first = scenes.FIRST_EVALUATION_SEED
    for case in (AcceptedCase(world, None, first + i) for i in range(4 * len(KINDS))):
        before, after = vars(case.source), vars(case.target)
        assert [name for name in before if before[name] != after[name]] == [scenes.EDITED[case.kind]]
        assert "plain" != after[case.field] in scenes.FIELDS[case.field]
        if case.kind in ("pattern", "refinement"):
            assert (before[case.field] == "plain") == (case.kind == "refinement")
