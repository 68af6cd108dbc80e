"""The pack under one name, and once; its files under names that every shell and archive takes."""

import os
import subprocess
import sys
from pathlib import Path

from comfyui_videop2p.tests.repository.tracked import tracked
from comfyui_videop2p.tools.environment import key

ROOT = Path(__file__).parents[2]


def test_no_file_of_the_pack_is_loaded_twice():
    # The tests' own modules carry pytest's names, so they do not count.
    names = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and Path(file).is_relative_to(ROOT) and not name.startswith("tests."):
            names.setdefault(file, []).append(name)
    assert [both for both in names.values() if len(both) > 1] == []
    assert names[str(ROOT / "__init__.py")] == ["comfyui_videop2p"]


def test_the_repository_is_not_on_the_path():
    # Its folder `nodes` would shadow ComfyUI's nodes.py.
    assert ROOT not in [Path(entry).resolve() for entry in sys.path]


def run_module(*arguments, **options):
    command = [sys.executable, ROOT / "tools" / "pack.py", *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "COMFYUI_PATH"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, **options)


def test_a_module_runs_from_anywhere_and_its_processes_know_the_pack(tmp_path):
    answer = run_module("tests.repository.spawning", "torch==2.14.1", "3.11", cwd=tmp_path)
    assert answer.stdout.strip() == key("torch==2.14.1", "3.11"), answer.stderr


def test_a_missing_module_is_named():
    answer = run_module("demo.nonsense")
    assert answer.returncode == 1
    assert answer.stderr.strip() == "this repository has no module demo.nonsense"


def test_no_tracked_path_has_a_space():
    paths = tracked()
    assert "demo/clips/a_red_rabbit_on_the_beach.mp4" in paths
    assert not [path for path in paths if any(letter.isspace() for letter in path)]
