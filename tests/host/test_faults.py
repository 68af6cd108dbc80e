"""`dev.py faults`: its short form finds nothing wrong, and it would find what it looks for."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from comfyui_videop2p.tools.faults.disturbed import disturbed
from comfyui_videop2p.tools.faults.faults import FAULTS, Calls, calling
from comfyui_videop2p.tools.faults.operations import World, run
from comfyui_videop2p.tools.pack import host_path

pytestmark = pytest.mark.usefixtures("one_thread")

ROOT = Path(__file__).parents[2]


def test_nothing_is_lost_at_the_points_of_the_short_form():
    command = [sys.executable, ROOT / "tools" / "pack.py", "tools.faults.report", "--short", "disturbed"]
    environment = {**os.environ, "COMFYUI_PATH": str(host_path())}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = re.findall(r"^disturbed +.+? +1 points, 0 wrong$", done.stdout, re.MULTILINE)
    assert len(lines) == 8 * len(FAULTS)


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


@pytest.mark.parametrize(
    "made, said",
    [
        (stubborn, "it went on to the end"),
        (untidy, "the model is another one"),
        (hoarding, "bytes are held after all of it"),
        (fickle, "queued again it gives other bits"),
    ],
)
def test_what_is_wrong_is_found(world, made, said):
    operation, counted = made(world), Calls()
    try:
        expected = run(operation, calling(world.model, counted))
        figure = disturbed(world, "it", operation, expected, 4, counted.number, "another node's error", [1])
    finally:
        HELD.clear()
        world.model.model_options.pop("left", None)
    assert any(said in wrong for wrong in figure.wrong), figure.wrong


def test_calls_after_an_interruption_are_counted(world, monkeypatch):
    from comfy import model_management

    operation, counted = inverted(world), Calls()
    expected = run(operation, calling(world.model, counted))
    monkeypatch.setattr(model_management, "throw_exception_if_processing_interrupted", lambda: None)
    figure = disturbed(world, "it", operation, expected, 1, counted.number, "interruption", [0])
    model_management.interrupt_current_processing(False)
    assert any("times more" in wrong for wrong in figure.wrong) and any("to the end" in said for said in figure.wrong)
