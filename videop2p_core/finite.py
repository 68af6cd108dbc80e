"""Numbers that are none."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

NOT_NUMBERS = "values that are not numbers (NaN or infinity)"


def check_finite(values: Tensor | Sequence[Tensor], where: str, remedy: str = "") -> None:
    """Raises ValueError, in a sentence, where NaN or infinity came out of a step. remedy: what to try first."""
    values = [values] if isinstance(values, Tensor) else values
    # One question for all of them: on a GPU the answer waits for the device.
    if not torch.stack([value.isfinite().all() for value in values]).all():
        raise ValueError(
            f"{where} gave {NOT_NUMBERS}: {remedy}let the model compute in float32 (ModelComputeDtype), or take other "
            "nodes' patches off it one by one"
        )


def check_finite_input(values: Iterable[Tensor], holder: str, remedy: str) -> None:
    """Raises ValueError, in a sentence, where what is connected or read holds NaN or infinity.

    values: tensors, or one tensor, whose frames are looked at one by one; holder: 'the mask holds'; remedy: what to do
    """
    # The comparison of a long clip's values takes as much memory as the clip. A sum of numbers may overflow, but one of
    # anything else is never a number.
    if not all(value.sum(dtype=torch.float32).isfinite() or value.isfinite().all() for value in values):
        raise ValueError(f"{holder} {NOT_NUMBERS}: {remedy}")
