"""What differs between two walks of the path: the largest difference of each tensor, in standard deviations of the one
that is expected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

# What float32 may differ by where attention adds up in another order. AdamW moves each weight by the sign of its
# gradient, so a few that have none to speak of go elsewhere: of what was trained the whole is compared.
ALLOWED, NULL_TEXT, TRAINED = 1e-4, 3e-4, 3e-3
# Dynamic VRAM rounds small weights that a LoRA or a tuning changes to the precision of their file: with one in float32
# the null text under one is within 1e-4, and these edits within 1e-5. A null text is optimised by signs as well.
NULL_UNDER_LORA = "null text, LoRA: null"
ROUNDED = {NULL_UNDER_LORA: 2e-3} | {
    f"{edit}: target 0": 3e-4 for edit in ("edit, LoRA", "edit, tuned", "edit, saved and loaded", "from theirs")
}


@dataclass(frozen=True)
class Difference:
    """Of one tensor. allowed: None where numbers are only near, in half precision: then all must be numbers."""

    name: str
    size: float
    allowed: float | None

    @property
    def wrong(self) -> bool:
        return not self.size <= (float("inf") if self.allowed is None else self.allowed)  # NaN is wrong

    def __str__(self) -> str:
        return f"{self.name}: {self.size:.1e}" + (f" of {self.allowed:.0e}" if self.allowed else "")


def difference(name: str, actual: Tensor, expected: Tensor, exact: bool) -> Difference:
    trained = name.startswith("tuning") and not name.endswith("losses")
    as_a_whole = trained or name == NULL_UNDER_LORA
    allowed = TRAINED if trained else NULL_TEXT if name.endswith("null") else ALLOWED
    allowed = ROUNDED.get(name, allowed) if exact else None
    if actual.shape != expected.shape:
        return Difference(f"{name} has shape {list(actual.shape)}, not {list(expected.shape)}", torch.nan, allowed)
    if not actual.isfinite().all():
        return Difference(f"{name} is no numbers", torch.nan, allowed)
    apart = actual - expected
    scale = (expected - expected.mean()).square().mean().sqrt()
    size = apart.square().mean().sqrt() if as_a_whole else apart.abs().max()
    return Difference(name, (size / scale if scale > 0 else size).item(), allowed)


def differences(actual: Mapping[str, Tensor], expected: Mapping[str, Tensor], exact: bool) -> list[Difference]:
    """The worst first. A tensor that only one of the two has is wrong."""
    alone = [Difference(f"{name} is on one device alone", torch.nan, None) for name in actual.keys() ^ expected.keys()]
    both = [difference(name, actual[name], expected[name], exact) for name in actual.keys() & expected.keys()]
    return sorted(alone + both, key=lambda found: (not found.wrong, -found.size))
