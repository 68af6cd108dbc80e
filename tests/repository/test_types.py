"""What the engine's functions say of their types holds, by the type checker ty."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from comfyui_videop2p.tests.repository.test_direction import CORE, HOST

# Beside this Python.
TY = shutil.which("ty", path=Path(sys.executable).parent)
FAULT = "\n\ndef planted(tokens: int) -> str:\n    return tokens\n"


@pytest.fixture
def engine(tmp_path):
    """A copy of the torch-alone part: by its own path the checker would look into the binding as well."""
    return Path(shutil.copytree(CORE, tmp_path / "engine", ignore=shutil.ignore_patterns(HOST.name, "__pycache__")))


def complaints(folder, *options):
    """One a line; warnings count as well."""
    options += "--python", sys.prefix, "--output-format", "concise", "--error-on-warning", "--color", "never"
    done = subprocess.run([TY, "check", *options, folder.name], cwd=folder.parent, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    return [line for line in done.stdout.splitlines() if line.startswith(folder.name)]


def test_the_checker_finds_nothing_to_complain_of(engine):
    assert (engine / "edit" / "matrices.py").is_file() and not (engine / "host").exists()
    assert complaints(engine) == []


def test_the_checker_finds_a_planted_fault(engine):
    with (engine / "edit" / "sweep.py").open("a", encoding="utf-8") as file:
        file.write(FAULT)
    (complaint,) = complaints(engine)
    assert complaint.startswith("engine/edit/sweep.py:") and "expected `str`, found `int`" in complaint
