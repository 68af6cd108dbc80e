"""Flicker beside the true optical flow: least of a true clip in either edition, more of what stands or trembles."""

from dataclasses import replace

import numpy as np
import pytest
from comfyui_videop2p.demo.editions import EDITIONS
from comfyui_videop2p.demo.paper.steadiness import flicker, flows

FRAMES = 3
FIRST, SECOND = (EDITIONS[name] for name in ("scenes", "scenes2"))
SCENES = {
    "first": (FIRST, FIRST.scenes.Scene(1_000_003, "car", "red", "striped", "city")),
    "second": (SECOND, SECOND.scenes.Scene(1_000_050, "teapot", "blue", "spotted", "meadow")),
}


@pytest.mark.parametrize("edition, scene", SCENES.values(), ids=SCENES)
def test_the_true_clip_flickers_least(edition, scene):
    frames = edition.scenes.clip(scene, FRAMES)
    clip, things = (np.stack([getattr(frame, part) for frame in frames]) for part in ("image", "mask"))
    moved, everywhere = flows(edition, scene, FRAMES), np.ones(things.shape, bool)
    true = flicker(clip, moved, things > 0.5)
    trembling = clip + 0.1 * (np.arange(FRAMES) % 2)[:, None, None, None]
    assert flicker(trembling, moved, things > 0.5) > true + 0.05
    unmoved = [(np.zeros_like(shift), seen) for shift, seen in moved]
    assert flicker(clip, unmoved, things > 0.5) > 1.5 * true
    assert flicker(clip, moved, everywhere) < 0.05
    still = np.repeat(clip[:1], FRAMES, axis=0)
    assert flicker(still, moved, things > 0.5) > 1.5 * true  # where the thing should have gone on


def test_what_is_hidden_later_is_not_compared():
    edition, scene = SCENES["first"]
    (_, seen), _ = flows(edition, scene, FRAMES)
    assert 0.9 < seen.mean() < 1
    still = flows(edition, replace(scene, background="space"), FRAMES)
    assert all(np.isfinite(shift).all() for shift, _ in still)
