"""Self-attention that reads other frames, by patches."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

import torch
from comfy.model_patcher import ModelPatcher
from einops import rearrange
from torch import Tensor

from ...diffusion.attention import attention, frames_read, read_frames
from ..comfy.model_patches import CONTROL, host_attention
from ..comfy.other_packs import has_motion
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


@dataclass
class Clip:
    """The wrapper around the UNet, and what it last saw: the UNet, the frames of one clip, the rows of the batch.

    length: frames of the clip that is sampled, None outside of sampling
    held: the self-attention slots that other nodes hold, {slot: occupant}
    tokens: of one frame, in the layer that runs
    """

    unet: Any = None
    frames: int = 1
    rows: int = 1
    length: int | None = None
    held: dict = field(default_factory=dict)
    tokens: int = 0

    def __call__(self, executor: Any, *args: Any, **kwargs: Any) -> Tensor:
        options = kwargs["transformer_options"] if "transformer_options" in kwargs else args[5]
        self.unet = executor.class_obj
        self.rows = len(args[0])
        self.frames = self.rows // len(options.get("cond_or_uncond", (0,)))
        self._check_frames(options)
        slots = options.get("patches_replace", {})
        self.held = slots.get("attn1", {}) if self.frames > 1 else {}
        if self.held:
            beside = {slot: BesideFrames(occupant, self) for slot, occupant in self.held.items()}
            options = {**options, "patches_replace": {**slots, "attn1": beside}}
            if "transformer_options" in kwargs:
                kwargs["transformer_options"] = options
            else:
                args = (*args[:5], options, *args[6:])
        return executor(*args, **kwargs)

    def holds(self, options: dict[str, Any]) -> bool:
        """Whether another node holds the self-attention of the layer that runs."""
        block = options["block"]
        return (*block, options["block_index"]) in self.held or block in self.held

    def _check_frames(self, options: dict[str, Any]) -> None:
        window = options.get("context_window")
        length = self.length if window is None else len(window.seen)
        if length not in (None, self.frames):
            raise ValueError(
                f"another node cuts the clip for this model, which got {self.frames} of {length} frames at a time "
                "(context options of AnimateDiff-Evolved, tiled diffusion, for instance), so that frame 0, which all "
                "frames read, is not among them: remove it, and set frames per pass in Inflate UNet instead"
            )


@dataclass(frozen=True)
class WithFrame0:
    """A wrapper around sampling: each context window, whoever asked for it, holds the frame that all frames read, and
    frames are read when all other nodes are done with them, in whatever order the nodes stand."""

    inflation: Inflation
    clip: Clip

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
        self.clip.length = len(noise)
        try:
            return executor(noise, *args, **kwargs)
        finally:
            self.clip.length = None


@lru_cache(maxsize=16)
def _frames_read(rule: str, frames: int, window: int, own: bool, device: torch.device) -> Tensor:
    """attention.frames_read on a device, each frame itself behind it where `own`, which BesideFrames takes off again.
    One for all layers: sent by each it would keep the device waiting."""
    with torch.inference_mode(False):  # gradients remember what was read by
        table = frames_read(rule, frames, window)
        if own:
            table = torch.cat([table, torch.arange(frames)[:, None]], dim=1)
        return table.to(device)


@dataclass(frozen=True)
class FrameAttention:
    """attn1 patch: keys and values from the frames that a frame may read."""

    inflation: Inflation
    clip: Clip

    def __call__(
        self, n: Tensor, context: Tensor, value: Tensor, options: dict[str, Any]
    ) -> tuple[Tensor, Tensor, Tensor]:
        if len(n) != self.clip.rows:
            raise ValueError(
                f"frame attention got {len(n)} rows for a batch of {self.clip.rows}: another node on this model cuts "
                "frames into tiles (HyperTile, for instance), remove it"
            )
        if self.clip.frames == 1:
            return n, context, value
        held = self.clip.holds(options)
        if held:
            self.clip.tokens = context.shape[1]
        table = _frames_read(self.inflation.frames_read, self.clip.frames, self.inflation.window, held, n.device)
        read = read_frames(context, table)
        return n, read, read if value is context else read_frames(value, table)


@dataclass(frozen=True)
class BesideFrames:
    """A self-attention slot that another node holds: its occupant sees each frame by itself, as with images, and what
    the frame reads of others is added to what it makes of that.

    One that gives the values back attends to nothing (perturbed attention, arXiv 2403.17377), other frames included.
    """

    occupant: Callable[..., Tensor]
    clip: Clip

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]) -> Tensor:
        tokens, attend = self.clip.tokens, host_attention(options)
        (k_read, k_own), (v_read, v_own) = ((x[:, :-tokens], x[:, -tokens:]) for x in (k, v))
        out = self.occupant(q, k_own, v_own, options)
        if out is v_own:
            return out
        heads = options["n_heads"]
        read = out + attend(q, k_read, v_read, heads) - attend(q, k_own, v_own, heads)
        # Or a copy of the values; to ask which would wait for the device.
        return torch.where((out == v_own).all(), out, read)


class KnowsUNet(Protocol):
    """A wrapper around the UNet that has it at hand while it runs."""

    unet: Any


@dataclass(frozen=True)
class ForwardPatch:
    """An object patch on one module's `forward`. clip: what knows the UNet that runs; inner: the patch that another
    node had put there before, or None."""

    name: str
    clip: KnowsUNet
    inner: Callable[..., Any] | None

    def own_forward(self, *args: Any, **kwargs: Any) -> Tensor:
        if self.inner is not None:
            return self.inner(*args, **kwargs)
        module = self.clip.unet.get_submodule(self.name)
        return type(module).forward(module, *args, **kwargs)


def forward_of(name: str) -> str:
    return f"diffusion_model.{name}.forward"


def patch_forward(model: ModelPatcher, patch: type[ForwardPatch], name: str, clip: KnowsUNet, *args: Any) -> None:
    path = forward_of(name)
    model.add_object_patch(path, patch(name, clip, model.object_patches.get(path), *args))


@dataclass(frozen=True)
class BlockThenTime(ForwardPatch):
    """The transformer block, then its temporal attention."""

    clip: Clip
    layer: Callable[..., Tensor] = field(repr=False)

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        h = self.own_forward(*args, **kwargs)
        control = kwargs.get("transformer_options", {}).get(CONTROL)
        attend = attention if control is None else control.temporal(self.name, kwargs["transformer_options"])
        return self.layer(h, self.clip.frames, attend)


@dataclass(frozen=True)
class NormOverFrames(ForwardPatch):
    """A GroupNorm whose statistics are those of the whole clip."""

    clip: Clip

    def __call__(self, x: Tensor) -> Tensor:
        frames = self.clip.frames
        x = rearrange(x, "(b f) c h w -> b c (f h) w", f=frames)
        return rearrange(self.own_forward(x), "b c (f h) w -> (b f) c h w", f=frames)
