"""What an edit of the demo world may cost: its steps, and how long it is guided."""

from __future__ import annotations

from dataclasses import dataclass

from ..videop2p_core.edit.curves import KeyFrames


@dataclass(frozen=True)
class Way:
    """steps: of edits that keep the shape; new_steps: of a new thing or background; guidance: None for the model's own;
    distilled: by the latent consistency LoRA, which is not guided.

    An edit takes three forwards a step, inversion included: two of the edit where it is guided, one of the source.
    """

    steps: int
    new_steps: int
    guidance: KeyFrames | None = None
    distilled: bool = False


# The demo model's own guidance, ended halfway: the null half is left out from there on.
GUIDED_FOR_HALF = KeyFrames(((0.0, 5.0), (0.299, 5.0), (0.3, 2.5), (0.499, 2.5), (0.5, 1.0)))
WAYS = {
    "50 steps": Way(50, 50),
    "20 steps": Way(20, 20),
    "12 steps": Way(12, 12),
    "8 steps": Way(8, 8),
    "5 steps": Way(5, 5),
    "5 steps, 8 of new things": Way(5, 8),
    "6 steps, half of them guided": Way(6, 6, GUIDED_FOR_HALF),
    "4 steps, distilled": Way(4, 4, distilled=True),
}
DEFAULT_WAY = "8 steps"
