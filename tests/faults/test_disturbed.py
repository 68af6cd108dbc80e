"""Every long work of the pack disturbed at every single call of the model and of the progress bar: interrupted, run out
of memory, failed by another node or a preview, given values that are no numbers. Each time it must stop within a step,
or go on in a smaller mode to the same bits where there is one; leave the MODEL as it was, hold no memory, and give the
same bits as an undisturbed run when it is queued again: in fewer calls, where it keeps what it has done."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest
import torch
from comfy import model_management
from comfyui_videop2p.tests.faults.injected import FAULTS, Calls, Fault, calls_of_models, progress
from comfyui_videop2p.tests.faults.operations import KEEPING, OPERATIONS, SMALLER, Operation, World, inversion, run
from comfyui_videop2p.tests.faults.states import equal, live_bytes, state_of
from comfyui_videop2p.videop2p_core.host.source import resume as unfinished
from torch import Tensor

STEP = 4  # calls of the model in the longest step: a source and a target, two halves each
LEAK = 2**16  # bytes that may be more afterwards: Python's own, a tensor of no size here and there


@pytest.fixture(autouse=True)
def every_step_kept(monkeypatch, tmp_path):
    """Of unfinished runs, in a folder of the test's own."""
    monkeypatch.setattr(unfinished, "folder", lambda: tmp_path)
    for stage in ("TUNING", "INVERSION", "NULL_TEXT"):
        monkeypatch.setattr(unfinished, stage, 1)


@dataclass(frozen=True)
class Undisturbed:
    """What an operation gives, and how often it calls the model and the progress bar."""

    result: list[Tensor]
    of_model: int
    of_progress: int

    def calls(self, fault: Fault) -> int:
        return self.of_progress if fault.in_progress else self.of_model


def undisturbed(operation: Operation, world: World) -> Undisturbed:
    of_model, of_progress = Calls(), Calls()
    with calls_of_models(of_model), progress(of_progress):
        result = [value.clone() for value in run(operation, world)]
    return Undisturbed(result, of_model.number, of_progress.number)


def disturbed(
    world: World, operation: Operation, plain: Undisturbed, what: Fault, calls: Sequence[int], *, smaller=False,
    keeping=False, a_step=STEP,
) -> Iterator[str]:  # fmt: skip
    """What is wrong of an operation under one fault at each of these calls. smaller: whether it has a smaller mode;
    keeping: whether an unfinished run of it is gone on with; a_step: calls of the model in its longest step."""
    goes_on, went_on = what.steps_down and smaller, False
    before, held = state_of(world.model), live_bytes()
    for at in calls:
        faulty, where = Calls(at, what.do), f"at call {at} of {plain.calls(what)}:"
        of_model, of_progress = (Calls(), faulty) if what.in_progress else (faulty, Calls())
        try:
            with calls_of_models(of_model), progress(of_progress):
                same = equal(run(operation, world), plain.result)
            if not (goes_on and same):
                yield f"{where} it went on to {'the end' if same else 'other bits'}"
        except what.raises as error:
            if what.says not in str(error):
                yield f"{where} it said {error}"
            if goes_on:
                yield f"{where} it did not go on"
        except Exception as error:  # whatever else it is, it is told
            yield f"{where} it raised {type(error).__name__}: {error}"
        if not (goes_on or what.in_progress) and of_model.number - 1 - at > a_step:
            yield f"{where} it called the model {of_model.number - 1 - at} times more"
        if state_of(world.model) != before:
            yield f"{where} the model is another one"
        again = Calls()
        with calls_of_models(again):
            if not equal(run(operation, world), plain.result):
                yield f"{where} queued again it gives other bits"
        if any(unfinished.folder().glob("*")):
            yield f"{where} what it kept is there when it is done"
        went_on |= again.number < plain.of_model
    if keeping and not (goes_on or went_on):
        yield "it never went on from what it kept"
    if (left := live_bytes() - held) > LEAK:
        yield f"{left} bytes are held after all of it"


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", OPERATIONS)
def test_nothing_is_lost_at_any_call(world, name, fault, measured):
    plain = undisturbed(OPERATIONS[name], world)
    points = range(plain.calls(FAULTS[fault]))
    measured(f"{len(points)} points")
    has = {"smaller": name in SMALLER, "keeping": name in KEEPING}
    assert points and not list(disturbed(world, OPERATIONS[name], plain, FAULTS[fault], points, **has))


# --- what is wrong is found -------------------------------------------------------------------------------------------

HELD = []


def stubborn(world, model):
    """Goes on whatever happens."""
    try:
        return inversion(world, model)
    except Exception:
        return inversion(world, model)


def untidy(world, model):
    """Leaves something on the model."""
    model.model_options["left"] = object()
    return inversion(world, model)


def hoarding(world, model):
    """Keeps what it had."""
    HELD.append(torch.zeros(2**16))
    return inversion(world, model)


def fickle(world, model):
    """Gives something else each time."""
    return [value + random.random() for value in inversion(world, model)]


def forgetful(world, model):
    """Begins anew each time."""
    for file in unfinished.folder().glob("*"):
        file.unlink()
    return inversion(world, model)


def littering(world, model):
    """Keeps more than it finds again."""
    (unfinished.folder() / "left").touch()
    return inversion(world, model)


@pytest.mark.parametrize(
    "operation, said",
    [
        (stubborn, "it went on to the end"),
        (untidy, "the model is another one"),
        (hoarding, "bytes are held after all of it"),
        (fickle, "queued again it gives other bits"),
        (forgetful, "it never went on from what it kept"),
        (littering, "what it kept is there when it is done"),
    ],
)
def test_what_is_wrong_is_found(world, operation, said):
    try:
        plain = undisturbed(operation, world)
        wrong = list(disturbed(world, operation, plain, FAULTS["another node's error"], [1], keeping=True))
    finally:
        HELD.clear()
        world.model.model_options.pop("left", None)
    assert any(said in one for one in wrong), wrong


def test_calls_after_an_interruption_are_counted(world, monkeypatch):
    monkeypatch.setattr(model_management, "throw_exception_if_processing_interrupted", lambda: None)
    plain = undisturbed(inversion, world)
    wrong = list(disturbed(world, inversion, plain, FAULTS["interruption"], [0], a_step=1))
    model_management.interrupt_current_processing(False)
    assert any("times more" in one for one in wrong) and any("to the end" in one for one in wrong), wrong
