"""What a parity check found: the largest error of one comparison beside the tolerance it had to meet.

Every group module g1..g6 offers `check(directory: Path) -> list[Result]`, one entry a comparison.
"""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Result:
    """`error` and `tolerance` are in the same unit; a tolerance of 0 asks for exactness."""

    name: str
    error: float
    tolerance: float

    @property
    def passed(self):
        return self.error <= self.tolerance  # false for NaN

    @property
    def ratio(self):
        """The error as a share of the tolerance: above 1 is out of tolerance."""
        if self.tolerance == 0:
            return 0.0 if self.error == 0 else float("inf")
        return self.error / self.tolerance

    def __str__(self):
        return f"{self.name}: error {self.error:.3g}, tolerance {self.tolerance:.3g}"


def compare(name, actual, expected, atol, rtol=0.0):
    """The element of two tensors that comes closest to breaking |actual - expected| <= atol + rtol |expected|."""
    if actual.shape != expected.shape:
        raise ValueError(f"{name}: shape {tuple(actual.shape)}, the reference has {tuple(expected.shape)}")
    error = (actual.double() - expected.double()).abs().flatten()
    tolerance = (atol + rtol * expected.double().abs()).flatten()
    share = torch.where(error == 0, 0.0, error / tolerance)  # where both are 0 nothing is wrong
    worst = share.argmax()  # argmax takes a NaN for the largest
    return Result(name, error[worst].item(), tolerance[worst].item())
