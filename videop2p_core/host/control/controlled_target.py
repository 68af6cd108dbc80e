"""A target of an edit, as the attention layers know it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from ...edit.local_blend import Blend
from ...edit.matrices import Edit
from ..families.family import WordMapLayers


class Looking(NamedTuple):
    """Words that look for a mask: their blend, and the layers that make their maps."""

    blend: Blend
    layers: WordMapLayers


@dataclass(frozen=True)
class ControlledTarget:
    """One target: its edit, its blend, and the uuid of the conditioning entry that the edit belongs to.

    layers: those that make the word maps of the blend
    """

    edit: Edit
    entry: UUID
    blend: Blend | None = None
    layers: WordMapLayers | None = None

    def takes_from_source(self, step: int) -> bool:
        """Whether it takes the source's queries and keys in a step."""
        return not self.edit.is_identity(step) or bool(self.edit.temporal[step])

    def looking(self, step: int) -> Looking | None:
        """Its blend and the layers that make its word maps; None where its words do not look in this step."""
        if self.blend is None or not self.blend.looks(step, self.edit.steps):
            return None
        if self.layers is None:
            raise ValueError("a blend needs the layers that make its word maps")
        return Looking(self.blend, self.layers)
