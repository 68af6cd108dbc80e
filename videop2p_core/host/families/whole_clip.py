"""What families of video models have alike: they take a clip as one latent, and each attention and block gets a slot
of ours."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Iterable, Iterator, Sequence
from math import prod
from typing import Any

from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...diffusion.inversion import ON_PATH
from ..comfy.expert_pair import on_each
from ..comfy.latents import grid_of
from ..comfy.model_patches import SlotAttention
from .chosen_blocks import ChosenBlocks, chosen_numbers
from .family import Family, WordMapLayers
from .forward_slots import AttentionSlot, CrossAttentionSlot, with_block_slots, with_slots
from .support import Feature


class WholeClip(Family):
    """A family whose networks see all frames together, and have no slots of the host's."""

    sees_whole_clip = goes_in_step = True
    supports = frozenset[Feature]()
    inversions = ON_PATH

    @abstractmethod
    def slots(self, network: Any) -> Iterator[AttentionSlot]:
        """Of both attentions of every block."""

    @abstractmethod
    def patch(self, network: Any) -> tuple[int, int, int]:
        """(frames, rows, columns) of a latent that are one place."""

    @abstractmethod
    def channels(self, network: Any) -> int:
        """Of a place, as it goes from block to block."""

    @abstractmethod
    def blocks(self, network: Any) -> Iterable[str]:
        """The names of its blocks, in their order."""

    def cross_attention_layers(self, network: Any) -> list[Hashable]:
        return [slot.name for slot in self.slots(network) if isinstance(slot, CrossAttentionSlot)]

    def word_map_layers(self, network: Any, size: Sequence[int], blocks: str) -> WordMapLayers:
        _, *patch = self.patch(network)
        rows, columns = (-(-side // step) for side, step in zip(size, patch, strict=True))
        layers = self.cross_attention_layers(network)
        numbers = chosen_numbers(blocks, len(layers))
        return ChosenBlocks((rows, columns), frozenset(str(layers[number]) for number in numbers))

    def recorded_values(self, network: Any, clip: Tensor, tokens: int, beside: int, cross: bool, temporal: bool) -> int:
        patch = self.patch(network)
        places = prod(grid_of(clip.movedim(0, 1)[None], patch)) + beside // prod(patch)
        return self.channels(network) * (cross * (places + tokens) + temporal * 2 * places)

    def with_slots(self, model: ModelPatcher) -> ModelPatcher:
        return on_each(model, self._with_slots)

    def _with_slots(self, model: ModelPatcher) -> ModelPatcher:
        network = model.get_model_object("diffusion_model")
        return with_block_slots(with_slots(model, self.slots(network)), self.blocks(network))

    def fill_attention(
        self, cross: SlotAttention | None, frame: SlotAttention | None, executor: Any, *args: Any, **kwargs: Any
    ) -> Tensor:
        return executor(*args, **kwargs)  # the slots ask by themselves
