"""Slots for an edit's control in networks that have none of the host's.

Object patches on the attentions' `forward` make them: where a sampling call carries a control, what the attention
computes goes through it. Without one they change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from comfy.model_patcher import ModelPatcher
from einops import rearrange
from torch import Tensor, nn

from ..comfy.model_patches import CONTROL, OVERRIDE, AttentionCall, host_attention


@dataclass(frozen=True)
class AttentionSlot:
    """An object patch on the `forward` of one attention, `module`."""

    name: str
    module: nn.Module = field(repr=False)

    def __call__(self, *args: Any, transformer_options: dict[str, Any], **kwargs: Any) -> Tensor:
        control = transformer_options.get(CONTROL)
        if control is not None:
            transformer_options = {**transformer_options, OVERRIDE: self.asking(control, transformer_options)}
        return type(self.module).forward(self.module, *args, transformer_options=transformer_options, **kwargs)

    def asking(self, control: Any, options: dict[str, Any]) -> Callable[..., Tensor]:
        """What the host is to call in the place of its own attention."""
        raise NotImplementedError


class SelfAttentionSlot(AttentionSlot):
    """Of all places of all frames to each other: what stands for the attention over time of an inflated model."""

    def asking(self, control: Any, options: dict[str, Any]) -> Callable[..., Tensor]:
        def override(
            _: Any, q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None, skip_reshape: bool = False,
            **_kwargs: Any,
        ) -> Tensor:  # fmt: skip
            q, k, v = with_joined_heads(q, k, v) if skip_reshape else (q, k, v)
            return control.temporal(self.name, options, host_attention(options, mask))(q, k, v, heads)

        return override


@dataclass(frozen=True)
class CrossAttentionSlot(AttentionSlot):
    """Of all places of all frames to the text. turn: which of the attentions that the module computes it is."""

    turn: int = 0

    def asking(self, control: Any, options: dict[str, Any]) -> Callable[..., Tensor]:
        turns = count()

        def override(
            _: Any, q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None, skip_reshape: bool = False,
            **_kwargs: Any,
        ) -> Tensor:  # fmt: skip
            q, k, v = with_joined_heads(q, k, v) if skip_reshape else (q, k, v)
            if next(turns) != self.turn:
                return host_attention(options, mask)(q, k, v, heads)
            return control.cross_attention(AttentionCall(self.name, None, q, k, v, {**options, "n_heads": heads}, mask))

        return override


def with_joined_heads(*apart: Tensor) -> tuple[Tensor, ...]:
    """[rows, tokens, heads * channels] of queries, keys or values that a network hands over by heads [rows, heads,
    tokens, channels], as the host calls `skip_reshape`."""
    return tuple(rearrange(x, "b h n d -> b n (h d)") for x in apart)


@dataclass(frozen=True)
class BlockSlot:
    """An object patch on the `forward` of one block, before which a control may wait for another call. forward: what
    was there, of tokens [rows, tokens, channels], or of those of pictures and sound."""

    name: str
    forward: Callable[..., Any]

    def __call__(self, x: Any, /, *args: Any, transformer_options: dict[str, Any], **kwargs: Any) -> Any:
        control = transformer_options.get(CONTROL)
        if control is not None:
            pictures, *_ = x if isinstance(x, tuple) else (x,)
            control.block(self.name, len(pictures), transformer_options)
        return self.forward(x, *args, transformer_options=transformer_options, **kwargs)


def with_block_slots(model: ModelPatcher, blocks: Iterable[str]) -> ModelPatcher:
    """A clone of MODEL whose blocks ask a control where there is one."""
    model = model.clone()
    for name in blocks:
        path = f"diffusion_model.{name}.forward"
        model.add_object_patch(path, BlockSlot(name, model.get_model_object(path)))
    return model


def with_slots(model: ModelPatcher, slots: Iterable[AttentionSlot]) -> ModelPatcher:
    """A clone of MODEL whose attentions ask a control where there is one. Raises ValueError where another node holds
    one of them."""
    model = model.clone()
    for slot in slots:
        path = f"diffusion_model.{slot.name}.forward"
        if path in model.object_patches:
            raise ValueError(
                f"another node computes the attention of this model itself (it patched {path}), so that an edit "
                "cannot: remove that node (normalised attention guidance, for instance)"
            )
        model.add_object_patch(path, slot)
    return model
