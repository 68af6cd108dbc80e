"""Every long work of the pack disturbed at every single call of the model and of the progress bar: interrupted, run out
of memory, failed by another node or a preview, given values that are no numbers. Each time it must stop within a step,
or go on in a smaller mode to the same bits where there is one; leave the MODEL as it was, hold no memory, and give the
same bits as an undisturbed run when it is queued again: in fewer calls, where it keeps what it has done. Here it keeps
every step. The short form disturbs one call in the middle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import torch
from torch import Tensor

from ...videop2p_core.host.source import resume as unfinished
from .faults import FAULTS, Calls, Fault, calls_of_models, equal, live_bytes, progress, state_of
from .figures import Figure
from .operations import KEEPING, SMALLER, Operation, World, run

STEP = 4  # calls of the model in the longest step: a source and a target, two halves each
LEAK = 2**16  # bytes that may be more afterwards: Python's own, a tensor of no size here and there


@dataclass(frozen=True)
class Undisturbed:
    """What an operation gives, and how often it calls the model and the progress bar."""

    result: list[Tensor]
    of_model: int
    of_progress: int

    def calls(self, fault: Fault) -> int:
        return self.of_progress if fault.in_progress else self.of_model


def undisturbed(operation: Operation, model) -> Undisturbed:
    of_model, of_progress = Calls(), Calls()
    with calls_of_models(of_model), progress(of_progress):
        result = [value.clone() for value in run(operation, model)]
    return Undisturbed(result, of_model.number, of_progress.number)


def figures(short: bool) -> Iterator[Figure]:
    with torch.inference_mode():
        world = World()
    for name, operation in world.operations().items():
        with every_step_kept():
            plain = undisturbed(operation, world.model)
            for fault, what in FAULTS.items():
                total = plain.calls(what)
                yield disturbed(world, name, operation, plain, fault, [total // 2] if short else range(total))


@contextmanager
def every_step_kept() -> Iterator[Path]:
    """Of unfinished runs, in a folder of their own."""
    every = dict.fromkeys(("TUNING", "INVERSION", "NULL_TEXT"), 1)
    with TemporaryDirectory() as place, patch.multiple(unfinished, folder=lambda: Path(place), **every):
        yield Path(place)


def disturbed(
    world: World, name: str, operation: Operation, plain: Undisturbed, fault: str, calls: Sequence[int],
    a_step: int = STEP,
) -> Figure:  # fmt: skip
    """One operation under one fault at each of these calls. a_step: calls of the model in its longest step."""
    what, wrong, less = FAULTS[fault], [], 0
    goes_on = what.steps_down and name in SMALLER
    before, held = state_of(world.model), live_bytes()
    for at in calls:
        faulty, found = Calls(at, what.do), []
        of_model, of_progress = (Calls(), faulty) if what.in_progress else (faulty, Calls())
        try:
            with calls_of_models(of_model), progress(of_progress):
                same = equal(run(operation, world.model), plain.result)
            if not (goes_on and same):
                found.append("it went on to the end" if same else "it went on to other bits")
        except what.raises as error:
            if what.says not in str(error):
                found.append(f"it said {error}")
            if goes_on:
                found.append("it did not go on")
        except Exception as error:  # whatever else it is, it is told
            found.append(f"it raised {type(error).__name__}: {error}")
        if not (goes_on or what.in_progress) and of_model.number - 1 - at > a_step:
            found.append(f"it called the model {of_model.number - 1 - at} times more")
        if state_of(world.model) != before:
            found.append("the model is another one")
        again = Calls()
        with calls_of_models(again):
            if not equal(run(operation, world.model), plain.result):
                found.append("queued again it gives other bits")
        if any(unfinished.folder().glob("*")):
            found.append("what it kept is there when it is done")
        less += again.number < plain.of_model
        wrong += [f"{name}, {fault} at call {at} of {plain.calls(what)}: {said}" for said in found]
    if name in KEEPING and not goes_on and not less:
        wrong.append(f"{name}, {fault}: it never went on from what it kept")
    left = live_bytes() - held
    if left > LEAK:
        wrong.append(f"{name}, {fault}: {left} bytes are held after all of it")
    said = f"{less} went on from a step that was kept" * bool(less)
    return Figure(f"{name}, {fault}", len(calls), "points", tuple(wrong), said)
