"""`dev.py bench` from end to end, on the reference's UNet. Run as a module, this file is that bench."""

import json
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from comfyui_videop2p.tests.parity.model import image_model
from comfyui_videop2p.tools.bench.report import ABOUT
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


def test_every_figure_is_printed_and_written(bench):
    printed, written = bench
    assert list(written["figures"]) == [name for name in ABOUT if written["memory"] or not name.endswith("_gib")]
    for name, value in written["figures"].items():
        assert re.search(rf"^{name} +{value:.2f} ", printed, re.MULTILINE)
    assert "2 frames" in written["machine"].values() and "latent 8x8" in written["machine"].values()


def test_counts_are_exact_and_the_rest_is_measured(bench):
    figures = bench[1]["figures"]
    # Every step needs the target twice; the source is looked at while the temporal window of 25 steps is open.
    counted = [figures[f"{name}_forwards"] for name in ("inversion", "edit", "stage_2")]
    assert counted == [50, 2 * 50 + 25, 175]
    assert all(0 < value < float("inf") for value in figures.values())
    assert figures["null_text_total"] == pytest.approx(50 * (10 * figures["null_text_inner"] + 2))
    assert figures["edit_step"] > figures["edit_step_after_windows"] > 1


if __name__ == "__main__":
    from comfyui_videop2p.tools.bench.report import main

    main(partial(image_model, str(ROOT / "tests" / "reference")))
