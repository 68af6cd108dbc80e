"""Every long work of the pack disturbed at every single call of the model: interrupted, run out of memory, failed by
another node. Each time it must stop within a step, leave the MODEL as it was, hold no memory, and give the same bits as
an undisturbed run when it is queued again. The short form takes the first, the last and a few calls between."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from .faults import FAULTS, Calls, calling, equal, live_bytes, state_of
from .figures import Figure
from .operations import World, run

STEP = 4  # calls of the model in the longest step: a source and a target, two halves each
SHORT = 3  # calls of each operation and fault
LEAK = 2**16  # bytes that may be more afterwards: Python's own, a tensor of no size here and there


def figures(short: bool) -> Iterator[Figure]:
    with torch.inference_mode():
        world = World()
    for name, operation in world.operations().items():
        counted = Calls()
        expected = [value.clone() for value in run(operation, calling(world.model, counted))]
        total = counted.number
        calls = sorted({*range(0, total, max(total // (SHORT - 1), 1)), total - 1}) if short else range(total)
        for fault in FAULTS:
            yield disturbed(world, name, operation, expected, STEP, total, fault, calls)


def disturbed(world, name, operation, expected, a_step, total, fault, calls) -> Figure:
    """One operation under one fault at each of these calls. a_step: calls of its longest step; total: all of them."""
    do, raised = FAULTS[fault]
    wrong = []
    before, held = state_of(world.model), live_bytes()
    for at in calls:
        counted, found = Calls(at, do), []
        try:
            run(operation, calling(world.model, counted))
            found.append("it went on to the end")
        except raised:
            pass
        except Exception as error:  # whatever else it is, it is told
            found.append(f"it raised {type(error).__name__}: {error}")
        if counted.number - at > a_step:
            found.append(f"it called the model {counted.number - at} times more")
        if state_of(world.model) != before:
            found.append("the model is another one")
        if at in (calls[0], calls[-1]) and not equal(run(operation, calling(world.model, Calls())), expected):
            found.append("queued again it gives other bits")
        wrong += [f"{name}, {fault} at call {at} of {total}: {said}" for said in found]
    left = live_bytes() - held
    if left > LEAK:
        wrong.append(f"{name}, {fault}: {left} bytes are held after all of it")
    return Figure(f"{name}, {fault}", len(calls), "points", tuple(wrong))
