"""Crop Region: only the part of a large clip that changes is edited, at the resolution of the model."""

from comfy_api.latest import io
from torch import Tensor

from ..videop2p_core.host.images.crop_region import crop_region
from ..videop2p_core.images.crop import UNIT
from .types import CATEGORY, Crop


class CropRegion(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VP2P_CropRegion",
            display_name="Crop Region",
            category=CATEGORY,
            search_aliases=["video p2p", "crop and stitch", "inpaint crop", "crop to mask", "zoom in"],
            description=(
                "Cuts the part of a clip that an edit needs out of all its frames and scales it to the resolution of "
                "the model. Composite Edit sets the edit back into the whole clip: larger pictures for less memory, "
                "and small things drawn as well as large ones."
            ),
            inputs=[
                io.Image.Input("images", tooltip="The frames of the whole clip, at full size."),
                io.Mask.Input(
                    "masks",
                    tooltip=(
                        "What is to be edited, one a frame or one for all: from Attention Maps or Edit Region of a "
                        "small copy of the clip, from a segmentation, or painted."
                    ),
                ),
                io.Int.Input(
                    "longest",
                    default=512,
                    min=UNIT,
                    max=4096,
                    step=UNIT,
                    tooltip="Pixels of the longer side of what the model is given: 512 for SD1.5, 1024 for SDXL.",
                ),
                io.Float.Input(
                    "margin",
                    default=0.3,
                    min=0.0,
                    max=4.0,
                    step=0.05,
                    tooltip=(
                        "Room around it, as a share of its longer side: for a thing of another outline, and for the "
                        "model to see where it is."
                    ),
                ),
            ],
            outputs=[
                io.Image.Output(
                    id="images", display_name="images", tooltip="The part, to encode and to describe in the prompts."
                ),
                io.Mask.Output(id="masks", display_name="masks", tooltip="The masks of that part."),
                Crop.Output(id="crop", display_name="crop", tooltip="Where it was, for Composite Edit."),
            ],
        )

    @classmethod
    def execute(cls, images: Tensor, masks: Tensor, longest: int, margin: float) -> io.NodeOutput:
        return io.NodeOutput(*crop_region(images, masks, longest, margin))


NODES = [CropRegion]
