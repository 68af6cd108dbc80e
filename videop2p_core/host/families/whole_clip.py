"""What families of video models have alike: they take a clip as one latent, and each attention and block gets a slot
of ours."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any

from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...diffusion.inversion import ON_PATH
from ..comfy.expert_pair import on_each
from ..comfy.model_patches import SlotAttention
from .family import Family
from .forward_slots import AttentionSlot, with_block_slots, with_slots
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
    def blocks(self, network: Any) -> Iterable[str]:
        """The names of its blocks, in their order."""

    def with_slots(self, model: ModelPatcher) -> ModelPatcher:
        return on_each(model, self._with_slots)

    def _with_slots(self, model: ModelPatcher) -> ModelPatcher:
        network = model.get_model_object("diffusion_model")
        return with_block_slots(with_slots(model, self.slots(network)), self.blocks(network))

    def fill_attention(
        self, cross: SlotAttention | None, frame: SlotAttention | None, executor: Any, *args: Any, **kwargs: Any
    ) -> Tensor:
        return executor(*args, **kwargs)  # the slots ask by themselves
