"""Two calls of one network that go block by block in turns, so that of one no more than a block need be kept for the
other: record and replay (arXiv 2303.04761, section 3.3) in little memory."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import copy_context
from types import TracebackType

import torch
from comfy.model_management import cuda_device_context


class Stopped(BaseException):
    """Ends a leader whose follower failed."""


class InStep:
    """A call that leads another, around which this is entered. The leader has a thread of its own, as a call of the
    host's network cannot be left in the middle; it runs while the follower waits, and never beside it.

    lead: makes the call; its blocks ask `wait`, those of the follower `follow`; device: that both run on
    """

    def __init__(self, lead: Callable[[InStep], None], device: torch.device) -> None:
        self.lead, self.device = lead, device
        self.errors: list[BaseException] = []  # of the leader, until it is raised: its frames hold this
        self.block: str | None = None  # that the leader is in
        self.passed: set[str] = set()
        self.over = self.stops = self.runs_on = False
        self.turn_of_leader, self.turn_of_follower = threading.Semaphore(0), threading.Semaphore(0)
        self.inference, self.grad = torch.is_inference_mode_enabled(), torch.is_grad_enabled()
        self.thread = threading.Thread(target=copy_context().run, args=(self._run,), daemon=True)

    def __enter__(self) -> InStep:
        self.thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stops, self.runs_on = error is not None, True
        try:
            self._turn()
        finally:
            self.thread.join()

    def follow(self, block: str) -> None:
        """Before a block of the follower: the leader goes through the same one. Raises what the leader raises."""
        while not self.over and block not in self.passed:
            self._turn()

    def wait(self, block: str) -> None:
        """Before a block of the leader: the follower goes through the one before."""
        if self.block is not None and not self.runs_on:
            self.passed.add(self.block)
            self.turn_of_follower.release()
            self.turn_of_leader.acquire()
            if self.stops:
                raise Stopped
        self.block = block

    def _turn(self) -> None:
        if not self.over:
            self.turn_of_leader.release()
            self.turn_of_follower.acquire()
        if self.errors:
            raise self.errors.pop()

    def _run(self) -> None:
        self.turn_of_leader.acquire()
        try:
            if not self.stops:
                with (
                    torch.inference_mode(self.inference), torch.set_grad_enabled(self.grad),
                    cuda_device_context(self.device),
                ):  # fmt: skip
                    self.lead(self)
        except BaseException as error:  # an interruption as well
            if not self.stops:
                self.errors.append(error)
        finally:
            self.over = True
            self.turn_of_follower.release()
