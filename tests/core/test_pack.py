"""The pack under one name, and once."""

import sys
from pathlib import Path

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
