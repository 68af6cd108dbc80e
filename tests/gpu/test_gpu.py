"""The pack on a pretend CUDA device: the whole path in the two modes that most GPUs run in, beside the CPU."""

import os
import subprocess
import sys

import pytest
import torch
from comfyui_videop2p.tests.gpu.compare import ALLOWED, NULL_TEXT, TRAINED, differences
from comfyui_videop2p.tests.gpu.report import SMALL
from comfyui_videop2p.tools.environment import ROOT, SetupError
from comfyui_videop2p.tools.gpu.modes import MODES, SHORT, environment
from comfyui_videop2p.tools.pack import host_path


@pytest.fixture(scope="module")
def pretended():
    """Environment of a process on the pretend device."""
    if torch.version.cuda is None:
        pytest.skip("this torch was built without CUDA, whose kernels' places the pretend device takes")
    try:
        return os.environ | environment(MODES["legacy"]) | {"COMFYUI_PATH": str(host_path())}
    except SetupError as error:
        pytest.skip(str(error))


@pytest.mark.timeout(1500)
def test_the_whole_path_gives_what_it_gives_on_the_cpu(pretended):
    command = [sys.executable, ROOT / "tools" / "pack.py", "tests.gpu.report", *SHORT, SMALL]
    variables = {**os.environ, "COMFYUI_PATH": str(host_path())}
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" ok ") == 3 * len(SHORT), done.stdout  # a walk, and files from and to the CPU


def test_a_mix_of_devices_is_refused(pretended):
    mix = "import torch; torch.ones(2, device='cuda') + torch.ones(2)"
    done = subprocess.run([sys.executable, "-c", mix], env=pretended, capture_output=True, text=True)
    assert "Expected all tensors to be on the same device" in done.stderr


def test_more_than_the_memory_is_refused(pretended):
    code = "import torch; torch.empty(2**29, device='cuda'); torch.empty(2**29 + 1, device='cuda')"
    variables = pretended | {"PRETEND_CUDA_MEMORY": str(2**31)}
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True)
    assert "OutOfMemoryError" in done.stderr


# --- what is compared -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, allowed", [("edit: target 0", ALLOWED), ("inversion: null", NULL_TEXT), ("tuning: a.attn1.to_q", TRAINED)]
)
def test_a_difference_above_its_bound_is_wrong(name, allowed):
    expected = {name: torch.randn(1000, generator=torch.Generator().manual_seed(0))}
    scale = expected[name].std(correction=0)
    for share, wrong in ((0.9, False), (1.1, True)):
        (found,) = differences({name: expected[name] + share * allowed * scale}, expected, exact=True)
        assert found.wrong is wrong


@pytest.mark.parametrize("exact", [True, False])
def test_what_is_no_number_or_is_not_there_or_has_another_shape_is_wrong(exact):
    expected = {"edit: target 0": torch.zeros(3)}
    for actual in ({}, {"edit: target 0": torch.zeros(2)}, {"edit: target 0": torch.tensor([0.0, torch.nan, 0.0])}):
        assert [found.wrong for found in differences(actual, expected, exact)] == [True]
    assert [found.wrong for found in differences(expected | {"more": torch.zeros(1)}, expected, exact)] == [True, False]
