import os
import runpy
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LARGE_SERVER = "test_sd15.py"  # files of this name use it
# Begun first, as whole minutes of one file at the end would leave the other processes idle.
LONG = "test_gpu.py", "test_demo.py", LARGE_SERVER, "test_workflows.py", "test_learnt_wan.py", "test_on_device.py"
LONG += "test_memory.py", "test_disturbed.py", "test_side_by_side.py", "test_saving.py", "test_season.py", "test_run.py"
LONG += ("test_learnt_ltx.py",)
NEEDED_MEMORY = 12 * 10**9  # by the server with SD1.5, its copy for gradients among it, and the tests beside it

# Read when torch is loaded: on a shared machine threads that spin while they wait cost ten times what they gain.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
if "PYTEST_XDIST_WORKER" in os.environ:  # there is one for each core
    os.environ.setdefault("OMP_NUM_THREADS", "1")

runpy.run_path(str(ROOT / "tools" / "pack.py"))["load_pack"]()


class RootIsNoTestPackage:
    """Keeps pytest from importing the pack a second time, under the name of the folder that it lies in."""

    @staticmethod
    def pytest_collect_directory(path, parent):
        return pytest.Dir.from_parent(parent, path=path) if path == ROOT else None


def pytest_addoption(parser):
    parser.addoption("--all", action="store_true", help="the slow tests too, which are left out unless they are named")


def pytest_collection_modifyitems(config, items):
    """Slow tests run where they are asked for: by --all, or by the name of one or of its file. Long files first."""
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))
    named = any("::" in argument or argument.endswith(".py") for argument in config.args)
    if config.option.all or named or config.option.markexpr:
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    config.hook.pytest_deselected(items=slow)
    items[:] = [item for item in items if item not in set(slow)]


def pytest_configure(config):
    # A conftest's own hooks are not asked about the folders above it; a plugin's are.
    config.pluginmanager.register(RootIsNoTestPackage)


def pytest_xdist_make_scheduler(config, log):
    """A file's tests run in one process, and so do all that need the large server, of which there is room for one."""
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = super()._split_scope(nodeid)
            return LARGE_SERVER if file.endswith(LARGE_SERVER) else file

    return ByFile(config, log)


@pytest.fixture(scope="session")
def host(tmp_path_factory):
    """A running Host. Folders whose tests need one of another kind have their own."""
    from comfyui_videop2p.tools.host import Host
    from comfyui_videop2p.tools.pack import host_path

    with Host(host_path(), tmp_path_factory.mktemp("host")) as running:
        yield running


@pytest.fixture(scope="session")
def info(host):
    return host.get("/object_info")


@pytest.fixture(scope="session")
def sd15_host(tmp_path_factory):
    """A running Host on a models folder of its own: SD1.5, a LoRA and a ControlNet, full size, of random weights.

    Their names are in tests/host/checkpoints.py. The 3 GB are made once and deleted at the end.
    """
    import psutil
    from comfyui_videop2p.tools.host import Host, peers
    from comfyui_videop2p.tools.pack import host_path, use_host

    if psutil.virtual_memory().available < NEEDED_MEMORY:
        pytest.skip(f"a model of full size needs {NEEDED_MEMORY // 10**9} GB of free memory")
    use_host()
    from comfyui_videop2p.tests.host.checkpoints import write_models

    folder = tmp_path_factory.mktemp("sd15")
    try:
        write_models(folder / "models")
        with Host(host_path(), folder / "host", models=folder / "models", packs=peers()) as host:
            yield host
    finally:
        shutil.rmtree(folder)
