"""Guidance of other nodes that goes by what it saw before, as with a momentum: a prediction of the very same clip."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor

FUNCTIONS = "sampler_cfg_function", "sampler_calc_cond_batch_function"
LISTS = "sampler_pre_cfg_function", "sampler_post_cfg_function"


class RememberedGuidance:
    """Under these options of a sampling call clips take turns: several targets, or passes.

    What a function writes into the options of a call is the caller's to keep apart. What it keeps for itself is one
    clip's no more: that is told by what its closure or its object holds after a prediction that it did not before.
    """

    def __init__(self, model_options: dict[str, Any]) -> None:
        single = [model_options.get(name) for name in FUNCTIONS]
        self.functions = [*filter(None, single), *(one for name in LISTS for one in model_options.get(name, ()))]
        self.held = self._holds()

    def check(self, x: Tensor) -> None:
        """After a prediction for x [..., height, width]. Raises ValueError where one of its shape is kept."""
        new = [tensor for tensor in self._holds() if not any(tensor is one for one in self.held)]
        if any(tensor.ndim == x.ndim and tensor.shape[-2:] == x.shape[-2:] for tensor in new):
            raise ValueError(
                "guidance of another node remembers the last prediction, whose ever it was (Adaptive Projected "
                "Guidance with a momentum, for instance): set its momentum to 0, or run one edit at a time without "
                "passes"
            )

    def _holds(self) -> list[Tensor]:
        return [value for function in self.functions for value in _held_by(function) if isinstance(value, Tensor)]


def _held_by(function: Any) -> Iterator[Any]:
    """What a function's closure holds, and its attributes or those of the object that it is a method of."""
    values = [cell.cell_contents for cell in getattr(function, "__closure__", None) or () if not _is_empty(cell)]
    values += getattr(getattr(function, "__self__", function), "__dict__", {}).values()
    for value in values:
        yield from value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else [value]


def _is_empty(cell: Any) -> bool:
    try:
        return cell.cell_contents is None
    except ValueError:  # not bound yet
        return True
