"""Edit Metrics: what can be measured of an edit with what is connected, and why the rest cannot."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from comfy import model_management
from comfy.clip_model import CLIPTextModel
from comfy.sd import CLIP
from comfy.sd1_clip import SDClipModel
from einops import rearrange
from torch import Tensor

from ...images import metrics
from ...images.crop import as_decoded
from ...log import LOG
from ..comfy.oom_detection import ran_out
from ..prompts.clip_tokens import tokenized
from .frames import frames_of
from .lpips import lpips_distance
from .masks import one_for_each
from .plots import table_picture

SOURCE = "source_"  # before the name of a figure that the source has too
# Of each figure: what it is called, how its value is written, and which way is better.
FIGURES = {
    "psnr": ("PSNR of what must stay", "{:.1f} dB", "higher"),
    "ssim": ("SSIM of what must stay", "{:.3f}", "higher"),
    "lpips": ("LPIPS of what must stay", "{:.3f}", "lower"),
    "frame_consistency": ("frame consistency", "{:.4f}", "higher"),
    "object_semantic_variance": ("object semantic variance", "{:.3g}", "lower"),
    "clip_score": ("CLIP score of the prompt", "{:.1f}", "higher"),
}
AT_ONCE = 16  # frames
# What allocators outside CUDA say in a plain RuntimeError.
HEADING, ABSENT = ("measure", "source", "edited", "better"), "–"


@dataclass(frozen=True)
class Measures:
    """figures: the numbers by name; missing: for each name of the rest a sentence that says why it has none."""

    figures: dict[str, float]
    missing: dict[str, str]

    def report(self) -> str:
        return json.dumps({**self.figures, "missing": self.missing}, indent=2)

    def table(self) -> Tensor:
        """[1, height, width, 3]"""
        return table_picture([HEADING, *map(self._row, FIGURES)], self._notes())

    def _row(self, name: str) -> tuple[str, ...]:
        called, form, better = FIGURES[name]
        values = (self.figures.get(key) for key in (SOURCE + name, name))
        return (called, *(ABSENT if value is None else form.format(value) for value in values), better)

    def _notes(self) -> list[str]:
        """Each sentence once, after the figures that it is about."""
        about = {}
        for name, sentence in self.missing.items():
            called, *_ = FIGURES[name.removeprefix(SOURCE)]
            about.setdefault(sentence, {})[called] = None
        return [f"{', '.join(names)}: {sentence}." for sentence, names in about.items()]


def measure(
    source: Tensor,
    edited: Tensor,
    mask: Tensor | None = None,
    clip_vision: Any = None,
    clip: CLIP | None = None,
    prompt: str = "",
) -> Measures:
    """Figures of an edit of IMAGEs (arXiv 2303.04761, section 4); what they compare is outside the MASK.

    Raises ValueError, before anything is measured, where the clips or the mask do not fit. Whatever keeps a single
    figure from being measured is told among the missing, and the others stay.
    """
    source, edited = _clips(source, edited)
    mask = None if mask is None else _mask_of(mask, edited)
    figures, missing = {}, {}

    def add(name: str, figure: Callable[[], float]) -> None:
        try:
            figures[name] = _finite(figure())
        except ValueError as error:
            missing[name] = str(error)
        except (RuntimeError, MemoryError) as error:
            LOG.exception(f"Edit Metrics: {name} was not measured")
            missing[name] = _failure(error)
        if name in missing:  # only here has the error let go of what it was computed from
            model_management.soft_empty_cache()

    # SSIM and LPIPS look at neighbourhoods: the edit itself is taken out, so that none reaches over the mask's border.
    unedited = edited if mask is None else torch.lerp(edited, source, mask[..., None])
    add("psnr", lambda: metrics.psnr(source, edited, _kept(mask)))
    add("ssim", lambda: metrics.ssim(source, unedited, _kept(mask)))
    add("lpips", lambda: lpips_distance(source, unedited, _kept(mask)))

    clips = {SOURCE: source, "": edited}
    seen = cache(lambda prefix: frame_features(clip_vision, clips[prefix]))
    text = cache(lambda: text_features(clip, prompt))
    for name, figure in (
        ("frame_consistency", lambda prefix: metrics.frame_consistency(seen(prefix))),
        (
            "object_semantic_variance",
            lambda prefix: metrics.object_semantic_variance(object_features(clip_vision, clips[prefix], mask)),
        ),
        ("clip_score", lambda prefix: metrics.clip_score(*_common(seen(prefix), text()))),
    ):
        for prefix in clips:
            add(prefix + name, lambda figure=figure, prefix=prefix: figure(prefix))
    return Measures(figures, missing)


def _finite(figure: float) -> float:
    if not math.isfinite(figure):
        raise ValueError(
            f"it came out as {figure:g}: connect clips with values of 0 to 1, and models that give numbers for them"
        )
    return figure


def _failure(error: Exception) -> str:
    """In a sentence."""
    if ran_out(error):
        return "memory ran out while it was measured: measure fewer or smaller frames"
    first, *_ = str(error).strip().splitlines() or ["without a word"]
    return f"it could not be computed, ComfyUI's log has the whole of it ({type(error).__name__}: {first.rstrip('.')})"


# --- what is given ----------------------------------------------------------------------------------------------------


def _clips(source: Tensor, edited: Tensor) -> tuple[Tensor, Tensor]:
    source, edited = frames_of(source, "the source"), frames_of(edited, "the edited clip").to(source)
    if len(source) != len(edited):
        raise ValueError(
            f"the source has {len(source)} frames, the edited clip {len(edited)}: connect the clip that was edited and "
            "the whole of its edit"
        )
    source = as_decoded(source, edited.shape[1:3])
    if source.shape != edited.shape:
        (high, wide), (height, width) = source.shape[1:3], edited.shape[1:3]
        raise ValueError(
            f"the source is {wide} x {high} pixels, the edited clip {width} x {height}: scale one to the other's size"
        )
    return source, edited


def _mask_of(mask: Tensor, frames: Tensor) -> Tensor:
    """A MASK at the frames' size, one for each of them: [frames, height, width]."""
    mask = as_decoded(one_for_each(mask, len(frames), "there are"), frames.shape[1:3])
    mask = F.interpolate(mask[:, None].to(frames), size=frames.shape[1:3], mode="nearest-exact")
    return rearrange(mask, "frames 1 height width -> frames height width")


