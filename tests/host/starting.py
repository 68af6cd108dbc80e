"""ComfyUI's own loader takes the pack, each time with something else of the host hidden: as JSON what came of it.

python tools/pack.py tests.host.starting FOLDER
"""

import asyncio
import json
import logging
import sys
from contextlib import nullcontext
from pathlib import Path

from comfyui_videop2p.tools.environment import ROOT
from comfyui_videop2p.tools.host import link
from comfyui_videop2p.tools.pack import use_host

use_host("--disable-api-nodes")

import comfy.samplers  # noqa: E402
import comfy_api.latest  # noqa: E402
import server  # noqa: E402, F401
from comfyui_videop2p.tests.host import hiding  # noqa: E402

import nodes  # noqa: E402


class NoBase:
    """Of classes: what no look at a name can tell."""

    def sample(self):
        pass

    def __init_subclass__(cls):
        raise TypeError("it is final")


class Picky(comfy_api.latest.io.Schema):
    def __init__(self, node_id, *args, **kwargs):
        if node_id == "VP2P_EditMetrics":
            raise ValueError("it has too many inputs")
        super().__init__(node_id, *args, **kwargs)


CLONE = "comfy.model_patcher.ModelPatcher.clone"
STARTS = {
    "whole": nullcontext,
    "module": lambda: hiding.without_module("comfy.clip_model"),
    "class": lambda: hiding.without("comfy.context_windows.IndexListContextHandler"),
    "keyword": lambda: hiding.called_as(CLONE, hiding.without_argument("force_deepcopy", ["disable_dynamic"])),
    "routes": lambda: hiding.without("server.PromptServer"),
    "extension": lambda: hiding.without("comfy_api.latest.ComfyExtension"),
    "import": lambda: hiding.in_its_place(comfy.samplers, "Sampler", NoBase),
    "schema": lambda: hiding.in_its_place(comfy_api.latest.io, "Schema", Picky),
}


class Warnings(logging.Handler):
    def __init__(self):
        super().__init__()
        self.said = []

    def emit(self, record):
        if record.levelno >= logging.WARNING:
            self.said.append(record.getMessage())


def start(folder: Path) -> dict:
    """Of one start: whether the pack was loaded, its nodes, the log's warnings."""
    kept, stock = Warnings(), set(nodes.NODE_CLASS_MAPPINGS)
    logging.getLogger().addHandler(kept)
    loaded = asyncio.run(nodes.load_custom_node(str(folder)))
    logging.getLogger().removeHandler(kept)
    ours = sorted(set(nodes.NODE_CLASS_MAPPINGS) - stock)
    for name in ours:
        del nodes.NODE_CLASS_MAPPINGS[name]
    return {"loaded": loaded, "nodes": ours, "log": kept.said}


def main(folder: Path) -> None:
    found = {}
    for name, hidden in STARTS.items():
        link(ROOT, folder / name)  # another name, so that nothing of it was imported before
        with hidden():
            found[name] = start(folder / name)
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
