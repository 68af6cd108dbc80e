"""What the binding and the nodes say of their types holds, with ComfyUI's own, by the type checker ty."""

import shutil
from pathlib import Path

import pytest
from comfyui_videop2p.tests.repository.test_direction import ROOT
from comfyui_videop2p.tests.repository.test_types import complaints
from comfyui_videop2p.tools.pack import host_path

FAULT = "\n\ndef planted(model: ModelPatcher) -> str:\n    return model\n"


@pytest.fixture
def pack(tmp_path):
    """A copy of all that users run."""
    for folder in ("nodes", "videop2p_core"):
        shutil.copytree(ROOT / folder, tmp_path / "pack" / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return Path(shutil.copy(ROOT / "__init__.py", tmp_path / "pack")).parent


def found(pack):
    # The host declares for its samplers and nodes that they take anything, and ours say what they take.
    return complaints(pack, "--extra-search-path", str(host_path()), "--ignore", "incompatible-method-override")


def test_the_checker_finds_nothing_to_complain_of(pack):
    assert found(pack) == []


def test_the_checker_knows_the_hosts_types(pack):
    with (pack / "videop2p_core" / "host" / "edit" / "sweep.py").open("a", encoding="utf-8") as file:
        file.write(f"\n\nfrom comfy.model_patcher import ModelPatcher{FAULT}")
    (complaint,) = found(pack)
    assert "expected `str`, found `ModelPatcher`" in complaint
