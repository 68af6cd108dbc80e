"""Where a family of networks looks at its text: what every family says of itself, the families in table.py."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any, ClassVar

from comfy.model_patcher import ModelPatcher
from torch import Tensor, nn

from ...diffusion.attention import read_frames
from ...edit.local_blend import blend_grid, check_grid
from ...edit.places import LARGEST
from ..comfy.latents import Grid
from ..comfy.model_patches import OVERRIDE, READ, AttentionCall, ControlledSlot, host_attention
from ..control.attention_slots import check_rows
from ..families.unet import UNet, cells_of, slot, transformer_blocks
from .picture_call import Act, PictureCall

ALL = slice(None)


@dataclass(frozen=True)
class Evaluation:
    """One call of a network. x: its latent; tokens: of its text; arguments: what else it reads, by name; window: of the
    host's context windows, None where a call sees the whole clip."""

    network: Any
    x: Tensor
    tokens: int
    arguments: dict[str, Any]
    window: Any = None


def network_of(base_model: Any) -> Any:
    """Of a host's BaseModel while it is called, in which a node may have put one that torch compiled in its place."""
    network = base_model.diffusion_model
    return getattr(network, "_orig_mod", network)


class TextAttention(ABC):
    """A family whose words can be weighed and looked for.

    is_deep: whether all of its layers work on the same places, the first and the last of which tell less
    """

    is_deep: ClassVar[bool] = True

    @abstractmethod
    def has(self, network: nn.Module) -> bool:
        """Whether a network is of this family."""

    def prepared(self, model: ModelPatcher) -> ModelPatcher:
        """A clone of a MODEL whose attentions to the text can be told from others; it computes what it did."""
        return model.clone()

    def over_keys(self, values: Tensor, tokens: int, others: float) -> Tensor:
        """Values of a text's own tokens for all that it has in a call: the host repeats shorter ones. others: the value
        of what is no text."""
        return values.repeat(tokens // len(values))

    @abstractmethod
    def looking_grid(self, evaluation: Evaluation) -> Grid:
        """Of the places whose attention to the text tells best where a word looks."""

    @abstractmethod
    def likeness_grid(self, evaluation: Evaluation) -> Grid:
        """Of the places whose attention to each other tells best what looks alike."""

    @abstractmethod
    def grid_of_call(self, evaluation: Evaluation, options: dict[str, Any]) -> Grid:
        """Of the places that an attention works on, by its options."""

    @abstractmethod
    def acting(self, act: Act, evaluation: Evaluation, options: dict[str, Any], itself: bool = False) -> dict[str, Any]:
        """A call's transformer_options with `act` in the place of the attentions to the text; itself: and in that of
        the picture's to itself."""


class SlotText(TextAttention):
    """A UNet, which the host gives slots."""

    is_deep = False

    def has(self, network: nn.Module) -> bool:
        return UNet().has(network)

    def looking_grid(self, evaluation: Evaluation) -> Grid:
        grid = blend_grid(*evaluation.x.shape[-2:])
        check_grid(grid, self._cells(evaluation))
        return 1, *grid

    def likeness_grid(self, evaluation: Evaluation) -> Grid:
        cells = [cells for cells in self._cells(evaluation) if prod(cells) <= LARGEST]
        if not cells:
            raise ValueError(
                f"no attention of this model works on {LARGEST} places or fewer of a frame, which tell what looks "
                "alike: turn sharp off"
            )
        return 1, *max(cells)

    def grid_of_call(self, evaluation: Evaluation, options: dict[str, Any]) -> Grid:
        rows, columns = options["activations_shape"][-2:]
        return 1, rows, columns

    def _cells(self, evaluation: Evaluation) -> list[tuple[int, int]]:
        """(rows, columns) of every transformer block."""
        network = evaluation.network
        return [cells_of(network, name, evaluation.x.shape[-2:]) for name in transformer_blocks(network)]

    def acting(self, act: Act, evaluation: Evaluation, options: dict[str, Any], itself: bool = False) -> dict[str, Any]:
        replace = dict(options.get("patches_replace", {}))
        for kind in ("attn2", "attn1")[: 1 + itself]:
            slots = dict(replace.get(kind, {}))
            for layer in map(slot, transformer_blocks(evaluation.network)):
                inside = partial(_in_slot, act, evaluation.tokens if kind == "attn2" else None)
                slots[layer] = ControlledSlot(inside, layer, slots.get(layer, slots.get(layer[:2])))
            replace[kind] = slots
        return {**options, "patches_replace": replace}


def _in_slot(act: Act, tokens: int | None, call: AttentionCall) -> Tensor:
    """tokens: of the text that it looks at, None for the picture's attention to itself."""
    looks_at_text = tokens is not None
    if looks_at_text:
        check_rows(call)
    if looks_at_text and call.k.shape[-2] != tokens:  # other nodes may put more behind the text
        return call.attended()
    if len(call.q) != call.options["activations_shape"][0]:  # tiles, as HyperTile makes
        return call.attended()

    def kernel(q: Tensor, k: Tensor, v: Tensor, _: Tensor | None) -> Tensor:
        if READ in call.options and not looks_at_text:  # of an inflated model
            k, v = (read_frames(x, call.options[READ]) for x in (k, v))
        return host_attention(call.options)(q, k, v, call.heads)

    text, itself = (ALL, None) if looks_at_text else (None, ALL)
    return act(
        PictureCall(
            kernel, call.q, call.k, call.v, None, call.heads, None, call.options, ALL, text, itself, call.occupant
        )
    )


@dataclass(frozen=True)
class Layout:
    """What a picture's attention holds, as PictureCall has it."""

    picture: slice
    text: slice | None = None
    itself: slice | None = None


class OverriddenText(TextAttention):
    """A transformer, all of whose attentions go through the host's `optimized_attention_override`."""

    @abstractmethod
    def grid(self, evaluation: Evaluation) -> Grid:
        """Of the places that the picture's queries are."""

    def looking_grid(self, evaluation: Evaluation) -> Grid:
        return self.grid(evaluation)

    def likeness_grid(self, evaluation: Evaluation) -> Grid:
        return self.grid(evaluation)

    def grid_of_call(self, evaluation: Evaluation, options: dict[str, Any]) -> Grid:
        return self.grid(evaluation)

    @abstractmethod
    def layout(self, evaluation: Evaluation, queries: int, keys: int, options: dict[str, Any]) -> Layout | None:
        """Of an attention, by its options; None where no picture looks."""

    def acting(self, act: Act, evaluation: Evaluation, options: dict[str, Any], itself: bool = False) -> dict[str, Any]:
        before = options.get(OVERRIDE)  # of another node, such as one that brings a kernel

        def override(
            function: Callable[..., Tensor], q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None,
            **kwargs: Any,
        ) -> Tensor:  # fmt: skip
            attend = function if before is None else partial(before, function)
            if not kwargs.get("skip_reshape"):
                q, k, v = (x.flatten(2) for x in (q, k, v))  # some come [rows, tokens, heads, channels]

            def kernel(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
                # As the host calls it: some kernels of other nodes know no mask.
                return attend(q, k, v, heads, **kwargs if mask is None else {**kwargs, "mask": mask})

            call_options = kwargs.get("transformer_options") or {}
            layout = self.layout(evaluation, q.shape[-2], k.shape[-2], call_options)
            if layout is None or not (itself or layout.text):
                return kernel(q, k, v, mask)
            return act(
                PictureCall(
                    kernel, q, k, v, mask, heads, kwargs.get("scale"), call_options,
                    layout.picture, layout.text, layout.itself,
                )
            )  # fmt: skip

        return {**options, OVERRIDE: override}
