"""Clip Frames: the frames of a video that are edited, at the size of the model, with its speed and its sound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from comfy.utils import common_upscale
from comfy_api.latest import InputImpl
from einops import rearrange
from torch import Tensor

from ...images.selection import frames_taken, size_of_area
from .frames import frames_of

LATE = 0.5  # frames: a video is cut half of one before its first frame, as times are rounded


@dataclass(frozen=True)
class ClipFrames:
    """images: [frames, height, width, 3]; fps: at which they last as long as they did; audio: of the same stretch, None
    where the video is silent; report: what was taken, in a sentence."""

    images: Tensor
    fps: float
    audio: dict[str, Any] | None
    report: str


def clip_frames(video: Any, start: int, every: int, frames: int, side: int, unit: int) -> ClipFrames:
    """Of a VIDEO `frames` frames, every `every`-th from `start` on, in the shape that they have and with about as many
    pixels as a square of `side`, both sides multiples of `unit`.

    Raises ValueError, in a sentence, where the video has no such frames.
    """
    there, fps = video.get_frame_count(), float(video.get_frame_rate())
    numbers = frames_taken(there, start, every, frames)
    stretch = numbers[-1] - start + 1  # in frames of the video
    parts, first = _stretch(video, start, stretch, fps)
    images = frames_of(parts.images, "the video")[first : first + stretch : every]
    height, width = images.shape[1:3]
    rows, columns = size_of_area(height, width, side, unit)
    planes = rearrange(images, "frames height width colour -> frames colour height width")
    planes = common_upscale(planes, columns, rows, "lanczos", "center")  # cuts what rounding leaves over, no stretch
    report = (
        f"{len(images)} of {there} frames, {'each' if every == 1 else f'one of {every}'} from frame {start} on: "
        f"{len(images) * every / fps:.2f} s of {there / fps:.2f} s, {width} x {height} made {columns} x {rows}"
    )
    audio = _sound(parts.audio, first / fps, len(images) * every / fps)
    return ClipFrames(rearrange(planes, "frames colour h w -> frames h w colour"), fps / every, audio, report)


def _stretch(video: Any, start: int, frames: int, fps: float) -> tuple[Any, int]:
    """(the components of a stretch of the video, where in them its first frame is): of a file no more is decoded."""
    if not isinstance(video, InputImpl.VideoFromFile):
        return video.get_components(), start
    early = max(start - LATE, 0) / fps
    trimmed = video.as_trimmed(early, (frames + start) / fps - early + LATE / fps, strict_duration=False)
    return trimmed.get_components(), 0


def _sound(audio: dict[str, Any] | None, start: float, seconds: float) -> dict[str, Any] | None:
    if audio is None:
        return None
    first, last = (round(time * audio["sample_rate"]) for time in (start, start + seconds))
    return {**audio, "waveform": audio["waveform"][..., first:last]}
