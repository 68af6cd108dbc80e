"""`dev.py bench` from end to end, on the reference's UNet. Run as a module, this file is that bench."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from comfyui_videop2p.tests.parity.model import image_model
from comfyui_videop2p.tools.pack import host_path

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """(what it printed, what it wrote)"""
    file = tmp_path_factory.mktemp("bench") / "figures.json"
    command = [sys.executable, ROOT / "tools" / "pack.py", "tests.host.test_bench", "--frames", "2", "--latent", "8"]
    done = subprocess.run(
        [*command, "--repeats", "1", "--json", file], capture_output=True, text=True, timeout=300,
        env={**os.environ, "COMFYUI_PATH": str(host_path())},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(file.read_text())


def test_x(bench):
    print(bench[0])


if __name__ == "__main__":
    from comfyui_videop2p.tools.bench.report import main

    main(partial(image_model, str(ROOT / "tests" / "reference")))
