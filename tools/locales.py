"""`python dev.py locales`: the English texts of all nodes, as ComfyUI's browser reads them from locales/en.

Translations stand beside it under the same keys.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from .environment import ROOT
from .pack import use_host

FOLDER = ROOT / "locales"
FILE = "nodeDefs.json"


def english() -> dict[str, Any]:
    """By node id: display_name, description, inputs by id and outputs by place, each with name and tooltip."""
    use_host()
    from ..nodes.extension import VideoP2PExtension

    nodes = asyncio.run(VideoP2PExtension().get_node_list())
    return {schema.node_id: described(schema) for schema in (node.GET_SCHEMA() for node in nodes)}


def described(schema) -> dict[str, Any]:
    return {
        "display_name": schema.display_name,
        "description": schema.description,
        "inputs": {entry.id: {"name": entry.id.replace("_", " "), "tooltip": entry.tooltip} for entry in schema.inputs},
        "outputs": {
            str(place): {"name": entry.display_name or entry.io_type, "tooltip": entry.tooltip}
            for place, entry in enumerate(schema.outputs)
        },
    }


def as_text(locale: dict[str, Any]) -> str:
    return json.dumps(locale, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    path = FOLDER / "en" / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(as_text(english()), encoding="utf-8")
    print(f"written: {path}")
