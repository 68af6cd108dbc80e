"""What an edit has to know of a family of models: one class for each, chosen in table.py."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn

from ...edit.curves import KeyFrames
from ..comfy.conditioning import Conditioning, tokens_of
from ..comfy.model_patches import SlotAttention
from .shown import PAINTED, check_number, numbers_shown
from .support import Feature, refusal


class WordMapLayers(Protocol):
    """The layers whose cross attention makes the word maps of a mask."""

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) of the maps"""

    def feed(self, layer: Hashable, options: dict[str, Any]) -> bool:
        """Whether this layer is one of them."""

    def by_frame(self, probabilities: Tensor, options: dict[str, Any]) -> Tensor:
        """[frames, heads, places, groups] of a layer's [rows, heads, places, groups]"""


class Family(ABC):
    """A family of models.

    name, called      in tables, and in sentences: "Wan", "a Wan model"
    sees_whole_clip   whether the network takes a clip as one latent [1, channels, frames, height, width]
    goes_in_step      whether its blocks have slots, so that of a step's source one block is kept at a time
    supports          what works beside the edit itself; the others are refused by sentences made from this
    inversions        the methods of DDIM Invert that there are
    relatives         networks of its kind that an edit cannot run on, and why, as what they do
    """

    name: ClassVar[str]
    called: ClassVar[str]
    sees_whole_clip: ClassVar[bool] = False
    goes_in_step: ClassVar[bool] = False
    supports: ClassVar[frozenset[Feature]]
    inversions: ClassVar[tuple[str, ...]]
    relatives: ClassVar[Mapping[type[nn.Module], str]] = {}

    def require(self, feature: Feature) -> None:
        """Raises ValueError, in a sentence, where it is not supported."""
        if feature not in self.supports:
            raise refusal(self.called, feature)

    @abstractmethod
    def has(self, network: nn.Module) -> bool:
        """Whether a network is of this family."""

    @abstractmethod
    def cross_attention_layers(self, network: nn.Module) -> list[Hashable]:
        """The names of the layers that look at the text, as `fill_attention` calls them."""

    @abstractmethod
    def with_slots(self, model: Any) -> Any:
        """A MODEL whose attentions ask an edit's control, where a call carries one. Raises ValueError where another
        node holds them."""

    @abstractmethod
    def fill_attention(
        self, cross: SlotAttention | None, frame: SlotAttention | None, executor: Any, *args: Any, **kwargs: Any
    ) -> Tensor:
        """Go on around the network with `cross` in all of its cross-attention layers and `frame` in those in which each
        frame attends to itself; None leaves them as they are."""

    @abstractmethod
    def word_map_layers(self, network: nn.Module, size: Sequence[int], blocks: str) -> WordMapLayers:
        """Of latents of this (height, width); blocks: the user's choice, '' for none. Raises ValueError, in a sentence,
        where there are none."""

    @abstractmethod
    def text_channels(self, model: Any) -> tuple[int, ...]:
        """Channels that a text may have for a MODEL to read it; none where it does not say."""

    @abstractmethod
    def pictures_read(self, base_model: Any) -> tuple[str, ...]:
        """Options of a CONDITIONING that bring pictures, cameras or voices which a host's BaseModel goes by."""

    def check_shown(self, base_model: Any, name: str, options: Mapping[str, Any], frames: int) -> None:
        """Raises ValueError, in a sentence, where an entry of the CONDITIONING `name` shows a host's BaseModel what is
        not for a clip of so many latent frames, or what no edit can run on."""
        for called, number in numbers_shown(options, PAINTED):
            check_number(name, called, number, frames)

    def reads_pooled(self, model: Any) -> bool:
        """Whether a MODEL reads a pooled vector beside the text."""
        return False

    def reads_more(self, model: Any) -> bool:
        """Whether a MODEL reads more of a text than its embedding, which is all that an inversion keeps of its null
        text."""
        return False

    def keys_of(self, conditioning: Conditioning) -> int:
        """How many tokens a CONDITIONING's text has in the cross attention, with what the model adds."""
        return tokens_of(conditioning)

    def with_sound(self, model: Any, sound: Tensor | None) -> Any:
        """A MODEL that hears this beside every clip: a latent of the sound, as the host lays it out; None for none."""
        return model

    def edit_guidance(self, model: Any) -> KeyFrames | None:
        """What guidance over the steps suits edits on a MODEL after an exact inversion; None where it is not known."""
        return None

    def places_beside(self, network: nn.Module, options: Mapping[str, Any]) -> int:
        """Of how many places of a latent there are tokens beside the clip's, for pictures that an entry of a
        CONDITIONING shows."""
        return 0

    def recorded_values(
        self, network: nn.Module, clip: Tensor, tokens: int, beside: int, cross: bool, temporal: bool
    ) -> int:
        """Numbers that an edit keeps in main memory at once of a step's source, clip [frames, channels, height, width],
        text of so many tokens; beside: as `places_beside` has it; cross, temporal: whether a window of either is
        open."""
        return 0
