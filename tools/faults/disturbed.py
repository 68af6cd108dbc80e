"""Every long work of the pack disturbed at every single call of the model and of the progress bar: interrupted, run out
of memory, failed by another node or a preview, given values that are no numbers. Each time it must stop within a step,
or go on in a smaller mode to the same bits where there is one; leave the MODEL as it was, hold no memory, and give the
same bits as an undisturbed run when it is queued again. The short form takes one in the middle."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from .faults import FAULTS, Calls, calling, equal, live_bytes, progress, state_of
from .figures import Figure
from .operations import SMALLER, World, run

STEP = 4  # calls of the model in the longest step: a source and a target, two halves each
LEAK = 2**16  # bytes that may be more afterwards: Python's own, a tensor of no size here and there


def figures(short: bool) -> Iterator[Figure]:
    with torch.inference_mode():
        world = World()
    for name, operation in world.operations().items():
        of_model, of_progress = Calls(), Calls()
        with progress(of_progress):
            expected = [value.clone() for value in run(operation, calling(world.model, of_model))]
        for fault, what in FAULTS.items():
            total = (of_progress if what.in_progress else of_model).number
            calls = [total // 2] if short else range(total)
            yield disturbed(world, name, operation, expected, STEP, total, fault, calls)


def disturbed(world, name, operation, expected, a_step, total, fault, calls) -> Figure:
    """One operation under one fault at each of these calls. a_step: calls of the model in its longest step; total: all
    that could be disturbed."""
    what, wrong = FAULTS[fault], []
    goes_on = what.steps_down and name in SMALLER
    before, held = state_of(world.model), live_bytes()
    for at in calls:
        faulty, found = Calls(at, what.do), []
        of_model, of_progress = (Calls(), faulty) if what.in_progress else (faulty, Calls())
        try:
            with progress(of_progress):
                same = equal(run(operation, calling(world.model, of_model)), expected)
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
        if at == calls[-1] and not equal(run(operation, calling(world.model, Calls())), expected):
            found.append("queued again it gives other bits")
        wrong += [f"{name}, {fault} at call {at} of {total}: {said}" for said in found]
    left = live_bytes() - held
    if left > LEAK:
        wrong.append(f"{name}, {fault}: {left} bytes are held after all of it")
    return Figure(f"{name}, {fault}", len(calls), "points", tuple(wrong))
