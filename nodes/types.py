"""What the nodes of this pack pass to each other and show, and the choices that several share."""

from comfy_api.latest import io, ui
from torch import Tensor

from ..videop2p_core.host.images.preview import previewed

CATEGORY = "video/Video-P2P"
MEMORY = ("fast", "save memory")  # whether activations are kept for the backward pass
KEEPING = ("off", "in memory", "on disk")  # where the source's queries and keys are kept

Edit = io.Custom("VP2P_EDIT")
Inversion = io.Custom("VP2P_INVERSION")
Tuning = io.Custom("VP2P_TUNING")
Crop = io.Custom("VP2P_CROP")
Looks = io.Custom("VP2P_LOOKS")


def animated(frames: Tensor, fps: float) -> ui.SavedImages:
    """A preview of IMAGE frames on the node, in motion."""
    file = ui.ImageSaveHelper.save_animated_webp(
        previewed(frames), "videop2p", io.FolderType.temp, None, fps=fps, lossless=False, quality=90, method=0
    )
    return ui.SavedImages([file], is_animated=len(frames) > 1)
