"""With this folder on PYTHONPATH and PRETEND_CUDA=1 every Python process, a ComfyUI server among them, has the pretend
device as soon as torch is imported."""

import importlib.machinery
import importlib.util
import os
import sys
from pathlib import Path

DEVICE = Path(__file__).resolve().parents[1] / "pretend_cuda.py"


def install():
    spec = importlib.util.spec_from_file_location("pretend_cuda", DEVICE)
    module = sys.modules["pretend_cuda"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.install()


class WithDevice:
    """A finder of torch alone, which installs the device behind it."""

    def find_spec(self, name, path=None, target=None):
        if name != "torch":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module

        def execute_and_install(module):
            execute(module)
            install()

        spec.loader.exec_module = execute_and_install
        return spec


if os.environ.get("PRETEND_CUDA") == "1":
    sys.meta_path.insert(0, WithDevice())
