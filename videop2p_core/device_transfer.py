"""Tensors on their way between main memory and the device that computes.

A copy from or to ordinary memory makes a CUDA device and the program wait for each other. Through page-locked memory
neither does, but a machine has little of it: a Ferry takes a fixed amount and uses it over and over.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .log import LOG

HALF = 2**27  # bytes of either half of a ferry's page-locked memory


def sent(x: Tensor, device: torch.device) -> Tensor:
    """x on a device: one step of a stack that stays in main memory."""
    # CUDA has read ordinary memory when the call returns, whenever the copy is done; Metal has not.
    return x.to(device, non_blocking=device.type == "cuda")


@dataclass
class Half:
    """room: page-locked bytes; used: how many of them; passed: where the device is done with these; landing: (where in
    ordinary memory something goes, where it arrives)"""

    room: Tensor
    passed: torch.cuda.Event
    used: int = 0
    landing: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def take(self, most: int) -> Tensor:
        taken = self.room[self.used : self.used + most]
        self.used += len(taken)
        return taken

    def settle(self) -> None:
        """Wait for what is on its way, bring it where it goes, and begin anew."""
        if self.used:
            self.passed.synchronize()
        for to, arrived in self.landing:
            to.copy_(arrived)
        self.landing.clear()
        self.used = 0


class Ferry:
    """Takes tensors to main memory and back, in turns of its page-locked memory's halves.

    The program waits where both halves are on their way, and in `land`. Without a CUDA device, or without page-locked
    memory to be had, copies are ordinary ones.
    """

    def __init__(self, page_locked: bool = True) -> None:
        self.page_locked = page_locked
        self.halves: list[Half] = []

    def out(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """A copy of x in main memory; from a CUDA device it is there after `land`."""
        if not self._carries(x.device):
            return x.to("cpu", dtype, copy=True)
        x = x.to(dtype)
        copy = torch.empty(x.shape, dtype=dtype)
        for half, staged, to, part in self._shares(copy, x):
            self._carry(half, staged, part)
            half.landing.append((to, staged))
        return copy

    def back(self, x: Tensor, like: Tensor) -> Tensor:
        """x from main memory, on the device and in the dtype of another."""
        if x.device.type != "cpu" or not self._carries(like.device):
            return x.to(like)
        copy = torch.empty(x.shape, dtype=x.dtype, device=like.device)
        for half, staged, to, part in self._shares(copy, x):
            staged.copy_(part)
            self._carry(half, to, staged)
        return copy.to(like.dtype)  # on the device: half the way in half precision

    def land(self) -> None:
        """Wait until all that went out is there."""
        for half in self.halves:
            half.settle()

    def _carries(self, device: torch.device) -> bool:
        if device.type == "cuda" and self.page_locked and not self.halves:
            try:
                self.halves = [self._half() for _ in range(2)]
            except RuntimeError as error:
                LOG.warning(f"No page-locked memory is to be had, so that copies to main memory wait: {error}")
                self.page_locked = False
        return device.type == "cuda" and self.page_locked

    def _half(self) -> Half:
        return Half(torch.empty(HALF, dtype=torch.uint8, pin_memory=True), torch.cuda.Event())

    def _shares(self, copy: Tensor, x: Tensor) -> Iterator[tuple[Half, Tensor, Tensor, Tensor]]:
        """(half, its bytes, those of the copy, those of x) of as many shares as x needs."""
        copy_bytes, x_bytes = (tensor.contiguous().flatten().view(torch.uint8) for tensor in (copy, x))
        done = 0
        while done < len(x_bytes):
            if self.halves[0].used == len(self.halves[0].room):
                self.halves.reverse()
                self.halves[0].settle()
            staged = self.halves[0].take(len(x_bytes) - done)
            share = slice(done, done + len(staged))
            yield self.halves[0], staged, copy_bytes[share], x_bytes[share]
            done += len(staged)

    def _carry(self, half: Half, to: Tensor, part: Tensor) -> None:
        self._copy(to, part)
        half.passed.record()

    def _copy(self, to: Tensor, part: Tensor) -> None:
        to.copy_(part, non_blocking=True)
