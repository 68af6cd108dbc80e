"""The workflows that carry a tuning to other software and back."""

from __future__ import annotations

from .courses import RABBIT, edit_of
from .recipe import recipe

PREFIX = "rabbit"
FILE, TEMPORAL = f"{PREFIX}_00001_.safetensors", f"{PREFIX}_temporal_00001_.safetensors"
FULL = 128  # the widest layers of the demo model


@recipe(
    """## A tuning as a LoRA

Tunes, and writes the tuning as an ordinary LoRA into models/loras, and what no LoRA can hold, the layers over time,
into models/videop2p/tunings. *from_lora* goes on from the two.

The node tells how much the *rank* leaves out. At 128, the width of this model's widest layers, it is nothing; on a
checkpoint 64 is a good beginning. *layout* diffusers writes the whole UNet as the official code does, which this small
model is no example for.""",
)
def export(studio):
    studio.open(RABBIT)
    studio.graph.column("3 Tune")
    studio.inflate()
    studio.tune()
    studio.graph.column("4 Write it for others")
    studio.graph.add("VP2P_ExportTuning", model=studio.model, rank=FULL, filename_prefix=PREFIX)


@recipe(
    """## An edit from a LoRA

The tuning that *export* wrote, taken up in two parts: the LoRA by the stock loader before Inflate UNet, the layers over
time by Load Tuning after it. Run that workflow first, reload the browser page or press R, and choose the files.

A checkpoint of the official Video-P2P or Tune-A-Video takes the place of the second file, without the LoRA.""",
)
def from_lora(studio):
    studio.open(RABBIT)
    graph = studio.graph
    graph.column("3 The tuning, and the inversion")
    (studio.model,) = graph.add("LoraLoaderModelOnly", model=studio.model, lora_name=FILE)
    studio.inflate()
    studio.model = graph.add("VP2P_LoadTuning", model=studio.model, tuning_name=TEMPORAL)["MODEL"]
    studio.invert()
    edit_of(studio, [("a red heart on the beach", {"blend_source": "rabbit", "blend_target": "heart"})], [])