def _kept(mask: Tensor | None) -> Tensor | None:
    """Where the edit may not act."""
    if mask is None:
        return None
    if (mask == 1).all():
        raise ValueError("the mask covers every frame whole, so that nothing must stay: connect a smaller one")
    return 1 - mask


# --- features ---------------------------------------------------------------------------------------------------------


def frame_features(clip_vision: Any, frames: Tensor) -> Tensor:
    """[frames, channels]: what the CLIP_VISION makes of every frame, projected into CLIP's common space."""
    if clip_vision is None:
        raise ValueError("there is no vision model: connect Load CLIP Vision")
    # The host reserves memory for the weights alone.
    features = torch.cat([_embedded(clip_vision, some) for some in frames.split(AT_ONCE)])
    if features.ndim != 2:
        raise ValueError("this vision model has no single embedding of a picture: connect one of CLIP")
    return features


def _embedded(clip_vision: Any, frames: Tensor) -> Tensor:
    model_management.throw_exception_if_processing_interrupted()
    return clip_vision.encode_image(frames)["image_embeds"]


def object_features(clip_vision: Any, frames: Tensor, mask: Tensor | None) -> Tensor:
    """[frames, channels]: the features of the masked object, of the frames in which it is seen."""
    if mask is None:
        raise ValueError("there is no mask that tells the object: connect one")
    objects = [object_square(*pair) for pair in zip(frames, mask > 0.5, strict=True) if pair[1].any()]
    if not objects:
        raise ValueError("the mask is empty in every frame: connect one that shows the object")
    return torch.cat([frame_features(clip_vision, picture) for picture in objects])


def object_square(frame: Tensor, mask: Tensor) -> Tensor:
    """The masked part of a frame [height, width, 3] on black, as the square around it: [1, side, side, 3]."""
    rows, columns = (mask.any(dim=axis).nonzero() for axis in (1, 0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    picture = (frame * mask[..., None])[box]
    height, width = picture.shape[:2]
    side = max(height, width)  # a square, as the vision model crops its pictures to one
    top, left = (side - height) // 2, (side - width) // 2
    return F.pad(picture, [0, 0, left, side - width - left, top, side - height - top])[None]


def text_features(clip: CLIP | None, prompt: str) -> Tensor:
    """[1, channels]: the prompt in CLIP's common space.

    Raises ValueError where this CLIP does not project it there, or cannot read it.
    """
    if clip is None:
        raise ValueError("there is no text encoder: connect a CLIP")
    if not prompt.strip():
        raise ValueError("the prompt is empty: write the target prompt")
    _, pooled = clip.encode_from_tokens(tokenized(clip, prompt), return_pooled=True)
    encoders = [] if pooled is None else _encoders(clip, pooled.shape[-1])
    if not encoders or not all(map(_projects, encoders)):
        raise ValueError(
            "this CLIP does not project its text to where the pictures are (those of SD1.x checkpoints carry no "
            "projection): connect the CLIP of an SD2.x or SDXL checkpoint and the vision model that belongs to it"
        )
    return pooled


def _encoders(clip: CLIP, width: int) -> list[SDClipModel]:
    """The CLIP text encoders whose pooled text has this width."""
    return [
        module
        for module in clip.cond_stage_model.modules()
        if isinstance(module, SDClipModel)
        and isinstance(module.transformer, CLIPTextModel)
        and module.transformer.text_projection.out_features == width
    ]


def _projects(encoder: SDClipModel) -> bool:
    # ComfyUI's classes for SD1.x return the text as it is before the projection, which its checkpoints lack. Where a
    # file of another family lacks it, the host may leave zeros, or the identity in other releases.
    if not encoder.return_projected_pooled:
        return False
    weight = encoder.transformer.text_projection.weight.data.float()
    return weight.any().item() and not torch.equal(weight, torch.eye(len(weight), device=weight.device))


def _common(features: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
    if features.shape[-1] != text.shape[-1]:
        raise ValueError(
            f"the vision model's features have {features.shape[-1]} channels, the text's {text.shape[-1]}: connect the "
            "vision and the text model of the same CLIP"
        )
    return features, text
