"""Compare Videos and Edit Metrics: what an edit did to a clip, to the eye and in numbers."""

from typing import Any

from comfy.sd import CLIP
from comfy_api.latest import io
from torch import Tensor

from ..videop2p_core.host.images.compare_videos import MODES, compare
from ..videop2p_core.host.images.edit_metrics import measure
from ..videop2p_core.host.images.preview import checked_fps
from .inputs import fps
from .types import CATEGORY, animated


class CompareVideos(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VP2P_CompareVideos",
            display_name="Compare Videos",
            category=CATEGORY,
            search_aliases=["video p2p", "before after", "side by side", "wipe", "split screen", "difference"],
            description="Plays two clips in one picture: beside each other, divided by a border, or their difference.",
            is_output_node=True,
            inputs=[
                io.Image.Input("before", tooltip="The source's frames, or a single one. The view has their size."),
                io.Image.Input("after", tooltip="The edit's frames, or a single one; of any size."),
                io.Combo.Input(
                    "mode",
                    options=list(MODES),
                    default=MODES[0],
                    tooltip=(
                        "'side by side' shows both whole. 'wipe' shows before to the left of a border and after to its "
                        "right. 'difference' is black where nothing changed."
                    ),
                ),
                io.Float.Input(
                    "position",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="With 'wipe': where the border is, as a share of the width. 1 shows before alone.",
                ),
                io.Float.Input(
                    "gain",
                    default=4.0,
                    min=0.1,
                    max=100.0,
                    step=0.1,
                    tooltip="With 'difference': how much brighter than it is. 1 shows it as it is.",
                ),
                io.String.Input("before_label", default="source", tooltip="Stands above before. Empty: no label."),
                io.String.Input("after_label", default="edit", tooltip="Stands above after. Empty: no label."),
                fps(),
            ],
            outputs=[
                io.Image.Output(
                    id="frames", display_name="frames", tooltip="The view, frame by frame, for Create Video."
                )
            ],
        )

    @classmethod
    def execute(
        cls,
        before: Tensor,
        after: Tensor,
        mode: str,
        position: float,
        gain: float,
        before_label: str,
        after_label: str,
        fps: float,
    ) -> io.NodeOutput:
        fps = checked_fps(fps)
        frames = compare(before, after, mode, position, gain, before_label, after_label)
        return io.NodeOutput(frames, ui=animated(frames, fps))


class EditMetrics(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VP2P_EditMetrics",
            display_name="Edit Metrics",
            category=CATEGORY,
            search_aliases=["video p2p", "psnr", "ssim", "lpips", "clip score", "evaluation", "consistency"],
            description=(
                "Measures an edit: how well it kept what must stay, how steady it is from frame to frame, and how well "
                "it fits its prompt. Measures what it can with what is connected and says what the rest would need."
            ),
            inputs=[
                io.Image.Input("source", tooltip="The frames before the edit."),
                io.Image.Input("edited", tooltip="The frames after it, as many and of the same size."),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip=(
                        "Where the edit may act: one for each frame, or one for all. PSNR, SSIM and LPIPS are taken "
                        "outside it, the variance of the object inside."
                    ),
                ),
                io.ClipVision.Input(
                    "clip_vision",
                    optional=True,
                    tooltip="From Load CLIP Vision: for frame consistency, object semantic variance and CLIP score.",
                ),
                io.Clip.Input(
                    "clip",
                    optional=True,
                    tooltip=(
                        "For the CLIP score: the text side of the vision model, as SD2.x's beside CLIP-ViT-H or SDXL's "
                        "beside CLIP-ViT-bigG. SD1.x's will not do, it lacks the projection."
                    ),
                ),
                io.String.Input(
                    "prompt",
                    default="",
                    multiline=True,
                    placeholder="a robot drives a motorbike",
                    tooltip="For the CLIP score: the target prompt.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    id="table", display_name="table", tooltip="The figures of source and edit as a picture."
                ),
                io.String.Output(
                    display_name="report",
                    tooltip="The figures by name as JSON; under 'missing' why the others were not measured.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        source: Tensor,
        edited: Tensor,
        prompt: str,
        mask: Tensor | None = None,
        clip_vision: Any = None,
        clip: CLIP | None = None,
    ) -> io.NodeOutput:
        measures = measure(source, edited, mask, clip_vision, clip, prompt)
        return io.NodeOutput(measures.table(), measures.report())


NODES = [CompareVideos, EditMetrics]
