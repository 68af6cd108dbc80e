"""Where an attention call is told what to do, among a call's options."""

from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Any
from uuid import UUID

import torch
from torch import Tensor

from ...diffusion.attention import read_frames
from ..comfy.model_patches import READ, AttentionCall

CONDITIONAL = 0  # the host's index of the conditional half


def rows_of(entry: UUID, rows: int, options: dict[str, Any]) -> slice | None:
    """The rows of a conditional entry in this call, None where it does not hold it."""
    # The host may give a copy of an entry, uuid and all, to the unconditional half.
    calls = zip(options["uuids"], options["cond_or_uncond"], strict=True)
    positions = [i for i, (uuid, half) in enumerate(calls) if uuid == entry and half == CONDITIONAL]
    if not positions:
        return None
    share = rows // len(options["uuids"])
    return slice(positions[0] * share, (positions[0] + 1) * share)


def frame_layer(slot: Hashable) -> str:
    """What the frame attention of a slot is called among the layers that are recorded."""
    return f"frame {slot}"


def check_rows(call: AttentionCall) -> None:
    """Raises ValueError where another node made cross attention one of more rows than the clip has."""
    shape = call.options.get("activations_shape")  # of an image model
    if shape is not None and len(call.q) != shape[0]:
        raise ValueError(
            f"another node on this model gives its cross attention {len(call.q)} rows where the clip has {shape[0]}, "
            "as regional prompts by attention couple do, so that no row is a frame's own: take it off this model"
        )


def once(context: Tensor, tokens: int, role: str) -> Tensor:
    """The host repeats contexts of unlike length to a common one; every token once: [rows, tokens, channels]."""
    if context.shape[1] % tokens:
        raise ValueError(
            f"the {role} conditioning has {context.shape[1]} tokens but the edit was made for {tokens}: connect the "
            "conditioning that belongs to the edit"
        )
    return context[:, :tokens]


def only_seen(v: Tensor, mask: Tensor | None) -> Tensor:
    """Values [rows, tokens, channels], 0 for the tokens that a mask [rows, 1, 1, tokens] hides: a source may see others
    in their place."""
    return v if mask is None else v * (mask[:, 0, 0, :, None] == 0)


def seen_alone(k: Tensor, columns: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Keys [rows, tokens, channels] and columns [tokens, groups] of the tokens that a mask of one row shows."""
    if mask is None:
        return k, columns
    seen = mask[0, 0, 0] == 0
    return k[:, seen], columns[seen]


def splice(x: Tensor, rows: slice, replacement: Tensor) -> Tensor:
    """x [rows, ...] with other values in these rows."""
    return torch.cat([x[: rows.start], replacement, x[rows.stop :]])


def around(middle: Tensor, rows: slice, length: int, attended: Callable[[slice], Tensor]) -> Tensor:
    """[length, ...] of what is known for these rows, and of `attended` for those before and behind."""
    if len(middle) == length:
        return middle
    others = slice(0, rows.start), slice(rows.stop, length)
    before, after = ([attended(part)] if part.start < part.stop else [] for part in others)
    return torch.cat([*before, middle, *after])


def with_frames_read(call: AttentionCall) -> Tensor:
    """Frame attention of a slot that is held here, with what each frame reads of the others."""
    table = call.options.get(READ)
    if call.occupant or table is None:
        return call.attended()
    k, v = (read_frames(x, table) for x in (call.k, call.v))
    return replace(call, k=k, v=v).attended()
