"""Masks of where words look in a picture or clip, without editing it.

The latent is made noisy to one level, and one evaluation tells where the words look. Two more at low noise spread the
maps to the edges of what they look at, as an edit's masks are (edit/places.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from comfy.model_patcher import create_model_options_clone
from comfy.patcher_extension import WrappersMP, add_wrapper_with_key
from comfy.sd import CLIP
from einops import rearrange
from torch import Tensor

from ...finite import check_finite
from ..comfy.denoiser import SOURCE, Denoiser, run
from ..comfy.latents import for_pictures, left_over, pictures_of
from ..comfy.progress import latent_progress
from ..edit.attention_maps import masks_of
from ..images.frames import frames_of
from ..images.plots import heat_overlay
from ..model.context_passes import check_frame_windows
from ..model.input_checks import clip_of
from ..prompts.text_tokens import encoded_text
from .table import text_attention_of
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
    frames, _, *size = z.shape
    pictures = pictures_of(model.model, frames)
    images = None if images is None else frames_of(images, "the images input")
    if images is not None and len(images) != pictures:
        raise ValueError(
            f"there are {len(images)} images for a latent of {pictures} frames: connect the frames that were encoded"
            f"{left_over(model.model, len(images), frames)}"
        )
    encoded = encoded_text(clip, text)
    words = words or encoded.words
    columns = torch.zeros(encoded.tokens, len(words))
    for column, word in enumerate(words):
        columns[list(encoded.tokens_of(word)), column] = 1
    looks = WordLooks(family, columns)
    progress = latent_progress(model, 1 + 2 * sharp, "Word Mask")
    fresh = torch.randn(z.shape, generator=torch.Generator().manual_seed(seed))

    def algorithm(denoise: Denoiser, z0: Tensor, _: Tensor) -> Tensor:
        sampling: Any = model.get_model_object("model_sampling")
        prediction: Any = sampling

        def observe(observer: Observer, share: float) -> Tensor:
            options = create_model_options_clone(denoise.model_options)
            add_wrapper_with_key(WrappersMP.APPLY_MODEL, OBSERVER, observer, options, is_model_options=True)
            sigma = z0.new_tensor(sampling.percent_to_sigma(1 - share))
            x = prediction.noise_scaling(sigma, fresh.to(z0), z0)
            return Denoiser(denoise.guider, options)(x, sigma, SOURCE)

        progress(0, observe(looks, noise))
        maps = looks.maps()
        for done in range(1, 1 + 2 * sharp):
            likeness = Likeness(family, maps)
            progress(done, observe(likeness, LOW))
            maps = likeness.maps()
        return maps

    levels = torch.tensor([1.0, 0.0])  # of a run that has none: each evaluation says its own
    with torch.no_grad():
        maps = run(family.prepared(model), encoded.conditioning, encoded.conditioning, z, levels, algorithm).cpu()
    check_finite(maps, "the attention to the words")
    if sharp:
        low, high = maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True)
        maps = (maps - low) / (high - low).clamp(min=torch.finfo(maps.dtype).tiny)
    factor = model.model.latent_format.spacial_downscale_ratio
    by_word = rearrange(maps, "frames words rows columns -> words frames rows columns")
    masks = masks_of(by_word, [factor * side for side in size])
    masks = torch.stack([for_pictures(model.model, mask) for mask in masks])
    return WordMasks(masks, [heat_overlay(mask, images) for mask in masks])
