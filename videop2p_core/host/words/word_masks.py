"""Masks of where words look in a picture or clip, without editing it.

The latent is made noisy to one level, and one evaluation tells where the words look. Two more at low noise spread the
maps to the edges of what they look at, as an edit's masks are (edit/places.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher, create_model_options_clone
from comfy.patcher_extension import WrappersMP, add_wrapper_with_key
from comfy.sd import CLIP
from einops import rearrange
from torch import Tensor

from ...finite import check_finite
from ..comfy.conditioning import Conditioning
from ..comfy.denoiser import SOURCE, Denoiser, run
from ..comfy.latents import as_latent, for_pictures, left_over, pictures_of
from ..comfy.progress import latent_progress
from ..edit.attention_maps import masks_of
from ..images.frames import frames_of
from ..images.plots import heat_overlay
from ..model.context_passes import check_frame_windows
from ..model.input_checks import clip_of
from ..prompts.encoded_text import encoded_text
from .table import text_attention_of
from .text_attention import TextAttention
from .word_looks import Likeness, Observer, WordLooks

OBSERVER = "videop2p_word_observer"
NOISE = 0.5  # the share of the noise levels at which the words are looked for
LOW = 0.05  # at which it is seen what looks alike: t = 50 of 1000


@dataclass(frozen=True)
class WordMasks:
    """masks: [words, frames, height, width], 1 where a word looks most in a frame, 0 where not at all; overlays: of
    each word its mask in colours over the frames, [frames, height, width, 3]."""

    masks: Tensor
    overlays: list[Tensor]


def word_masks(
    model: Any,
    clip: CLIP,
    text: str,
    words: Sequence[str],
    latent: dict[str, Any],
    *,
    noise: float = NOISE,
    seed: int = 0,
    sharp: bool = True,
    images: Tensor | None = None,
) -> WordMasks:
    """Where words of a text look in a LATENT that the text describes.

    words: all of the text's for none; noise: the share of the noise levels that it is looked at under; images: its
    frames, to see the masks over. Raises ValueError for a model of a family that is not known, a word that the text
    does not have, and a latent or images that do not fit.
    """
    family = text_attention_of(model)
    check_frame_windows(model)
    z = clip_of(latent, model)
    images = frames_for(model, z, images)
    encoded = encoded_text(clip, text)
    shape = as_latent(model.model, z).shape
    looks = WordLooks(family, shape, encoded.columns_of(words))
    progress = latent_progress(model, 1 + 2 * sharp, "Word Mask")

    def algorithm(observe: Observe) -> Tensor:
        progress(0, observe(looks, noise))
        return sharpened(family, looks.maps(), shape, observe, progress) if sharp else looks.maps()

    return masks_from(model, observed(model, family, encoded.conditioning, z, seed, algorithm), sharp, z, images)


Observe = Callable[[Observer, float], Tensor]  # an observer, a share of the noise levels -> what was denoised under it


@torch.no_grad()
def observed(
    model: ModelPatcher,
    family: TextAttention,
    conditioning: Conditioning,
    z: Tensor,
    seed: int,
    algorithm: Callable[[Observe], Tensor],
) -> Tensor:
    """What `algorithm(observe)` gives of a clip z [frames, channels, height, width] in VAE units; seed: of the noise
    that each evaluation looks at it under."""
    fresh = torch.randn(z.shape, generator=torch.Generator().manual_seed(seed))

    def with_noise(denoise: Denoiser, z0: Tensor, _: Tensor) -> Tensor:
        sampling: Any = model.get_model_object("model_sampling")
        prediction: Any = sampling

        def observe(observer: Observer, share: float) -> Tensor:
            options = create_model_options_clone(denoise.model_options)
            add_wrapper_with_key(WrappersMP.APPLY_MODEL, OBSERVER, observer, options, is_model_options=True)
            sigma = z0.new_tensor(sampling.percent_to_sigma(1 - share))
            x = prediction.noise_scaling(sigma, fresh.to(z0), z0)
            return Denoiser(denoise.guider, options)(x, sigma, SOURCE)

        return algorithm(observe)

    levels = torch.tensor([1.0, 0.0])  # of a run that has none: each evaluation says its own
    return run(family.prepared(model), conditioning, conditioning, z, levels, with_noise)


def sharpened(
    family: TextAttention,
    maps: Tensor,
    shape: Sequence[int],
    observe: Observe,
    progress: Callable[[int, Tensor], None],
) -> Tensor:
    """Maps [frames, words, rows, columns] of a clip spread to the edges of what they look at. shape: of its latent, as
    the host lays it out."""
    for done in range(2):
        likeness = Likeness(family, shape, maps)
        progress(done, observe(likeness, LOW))
        maps = likeness.maps()
    return maps


def frames_for(model: ModelPatcher, z: Tensor, images: Tensor | None) -> Tensor | None:
    """IMAGEs to see the masks of a clip z [frames, ...] over: one for each picture, in a sentence."""
    if images is None:
        return None
    images = frames_of(images, "the images input")
    pictures = pictures_of(model.model, len(z))
    if len(images) != pictures:
        raise ValueError(
            f"there are {len(images)} images for a latent of {pictures} frames: connect the frames that were encoded"
            f"{left_over(model.model, len(images), len(z))}"
        )
    return images


def masks_from(model: ModelPatcher, maps: Tensor, sharp: bool, z: Tensor, images: Tensor | None) -> WordMasks:
    """Of the pictures of a clip z [frames, channels, height, width]. maps: [frames, words, rows, columns]; sharp:
    whether they were spread; images: see `frames_for`."""
    maps = maps.cpu()
    check_finite(maps, "the attention to the words")
    if sharp:
        low, high = maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True)
        maps = (maps - low) / (high - low).clamp(min=torch.finfo(maps.dtype).tiny)
    factor = model.model.latent_format.spacial_downscale_ratio
    by_word = rearrange(maps, "frames words rows columns -> words frames rows columns")
    masks = masks_of(by_word, [factor * side for side in z.shape[-2:]])
    masks = torch.stack([for_pictures(model.model, mask) for mask in masks])
    return WordMasks(masks, [heat_overlay(mask, images) for mask in masks])
