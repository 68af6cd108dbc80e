"""test_device.py in a process with a pretend device."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from comfyui_videop2p.tools.environment import SetupError
from comfyui_videop2p.tools.gpu.modes import MODES, environment

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif("pretend_cuda" in sys.modules, reason="this process has one")
@pytest.mark.skipif(torch.version.cuda is None, reason="needs a torch that was built with CUDA")
def test_what_shows_on_a_device_alone():
    try:
        variables = environment(MODES["legacy"])
    except SetupError as lacking:
        pytest.skip(str(lacking))
    command = [sys.executable, "-m", "pytest", "-n", "0", "-q", "tests/host/test_device.py"]
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert " passed" in done.stdout and " skipped" not in done.stdout
