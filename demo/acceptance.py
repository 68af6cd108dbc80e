"""Would a person keep an edit? What one would refuse it for, each measured frame by frame against ground truth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from einops import rearrange
from scipy.ndimage import binary_dilation, binary_erosion, center_of_mass, distance_transform_edt
from scipy.spatial import KDTree

from . import scenes
from .judge import Judge
from .measure import of_arrays, stacked
from .silhouettes import best_outlines, distance, overlap, place_of

NEAR, FAR = 2, 12  # pixels from the things: between them lies the ring
SEEN_IN = 7 / 8  # of the frames
FAR_LOSS, RING_LOSS = 2.0, 3.0  # dB below the VAE's round trip of the source
OUTLINE = 0.8  # overlap with the best outline of the target's thing
COLOURED, COLOUR = 0.9, 0.15  # share of its pixels, and their distance from a colour of the true one
REST, CHANGED, CHANGE = 0.1, 0.25, 0.2  # of the place that the old thing leaves; the last is a colour distance
FLICKER = 1.25  # changes from frame to frame, as a multiple of those of the true clip's round trip


@dataclass(frozen=True)
class Truth:
    """What an edit is held against. frames: [frames, height, width, 3] of the source, round_trip and true_round_trip:
    what the VAE makes of it and of the true target."""

    source: scenes.Scene
    target: scenes.Scene
    frames: np.ndarray
    round_trip: np.ndarray
    true_round_trip: np.ndarray

    @cached_property
    def keeps_shape(self) -> bool:
        return self.source.object == self.target.object

    @cached_property
    def keeps_place(self) -> bool:
        """Whether what lies around the thing stays as it is."""
        return self.source.background == self.target.background and self.source.style == self.target.style

    @cached_property
    def old(self) -> np.ndarray:
        """bool [frames, height, width]"""
        return stacked(scenes.clip(self.source, len(self.frames)), "mask") > 0.5

    @cached_property
    def true(self) -> np.ndarray:
        """The true target's frames [frames, height, width, 3]."""
        return stacked(scenes.clip(self.target, len(self.frames)), "image")

    @cached_property
    def new(self) -> np.ndarray:
        return stacked(scenes.clip(self.target, len(self.frames)), "mask") > 0.5

    @cached_property
    def without(self) -> np.ndarray:
        """The scene without a thing [frames, height, width, 3]."""
        times = np.linspace(0, 1, len(self.frames))
        return np.stack([scenes.render_empty(self.target, time) for time in times])

    @cached_property
    def away(self) -> np.ndarray:
        """Pixels of each place from the nearer of both things [frames, height, width]."""
        return np.stack([distance_transform_edt(~things) for things in self.old | self.new])

    @cached_property
    def colours(self) -> KDTree:
        """Of the true target's thing."""
        return KDTree(self.true[self.new].reshape(-1, 3))


@dataclass(frozen=True)
class Acceptance:
    """refused: what it is refused for, in words, empty where it is accepted; the figures behind it (None where they
    are not asked for): seen [share of frames], far and ring [dB below the round trip], outline [overlap], coloured,
    rest and changed [shares], flicker [multiple of the true clip's], missed [share of the thing's motion that a new
    thing does not make; nothing is refused for it]"""

    refused: tuple[str, ...]
    seen: float
    far: float | None
    ring: float | None
    outline: float | None
    coloured: float
    rest: float | None
    changed: float | None
    flicker: float
    missed: float | None


