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
from torch import Tensor

from ..comfy.other_packs import as_in_its_file, has_motion
from ..families.unet import layers_below
from .frame_attention import ForwardPatch

KEY = "videop2p_caching"


class FeatureCache:
    """The features of every n-th step, for the steps between; within a sampling call, which leaves nothing behind.

    Before each model call `at(step, key)` says which step it is and whose call, (branch, pass) for instance. What is
    not known from the last full step is evaluated in full.
    """

    def __init__(self, every: int):
        if every < 1:
            raise ValueError(f"features of every {every}th step were asked for: give 1 for all steps, or more")
        self.every = every
        self.step, self.key = 0, None
        self.turns = Counter()  # how often a conditioning entry was evaluated since `at`
        self.kept = {}  # an entry's evaluation -> {layer: what it gave}, since the last full step
        self.unet: Any = None  # of the batch that runs, as what follows
        self.given: list[dict[str, Any]] = []  # one an entry
        self.stands_in = False

    def full(self, step: int) -> bool:
        """Whether all of this step's evaluations are full."""
        return step % self.every == 0

    def at(self, step: int, key: Hashable) -> None:
        if step // self.every != self.step // self.every:
            self.kept.clear()
        self.step, self.key = step, key
        self.turns.clear()

    def __call__(self, executor: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Around the UNet."""
        options = kwargs["transformer_options"] if "transformer_options" in kwargs else args[4]
        # An entry at a time: the host batches conditional and unconditional half as memory allows, each call anew.
        entries = list(zip(options["uuids"], options["cond_or_uncond"], strict=True))
        evaluations = [self._evaluation(entry, len(x) // len(entries), x.shape[1:]) for entry in entries]
        self.stands_in = not self.full(self.step) and all(one in self.kept for one in evaluations)
        self.given = [self.kept[one] if self.stands_in else {} for one in evaluations]
        self.unet = executor.class_obj
        out = executor(x, *args, **kwargs)
        self.kept.update(zip(evaluations, self.given, strict=True))
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
            self.kept.clear()
            self.given = []


@dataclass(frozen=True)
class LeftOut(ForwardPatch):
    """A layer below the full resolution. clip: the FeatureCache, which knows the UNet as a Clip does."""

    clip: FeatureCache

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if self.clip.stands_in:
            # Nobody looks at it, but ControlNets are added in place and patches of other nodes expect its shape.
            return x.new_zeros(len(x), *self.clip.given[0][self.name])
        h = self.own_forward(x, *args, **kwargs)
        for given in self.clip.given:
            given[self.name] = h.shape[1:]
        return h


@dataclass(frozen=True)
class StandsIn(ForwardPatch):
    """The last layer below the full resolution, whose output is kept. clip: the FeatureCache."""

    clip: FeatureCache

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        if not self.clip.stands_in:
            h = self.own_forward(*args, **kwargs)
            for given, part in zip(self.clip.given, h.chunk(len(self.clip.given)), strict=True):
                given[self.name] = part
        return torch.cat([given[self.name] for given in self.clip.given])  # a copy, as FreeU writes into what it gets


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
    with as_in_its_file(model) as own:
        *left_out, last = layers_below(own.get_model_object("diffusion_model"))
    for name, patch in (*((name, LeftOut) for name in left_out), (last, StandsIn)):
        path = f"diffusion_model.{name}.forward"
        model.add_object_patch(path, patch(name, cache, model.object_patches.get(path)))
    return model
