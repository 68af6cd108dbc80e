"""What the source's layers saw, on its way to the targets that look at it."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from ...device_transfer import Ferry
from ...diffusion.attention import head_groups
from ...diffusion.attention_records import QueryKey
from ..comfy.model_patches import may_lock_pages


class SourceRecording:
    """The source's queries and keys by layer: of a step and pass, or of a block of it where a target goes in step.

    on_cpu: whether they are kept in main memory; at: the step and pass that they are of; mask: which of its tokens the
    source sees, as AttentionCall has it
    """

    def __init__(self, on_cpu: bool) -> None:
        self.on_cpu, self.ferry = on_cpu, Ferry(may_lock_pages())
        self.at: tuple[int, str] | None = None
        self.layers: dict[str, QueryKey] = {}
        self.mask: Tensor | None = None

    def begin(self, step: int, part: str) -> None:
        self.layers, self.at = {}, (step, part)

    def keep(self, layer: str, q: Tensor, k: Tensor) -> None:
        if layer not in self.layers:  # the first evaluation of a step counts, as in WordMaps.add
            # A slice would keep the other half of the batch alive for the whole step.
            q, k = (self.ferry.out(x, x.dtype) if self.on_cpu else x.clone() for x in (q, k))
            self.layers[layer] = q, k


def parts_of(layer: str, channels: int, heads: int, several: bool) -> list[tuple[str, slice, int]]:
    """(name, channels, heads) of what is kept of a layer's attention over time, and comes back at a time: several parts
    of its heads, or all."""
    if not several:
        return [(layer, slice(None), heads)]
    return [(f"{layer}, part {i}", *group) for i, group in enumerate(head_groups(channels, heads))]


def joined(parts: Iterable[Tensor]) -> Tensor:
    """Of what the parts of a layer's heads gave [rows, places, channels] the whole."""
    first, *others = parts
    return torch.cat([first, *others], dim=-1) if others else first
