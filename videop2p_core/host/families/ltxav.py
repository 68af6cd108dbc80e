"""LTX-2 and 2.3, which draw pictures and sound together: an edit acts on the pictures, and the sound is the source's.

A clip that comes with its sound is seen beside it, clean as it is in every step and branch, as the host has it under a
noise mask that keeps the sound: it is heard in the pictures' attention to it, and is not drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from comfy.ldm.lightricks.av_model import LTXAVModel
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from comfy.text_encoders.lt import LTXAVGemmaTokenizer
from torch import Tensor, nn

from ...edit.prompt import REGISTER, Piece
from ..comfy.conditioning import Conditioning, tokens_of
from ..comfy.model_patches import CONTROL, options_of, with_options
from .ltxv import LTXV
from .support import Feature

REGISTERS, LEAST = 128, 1024  # of a connector, and how long a text with them is
FETCHED = "videop2p_fetched_by_block"
HEARD = "videop2p_sound"  # the key of the wrapper that lets a model hear a clip


class LTXAV(LTXV):
    """Of their text the connector makes keys for both streams: the words, and registers behind them. No attention of
    the sound is touched."""

    name = "LTX-2 or 2.3"
    supports = frozenset({Feature.SOUND})

    def has(self, network: nn.Module) -> bool:
        return type(network) is LTXAVModel

    def text_channels(self, model: ModelPatcher) -> tuple[int, ...]:
        network: Any = model.get_model_object("diffusion_model")
        both_streams = network.cross_attention_dim + network.audio_cross_attention_dim
        (channels,) = super().text_channels(model)
        return channels, 2 * channels, both_streams

    def keys_of(self, conditioning: Conditioning) -> int:
        return with_registers(tokens_of(conditioning))

    def recorded_values(self, network: Any, clip: Tensor, tokens: int, beside: int, cross: bool, temporal: bool) -> int:
        return super().recorded_values(network, clip, with_registers(tokens), beside, cross, temporal)

    def _with_slots(self, model: ModelPatcher) -> ModelPatcher:
        model = super()._with_slots(model)
        model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, FETCHED, fetched_by_block)
        return model

    def with_sound(self, model: ModelPatcher, sound: Tensor | None) -> ModelPatcher:
        if sound is None:
            return model
        model = model.clone()
        model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, HEARD, Heard(sound))
        return model


def with_registers(tokens: int) -> int:
    """How long a text of so many tokens is with the registers behind it."""
    return -(-max(LEAST, tokens) // REGISTERS) * REGISTERS


def is_of_connector(tokenizer: Any) -> bool:
    """Whether a CLIP's tokenizer is that whose texts the connector reads."""
    return isinstance(tokenizer, LTXAVGemmaTokenizer)


def without_padding(chunk: Sequence[tuple]) -> Sequence[tuple]:
    """A chunk that is padded on the left, from its start token on: what the encoder of LTX-2 gives back."""
    special = next((place for place, (_, _, group) in enumerate(chunk) if group), len(chunk))
    return chunk[max(special - 1, 0) :]


def with_register_pieces(pieces: tuple[Piece, ...]) -> tuple[Piece, ...]:
    """A text's tokens as the cross attention sees them: behind them the registers that belong to the places there."""
    places = range(len(pieces), with_registers(len(pieces)))
    return (*pieces, *(Piece((REGISTER, place % REGISTERS), "", REGISTER) for place in places))


def fetched_by_block(executor: Any, *args: Any, **kwargs: Any) -> Any:
    """Around the network: the weights of a block come when it runs. Of two calls that go in step, each would take from
    the other what the host fetches ahead."""
    options = options_of(args, kwargs)
    if CONTROL in options and options[CONTROL].in_step is not None:
        args, kwargs = with_options(args, kwargs, {**options, "prefetch_dynamic_vbars": False})
    return executor(*args, **kwargs)


@dataclass(frozen=True)
class Heard:
    """Around the network: pictures go in and come out, the sound [1, channels, time, frequencies] goes in with them."""

    sound: Tensor

    def __call__(self, executor: Any, x: list[Tensor], timestep: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        (pictures,) = x
        sound = self.sound.to(pictures).expand(len(pictures), -1, -1, -1)
        clean = timestep.new_zeros(len(pictures))
        drawn, _ = executor([pictures, sound], timestep, *args, **{**kwargs, "a_timestep": clean})
        return drawn
