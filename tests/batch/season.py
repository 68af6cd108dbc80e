"""Clips of the demo world with a table of edits, run by the command as a user runs it, and killed now and then."""

from __future__ import annotations

import csv
import itertools
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import psutil
from comfyui_videop2p.demo import scenes, videos
from comfyui_videop2p.tools.pack import ROOT, host_path

FIRST = 2_000_000  # the first seed that figures are reported on
FRAMES = 8
INVERT = "DDIM Invert with Shared Null-Text"
STAGES = {"tuning": "Tune on Video", "inversion": INVERT, "edits": "Decoupled Sample"}
STEPS = "Tune on Video.steps", f"{INVERT}.steps"
GRAPH = "demo_refine"  # which tunes, inverts and edits
PATIENCE = 1200  # seconds until a stage has to come, on a machine that others work on


class Season:
    """clips, edits: how many, and how many of each; steps: of the tuning, and of inversion and edit."""

    def __init__(self, folder: Path, clips: int, edits: int, steps: tuple[int, int] = (4, 4)):
        self.folder, self.table = folder, folder / "edits.csv"
        rows = []
        for scene in itertools.islice(scenes.of_one_thing(FIRST), clips):
            clip = folder / f"{scene.seed}.mp4"
            videos.write(clip, [frame.image for frame in scenes.clip(scene, FRAMES)])
            prompts = [(scenes.caption(scene), scenes.caption(other)) for other in targets(scene)[:edits]]
            rows += [(clip.name, *pair, "auto", "auto", *steps) for pair in prompts]
        with self.table.open("w", newline="", encoding="utf-8") as file:
            heading = "clip", "source_prompt", "target_prompt", "blend_source", "blend_target", *STEPS
            csv.writer(file).writerows([heading, *rows])
        self.count = len(rows)

    def begun(self, out: str, *options: str) -> subprocess.Popen:
        variables = {**os.environ, "COMFYUI_PATH": str(host_path()), "OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"}
        command = [sys.executable, str(ROOT / "batch.py"), str(self.table), "--out", str(self.folder / out),
                   "--graph", GRAPH, *options]  # fmt: skip
        with (self.folder / f"{out}.txt").open("ab") as file:
            return subprocess.Popen(command, env=variables, stdout=file, stderr=file)

    def run(self, out: str, *options: str) -> str:
        """What it said; it has to end well."""
        process = self.begun(out, *options)
        code = process.wait()
        assert code == 0, self.said(out)
        return self.said(out)

    def said(self, out: str) -> str:
        return (self.folder / f"{out}.txt").read_text(encoding="utf-8")

    def frames(self, out: str) -> dict[str, np.ndarray]:
        """The decoded clip of every result."""
        return {path.parent.name: decoded(path) for path in (self.folder / out / "results").glob("*/edited.mp4")}

    def made(self, out: str) -> dict[str, int]:
        """When each result and each kept work came to its place."""
        files = [*(self.folder / out).glob("results/*/result.json"), *(self.folder / out).glob("artefacts/*/*/*")]
        return {str(path.relative_to(self.folder / out)): path.stat().st_mtime_ns for path in files}

    def comfyui_in(
        self, out: str, stage: str, process: subprocess.Popen, spared: set[tuple[str, str]]
    ) -> psutil.Process:
        """The ComfyUI that is at a stage of a job that was not met there yet, as soon as there is one."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and process.poll() is None:
            for log in (self.folder / out / "logs").glob("*.log"):
                lines = log.read_text(encoding="utf-8").splitlines()
                if (log.name, stage) not in spared and re.search(
                    rf" {re.escape(STAGES[stage])}: \d+ steps$", lines[-1]
                ):
                    spared.add((log.name, stage))
                    number = [line.rpartition("process ")[2] for line in lines if "process " in line][-1]
                    return psutil.Process(int(number))
            time.sleep(0.02)
        raise AssertionError(f"no job came to its {stage}: {self.said(out)}")


def targets(scene: scenes.Scene) -> list[scenes.Scene]:
    """Another object, another colour, another place."""

    def other(field):
        return next(value for value in scenes.FIELDS[field] if value not in ("plain", getattr(scene, field)))

    return [replace(scene, **{field: other(field)}) for field in ("object", "colour", "place")]


def decoded(path: Path) -> np.ndarray:
    """[frames, height, width, 3]"""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def kill(process: psutil.Process) -> None:
    os.kill(process.pid, signal.SIGKILL)


def gone(folder: Path, patience: float = 60) -> bool:
    """Whether no ComfyUI works in a folder any more."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if not [one for one in psutil.process_iter(["cmdline"]) if str(folder) in " ".join(one.info["cmdline"] or [])]:
            return True
        time.sleep(0.1)
    return False
