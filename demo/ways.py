"""What an edit of the demo world may cost: its steps, and how long it is guided."""

from __future__ import annotations

from dataclasses import dataclass

from ..videop2p_core.edit.matrices import KeyFrames


@dataclass(frozen=True)
class Way:
    """steps: of edits that keep the shape; new_steps: of a new thing or background; guidance: None for the model's own.

    An edit takes three forwards a step, inversion included: two of the edit where it is guided, one of the source.
    """

    steps: int
    new_steps: int
    guidance: KeyFrames | None = None


WAYS = {
    "50 steps": Way(50, 50),
    "20 steps": Way(20, 20),
    "12 steps": Way(12, 12),
    "8 steps": Way(8, 8),
    "5 steps": Way(5, 5),
}
DEFAULT_WAY = "8 steps"
