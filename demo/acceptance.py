"""Would a person keep an edit? What one would refuse it for, each measured frame by frame against ground truth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.ndimage import (
    binary_dilation,
    binary_erosion,
    center_of_mass,
    distance_transform_edt,
    uniform_filter1d,
)
from scipy.spatial import KDTree

from . import scenes
from .differences import Place, distance, overlap, place_of
from .judge import Judge, frame_probabilities
from .measure import empty, of_arrays, stacked
from .scenes import Scene, silhouettes

NEAR, FAR = 2, 12  # pixels from the things: between them lies the ring
SEEN_IN = 7 / 8  # of the frames
AT_ONCE = 3  # frames that the eye takes together: one that is misread between two others does not count
FAR_LOSS, RING_LOSS = 2.0, 3.0  # dB below the VAE's round trip of the source
OUTLINE = 0.8  # overlap with the best outline of the target's thing
COLOURED, COLOUR = 0.9, 0.15  # share of its pixels, and their distance from a colour of the true one
SHOWN = 0.5  # of the true one's pixels, as near to a colour of its: or a beak's colour would do for the whole thing
REST, CHANGED, CHANGE = 0.1, 0.25, 0.2  # of the place that the old thing leaves; the last is a colour distance
FLICKER = 1.25  # changes from frame to frame, as a multiple of those of the true clip's round trip


@dataclass(frozen=True)
class Truth:
    """What an edit is held against. frames: [frames, height, width, 3] of the source; round_trip, true_round_trip: what
    the VAE makes of them and of the true target's."""

    source: Scene
    target: Scene
    frames: np.ndarray
    round_trip: np.ndarray
    true_round_trip: np.ndarray

    @cached_property
    def keeps_shape(self) -> bool:
        return self.source.object == self.target.object

    @cached_property
    def keeps_place(self) -> bool:
        """Whether what lies around the thing stays as it is."""
        around = scenes.EDITED["background"]
        return all(getattr(self.source, field) == getattr(self.target, field) for field in (around, "style"))

    @cached_property
    def old(self) -> Place:
        without = self.without if self.keeps_place else empty(self.source, len(self.frames))
        return silhouettes.true_place(self._clip(self.source), without)

    @cached_property
    def new(self) -> Place:
        return silhouettes.true_place(self._true_clip, self.without)

    @cached_property
    def true(self) -> np.ndarray:
        """The true target's frames [frames, height, width, 3]."""
        return stacked(self._true_clip, "image")

    @cached_property
    def without(self) -> np.ndarray:
        """The target's scene without a thing [frames, height, width, 3]."""
        return empty(self.target, len(self.frames))

    @cached_property
    def away(self) -> np.ndarray:
        """Pixels of each place from the nearer of both things [frames, height, width]."""
        return self.away_from(self.new)

    def away_from(self, new: Place) -> np.ndarray:
        """The same with the new thing in another place."""
        return np.stack([distance_transform_edt(~things) for things in self.edited(self.old) | self.edited(new)])

    def edited(self, place: Place) -> np.ndarray:
        """Where a thing's edit acts [frames, height, width]: a shadow goes with its thing, and stays with its shape."""
        return place.covers if self.keeps_shape else place.touches

    @cached_property
    def colours(self) -> np.ndarray:
        """Of the true target's thing [pixels, 3]."""
        return self.true[self.new.covers]

    @cached_property
    def _true_clip(self) -> list:
        return self._clip(self.target)

    def _clip(self, scene: Scene) -> list:
        return scenes.clip(scene, len(self.frames))


@dataclass(frozen=True)
class Acceptance:
    """refused: what it is refused for, in words, empty where it is accepted; the figures behind it (None where they
    are not asked for): seen [share of frames], far and ring [dB below the round trip], outline [overlap], coloured,
    shown, rest and changed [shares], flicker [multiple of the true clip's], missed [share of the thing's motion that a
    new thing does not make; nothing is refused for it]"""

    refused: tuple[str, ...]
    seen: float
    far: float | None
    ring: float | None
    outline: float | None
    coloured: float
    shown: float
    rest: float | None
    changed: float | None
    flicker: float
    missed: float | None


