"""The workflow for LTX-2, which needs neither inflation nor tuning."""

from __future__ import annotations

from .courses import RIDER, ROBOT
from .recipe import recipe
from .worlds import LTX2


@recipe(
    """## Word swap on LTX-2

LTX-2 sees all frames together, so there is no Inflate UNet and no Tune on Video: its own attention over all frames
stands for the attention over time. The edit acts on the pictures alone; **the sound is the source's**, as it is in the
file. To let the model hear it while it draws, encode it (LTXV Audio VAE Encode) and put both latents together (LTXV
Concat AV Latent) before *DDIM Invert*.

**LTXVConditioning** tells the model the speed of the clip. *Null text* goes to *Decoupled Sample* as well: an inversion
does not keep all that LTX reads of it.""",
    LTX2,
)
def word_swap(studio):
    graph = studio.graph
    studio.open(RIDER)
    conditioned = graph.add("LTXVConditioning", positive=studio.source, negative=studio.null, frame_rate=studio.fps)
    studio.source, studio.null = conditioned
    graph.column("3 Invert")
    studio.invert("direct", cfg=3.0)
    graph.column("4 Edit")
    edit = studio.control(ROBOT, blend_source="man", blend_target="robot", temporal_window=0.3)
    sampled = studio.sample(edit["edit"])
    graph.column("5 Result")
    studio.save(sampled["edited"])
    graph.column("6 Look closer")
    studio.check(sampled, sampled["mask"])
