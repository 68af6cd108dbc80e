"""Numbers that are none."""

from torch import Tensor


def check_finite(value: Tensor, where: str, remedy: str = "") -> None:
    """Raises ValueError, in a sentence, where NaN or infinity came out of a step. remedy: what to try first."""
    if not value.isfinite().all():
        raise ValueError(
            f"{where} gave values that are not numbers (NaN or infinity): {remedy}let the model compute in float32 "
            "(ModelComputeDtype), or take other nodes' patches off it one by one"
        )
