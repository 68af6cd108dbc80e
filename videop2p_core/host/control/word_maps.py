"""The word maps that LocalBlend cuts its mask from, as the cross attention of an edit reports them."""

from dataclasses import dataclass, field

import torch

from ...edit.local_blend import blend_grid, check_grid, step_maps
from ..families.wan import ChosenBlocks, chosen_blocks, is_wan
from ..model.context_passes import merged
from ..model.unet_layers import cells_of, transformer_blocks


@dataclass
class WordMaps:
    """The word maps of one branch under one target's words: of this step so far, and summed over the steps."""

    passes: dict = field(default_factory=dict)  # frames of a pass -> (the pass, {layer: probabilities})
    total: torch.Tensor | None = None  # [frames, groups, rows, columns], None before the first

    def add(self, layer, probabilities, options):
        window = options.get("context_window")
        _, layers = self.passes.setdefault(window and window.key, (window, {}))
        # Another node may evaluate the model again within the step (perturbed attention, for one): the first counts.
        layers.setdefault(layer, probabilities)

    def close_step(self, grid):
        if not self.passes:  # of a conditioning that is not in use in this step
            return
        maps = merged((window, step_maps(list(layers.values()), grid)) for window, layers in self.passes.values())
        self.total = maps if self.total is None else self.total + maps
        self.passes = {}


@dataclass(frozen=True)
class LayersOnGrid:
    """The layers of a UNet that work on so many (rows, columns)."""

    grid: tuple[int, int]

    def feed(self, layer, options) -> bool:
        return tuple(options["activations_shape"][-2:]) == self.grid

    def by_frame(self, probabilities, options):
        return probabilities


def word_map_layers(model, size, blocks: str = "") -> LayersOnGrid | ChosenBlocks:
    """The layers whose word maps make a mask for latents of this (height, width). blocks: of a video model, chosen
    ones. Raises ValueError, in a sentence, where there are none."""
    network = model.get_model_object("diffusion_model")
    if is_wan(network):
        return chosen_blocks(network, size, blocks)
    if blocks.strip():
        raise ValueError(
            "blend blocks can be chosen on a video model alone, an image model's mask comes from the layers of one "
            "resolution: leave them empty"
        )
    grid = blend_grid(*size)
    check_grid(grid, [cells_of(network, name, size) for name in transformer_blocks(network)])
    return LayersOnGrid(grid)
