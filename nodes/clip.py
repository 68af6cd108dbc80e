"""Clip Frames: from a video of any length and size to the frames that are edited."""

from typing import Any

from comfy_api.latest import io

from ..videop2p_core.host.images.clip_frames import clip_frames
from ..videop2p_core.images.crop import UNIT
from .types import CATEGORY


class ClipFrames(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VP2P_ClipFrames",
            display_name="Clip Frames",
            category=CATEGORY,
            search_aliases=["video p2p", "load video frames", "skip frames", "every nth frame", "resize video", "trim"],
            description=(
                "Takes the frames to edit out of a video and brings them to the size of the model, in their own shape. "
                "Hands on the speed and the sound, for Create Video."
            ),
            inputs=[
                io.Video.Input("video", tooltip="From Load Video. Of a long one only the stretch is decoded."),
                io.Int.Input("start", default=0, min=0, max=1_000_000, tooltip="The first frame, counted from 0."),
                io.Int.Input(
                    "every_nth",
                    default=2,
                    min=1,
                    max=1000,
                    tooltip=(
                        "2 takes every second frame: as many frames show twice as much of the clip, at half the "
                        "frames a second."
                    ),
                ),
                io.Int.Input(
                    "frames",
                    default=12,
                    min=1,
                    max=10_000,
                    tooltip="How many at most. Time and memory grow with it; Wan takes 4 n + 1: 17, 33, 81.",
                ),
                io.Int.Input(
                    "side",
                    default=512,
                    min=64,
                    max=4096,
                    step=8,
                    tooltip=(
                        "As many pixels as a square of this side, in the shape of the video: 512 for SD1.5, 768 for "
                        "SD2, 1024 for SDXL, 480 for Wan."
                    ),
                ),
                io.Int.Input(
                    "multiple_of",
                    default=UNIT,
                    min=8,
                    max=128,
                    step=8,
                    advanced=True,
                    tooltip="Both sides are multiples of it; what is over is cut off, nothing is stretched.",
                ),
            ],
            outputs=[
                io.Image.Output(id="images", display_name="images", tooltip="The frames, for VAE Encode."),
                io.Float.Output(
                    display_name="fps", tooltip="At which they last as long as they did, for Create Video."
                ),
                io.Audio.Output(
                    id="audio", display_name="audio", tooltip="The sound of that stretch, for Create Video."
                ),
                io.String.Output(display_name="report", tooltip="What was taken, in words."),
            ],
        )

    @classmethod
    def execute(cls, video: Any, start: int, every_nth: int, frames: int, side: int, multiple_of: int) -> io.NodeOutput:
        taken = clip_frames(video, start, every_nth, frames, side, multiple_of)
        return io.NodeOutput(taken.images, taken.fps, taken.audio, taken.report)


NODES = [ClipFrames]
