"""Write the shipped workflows and blueprints: `python dev.py workflows`, after any change of a node or a recipe.

Those that use another pack's nodes are written where VP2P_PEERS names a folder with a checkout of it, and left as they
are elsewhere.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from ..environment import ROOT
from ..host import Host, peers
from ..pack import host_path
from .blueprint import Blueprint, subgraph_form
from .boxes import boxes
from .catalogue import RECIPES, graph_of
from .forms import api_form, ui_form
from .shelf import FOLDER, graph_file, prompt_file

SUBGRAPHS = ROOT / "subgraphs"


def files(info: dict[str, Any]) -> dict[Path, str]:
    """The text of every workflow file that can be written for a host with this /object_info."""
    texts = {}
    for name, recipe in RECIPES.items():
        if recipe.needs is None or recipe.needs in info:
            graph = graph_of(name, info)
            texts[graph_file(name)] = as_text(ui_form(graph, name))
            texts[prompt_file(name)] = as_text(api_form(graph))
    return texts


def subgraphs(info: dict[str, Any]) -> dict[Path, str]:
    """The text of every blueprint, by its file."""
    return {SUBGRAPHS / f"{listed_name(box)}.json": as_text(subgraph_form(box)) for box in boxes(info)}


def listed_name(box: Blueprint) -> str:
    """What the browser's node library calls a box: the name of its file. No tracked path has a space."""
    return box.name.replace(" ", "-")


def as_text(form: dict[str, Any]) -> str:
    return json.dumps(form, indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, Host(host_path(), folder, packs=peers()) as host:
        info = host.get("/object_info")
        texts, boxed = files(info), subgraphs(info)
    written = {file(name) for name in RECIPES for file in (graph_file, prompt_file)}
    for old in (path for path in FOLDER.rglob("*.json") if path not in written):
        old.unlink()
    for path, text in {**texts, **boxed}.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    print(f"{len(texts) // 2} of {len(RECIPES)} workflows written to {FOLDER}, {len(boxed)} blueprints to {SUBGRAPHS}")


if __name__ == "__main__":
    main()
