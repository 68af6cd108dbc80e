"""What is measured of an edited clip: the paper's figures, the demo world's judge in the place of CLIP and LPIPS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ...videop2p_core.host.images.edit_metrics import object_square
from ...videop2p_core.images.metrics import object_semantic_variance, psnr
from ..acceptance import FAR, Truth, accepted
from ..judge import SIDE, Judge, probabilities
from .steadiness import Flow, flicker


@dataclass(frozen=True)
class Figures:
    """words      100 times the mean probability that the judge gives the target's words
    changed       the same of the word that is changed
    background    masked PSNR: outside of both things, against the source [dB]; None where all around them changes
    distance      of what must stay, in the judge's features, as LPIPS measures it in those of another network
    variance      object semantic variance, of the judge's features of the thing
    flicker       change from frame to frame beside the true flow, as a multiple of the true clip's round trip
    accepted      whether a person would keep it
    reconstruction  of the source, under guidance [dB]; None where the method brings it back by itself
    seconds       that the edit took, its tuning and inversion included where no other method had made them
    """

    words: float
    changed: float
    background: float | None
    distance: float | None
    variance: float
    flicker: float
    accepted: bool
    reconstruction: float | None = None
    seconds: float | None = None


def measured(
    truth: Truth,
    moved: list[Flow],
    field: str,
    frames: Tensor,
    judge: Judge,
    rebuilt: Tensor | None = None,
    seconds: float | None = None,
) -> Figures:
    """moved: the true target's flow; field: of the scene, which the edit changes; frames, rebuilt: [frames, height,
    width, 3], the edit and the source as the method reconstructs it."""
    edited, source = frames.numpy(), torch.from_numpy(truth.frames)
    likely = {name: likelihood(judge, truth, name, frames) for name in judge.fields}
    place = torch.from_numpy(truth.edited(truth.old) | truth.edited(truth.new)).float()
    background = distance = None
    if truth.keeps_place:
        background = psnr(frames, source, 1 - place)
        distance = feature_distance(judge, torch.lerp(frames, source, place[..., None]), source)
    near = truth.away <= FAR
    return Figures(
        100 * float(np.mean(list(likely.values()))),
        100 * likely[field],
        background,
        distance,
        object_semantic_variance(object_features(judge, frames, torch.from_numpy(truth.new.covers))),
        flicker(edited, moved, near) / flicker(truth.true_round_trip, moved, near),
        not accepted(truth, edited, judge).refused,
        None if rebuilt is None else psnr(rebuilt, source),
        seconds,
    )


def likelihood(judge: Judge, truth: Truth, field: str, frames: Tensor) -> float:
    """The mean probability of the target's value of a field."""
    return float(probabilities(judge, frames)[field][judge.fields[field].index(getattr(truth.target, field))])


def feature_distance(judge: Judge, a: Tensor, b: Tensor) -> float:
    """How far frames [frames, height, width, 3] are apart in the judge's features: of each layer the squared difference
    of unit vectors over the channels, its mean over places and layers (arXiv 1801.03924, without learnt weights)."""
    layers = zip(features(judge, a), features(judge, b), strict=True)
    apart = [(F.normalize(x, dim=1) - F.normalize(y, dim=1)).square().sum(dim=1).mean() for x, y in layers]
    return float(torch.stack(apart).mean())


def object_features(judge: Judge, frames: Tensor, mask: Tensor) -> Tensor:
    """[frames, channels]: the judge's last features of the masked thing, their mean over its square."""
    squares = [object_square(frame, place) for frame, place in zip(frames, mask, strict=True) if place.any()]
    return torch.cat([features(judge, square)[-1].mean(dim=(2, 3)) for square in squares])


def features(judge: Judge, frames: Tensor) -> list[Tensor]:
    """What the judge makes of frames after each of its layers: [frames, channels, rows, columns] each."""
    pictures = rearrange(frames.float(), "f h w c -> f c h w")
    x: Any = F.interpolate(pictures, size=(SIDE, SIDE), mode="area") * 2 - 1
    layers = []
    with torch.inference_mode():
        for layer in judge.features:
            x = layer(x)
            if isinstance(layer, torch.nn.ReLU):
                layers.append(x)
    return layers
