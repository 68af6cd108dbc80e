"""Self-attention that reads other frames, by patches."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from ...diffusion.attention import frames_read, read_frames
from ..comfy.model_patches import READ, ControlledSlot, host_attention, options_of, with_options
from ..comfy.other_packs import has_motion
from .clip_call import CLIP_CALL, CLIP_LENGTH, ClipCall
from .context_passes import Passes


@dataclass(frozen=True)
class Inflation:
    """How the UNet sees a clip.

    frames_read       which frames frame attention reads, one of attention.FRAMES_READ
    window            frames to either side, for frames_read = window
    temporal_layers   attention over time at the end of every transformer block
    norm_over_frames  statistics of the ResNet blocks' and the output's norm over all frames jointly
    frames_per_pass   of longer clips so many frames are seen at once, frame 0 among them; 0 for the whole clip
    overlap           frames that two passes share
    """

    frames_read: str = "first+self"
    window: int = 1
    temporal_layers: bool = True
    norm_over_frames: bool = False
    frames_per_pass: int = 0
    overlap: int = 2

    def __post_init__(self) -> None:
        frames_read(self.frames_read, 1, self.window)
        if self.frames_per_pass:
            Passes.even(self.frames_per_pass, self.overlap)


def within_clip_call(executor: Any, *args: Any, **kwargs: Any) -> Tensor:
    """The wrapper around an inflated UNet, in which its patches know the clip."""
    options = options_of(args, kwargs)
    rows = len(args[0])
    frames = rows // len(options.get("cond_or_uncond", (0,)))
    _check_frames(frames, options)
    slots = options.get("patches_replace", {})
    occupants = slots.get("attn1", {}) if frames > 1 else {}
    if occupants:
        beside = {slot: _beside_frames(occupant) for slot, occupant in occupants.items()}
        args, kwargs = with_options(args, kwargs, {**options, "patches_replace": {**slots, "attn1": beside}})
    call = CLIP_CALL.set(ClipCall(executor.class_obj, frames, rows, occupants))
    try:
        return executor(*args, **kwargs)
    finally:
        CLIP_CALL.reset(call)


def _beside_frames(occupant: Callable[..., Tensor]) -> Callable[..., Tensor]:
    if not isinstance(occupant, ControlledSlot):
        return BesideFrames(occupant)
    return replace(occupant, occupant=occupant.occupant and BesideFrames(occupant.occupant))


def _check_frames(frames: int, options: dict[str, Any]) -> None:
    window = options.get("context_window")
    length = options.get(CLIP_LENGTH) if window is None else len(window.seen)
    if length not in (None, frames):
        raise ValueError(
            f"another node cuts the clip for this model, which got {frames} of {length} frames at a time "
            "(context options of AnimateDiff-Evolved, tiled diffusion, for instance), so that frame 0, which all "
            "frames read, is not among them: remove it, and set frames per pass in Inflate UNet instead"
        )


@dataclass(frozen=True)
class WithFrame0:
    """A wrapper around sampling: each context window, whoever asked for it, holds the frame that all frames read, and
    frames are read when all other nodes are done with them, in whatever order the nodes stand."""

    inflation: Inflation

    def __call__(self, executor: Any, noise: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        options = executor.class_obj.model_options  # of this call alone
        patches = options["transformer_options"]["patches"]["attn1_patch"]
        patches.sort(key=lambda patch: isinstance(patch, FrameAttention))
        if "context_handler" in options:
            passes = options["context_handler"] = Passes.of(options["context_handler"])
            if self.inflation.norm_over_frames and passes.cuts(noise):
                raise ValueError(
                    f"norm over frames takes its statistics from all {len(noise)} frames, but they are sampled in "
                    f"passes of {passes.context_length + 1}: turn it off in Inflate UNet, or take the clip at once"
                )
        if self.inflation.norm_over_frames and has_motion(executor.class_obj.model_patcher):
            raise ValueError(
                "the motion modules of AnimateDiff-Evolved take the norm over frames themselves: turn it off in "
                "Inflate UNet"
            )
        options["transformer_options"][CLIP_LENGTH] = len(noise)
        return executor(noise, *args, **kwargs)


@lru_cache(maxsize=16)
def _frames_read(rule: str, frames: int, window: int, device: torch.device) -> Tensor:
    """attention.frames_read on a device. One for all layers: sent by each it would keep the device waiting."""
    with torch.inference_mode(False):  # gradients remember what was read by
        return frames_read(rule, frames, window).to(device)


@dataclass(frozen=True)
class FrameAttention:
    """attn1 patch: keys and values from the frames that a frame may read."""

    inflation: Inflation

    def __call__(
        self, n: Tensor, context: Tensor, value: Tensor, options: dict[str, Any]
    ) -> tuple[Tensor, Tensor, Tensor]:
        clip = CLIP_CALL.get()
        if len(n) != clip.rows:
            raise ValueError(
                f"frame attention got {len(n)} rows for a batch of {clip.rows}: another node on this model cuts "
                "frames into tiles (HyperTile, for instance), remove it"
            )
        if clip.frames == 1:
            return n, context, value
        table = _frames_read(self.inflation.frames_read, clip.frames, self.inflation.window, n.device)
        if clip.is_occupied(options):  # by what reads other frames itself, behind the projections
            options[READ] = table
            return n, context, value
        read = read_frames(context, table)
        return n, read, read if value is context else read_frames(value, table)


@dataclass(frozen=True)
class BesideFrames:
    """A self-attention slot that another node holds: its occupant sees each frame by itself, as with images, and what
    the frame reads of others is added to what it makes of that.

    One that gives the values back attends to nothing (perturbed attention, arXiv 2403.17377), other frames included.
    """

    occupant: Callable[..., Tensor]

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]) -> Tensor:
        out = self.occupant(q, k, v, options)
        if out is v or READ not in options:
            return out
        attend, heads, table = host_attention(options), options["n_heads"], options[READ]
        read = out + attend(q, read_frames(k, table), read_frames(v, table), heads) - attend(q, k, v, heads)
        # Or a copy of the values; to ask which would wait for the device.
        return torch.where((out == v).all(), out, read)
