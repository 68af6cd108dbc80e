"""What changes over the steps of a run: windows, weights and guidance as a value for each step."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class KeyFrames:
    """A value over the steps: points (position, value), straight lines between them, constant beyond the ends.

    position is a fraction of the run: 0 the first (noisiest) step, 1 the last.
    """

    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        positions = [position for position, _ in self.points]
        if not positions or positions != sorted(set(positions)) or not 0 <= positions[0] <= positions[-1] <= 1:
            raise ValueError(f"key-frames need rising positions between 0 and 1, not {positions}")

    def curve(self, steps: int) -> Tensor:  # [steps]
        return torch.tensor([self._value(step / max(steps - 1, 1)) for step in range(steps)], dtype=torch.float64)

    def _value(self, position: float) -> float:
        after = bisect.bisect_left(self.points, (position,))
        if after in (0, len(self.points)):
            return self.points[min(after, len(self.points) - 1)][1]
        (start, first), (end, last) = self.points[after - 1 : after + 1]
        return first + (last - first) * (position - start) / (end - start)


Window = float | tuple[float, float] | KeyFrames
CROSS_WINDOW, TEMPORAL_WINDOW = 0.2, 0.5  # by default


def cross_grain(steps: int) -> int:
    """By how many a window of cross attention is counted in a run of so many steps, as the reference does; all others
    are counted by the steps."""
    return steps + 1


def steps_before(share: float, grain: int) -> int:
    """The number of steps that begin before this share of a run."""
    return int(share * grain)


def window_curve(window: Window, steps: int, grain: int) -> Tensor:
    """A window as a value per step: [steps].

    window: an end, (start, end) as fractions of the run, or key-frames. It is open at the steps from
    steps_before(start, grain) up to, not including, steps_before(end, grain); grain: the steps, or their `cross_grain`.
    """
    if isinstance(window, KeyFrames):
        return window.curve(steps)
    start, end = window if isinstance(window, Sequence) else (0.0, window)
    if not 0 <= start <= end <= 1:
        raise ValueError(f"a window lies between 0 and 1 and ends after its start, not {start} to {end}")
    step = torch.arange(steps)
    return ((step >= steps_before(start, grain)) & (step < steps_before(end, grain))).double()


def values_of(value: float | KeyFrames) -> tuple[float, ...]:
    """The values that a curve goes through."""
    return tuple(point[1] for point in value.points) if isinstance(value, KeyFrames) else (value,)


def weight_curve(weight: float | KeyFrames, steps: int) -> Tensor:  # [steps]
    """The weight of each step: [steps], float64."""
    return weight.curve(steps) if isinstance(weight, KeyFrames) else torch.full((steps,), weight, dtype=torch.float64)


def token_curves(default: Tensor, curves: Mapping[tuple[int, ...], Tensor], tokens: int) -> Tensor:
    """[steps, tokens]: the default curve [steps], and at some token positions another one; later entries win."""
    result = default[:, None].repeat(1, tokens)
    for positions, curve in curves.items():
        result[:, list(positions)] = curve[:, None]
    return result
