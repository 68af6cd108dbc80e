"""What a control and the layers that it acts on agree on."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Any

import comfy.model_management
from comfy.ldm.modules.attention import optimized_attention
from comfy.patcher_extension import WrappersMP, add_wrapper_with_key
from torch import Tensor

from ...diffusion.attention import Attend

CONTEXT = 3  # where the text stands among the arguments of a model, by position
OPTIONS = 5  # where transformer_options stand by position: x, timestep, two contexts or a context and y, control
OVERRIDE = "optimized_attention_override"  # where they name what the host calls in the place of its attention
CONTROL = "videop2p_control"  # where transformer_options carry an edit's control
WEIGHTS = "videop2p_word_weights"  # where they say which weighed texts are in use; the key of what weighs them
WATCH = "videop2p_word_watch"  # the key of what watches words while a sampler runs
READ = "videop2p_frames_read"  # where a layer's options say which frames each frame reads [frames, reads]


def host_attention(options: dict[str, Any], mask: Tensor | None = None) -> Attend:
    """attend(q, k, v, heads) as the host itself would in this call; mask: what it adds to the logits."""
    masked = {} if mask is None else {"mask": mask}
    precision = options.get("attn_precision")
    return partial(optimized_attention, attn_precision=precision, transformer_options=options, **masked)


@dataclass(frozen=True)
class AttentionCall:
    """One call of an attention slot. slot: its name; occupant: what another node had put there, or None; q, k, v:
    [rows, tokens or places, channels], rows = conditioning entries x frames; options: the call's own; mask [rows, 1, 1,
    tokens]: what the host adds to the logits, 0 where a token is seen, None where all are."""

    slot: Hashable
    occupant: Callable[..., Tensor] | None
    q: Tensor
    k: Tensor
    v: Tensor
    options: dict[str, Any]
    mask: Tensor | None = None

    @property
    def heads(self) -> int:
        return self.options["n_heads"]

    def attended(self, part: slice = slice(None)) -> Tensor:
        """By the occupant, or as the host would, of some of the rows."""
        q, k, v = self.q[part], self.k[part], self.v[part]
        if self.occupant:
            return self.occupant(q, k, v, self.options)
        return host_attention(self.options, self.mask_of(part))(q, k, v, self.heads)

    def mask_of(self, rows: slice) -> Tensor | None:
        return None if self.mask is None else self.mask[rows]


SlotAttention = Callable[[AttentionCall], Tensor]


@dataclass(frozen=True)
class ControlledSlot:
    """An attention slot that an edit's control holds. occupant: what another node had put there, or None."""

    attend: SlotAttention
    layer: Hashable
    occupant: Callable[..., Tensor] | None = None

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]) -> Tensor:
        return self.attend(AttentionCall(self.layer, self.occupant, q, k, v, options))


def options_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """transformer_options among the arguments of a model or of its UNet."""
    return kwargs["transformer_options"] if "transformer_options" in kwargs else args[OPTIONS]


def context_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """The text [rows, tokens, channels] among the arguments of a model."""
    return kwargs["c_crossattn"] if "c_crossattn" in kwargs else args[CONTEXT]


def with_options(
    args: tuple[Any, ...], kwargs: dict[str, Any], options: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The same arguments, (args, kwargs), with other transformer_options."""
    if "transformer_options" in kwargs:
        return args, {**kwargs, "transformer_options": options}
    return (*args[:OPTIONS], options, *args[OPTIONS + 1 :]), kwargs


def may_lock_pages() -> bool:
    """Whether the host itself takes page-locked memory, which some systems have none of and users can turn off."""
    return comfy.model_management.MAX_PINNED_MEMORY > 0


def install(control: Any, model_options: dict[str, Any]) -> None:
    """An AttentionControl, or an AttentionRecorder, into the options of one sampling call, which must be its own."""
    transformer_options = model_options.setdefault("transformer_options", {})
    transformer_options[CONTROL] = control
    add_wrapper_with_key(WrappersMP.APPLY_MODEL, CONTROL, control, model_options, is_model_options=True)
