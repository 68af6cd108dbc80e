"""What the nodes of this pack pass to each other, and the choices that several share."""

from comfy_api.latest import io

CATEGORY = "video/Video-P2P"
MEMORY = ("fast", "save memory")  # whether activations are kept for the backward pass
KEEPING = ("off", "in memory", "on disk")  # where the source's queries and keys are kept

Edit = io.Custom("VP2P_EDIT")
Inversion = io.Custom("VP2P_INVERSION")
Tuning = io.Custom("VP2P_TUNING")
