import os
import runpy
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Read when torch is loaded: on a shared machine threads that spin while they wait cost ten times what they gain.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

runpy.run_path(str(ROOT / "tools" / "pack.py"))["load_pack"]()


class RootIsNoTestPackage:
    """Keeps pytest from importing the pack a second time, under the name of the folder that it lies in."""

    @staticmethod
    def pytest_collect_directory(path, parent):
        return pytest.Dir.from_parent(parent, path=path) if path == ROOT else None


def pytest_configure(config):
    # A conftest's own hooks are not asked about the folders above it; a plugin's are.
    config.pluginmanager.register(RootIsNoTestPackage)


@pytest.fixture(scope="session")
def sd15_host(tmp_path_factory):
    """A running Host on a models folder of its own: SD1.5, a LoRA and a ControlNet, full size, of random weights.

    Their names are in tests/host/checkpoints.py. The 3 GB are made once and deleted at the end.
    """
    from comfyui_videop2p.tools.host import Host
    from comfyui_videop2p.tools.pack import host_path, use_host

    use_host()
    from comfyui_videop2p.tests.host.checkpoints import write_models

    folder = tmp_path_factory.mktemp("sd15")
    try:
        write_models(folder / "models")
        with pytest.MonkeyPatch.context() as environment:
            # glibc would keep what copies of the model leave behind, some 3 GB.
            environment.setenv("MALLOC_MMAP_THRESHOLD_", str(2**20))
            with Host(host_path(), folder / "host", models=folder / "models") as host:
                yield host
    finally:
        shutil.rmtree(folder)
