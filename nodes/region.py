"""Edit Region: masks that words made, for nodes that paint inside a mask."""

from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker
from torch import Tensor

from ..videop2p_core.host.images.edit_region import MOST, THRESHOLD, edit_region
from .types import CATEGORY

# What stands behind these outputs stops with this sentence.
NO_IMAGES = ExecutionBlocker("Edit Region has no images to show the region in: connect its images input")


class EditRegion(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VP2P_EditRegion",
            display_name="Edit Region",
            category=CATEGORY,
            search_aliases=["video p2p", "grow mask", "feather mask", "inpaint mask", "vace mask", "fill holes"],
            description=(
                "Makes the masks of Attention Maps or Decoupled Sample into a region that an inpainting node or a "
                "large video model can paint in: Video-P2P finds the place, the other model paints it."
            ),
            inputs=[
                io.Mask.Input("masks", tooltip="One a frame, of any size, soft or hard; or a single one for all."),
                io.Float.Input(
                    "threshold",
                    default=THRESHOLD,
                    min=0.01,
                    max=0.99,
                    step=0.01,
                    tooltip="What a mask must exceed to count. Less makes the region larger.",
                ),
                io.Int.Input(
                    "grow",
                    default=16,
                    min=0,
                    max=MOST["grow"],
                    tooltip="How many pixels wider the region is on every side: room for a thing of another outline.",
                ),
                io.Int.Input(
                    "feather",
                    default=8,
                    min=0,
                    max=MOST["feather"],
                    tooltip=(
                        "Over how many pixels to either side of its border the region fades. With no more than grow "
                        "the thing itself stays inside. 0 for Wan VACE, which reads hard masks."
                    ),
                ),
                io.Boolean.Input("fill", default=True, tooltip="Holes in the region belong to it."),
                io.Int.Input(
                    "steady",
                    default=1,
                    min=0,
                    max=MOST["steady"],
                    tooltip=(
                        "A place inside in one frame is inside in so many frames before and after it too, so that the "
                        "region does not flicker. 4 for Wan VACE, which reads one mask for four frames."
                    ),
                ),
                io.Image.Input(
                    "images",
                    optional=True,
                    tooltip="The frames of the clip: the region takes their size and is shown in them.",
                ),
            ],
            outputs=[
                io.Mask.Output(id="region", display_name="region", tooltip="1 where to paint, one mask a frame."),
                io.Image.Output(
                    id="greyed",
                    display_name="greyed",
                    tooltip="The images with the region in grey: the control video of Wan VACE.",
                ),
                io.Image.Output(
                    id="preview", display_name="preview", tooltip="The region in colour, the rest of the images dim."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        masks: Tensor,
        threshold: float,
        grow: int,
        feather: int,
        fill: bool,
        steady: int,
        images: Tensor | None = None,
    ) -> io.NodeOutput:
        region = edit_region(
            masks, images, threshold=threshold, fill=fill, grow=grow, feather=feather, steady=steady
        )  # fmt: skip
        shown = (NO_IMAGES, NO_IMAGES) if images is None else (region.greyed(), region.picture())
        return io.NodeOutput(region.mask, *shown)


NODES = [EditRegion]
