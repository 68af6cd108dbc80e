"""The one rule of direction: nodes -> videop2p_core.host -> the rest of videop2p_core, never back."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = ROOT / "videop2p_core"
HOST = CORE / "host"
# The top-level modules of ComfyUI that a node pack can see.
COMFYUI = {"comfy", "comfy_api", "comfy_extras", "comfy_execution", "folder_paths", "latent_preview", "nodes", "server"}

CORE_FILES = sorted(CORE.rglob("*.py"))
TORCH_ALONE = [file for file in CORE_FILES if not file.is_relative_to(HOST)]


def imported(file, root=ROOT):
    """Names a file imports, as dotted paths: the pack's own start with a dot, counted from the pack's root."""
    package = file.relative_to(root).parent.parts
    for statement in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            if statement.level:
                base = [*package[: len(package) - statement.level + 1], *(statement.module or "").split(".")]
                yield from ("." + ".".join([*filter(None, base), alias.name]) for alias in statement.names)
            else:
                yield from (f"{statement.module}.{alias.name}" for alias in statement.names)


def broken(files, is_wrong, root=ROOT):
    return [f"{file.relative_to(root)}: {name}" for file in files for name in imported(file, root) if is_wrong(name)]


def of_comfyui(name):
    return name.split(".")[0] in COMFYUI


def of_the_binding(name):
    return f"{name}.".startswith(".videop2p_core.host.")


def of_the_nodes(name):
    return f"{name}.".startswith((".nodes.", ".demo.", ".tests.", ".tools.", ".batch.")) or of_itself_by_name(name)


def of_itself_by_name(name):
    return name.split(".")[0] in {"comfyui_videop2p", "videop2p_core", "demo"}


def test_core_imports_no_comfyui():
    assert not broken(TORCH_ALONE, of_comfyui)


def test_core_needs_torch_einops_kornia_safetensors_alone():
    known = {"", "torch", "einops", "kornia", "safetensors", *sys.stdlib_module_names}
    assert not broken(TORCH_ALONE, lambda name: name.split(".")[0] not in known)


def test_core_does_not_import_its_binding():
    assert not broken(TORCH_ALONE, of_the_binding)


def test_core_imports_neither_nodes_nor_demo():
    assert not broken(CORE_FILES, of_the_nodes)


def test_nodes_and_demo_name_the_pack_relatively():
    # ComfyUI loads the pack under a name of its own, so an absolute import would find nothing or a second copy.
    assert not broken(sorted((ROOT / "nodes").rglob("*.py")), of_itself_by_name)


def test_the_batch_command_asks_comfyui_over_its_server_alone():
    files = sorted((ROOT / "batch").glob("*.py"))
    assert files and not broken(files, lambda name: of_comfyui(name) or f"{name}.".startswith(".nodes."))
    assert not broken(files, of_the_binding)


@pytest.mark.parametrize(
    "line, is_wrong",
    [
        ("import comfy.samplers", of_comfyui),
        ("def late():\n    from comfy import sample", of_comfyui),
        ("import nodes", of_comfyui),
        ("from .host import patches", of_the_binding),
        ("from . import host", of_the_binding),
        ("from ..nodes import sample", of_the_nodes),
        ("from .. import nodes", of_the_nodes),
        ("from videop2p_core import edit", of_itself_by_name),
    ],
)
def test_the_rules_find_what_they_forbid(tmp_path, line, is_wrong):
    file = tmp_path / "videop2p_core" / "edit.py"
    file.parent.mkdir()
    file.write_text(line)
    assert broken([file], is_wrong, root=tmp_path)


def test_core_imports_without_comfyui():
    modules = [
        ".".join(["comfyui_videop2p", *file.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__")
        for file in TORCH_ALONE
    ]
    program = f"""
import importlib, runpy, sys
for name in {sorted(COMFYUI)!r}:
    sys.modules[name] = None   # importing it raises ImportError
runpy.run_path({str(ROOT / "tools" / "pack.py")!r})["load_pack"]()
for name in {modules!r}:
    importlib.import_module(name)
"""
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert process.returncode == 0, process.stderr
