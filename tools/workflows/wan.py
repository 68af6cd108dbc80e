"""The workflows for Wan, which needs neither inflation nor tuning."""

from __future__ import annotations

from .courses import RIDER, ROBOT
from .recipe import recipe
from .worlds import WAN, WAN22


@recipe(
    """## Word swap on Wan

Wan sees all frames together, so there is no Inflate UNet and no Tune on Video: its own attention over all frames stands
for the attention over time. The inversion is *direct*; keep_source, passes and cache_every are for image models.

**blend words** are found by the middle half of the model's blocks; *blend blocks* of Attention Controller names others.
*temporal window* keeps the motion. While a window is open, the source goes through the model block by block beside its
target: one block of it is kept in main memory at a time.""",
    WAN,
    WAN22,
)
def word_swap(studio):
    studio.open(RIDER)
    studio.graph.column("3 Invert")
    studio.invert("direct", cfg=5.0)
    studio.graph.column("4 Edit")
    edit = studio.control(ROBOT, blend_source="man", blend_target="robot", temporal_window=0.3)
    sampled = studio.sample(edit["edit"])
    studio.graph.column("5 Result")
    studio.save(sampled["edited"])
    studio.graph.column("6 Look closer")
    studio.check(sampled, sampled["mask"])
