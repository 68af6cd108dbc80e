"""This repository as the Python package `comfyui_videop2p`, wherever it lies and whatever its folder is called.

The repository root must never be on sys.path: its folder `nodes` would shadow ComfyUI's nodes.py.

    python tools/pack.py demo.train --minutes 3      runs comfyui_videop2p.demo.train as __main__
"""

import importlib.util
import os
import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAME = "comfyui_videop2p"


def load_pack():
    """Register the package and take the repository root off sys.path. Calling it again changes nothing."""
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != ROOT]
    if NAME not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            NAME, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
        )
        package = importlib.util.module_from_spec(spec)
        sys.modules[NAME] = package
        spec.loader.exec_module(package)
    return sys.modules[NAME]


def host_path():
    """The ComfyUI folder: COMFYUI_PATH, else the one that dev.py installed."""
    load_pack()
    from comfyui_videop2p.tools.environment import installed_host

    path = Path(os.environ.get("COMFYUI_PATH") or installed_host()).resolve()
    if not (path / "comfy" / "cli_args.py").is_file():
        raise FileNotFoundError(f"no ComfyUI in {path}: set COMFYUI_PATH to one, or run `python dev.py setup`")
    return path


def use_host(*flags):
    """Make `import comfy`, `import nodes`, ... work in this process.

    flags: ComfyUI's own command-line flags, beside those in VP2P_HOST_FLAGS.
    """
    path = str(host_path())
    if path not in sys.path:
        sys.path.insert(0, path)
    if "comfy.cli_args" in sys.modules:
        return
    import comfy.options
    import torch

    comfy.options.enable_args_parsing()
    # ComfyUI reads the command line once, on import; ours is not meant for it.
    own_argv = sys.argv
    sys.argv = [own_argv[0], *([] if torch.cuda.is_available() else ["--cpu"]), *host_flags(), *flags]
    try:
        import comfy.cli_args
    finally:
        sys.argv = own_argv
    if torch.cuda.is_available() and comfy.cli_args.enables_dynamic_vram():
        use_dynamic_vram()


def host_flags():
    return os.environ.get("VP2P_HOST_FLAGS", "").split()


def use_dynamic_vram():
    """As ComfyUI's main.py turns it on: its default on NVIDIA's devices."""
    import comfy.memory_management
    import comfy.model_management
    import comfy.model_patcher
    import comfy_aimdo.control

    if not comfy.model_management.is_nvidia():
        return
    devices = [device.index for device in comfy.model_management.get_all_torch_devices()]
    if comfy_aimdo.control.init() and comfy_aimdo.control.init_devices(devices):
        comfy.model_patcher.CoreModelPatcher = comfy.model_patcher.ModelPatcherDynamic
        comfy.memory_management.aimdo_enabled = True


def main(argv):
    if not argv:
        sys.exit("usage: python tools/pack.py MODULE [ARGUMENT ...], for instance demo.train")
    if not (ROOT / argv[0].replace(".", "/")).with_suffix(".py").is_file():
        sys.exit(f"this repository has no module {argv[0]}")
    sys.path.remove(str(Path(__file__).resolve().parent))
    load_pack()
    if os.environ.get("COMFYUI_PATH"):
        from comfyui_videop2p.tools.pack import use_host

        use_host()
    sys.argv = argv
    # This file stays sys.modules["__main__"], so that multiprocessing finds its way back here in a child (below).
    runpy.run_module(f"{NAME}.{argv[0]}", run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
elif __name__ == "__mp_main__":
    load_pack()
