"""What the nodes of this pack pass to each other, and where they are in the menu."""

from comfy_api.latest import io

CATEGORY = "video/Video-P2P"

Edit = io.Custom("VP2P_EDIT")
Inversion = io.Custom("VP2P_INVERSION")
Tuning = io.Custom("VP2P_TUNING")
