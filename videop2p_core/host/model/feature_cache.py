"""Feature caching: most steps leave the UNet's lower levels out and take what those gave last (arXiv 2312.00858).

Below the full resolution lies everything from the first Downsample to the last Upsample. Object patches on the
`forward` of these layers keep what comes out of the last one, or let it stand in; a wrapper around the UNet tells them
which.
"""

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from torch import Tensor, nn

from ..comfy.model_patches import options_of
from ..comfy.other_packs import as_in_its_file, has_motion
from ..families.unet import layers_below
from .forward_patches import ForwardPatch, patch_forward

KEY = "videop2p_caching"


class FeatureCache:
    """The features of every n-th step, for the steps between; within a sampling call, which leaves nothing behind.

    Before each model call `at(step, key)` says which step it is and whose call, (branch, pass) for instance. What is
    not known from the last full step is evaluated in full.
    """

    def __init__(self, every: int) -> None:
        if every < 1:
            raise ValueError(f"features of every {every}th step were asked for: give 1 for all steps, or more")
        self.every = every
        self.step, self.key = 0, None
        self.turns = Counter()  # how often a conditioning entry was evaluated since `at`
        self.entry_features = {}  # an entry's evaluation -> {layer: what it gave}, since the last full step
        self.unet: Any = None  # of the batch that runs, as what follows
        self.features: list[dict[str, Any]] = []  # one an entry
        self.stands_in = False

    def full(self, step: int) -> bool:
        """Whether all of this step's evaluations are full."""
        return step % self.every == 0

    def at(self, step: int, key: Hashable) -> None:
        if step // self.every != self.step // self.every:
            self.entry_features.clear()
        self.step, self.key = step, key
        self.turns.clear()

    def __call__(self, executor: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Around the UNet."""
        options = options_of((x, *args), kwargs)
        # An entry at a time: the host batches conditional and unconditional half as memory allows, each call anew.
        entries = list(zip(options["uuids"], options["cond_or_uncond"], strict=True))
        evaluations = [self._evaluation(entry, len(x) // len(entries), x.shape[1:]) for entry in entries]
        self.stands_in = not self.full(self.step) and all(one in self.entry_features for one in evaluations)
        self.features = [self.entry_features[one] if self.stands_in else {} for one in evaluations]
        self.unet = executor.class_obj
        out = executor(x, *args, **kwargs)
        self.entry_features.update(zip(evaluations, self.features, strict=True))
        return out

    def _evaluation(self, *of: Hashable) -> Hashable:
        # Other nodes evaluate an entry once more within a step, otherwise attended.
        self.turns[of] += 1
        return self.key, of, self.turns[of]

    def within(self, executor: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Around sampling: the host leaves the patches, and so this cache, on the UNet until it loads another MODEL."""
        try:
            return executor(*args, **kwargs)
        finally:
            self.entry_features.clear()
            self.features = []


@dataclass(frozen=True)
class BelowFullResolution(ForwardPatch):
    """On a layer whose UNet the cache knows."""

    cache: FeatureCache

    def unet(self) -> nn.Module:
        return self.cache.unet


class LeftOut(BelowFullResolution):
    """A layer below the full resolution."""

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if self.cache.stands_in:
            # Nobody looks at it, but ControlNets are added in place and patches of other nodes expect its shape.
            return x.new_zeros(len(x), *self.cache.features[0][self.name])
        h = self.own_forward(x, *args, **kwargs)
        for features in self.cache.features:
            features[self.name] = h.shape[1:]
        return h


class StandsIn(BelowFullResolution):
    """The last layer below the full resolution, whose output is kept."""

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        if not self.cache.stands_in:
            h = self.own_forward(*args, **kwargs)
            for features, part in zip(self.cache.features, h.chunk(len(self.cache.features)), strict=True):
                features[self.name] = part
        # A copy, as FreeU writes into what it gets.
        return torch.cat([features[self.name] for features in self.cache.features])


def cached(model: ModelPatcher, cache: FeatureCache) -> ModelPatcher:
    """A clone of MODEL that evaluates in full only where the FeatureCache lacks the features."""
    model = model.clone()
    if cache.every == 1:
        return model
    if has_motion(model):
        raise ValueError(
            "features of a UNet with AnimateDiff-Evolved's motion modules in it are not cached: set cache every to 1"
        )
    model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, KEY, cache)
    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, cache.within)
    with as_in_its_file(model) as in_file:
        *left_out, last = layers_below(in_file.get_model_object("diffusion_model"))
    for name, patch in (*((name, LeftOut) for name in left_out), (last, StandsIn)):
        patch_forward(model, patch, name, cache)
    return model
