"""Inflate UNet: an image model that reads a batch as the frames of a clip."""

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..videop2p_core.diffusion.attention import FRAMES_READ
from ..videop2p_core.host.model.frame_attention import Inflation
from ..videop2p_core.host.model.inflate import inflate
from ..videop2p_core.host.model.input_checks import check_inflatable, check_untuned
from .types import CATEGORY


class InflateUNet(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VP2P_InflateUNet",
            display_name="Inflate UNet",
            category=CATEGORY,
            search_aliases=["video p2p", "text to set", "tune-a-video", "frame attention", "temporal attention"],
            description=(
                "Makes an image model (SD 1.x, 2.x, XL) read a batch as the frames of one clip. The defaults suit a "
                "model that is not tuned; for one tuned on the clip, let frames read the first one and turn on the "
                "norm over frames. Any sampler takes the result."
            ),
            inputs=[
                io.Model.Input("model", tooltip="The image model to inflate. Put LoRA loaders before this node."),
                io.Combo.Input(
                    "frames_read",
                    options=list(FRAMES_READ),
                    default=Inflation.frames_read,
                    tooltip=(
                        "Which frames each frame looks at in self-attention. 'first' is Video-P2P's choice for a tuned "
                        "model, 'first+self' keeps detail without tuning, 'first+previous' is Tune-A-Video's; 'all' is "
                        "steadiest and slowest."
                    ),
                ),
                io.Boolean.Input(
                    "temporal_layers",
                    default=Inflation.temporal_layers,
                    tooltip=(
                        "Attention over time at the end of every transformer block. It changes nothing until it is "
                        "tuned on a clip; leave it on before Tune on Video."
                    ),
                ),
                io.Boolean.Input(
                    "norm_over_frames",
                    default=Inflation.norm_over_frames,
                    tooltip=(
                        "Group norms take their statistics over all frames together, as in the official Video-P2P. "
                        "Good for tuned models; off is what an image model expects."
                    ),
                ),
                io.Int.Input(
                    "window",
                    default=Inflation.window,
                    min=1,
                    max=64,
                    advanced=True,
                    tooltip="Only for frames_read = window: how many frames to either side a frame looks at.",
                ),
                io.Int.Input(
                    "frames_per_pass",
                    default=Inflation.frames_per_pass,
                    min=0,
                    max=4096,
                    advanced=True,
                    tooltip=(
                        "Longer clips go through the model in overlapping passes of so many frames, all of which see "
                        "frame 0: memory no longer grows with the clip. 16 suits most; 0 takes every clip at once."
                    ),
                ),
                io.Int.Input(
                    "pass_overlap",
                    default=Inflation.overlap,
                    min=0,
                    max=2048,
                    advanced=True,
                    tooltip="How many frames two passes share, to go over smoothly from one to the next.",
                ),
            ],
            outputs=[io.Model.Output(tooltip="A clone of the model that reads a batch as one clip.")],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        frames_read: str,
        temporal_layers: bool,
        norm_over_frames: bool,
        window: int,
        frames_per_pass: int,
        pass_overlap: int,
    ) -> io.NodeOutput:
        check_inflatable(model)
        check_untuned(model)
        inflation = Inflation(frames_read, window, temporal_layers, norm_over_frames, frames_per_pass, pass_overlap)
        return io.NodeOutput(inflate(model, inflation))


NODES = [InflateUNet]
