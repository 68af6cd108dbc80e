"""Forwards of a clip, counted."""

from __future__ import annotations

from typing import Any

from torch import Tensor


class Meter:
    """A wrapper around the UNet that counts the rows it is given, of clips of so many frames."""

    def __init__(self, frames: int) -> None:
        self.frames, self.rows = frames, 0

    def __call__(self, executor: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        self.rows += len(x)
        return executor(x, *args, **kwargs)

    def forwards(self) -> float:
        """Of the clip, since it was last asked."""
        rows, self.rows = self.rows, 0
        return rows / self.frames
