"""Clips as the host lays them out, and as the algorithms see them: frames first.

An image model takes frames on the batch axis, a video model one clip [1, channels, frames, height, width] whose VAE
made one latent frame of the first picture and of every few that follow.
"""

from collections.abc import Sequence
from typing import Any

import torch
from comfy.nested_tensor import NestedTensor
from einops import rearrange
from torch import Tensor

Grid = tuple[int, int, int]  # (frames, rows, columns) of the places of a picture or clip, which is a row of a batch


def has_time_axis(base_model: Any) -> bool:
    """Whether a host's BaseModel takes a clip as one latent, with an axis for its frames."""
    return base_model.latent_format.latent_dimensions == 3


def as_clip(latent: Tensor) -> Tensor:
    """[frames, channels, height, width] of the host's latent."""
    return rearrange(latent, "1 c f h w -> f c h w") if latent.ndim == 5 else latent


def as_latent(base_model: Any, clip: Tensor) -> Tensor:
    """The host's latent of a clip [frames, channels, height, width]."""
    return rearrange(clip, "f c h w -> 1 c f h w") if has_time_axis(base_model) else clip


def latent_out(base_model: Any, clip: Tensor) -> Tensor:
    """A clip at the model's scale as the host's latent in VAE units."""
    return base_model.process_latent_out(as_latent(base_model, clip))


def with_sound(samples: Tensor, sound: Tensor | None, *, noisy: bool = False) -> dict[str, Any]:
    """A LATENT of pictures as the host lays them out, and of the sound beside them where there is one; noisy: for a
    sampler to go on from, which must leave the sound as it is."""
    if sound is None:
        return {"samples": samples}
    sounding: dict[str, Any] = {"samples": NestedTensor([samples, sound])}
    if noisy:
        sounding["noise_mask"] = NestedTensor([torch.ones_like(samples[:, :1]), torch.zeros_like(sound)])
    return sounding


def pictures_of(base_model: Any, frames: int) -> int:
    """How many pictures so many latent frames decode to."""
    return (frames - 1) * _pictures_a_frame(base_model) + 1


def left_over(base_model: Any, pictures: int, frames: int) -> str:
    """What to add to a complaint where the VAE of a video model took only the first of so many pictures."""
    taken, each = pictures_of(base_model, frames), _pictures_a_frame(base_model)
    if not taken < pictures < taken + each:
        return ""
    return f"; of {pictures} its VAE took the first {taken}, so give it {each} n + 1 frames"


def for_pictures(base_model: Any, frames: Tensor) -> Tensor:
    """Each latent frame of [frames, ...] for all the pictures that it decodes to."""
    repeats = frames.new_full((len(frames),), _pictures_a_frame(base_model)).long()
    repeats[:1] = 1
    return frames.repeat_interleave(repeats, 0)


def for_latent_frames(base_model: Any, mask: Tensor, frames: int) -> Tensor:
    """A mask of one for each picture, [pictures, height, width], as one for each latent frame: the mean of its own.

    A single mask stays one. Raises ValueError, in a sentence, for any other number.
    """
    each = _pictures_a_frame(base_model)
    if len(mask) == 1 or each == 1:
        return mask
    pictures = pictures_of(base_model, frames)
    if len(mask) != pictures:
        raise ValueError(
            f"there are {len(mask)} masks for a clip of {pictures} pictures, as many as its latent frames decode to: "
            "give one for each, or a single one for all"
        )
    # The first picture has a latent frame to itself.
    first, others = mask[:1], rearrange(mask[1:], "(f each) h w -> f each h w", each=each)
    return torch.cat([first, others.mean(1)])


def _pictures_a_frame(base_model: Any) -> int:
    return base_model.latent_format.temporal_downscale_ratio if has_time_axis(base_model) else 1


def grid_of(latent: Tensor, patch: Sequence[int]) -> Grid:
    """Of a latent [rows, channels, (frames,) height, width] of which so many (frames, rows, columns) are one place."""
    *frames, height, width = latent.shape[2:]
    steps, rows, columns = (
        -(-side // step) for side, step in zip((*(frames or (1,)), height, width), patch, strict=True)
    )
    return steps, rows, columns
