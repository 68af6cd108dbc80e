"""Composite Edit: only the edited thing is new, the rest are the file's own pixels."""

from comfy_api.latest import io
from torch import Tensor

from ..videop2p_core.host.images.composite_edit import composite_edit
from ..videop2p_core.images.crop import Crop as Window
from ..videop2p_core.images.matte import MatteSettings
from .types import CATEGORY, Crop


class CompositeEdit(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VP2P_CompositeEdit",
            display_name="Composite Edit",
            category=CATEGORY,
            search_aliases=["video p2p", "matte", "keep background", "composite", "stitch", "restore background"],
            description=(
                "Sets the edited thing into the clip's own frames: outside of the matte every pixel is the file's. The "
                "matte follows the edges of the old thing in the source and of the new one in the edit."
            ),
            inputs=[
                io.Image.Input("source", tooltip="The clip's own frames, at full size."),
                io.Image.Input("edited", tooltip="The edited frames, decoded: scaled to the source's size if smaller."),
                io.Mask.Input("old_place", tooltip="Where the old thing stands, from Decoupled Sample, or any mask."),
                io.Mask.Input("new_place", tooltip="Where the new thing stands, from Decoupled Sample, or any mask."),
                io.Float.Input(
                    "threshold",
                    default=MatteSettings.threshold,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip=(
                        "How much of a place belongs to the thing. Lower where parts of the old thing are left, higher "
                        "where background around the new one is redrawn."
                    ),
                ),
                io.Int.Input(
                    "grow", default=MatteSettings.grow, min=0, max=256, tooltip="Pixels by which the matte is grown."
                ),
                io.Int.Input(
                    "feather",
                    default=MatteSettings.feather,
                    min=0,
                    max=256,
                    tooltip="Pixels over which the edited thing fades into the source. 0 for a hard edge.",
                ),
                io.Boolean.Input(
                    "keep_things",
                    default=False,
                    tooltip=(
                        "Off: the things are new and all around them is kept. On: the things are kept and all around "
                        "them is new, as for another background."
                    ),
                ),
                io.Boolean.Input(
                    "rests",
                    default=MatteSettings.rests,
                    optional=True,
                    tooltip=(
                        "For one thing in the place of another: takes in what joins the old thing and looks otherwise "
                        "in the edit, its wheels, tail or tips, for instance."
                    ),
                ),
                io.Boolean.Input(
                    "match_colours",
                    default=MatteSettings.match_colours,
                    optional=True,
                    tooltip=(
                        "For one thing in the place of another: what is drawn around the new thing takes the source's "
                        "colours from the seam, so that no pale patch is left in the old one's place."
                    ),
                ),
                Crop.Input(
                    "crop",
                    optional=True,
                    tooltip="From Crop Region, where only that part of the source was edited: the edit is set back.",
                ),
            ],
            outputs=[
                io.Image.Output(id="images", display_name="images", tooltip="The source's frames with the edit in."),
                io.Mask.Output(id="matte", display_name="matte", tooltip="1 where the edit is shown, 0 the source."),
            ],
        )

    @classmethod
    def execute(
        cls,
        source: Tensor,
        edited: Tensor,
        old_place: Tensor,
        new_place: Tensor,
        threshold: float,
        grow: int,
        feather: int,
        keep_things: bool,
        rests: bool = MatteSettings.rests,
        match_colours: bool = MatteSettings.match_colours,
        crop: Window | None = None,
    ) -> io.NodeOutput:
        settings = MatteSettings(threshold, rests, grow, feather, keep_things, match_colours)
        return io.NodeOutput(*composite_edit(source, edited, old_place, new_place, settings, crop))


NODES = [CompositeEdit]
