"""`dev.py bench` on the reference's UNet. Run as a module, this file is the bench of that model."""

import json
import math
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from comfyui_videop2p.tests.parity.model import image_model
from comfyui_videop2p.tools.pack import host_path

ROOT = Path(__file__).parents[2]
BUILD = partial(image_model, str(ROOT / "tests" / "reference"))


def bench_of(options):
    """What it prints."""
    command = [sys.executable, ROOT / "tools" / "pack.py", "tests.host.test_bench", *options]
    environment = {**os.environ, "COMFYUI_PATH": str(host_path())}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """(what it printed, what it wrote); without memory, which takes a new process for each figure."""
    file = tmp_path_factory.mktemp("bench") / "figures.json"
    options = ["--frames", "2", "--latent", "8", "--repeats", "1", "--no-memory", "--json", file]
    printed = bench_of(options)
    return printed, json.loads(file.read_text())


def test_every_figure_is_printed_and_written(bench):
    from comfyui_videop2p.tools.bench import memory
    from comfyui_videop2p.tools.bench.report import ABOUT

    printed, written = bench
    assert written["figures"].keys() | memory.OPERATIONS.keys() | {"long_clip_memory"} == ABOUT.keys()
    assert all(f"{name} " in printed for name in written["figures"])
    assert all(math.isfinite(value) for value in written["figures"].values())
    assert (written["machine"]["frames"], written["memory"]) == ("2 frames", None)


def test_counts_are_exact(bench):
    figures = bench[1]["figures"]
    assert figures["inversion_forwards"] == 50
    # The target's two halves, and the source's one while the temporal window, the longer, is open.
    assert figures["edit_forwards"] == 2 * 50 + 0.5 * 50
    assert figures["stage_2_forwards"] == 175
    assert figures["edit_forwards_kept"] == 100
    assert figures["stage_2_forwards_kept"] == 150


def test_ratios_are_plausible(bench):
    figures = bench[1]["figures"]
    total = figures["null_text_total"]
    ratios = [value for name, value in figures.items() if name.endswith(("_forward", "_step", "_inner", "windows"))]
    assert len(ratios) == 6
    assert 0.1 < figures["edit_step_kept"] < 30
    assert all(0.1 < value < 30 for value in ratios)  # a single measurement, on a machine that may be busy
    assert total == pytest.approx(50 * (10 * figures["null_text_inner"] + 2))


def test_a_ratio_is_to_the_units_around_it():
    from comfyui_videop2p.tools.bench.timing import ratio

    steadily_slower = [1, 99, 2, 3 * 2.5, 3, 3 * 3.5, 4, 3 * 4.5, 5]
    assert ratio(steadily_slower, repeats=3) == 3


def test_the_peak_is_above_what_was_loaded():
    from comfyui_videop2p.tools.bench.memory import Peak, kind

    if kind() is None:
        pytest.skip("this machine does not tell a process its peak")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    loaded, watch = torch.ones(2**26, device=device), Peak()  # 0.25 GiB
    watch.begin(lambda: None)
    torch.ones(2**27, device=device)
    assert watch.gib() == pytest.approx(0.5, abs=0.02)
    assert loaded.all()


@pytest.mark.parametrize("name", ["edit_memory_gib", "null_text_memory_gib", "tuning_memory_gib"])
def test_each_operation_has_a_peak(name):
    from comfyui_videop2p.tools.bench.memory import kind, peak

    if kind() is None:
        pytest.skip("this machine does not tell a process its peak")
    assert peak(name, BUILD, 2, 8) < 1


if __name__ == "__main__":
    from comfyui_videop2p.tools.bench.report import main

    main(BUILD)


def test_whole_edits_cost_what_their_steps_say(tmp_path):
    file = tmp_path / "edits.json"
    printed = bench_of(["--frames", "2", "--latent", "8", "--edits", "--json", file])
    edits = json.loads(file.read_text())["edits"]
    # Three forwards a guided step: the inversion's, which the exact ways read the source from, and both halves of the
    # edit; virtual inversion shows the source in its place. A step that is not guided takes two.
    assert {name: row["forwards"] for name, row in edits.items()} == {
        "official, fast": 250,
        "official, null text": 1900,
        "published, direct, 50 steps": 150,
        "direct-exact, 20 steps": 60,
        "direct-exact, 8 steps": 24,
        "virtual, 8 steps": 24,
        "direct-exact, 6 steps, half of them guided": 15,
        "virtual, 4 steps, not guided": 8,
    }
    assert all(row.get("seconds", 1) > 0 and name in printed for name, row in edits.items() if "official" not in name)
