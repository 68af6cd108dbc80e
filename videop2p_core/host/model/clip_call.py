"""What is true of one call of an inflated UNet, as all patches that act in it see it."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from torch import nn

CLIP_LENGTH = "videop2p_clip_length"  # where transformer_options say how many frames are sampled


@dataclass(frozen=True)
class ClipCall:
    """unet: the one that runs, which may be a copy of the one that was patched
    frames, rows: of the clip, and of the batch, which holds the clip once for each conditioning entry
    occupants: of the self-attention slots that other nodes hold, {slot: occupant}
    """

    unet: nn.Module
    frames: int
    rows: int
    occupants: Mapping[Any, Any] = field(default_factory=dict)

    def is_occupied(self, options: dict[str, Any]) -> bool:
        """Whether another node holds the self-attention of the layer that runs."""
        block = options["block"]
        return (*block, options["block_index"]) in self.occupants or block in self.occupants


# A norm is given no options, so this goes by the context of the call, which recomputed activations keep.
CLIP_CALL: ContextVar[ClipCall] = ContextVar("videop2p_clip_call")
