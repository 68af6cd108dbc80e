"""`dev.py faults`: its short form finds nothing wrong, and it would find what it looks for."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from comfyui_videop2p.tools.faults.disturbed import disturbed, every_step_kept, undisturbed
from comfyui_videop2p.tools.faults.faults import FAULTS
from comfyui_videop2p.tools.faults.operations import KEEPING, World
from comfyui_videop2p.tools.pack import host_path
from comfyui_videop2p.videop2p_core.host.source import resume as unfinished

pytestmark = pytest.mark.usefixtures("one_thread")

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_nothing_is_lost_at_the_points_of_the_short_form():
    command = [sys.executable, ROOT / "tools" / "pack.py", "tools.faults.report", "--short", "disturbed"]
    environment = {**os.environ, "COMFYUI_PATH": str(host_path())}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = re.findall(r"^disturbed +.+? +1 points, 0 wrong", done.stdout, re.MULTILINE)
    assert len(lines) == 8 * len(FAULTS)
    # Tuning and null text go on by themselves where memory runs out.
    assert done.stdout.count("1 went on from a step that was kept") == len(KEEPING) * len(FAULTS) - 2


@pytest.fixture(scope="module")
def world():
    with torch.inference_mode():
        return World()


def inverted(world):
    return world.operations()["inversion"]


HELD = []


def stubborn(world):
    """Goes on whatever happens."""

    def operation(model):
        try:
            return inverted(world)(model)
        except Exception:
            return inverted(world)(world.model)

    return operation


def untidy(world):
    """Leaves something on the model."""

    def operation(model):
        world.model.model_options["left"] = object()
        return inverted(world)(model)

    return operation


def hoarding(world):
    """Keeps what it had."""

    def operation(model):
        HELD.append(torch.zeros(2**16))
        return inverted(world)(model)

    return operation


def fickle(world):
    """Gives something else each time."""

    def operation(model):
        return [value + len(HELD) + torch.rand(()) for value in inverted(world)(model)]

    return operation


def forgetful(world):
    """Begins anew each time."""

    def operation(model):
        for file in unfinished.folder().glob("*"):
            file.unlink()
        return inverted(world)(model)

    return operation


def littering(world):
    """Keeps more than it finds again."""

    def operation(model):
        (unfinished.folder() / "left").touch()
        return inverted(world)(model)

    return operation


@pytest.mark.parametrize(
    "made, said",
    [
        (stubborn, "it went on to the end"),
        (untidy, "the model is another one"),
        (hoarding, "bytes are held after all of it"),
        (fickle, "queued again it gives other bits"),
        (forgetful, "it never went on from what it kept"),
        (littering, "what it kept is there when it is done"),
    ],
)
def test_what_is_wrong_is_found(world, made, said):
    operation = made(world)
    try:
        with every_step_kept():
            plain = undisturbed(operation, world.model)
            figure = disturbed(world, "inversion", operation, plain, "another node's error", [1])
    finally:
        HELD.clear()
        world.model.model_options.pop("left", None)
    assert any(said in wrong for wrong in figure.wrong), figure.wrong


def test_calls_after_an_interruption_are_counted(world, monkeypatch):
    from comfy import model_management

    operation = inverted(world)
    plain = undisturbed(operation, world.model)
    monkeypatch.setattr(model_management, "throw_exception_if_processing_interrupted", lambda: None)
    figure = disturbed(world, "it", operation, plain, "interruption", [0], a_step=1)
    model_management.interrupt_current_processing(False)
    assert any("times more" in wrong for wrong in figure.wrong) and any("to the end" in said for said in figure.wrong)