def accepted(truth: Truth, edited: np.ndarray, judge: Judge) -> Acceptance:
    """edited: frames [frames, height, width, 3] in 0..1."""
    place = truth.new
    if not truth.keeps_shape:
        place = silhouettes.best_place(truth.target, edited, truth.without)
    share = words_seen(truth.target, edited, judge)
    away = truth.away_from(place)
    around = (away > NEAR) & (away <= FAR)
    far = _lost(truth, edited, away > FAR) if truth.keeps_place else None
    ring = _lost(truth, edited, around) if truth.keeps_place else _thing_lost(truth, edited)
    fit = _fit(truth, edited, place) if truth.keeps_place else None
    inside = np.stack([binary_erosion(covered) for covered in place.covers])
    pixels = edited[inside] if inside.any() else np.zeros((1, 3))
    coloured, shown = _alike(pixels, truth.colours), _alike(truth.colours, pixels)
    rest, changed = (None, None) if truth.keeps_shape else _left_behind(truth, edited, place)
    flicker = _flicker(truth, edited) / _flicker(truth, truth.true_round_trip)
    missed = None if truth.keeps_shape else _missed_motion(truth, place)
    checks = {
        "not seen": share < SEEN_IN,
        "far background": far is not None and far > FAR_LOSS,
        "ring": ring is not None and ring > RING_LOSS,
        "outline": fit is not None and fit < OUTLINE,
        "colour": coloured < COLOURED or shown < SHOWN,
        "rests": rest is not None and rest > REST,
        "old place": changed is not None and changed > CHANGED,
        "flicker": flicker > FLICKER,
    }
    refused = tuple(name for name, is_refused in checks.items() if is_refused)
    return Acceptance(refused, share, far, ring, fit, coloured, shown, rest, changed, flicker, missed)


def words_seen(scene: Scene, frames: np.ndarray, judge: Judge) -> float:
    """The share of frames in which the judge sees every word of the scene, each frame together with its neighbours."""
    right = []
    for field, values in frame_probabilities(judge, torch.from_numpy(frames)).items():
        likely = uniform_filter1d(values.numpy(), AT_ONCE, axis=0, mode="nearest").argmax(axis=-1)
        right.append(likely == scenes.FIELDS[field].index(getattr(scene, field)))
    return float(np.all(right, axis=0).mean())


def _lost(truth: Truth, edited: np.ndarray, where: np.ndarray) -> float:
    """dB below the VAE's round trip of the source."""
    weights = where.astype(np.float32)
    return of_arrays(truth.round_trip, truth.frames, weights) - of_arrays(edited, truth.frames, weights)


def _thing_lost(truth: Truth, edited: np.ndarray) -> float:
    """Of the thing itself, where all around it changes."""
    return _lost(truth, edited, np.stack([binary_erosion(thing, iterations=NEAR) for thing in truth.old.covers]))


def _alike(some: np.ndarray, others: np.ndarray) -> float:
    """The share of some colours [pixels, 3] that one of the others is near to."""
    return float((KDTree(others).query(some, distance_upper_bound=COLOUR)[0] <= COLOUR).mean())


def _fit(truth: Truth, edited: np.ndarray, place: Place) -> float:
    shown = [place_of(*pictures) for pictures in zip(edited, truth.without, strict=True)]
    return float(np.median([overlap(*pair) for pair in zip(shown, place.seen, strict=True)]))


def _left_behind(truth: Truth, edited: np.ndarray, place: Place) -> tuple[float, float]:
    """Of the place that the old thing leaves, the share that is nearer to it than to the empty scene, and the share
    that differs from the empty scene."""
    rest, changed = [], []
    for picture, old, bare, left in zip(
        edited, truth.frames, truth.without,
        truth.old.seen & ~np.stack([binary_dilation(new, iterations=NEAR) for new in place.touches]), strict=True,
    ):  # fmt: skip
        if left.any():
            rest.append((distance(picture, old) < distance(picture, bare))[left])
            changed.append((distance(picture, bare, 9) > CHANGE)[left])
    return tuple(float(np.concatenate(values).mean()) if values else 0.0 for values in (rest, changed))


def _missed_motion(truth: Truth, place: Place) -> float:
    """How far the middle of the thing strays from the true one's way, as a share of that way (root mean squares); 1 for
    a thing that stays where it is."""
    paths = [np.array([center_of_mass(covered) for covered in clip]) for clip in (place.covers, truth.new.covers)]
    way, true_way = (path - path.mean(axis=0) for path in paths)
    return float(np.sqrt(np.square(way - true_way).sum() / np.square(true_way).sum()))


def _flicker(truth: Truth, clip: np.ndarray) -> float:
    """The mean change from frame to frame near the things."""
    near = truth.away <= FAR
    return float(np.abs(np.diff(clip, axis=0))[near[1:] | near[:-1]].mean())
