"""Which files of the pack a topic of nodes/ needs, by what they import of each other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from ..environment import ROOT

CORE = "videop2p_core."
# The guard itself asks for nothing that it does without.
GUARD = {"host.seam.host_check", "host.seam.lookup", "host.seam.modules"}
# Whatever the host takes nodes from, before any of them.
ENTRY = ("__init__", "nodes.__init__", "nodes.extension")
ROUTES = "host.routes"


def files() -> dict[str, Path]:
    """{name: file} of all that meets the host, as 'host.edit.edit_inputs' and 'nodes.sample'."""
    paths = [ROOT / "__init__.py", *ROOT.glob("nodes/*.py"), *ROOT.glob("videop2p_core/host/**/*.py")]
    named = {".".join(file.relative_to(ROOT).with_suffix("").parts).removeprefix(CORE): file for file in paths}
    return {name: named[name] for name in sorted(named) if name not in GUARD}


def parts(trees: dict[str, ast.Module]) -> dict[str, dict[str, list[str]]]:
    """Of every topic of nodes/, and of the routes, the ids of its nodes and the files that it needs."""
    imports = {name: imports_of(name, tree, set(trees)) for name, tree in trees.items()}
    ids = {name: list(_node_ids(tree)) for name, tree in trees.items() if name.startswith("nodes.")}
    topics = {
        name.removeprefix("nodes."): {"nodes": ids[name], "modules": sorted({*ENTRY, *needed(name, imports)})}
        for name in ids
        if ids[name]
    }
    return topics | {"routes": {"nodes": [], "modules": sorted(needed(ROUTES, imports))}}


def _node_ids(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "node_id":
            yield node.value.value


def needed(name: str, imports: dict[str, set[str]]) -> set[str]:
    """A file and all that it imports, of whatever comes with it."""
    names, waiting = set(), [name]
    while waiting:
        one = waiting.pop()
        if one not in names:
            names.add(one)
            waiting += imports.get(one, ())
    return names


def imports_of(name: str, tree: ast.Module, names: set[str]) -> set[str]:
    """The pack's own files that a file imports, of those `names`."""
    return set(_imported(name, tree)) & names


def _imported(name: str, tree: ast.Module) -> Iterator[str]:
    package = (CORE + name if name.startswith("host.") else name).split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1] + (node.module.split(".") if node.module else [])
            for path in (base, *([*base, alias.name] for alias in node.names)):
                yield ".".join(path).removeprefix(CORE)
