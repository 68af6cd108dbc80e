"""The word maps that LocalBlend cuts its mask from, as the cross attention of an edit reports them."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...edit.local_blend import step_maps
from ..families.family import WordMapLayers
from ..families.table import family_of
from ..model.context_passes import merged


@dataclass
class WordMaps:
    """The word maps of one branch under one target's words: of this step so far, and summed over the steps."""

    passes: dict = field(default_factory=dict)  # frames of a pass -> (the pass, {layer: probabilities})
    total: torch.Tensor | None = None  # [frames, groups, rows, columns], None before the first

    def add(self, layer: Hashable, probabilities: Tensor, options: dict[str, Any]) -> None:
        window = options.get("context_window")
        _, layers = self.passes.setdefault(window and window.key, (window, {}))
        # Another node may evaluate the model again within the step (perturbed attention, for one): the first counts.
        layers.setdefault(layer, probabilities)

    def end_step(self, grid: tuple[int, int]) -> None:
        if not self.passes:  # of a conditioning that is not in use in this step
            return
        maps = merged((window, step_maps(list(layers.values()), grid)) for window, layers in self.passes.values())
        self.total = maps if self.total is None else self.total + maps
        self.passes = {}


def word_map_layers(model: ModelPatcher, size: Sequence[int], blocks: str = "") -> WordMapLayers:
    """The layers of a MODEL whose word maps make a mask for latents of this (height, width), as Family has it."""
    return family_of(model).word_map_layers(model.get_model_object("diffusion_model"), size, blocks)
