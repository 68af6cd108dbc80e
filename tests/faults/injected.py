"""Faults at the n-th call of the model or of the host's progress bar."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from unittest.mock import patch

import comfy.model_management
import comfy.utils
import torch
from comfy.model_base import BaseModel
from torch import Tensor


class Injected(RuntimeError):
    """What a neighbouring node might raise."""


def interrupt(x):
    comfy.model_management.interrupt_current_processing()
    return x


def run_out_of_memory(x):
    raise torch.OutOfMemoryError("out of memory, on purpose")


def fail(x):
    raise Injected("failed on purpose")


def spoil(x):
    return x * torch.nan


@dataclass(frozen=True)
class Fault:
    """do(x): what happens at the n-th call, x being what the model is given, None for a progress bar; raises: what
    comes of it; says: a part of its words; steps_down: whether work that has a smaller mode goes on in it."""

    do: Callable[[Tensor | None], Tensor | None]
    raises: type[BaseException]
    says: str = ""
    in_progress: bool = False
    steps_down: bool = False


FAULTS = {
    "interruption": Fault(interrupt, comfy.model_management.InterruptProcessingException),
    "out of memory": Fault(run_out_of_memory, torch.OutOfMemoryError, steps_down=True),
    "another node's error": Fault(fail, Injected),
    "not a number": Fault(spoil, ValueError, "gave values that are not numbers"),
    "a preview's error": Fault(fail, Injected, in_progress=True),
}


@dataclass
class Calls:
    """Counts calls, and lets something go wrong at one of them (counted from 0)."""

    at: int | None = None
    do: Callable[[Tensor | None], Tensor | None] = field(default=lambda x: x)
    number: int = 0

    def met(self, x: Tensor | None = None) -> Tensor | None:
        self.number += 1
        return self.do(x) if self.number - 1 == self.at else x


@contextmanager
def progress(calls: Calls):
    """The host's progress bars report to the calls alone, however little time has passed since the last report."""
    always = {"PROGRESS_THROTTLE_MIN_INTERVAL": 0, "PROGRESS_THROTTLE_MIN_PERCENT": 0}
    with patch.multiple(comfy.utils, PROGRESS_BAR_HOOK=lambda *args, **kwargs: calls.met(), **always):
        yield


@contextmanager
def calls_of_models(calls: Calls):
    """All calls of any model are counted. The MODELs themselves are what they were, so that the same run is known
    again."""
    apply = BaseModel.apply_model

    def counted(self, x, *args, **kwargs):
        return apply(self, calls.met(x), *args, **kwargs)

    with patch.object(BaseModel, "apply_model", counted):
        yield
