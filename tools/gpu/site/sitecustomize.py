"""With this folder on PYTHONPATH and PRETEND_CUDA=1 every Python process, a ComfyUI server among them, has the pretend
device as soon as torch is imported."""

import importlib.machinery
import importlib.util
import os
import sys
from pathlib import Path

DEVICE = Path(__file__).resolve().parents[1] / "pretend_cuda.py"


def install(torch):
    spec = importlib.util.spec_from_file_location("pretend_cuda", DEVICE)
    module = sys.modules["pretend_cuda"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.install()


def without_kernels(comfy_kitchen):
    """Those that it brings with it ask the driver."""
    comfy_kitchen.registry.disable("cuda")


AFTER = {"torch": install, "comfy_kitchen": without_kernels}


class Finder:
    """Of the modules that something is done about as soon as they are imported."""

    def find_spec(self, name, path=None, target=None):
        if name not in AFTER:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module

        def execute_and_more(module):
            execute(module)
            AFTER[name](module)

        spec.loader.exec_module = execute_and_more
        return spec


if os.environ.get("PRETEND_CUDA") == "1":
    sys.meta_path.insert(0, Finder())
