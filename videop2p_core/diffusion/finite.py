"""Numbers that are none."""

from collections.abc import Sequence

import torch
from torch import Tensor


def check_finite(values: Tensor | Sequence[Tensor], where: str, remedy: str = "") -> None:
    """Raises ValueError, in a sentence, where NaN or infinity came out of a step. remedy: what to try first."""
    values = [values] if isinstance(values, Tensor) else values
    # One question for all of them: on a GPU the answer waits for the device.
    if not torch.stack([value.isfinite().all() for value in values]).all():
        raise ValueError(
            f"{where} gave values that are not numbers (NaN or infinity): {remedy}let the model compute in float32 "
            "(ModelComputeDtype), or take other nodes' patches off it one by one"
        )
