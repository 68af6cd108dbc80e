"""Transformers that look at their text and at their picture in one softmax, the text's tokens first."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from comfy.ldm.chroma.model import Chroma
from comfy.ldm.flux.model import Flux
from comfy.ldm.hunyuan_video.model import HunyuanVideo
from comfy.ldm.lumina.model import NextDiT
from comfy.ldm.modules.diffusionmodules.mmdit import OpenAISignatureMMDITWrapper as StableDiffusion3
from comfy.ldm.qwen_image.model import QwenImageTransformer2DModel
from torch import nn

from ..comfy.latents import Grid, grid_of
from .text_attention import Evaluation, Layout, OverriddenText


@dataclass(frozen=True)
class JointText(OverriddenText):
    """networks: their exact types, as relatives are laid out in other ways."""

    networks: tuple[type[nn.Module], ...]

    def has(self, network: nn.Module) -> bool:
        return type(network) in self.networks

    def grid(self, evaluation: Evaluation) -> Grid:
        flux = evaluation.network
        return grid_of(evaluation.x, (1, flux.patch_size, flux.patch_size))

    def before(self, evaluation: Evaluation) -> int:
        """How many tokens stand before the text's."""
        return 0

    def after(self, evaluation: Evaluation) -> int:
        """How many stand between the text's and the picture's."""
        return 0

    def layout(self, evaluation: Evaluation, queries: int, keys: int, options: dict[str, Any]) -> Layout | None:
        places, first = prod(self.grid(evaluation)), self.before(evaluation)
        picture = first + evaluation.tokens + self.after(evaluation)
        if keys == queries >= picture + places:  # reference pictures stand behind
            text = slice(first, first + evaluation.tokens)
            return Layout(slice(picture, None), text, slice(picture, picture + places))
        return None


class StableDiffusion3Text(JointText):
    """Some of its blocks have an attention of the picture to itself beside the joint one."""

    def grid(self, evaluation: Evaluation) -> Grid:
        mmdit = evaluation.network
        return grid_of(evaluation.x, (1, *mmdit.x_embedder.patch_size))


class HunyuanText(JointText):
    """HunyuanVideo, which may read texts in quotes and a picture beside the text."""

    def grid(self, evaluation: Evaluation) -> Grid:
        hunyuan = evaluation.network
        return grid_of(evaluation.x, (1, *hunyuan.patch_size)[-3:])

    def before(self, evaluation: Evaluation) -> int:
        pictures = self._tokens(evaluation, "clip_fea")
        return pictures + (self._tokens(evaluation, "txt_byt5") if self._is_typed(evaluation) else 0)

    def after(self, evaluation: Evaluation) -> int:
        return 0 if self._is_typed(evaluation) else self._tokens(evaluation, "txt_byt5")

    def _is_typed(self, evaluation: Evaluation) -> bool:
        """Whether the network, as that of HunyuanVideo 1.5, takes texts in quotes first."""
        hunyuan = evaluation.network
        return hunyuan.cond_type_embedding is not None

    def _tokens(self, evaluation: Evaluation, name: str) -> int:
        condition = evaluation.arguments.get(name)
        return 0 if condition is None else condition.shape[1]


class LuminaText(JointText):
    """Lumina 2 and Z-Image, which fill up the text to a number of tokens."""

    def after(self, evaluation: Evaluation) -> int:
        if evaluation.arguments.get("ref_latents"):
            raise ValueError(
                "it is not known where this model's text stands beside reference pictures: take the pictures away"
            )
        lumina = evaluation.network
        return -evaluation.tokens % (lumina.pad_tokens_multiple or 1)


JOINT = {
    "Flux, Chroma, Qwen-Image": JointText((Flux, Chroma, QwenImageTransformer2DModel)),
    "Stable Diffusion 3": StableDiffusion3Text((StableDiffusion3,)),
    "HunyuanVideo": HunyuanText((HunyuanVideo,)),
    "Lumina 2, Z-Image": LuminaText((NextDiT,)),
}
