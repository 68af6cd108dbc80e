"""python dev.py faults [--short] [OPERATION ...]

Every long work of the pack is disturbed at every single call of the model: interrupted, run out of memory, failed by
another node. Each time it must stop within a step, leave the MODEL as it was, hold no memory, and give the same bits as
an undisturbed run when it is queued again. `--short` takes the first, the last and a few calls between.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass

import torch

from .faults import FAULTS, Calls, calling, equal, live_bytes, state_of
from .operations import World, run

STEP = 4  # calls of the model in the longest step: a source and a target, two halves each
SHORT = 3  # calls of each operation and fault
LEAK = 2**16  # bytes that may be more afterwards: Python's own, a tensor of no size here and there


@dataclass
class Points:
    """How many disturbances there were, and what was wrong after which."""

    number: int = 0
    wrong: tuple[str, ...] = ()


def disturbed(world, name, operation, expected, a_step, total, fault, calls) -> Points:
    """One operation under one fault at each of these calls. a_step: calls of its longest step; total: all of them."""
    do, raised = FAULTS[fault]
    points = Points()
    before, held = state_of(world.model), live_bytes()
    for at in calls:
        counted, wrong = Calls(at, do), []
        try:
            run(operation, calling(world.model, counted))
            wrong.append("it went on to the end")
        except raised:
            pass
        except Exception as error:  # whatever else it is, it is told
            wrong.append(f"it raised {type(error).__name__}: {error}")
        if counted.number - at > a_step:
            wrong.append(f"it called the model {counted.number - at} times more")
        if state_of(world.model) != before:
            wrong.append("the model is another one")
        if at in (calls[0], calls[-1]) and not equal(run(operation, calling(world.model, Calls())), expected):
            wrong.append("queued again it gives other bits")
        points.number += 1
        points.wrong += tuple(f"{name}, {fault} at call {at} of {total}: {said}" for said in wrong)
    left = live_bytes() - held
    if left > LEAK:
        points.wrong += (f"{name}, {fault}: {left} bytes are held after all of it",)
    return points


def main() -> int:
    parser = argparse.ArgumentParser(prog="dev.py faults")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("operations", nargs="*", help="those whose name holds one of these words; all by default")
    asked = parser.parse_args()
    torch.set_num_threads(1)  # several add up in another order each time
    with torch.inference_mode():
        world = World()
    wrong = []
    operations = {
        name: operation
        for name, operation in world.operations().items()
        if not asked.operations or any(word in name for word in asked.operations)
    }
    for name, operation in operations.items():
        counted = Calls()
        expected = [value.clone() for value in run(operation, calling(world.model, counted))]
        total = counted.number
        between = max(total // (SHORT - 1), 1)
        calls = sorted({*range(0, total, between), total - 1}) if asked.short else range(total)
        for fault in FAULTS:
            points = disturbed(world, name, operation, expected, STEP, total, fault, calls)
            wrong += points.wrong
            print(f"{name:24} {fault:22} {points.number:4} points, {len(points.wrong)} wrong", flush=True)
    for said in wrong:
        print(said)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
