"""Flicker beside the true optical flow: least of a true clip, more of what stands or trembles."""

from dataclasses import replace

import numpy as np
from comfyui_videop2p.demo import scenes
from comfyui_videop2p.demo.paper.steadiness import flicker, flows

FRAMES = 3
SCENE = scenes.Scene(1_000_050, "teapot", "blue", "spotted", "meadow")


def test_the_true_clip_flickers_least():
    frames = scenes.clip(SCENE, FRAMES)
    clip, things = (np.stack([getattr(frame, part) for frame in frames]) for part in ("image", "mask"))
    moved, everywhere = flows(SCENE, FRAMES), np.ones(things.shape, bool)
    true = flicker(clip, moved, things > 0.5)
    trembling = clip + 0.1 * (np.arange(FRAMES) % 2)[:, None, None, None]
    assert flicker(trembling, moved, things > 0.5) > true + 0.05
    unmoved = [(np.zeros_like(shift), seen) for shift, seen in moved]
    assert flicker(clip, unmoved, things > 0.5) > 1.5 * true
    assert flicker(clip, moved, everywhere) < 0.05
    still = np.repeat(clip[:1], FRAMES, axis=0)
    assert flicker(still, moved, things > 0.5) > 1.5 * true  # where the thing should have gone on


def test_what_is_hidden_later_is_not_compared():
    (_, seen), _ = flows(SCENE, FRAMES)
    assert 0.8 < seen.mean() < 1
    still = flows(replace(SCENE, place="moon"), FRAMES)
    assert all(np.isfinite(shift).all() for shift, _ in still)
