"""Kandinsky 5, video models whose text has an attention of its own, as long as the text itself.

A language model reads the text inside of a template, whose beginning is cut off again; the network makes more of the
tokens before its blocks look at them. A vector of the text (CLIP's) goes in with the time step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import prod
from typing import Any

from comfy.ldm.kandinsky5.model import Kandinsky5 as Network
from comfy.model_patcher import ModelPatcher
from comfy.text_encoders.kandinsky5 import Kandinsky5Tokenizer

from ...edit.sequence_alignment import common_beginning
from .forward_slots import AttentionSlot, CrossAttentionSlot, SelfAttentionSlot
from .whole_clip import WholeClip

BLOCKS = "visual_transformer_blocks"
STREAM = "qwen25_7b"  # the encoder whose tokens the attention looks at
FIRST_FRAMES = "time_dim_replace"


class Kandinsky5(WholeClip):
    """Models that take a clip as one latent; those that draw pictures alone have latents of another shape."""

    name, called = "Kandinsky 5", "a Kandinsky model"

    def has(self, network: Any) -> bool:
        return type(network) is Network and network.visual_embed_dim > network.in_visual_dim * prod(network.patch_size)

    def slots(self, network: Any) -> Iterator[AttentionSlot]:
        """Of both attentions of every block."""
        for number, block in enumerate(network.visual_transformer_blocks):
            yield SelfAttentionSlot(f"{BLOCKS}.{number}.self_attention", block.self_attention)
            yield CrossAttentionSlot(f"{BLOCKS}.{number}.cross_attention", block.cross_attention)

    def blocks(self, network: Any) -> Iterable[str]:
        return [f"{BLOCKS}.{number}" for number in range(len(network.visual_transformer_blocks))]

    def patch(self, network: Any) -> tuple[int, int, int]:
        return network.patch_size

    def channels(self, network: Any) -> int:
        return network.model_dim

    def text_channels(self, model: ModelPatcher) -> tuple[int, ...]:
        network: Any = model.get_model_object("diffusion_model")
        return (network.text_embeddings.in_layer.in_features,)

    def pictures_read(self, base_model: Any) -> tuple[str, ...]:
        return ()

    def check_shown(self, base_model: Any, name: str, options: Mapping[str, Any], frames: int) -> None:
        super().check_shown(base_model, name, options, frames)
        if options.get(FIRST_FRAMES) is not None:
            raise ValueError(
                f"the {name} conditioning holds first frames (of Kandinsky5ImageToVideo) that the model sees in the "
                "place of the clip's own, in every step: connect the prompts without them"
            )

    def reads_pooled(self, model: ModelPatcher) -> bool:
        return True


def wraps_text(tokenizer: Any) -> bool:
    """Whether a CLIP's tokenizer puts a text into the template of Kandinsky's language model."""
    return isinstance(tokenizer, Kandinsky5Tokenizer)


def without_template(chunk: Sequence[tuple], wrapped_nothing: Sequence[tuple], wrapped: Sequence[tuple]) -> list[tuple]:
    """A chunk (token, weight, number of its segment) from where its text begins on, as the encoder gives it back; what
    closes the template has no segment. wrapped_nothing, wrapped: the template around no text, and around another.

    Raises ValueError for a text that runs into the beginning of the template.
    """
    nothing, something, text = ([token for token, *_ in part] for part in (wrapped_nothing, wrapped, chunk))
    before = common_beginning(nothing, something)
    if common_beginning(nothing, text) < before:
        raise ValueError(
            "the prompt begins with a line break, or with a mark of the language model's own, which its text encoder "
            "takes for a part of the template around it: delete that"
        )
    after = len(wrapped_nothing) - before
    seen = list(chunk[before:])
    return [*seen[:-after], *((token, weight, 0) for token, weight, _ in seen[-after:])]
