import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

runpy.run_path(str(ROOT / "tools" / "pack.py"))["load_pack"]()


class RootIsNoTestPackage:
    """Keeps pytest from importing the pack a second time, under the name of the folder that it lies in."""

    @staticmethod
    def pytest_collect_directory(path, parent):
        return pytest.Dir.from_parent(parent, path=path) if path == ROOT else None


def pytest_configure(config):
    # A conftest's own hooks are not asked about the folders above it; a plugin's are.
    config.pluginmanager.register(RootIsNoTestPackage)