def accepted(truth: Truth, edited: np.ndarray, judge: Judge) -> Acceptance:
    """edited: frames [frames, height, width, 3] in 0..1."""
    outlines = _outlines(truth, edited)
    share = _seen(truth, edited, judge)
    away = np.stack([distance_transform_edt(~things) for things in truth.old | outlines])
    around = (away > NEAR) & (away <= FAR)
    far = _lost(truth, edited, away > FAR) if truth.keeps_place else None
    ring = _lost(truth, edited, around) if truth.keeps_place else _thing_lost(truth, edited)
    fit = _fit(truth, edited, outlines) if truth.keeps_place else None
    inside = np.stack([binary_erosion(outline) for outline in outlines])
    pixels = edited[inside] if inside.any() else np.zeros((1, 3))
    coloured = float((truth.colours.query(pixels, distance_upper_bound=COLOUR)[0] <= COLOUR).mean())
    rest, changed = (None, None) if truth.keeps_shape else _left_behind(truth, edited, outlines)
    flicker = _flicker(truth, edited) / _flicker(truth, truth.true_round_trip)
    missed = None if truth.keeps_shape else _missed_motion(truth, outlines)
    checks = {
        "not seen": share < SEEN_IN,
        "far background": far is not None and far > FAR_LOSS,
        "ring": ring is not None and ring > RING_LOSS,
        "outline": fit is not None and fit < OUTLINE,
        "colour": coloured < COLOURED,
        "rests": rest is not None and rest > REST,
        "old place": changed is not None and changed > CHANGED,
        "flicker": flicker > FLICKER,
    }
    refused = tuple(name for name, is_refused in checks.items() if is_refused)
    return Acceptance(refused, share, far, ring, fit, coloured, rest, changed, flicker, missed)


def _seen(truth: Truth, edited: np.ndarray, judge: Judge) -> float:
    """The share of frames in which the judge sees every word of the target."""
    with torch.inference_mode():
        logits = judge(rearrange(torch.from_numpy(edited).float(), "f h w c -> f c h w"))
    right = [
        logits[field].argmax(dim=-1) == scenes.FIELDS[field].index(getattr(truth.target, field)) for field in logits
    ]
    return float(torch.stack(right).all(dim=0).float().mean())


def _lost(truth: Truth, edited: np.ndarray, where: np.ndarray) -> float:
    """dB below the VAE's round trip of the source."""
    weights = where.astype(np.float32)
    return of_arrays(truth.round_trip, truth.frames, weights) - of_arrays(edited, truth.frames, weights)


def _thing_lost(truth: Truth, edited: np.ndarray) -> float:
    """Of the thing itself, where all around it changes."""
    return _lost(truth, edited, np.stack([binary_erosion(thing, iterations=NEAR) for thing in truth.old]))


def _outlines(truth: Truth, edited: np.ndarray) -> np.ndarray:
    """Where the target's thing is: bool [frames, height, width], the true place where the edit keeps the shape, else
    the outline that fits best what is seen."""
    return truth.new if truth.keeps_shape else best_outlines(truth.target, edited)


def _fit(truth: Truth, edited: np.ndarray, outlines: np.ndarray) -> float:
    places = [place_of(*pictures) for pictures in zip(edited, truth.without, strict=True)]
    return float(np.median([overlap(*pair) for pair in zip(places, outlines, strict=True)]))


def _left_behind(truth: Truth, edited: np.ndarray, outlines: np.ndarray) -> tuple[float, float]:
    """Of the place that the old thing leaves, the share that is nearer to it than to the empty scene, and the share
    that differs from the empty scene."""
    rest, changed = [], []
    for picture, old, bare, left in zip(
        edited, truth.frames, truth.without,
        truth.old & ~np.stack([binary_dilation(outline, iterations=NEAR) for outline in outlines]), strict=True,
    ):  # fmt: skip
        if left.any():
            rest.append((distance(picture, old) < distance(picture, bare))[left])
            changed.append((distance(picture, bare, 9) > CHANGE)[left])
    return tuple(float(np.concatenate(values).mean()) if values else 0.0 for values in (rest, changed))


def _missed_motion(truth: Truth, outlines: np.ndarray) -> float:
    """How far the middle of the thing strays from the true one's way, as a share of that way (root mean squares); 1 for
    a thing that stays where it is."""
    paths = [np.array([center_of_mass(place) for place in places]) for places in (outlines, truth.new)]
    way, true_way = (path - path.mean(axis=0) for path in paths)
    return float(np.sqrt(np.square(way - true_way).sum() / np.square(true_way).sum()))


def _flicker(truth: Truth, clip: np.ndarray) -> float:
    """The mean change from frame to frame near the things."""
    near = truth.away <= FAR
    return float(np.abs(np.diff(clip, axis=0))[near[1:] | near[:-1]].mean())
