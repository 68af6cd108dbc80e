"""python dev.py gpu [MODE ...] [--small]: the whole path on a pretend CUDA device, and what differs from the CPU.

MODE is one of tools/gpu/modes.py; all of them by default. What a mode saved is edited from on the CPU as well, and what
the CPU saved in the mode. `--small`: with a smaller clip, as the tests do it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from comfyui_videop2p.tools.environment import ROOT
from comfyui_videop2p.tools.gpu.modes import MODES, Mode, environment
from safetensors.torch import load_file

from .compare import Difference, differences

AT_ONCE = 2
THEIRS, SAVED = "from theirs", "edit, saved and loaded"


SMALL = "--small"


def main(arguments: list[str]) -> int:
    names, size = [name for name in arguments if name != SMALL], [SMALL] * (SMALL in arguments)
    unknown = [name for name in names if name not in MODES]
    if unknown:
        sys.exit(f"dev.py gpu: there is no mode '{unknown[0]}': {', '.join(MODES)}")
    right = True
    with TemporaryDirectory() as folder:
        for report in reports(names or list(MODES), Path(folder), size):
            print(report, flush=True)
            right &= report.right
    return not right


@dataclass(frozen=True)
class Report:
    """What a walk found: failures {station: traceback}, differences the worst first."""

    name: str
    failures: dict[str, str]
    found: list[Difference]

    @property
    def right(self) -> bool:
        return bool(self.found) and not self.failures and not any(one.wrong for one in self.found)

    def __str__(self) -> str:
        told = max(self.found, key=lambda one: one.size / (one.allowed or 1), default="nothing was compared")
        lines = [f"{self.name:34} {'ok  ' if self.right else 'FAIL'} {len(self.found)} tensors, the worst: {told}"]
        lines += [f"    {one}" for one in self.found if one.wrong]
        return "\n".join([*lines, *(f"    {station} failed:\n{said}" for station, said in self.failures.items())])


def reports(names: list[str], place: Path, size: list[str]) -> Iterator[Report]:
    """Of every mode, and then of the CPU with the files of every mode. size: as the path is told."""
    cpu = place / "cpu"
    with ThreadPoolExecutor(AT_ONCE) as pool:
        reference = pool.submit(walk_on_cpu, cpu, *size)
        modes = {name: pool.submit(walk_in_mode, MODES[name], place / name, *size) for name in names}
        for name, walked in modes.items():
            reference.result(), walked.result()
            yield read(name, place / name, cpu, MODES[name].exact)
        for name in names:
            theirs = place / f"{name}, files of the CPU"
            here = place / f"cpu, files of {name}"
            pool.submit(walk_in_mode, MODES[name], theirs, "--theirs", cpu, "--only", THEIRS, *size).result()
            yield read(theirs.name, theirs, cpu, MODES[name].exact)
            pool.submit(walk_on_cpu, here, "--theirs", place / name, "--only", THEIRS, *size).result()
            yield read(here.name, here, place / name, MODES[name].exact)


def read(name: str, actual: Path, expected: Path, exact: bool) -> Report:
    found, wanted = (load_file(folder / "results.safetensors") for folder in (actual, expected))
    if all(key.startswith(THEIRS) for key in found):
        wanted = {key.replace(SAVED, THEIRS): value for key, value in wanted.items() if key.startswith(SAVED)}
    failures = json.loads((actual / "failures.json").read_text())
    return Report(name, failures, differences(found, wanted, exact))


def walk_on_cpu(out: Path, *arguments) -> None:
    walk(out, {"CUDA_VISIBLE_DEVICES": ""}, *arguments)


def walk_in_mode(mode: Mode, out: Path, *arguments) -> None:
    walk(out, environment(mode), "--between", mode.between, *arguments)


def walk(out: Path, variables: dict[str, str], *arguments) -> None:
    command = map(str, [sys.executable, ROOT / "tools" / "pack.py", "tests.gpu.path", out, *arguments])
    threads = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    done = subprocess.run(list(command), env=os.environ | variables | threads, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the path broke off:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
