"""Transformers whose text has an attention of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from math import prod
from typing import Any

import torch.nn.functional as F
from comfy.ldm.cosmos.predict2 import Block as CosmosBlock
from comfy.ldm.cosmos.predict2 import MiniTrainDIT
from comfy.ldm.kandinsky5.model import Kandinsky5 as Network
from comfy.ldm.kandinsky5.model import TransformerDecoderBlock
from comfy.ldm.lightricks.av_model import BasicAVTransformerBlock, LTXAVModel
from comfy.ldm.lightricks.model import BasicTransformerBlock as LTXVBlock
from comfy.ldm.lightricks.model import LTXVModel
from comfy.ldm.wan.model import WanAttentionBlock
from comfy.model_patcher import ModelPatcher
from torch import Tensor, nn

from ..comfy.expert_pair import on_each
from ..comfy.latents import Grid, grid_of
from ..comfy.model_patches import OVERRIDE
from ..families.cosmos import CosmosPredict2
from ..families.kandinsky import Kandinsky5
from ..families.ltxv import LTXV
from ..families.wan import NETWORKS, Wan, clip_places, text_turn
from .text_attention import ALL, Evaluation, Layout, OverriddenText

TEXT = "videop2p_text_attention"  # where a call's options say which of the attentions of a layer with text it is


@dataclass(frozen=True)
class MarkedAttention:
    """An object patch on the `forward` of one layer that looks at the text: where something looks into the attentions
    of a call, each that the layer computes says so, and which it is. forward: what was there."""

    forward: Any

    def __call__(self, *args: Any, transformer_options: dict[str, Any], **kwargs: Any) -> Tensor:
        looking, turns = transformer_options.get(OVERRIDE), count()
        if looking is not None:

            def marked(*call: Any, transformer_options: dict[str, Any], **more: Any) -> Tensor:
                return looking(*call, transformer_options={**transformer_options, TEXT: next(turns)}, **more)

            transformer_options = {**transformer_options, OVERRIDE: marked}
        return self.forward(*args, transformer_options=transformer_options, **kwargs)


@dataclass(frozen=True)
class SeparateText(OverriddenText):
    """networks: their exact types, as relatives attend to more; block, attention: where each block looks at the text;
    patch: (frames, rows, columns) of a latent that are one place, of a network."""

    networks: tuple[type[nn.Module], ...]
    block: type[nn.Module]
    attention: str
    patch: Callable[[Any], Sequence[int]]

    def has(self, network: nn.Module) -> bool:
        return type(network) in self.networks

    def prepared(self, model: ModelPatcher) -> ModelPatcher:
        return on_each(model, self._marked)

    def _marked(self, model: ModelPatcher) -> ModelPatcher:
        model = model.clone()
        for name, module in model.get_model_object("diffusion_model").named_modules():
            if isinstance(module, self.block):
                path = f"diffusion_model.{name}.{self.attention}.forward"
                model.add_object_patch(path, MarkedAttention(model.get_model_object(path)))
        return model

    def grid(self, evaluation: Evaluation) -> Grid:
        return grid_of(evaluation.x, self.patch(evaluation.network))

    def layout(self, evaluation: Evaluation, queries: int, keys: int, options: dict[str, Any]) -> Layout | None:
        if TEXT in options:
            return Layout(ALL, text=ALL) if keys == evaluation.tokens else None
        return Layout(ALL, itself=ALL) if queries == keys == prod(self.grid(evaluation)) else None


class WanText(SeparateText):
    """Wan, beside whose clip reference pictures may stand, and whose image-to-video blocks look at a picture first."""

    def layout(self, evaluation: Evaluation, queries: int, keys: int, options: dict[str, Any]) -> Layout | None:
        clip = clip_places(evaluation.network, evaluation.x, evaluation.arguments)
        seen = slice(clip.start, None)
        if TEXT in options:
            return Layout(seen, text=ALL) if options[TEXT] == text_turn(evaluation.network) else None
        return Layout(seen, itself=clip) if queries == keys >= clip.stop else None


class LTXAVText(SeparateText):
    """LTX-2, whose latent is that of the clip and that of its sound in one."""

    def over_keys(self, values: Tensor, tokens: int, others: float) -> Tensor:
        # Its connector puts the text first and learnt registers behind it.
        return F.pad(values, (0, tokens - len(values)), value=others)

    def grid(self, evaluation: Evaluation) -> Grid:
        clip, *_ = evaluation.arguments["latent_shapes"]
        return grid_of(evaluation.x.new_empty(clip), self.patch(evaluation.network))


SEPARATE = {
    "Wan 2.x": WanText(NETWORKS, WanAttentionBlock, "cross_attn", Wan().patch),
    "LTX-Video": SeparateText((LTXVModel,), LTXVBlock, "attn2", LTXV().patch),
    "LTX-2": LTXAVText((LTXAVModel,), BasicAVTransformerBlock, "attn2", LTXV().patch),
    "Cosmos-Predict2": SeparateText((MiniTrainDIT,), CosmosBlock, "cross_attn", CosmosPredict2().patch),
    "Kandinsky 5": SeparateText((Network,), TransformerDecoderBlock, "cross_attention", Kandinsky5().patch),
}
