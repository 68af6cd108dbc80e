"""Other packs' checkouts, from the folder that VP2P_PEERS names, as packages of this process."""

import asyncio
import importlib.util
import sys

import pytest
from comfyui_videop2p.tools.host import peers


def pack(name):
    """The package of a checkout; skips the test where there is none."""
    folder = next((path for path in peers() if path.name.lower() == name.lower()), None)
    if folder is None:
        pytest.skip(f"VP2P_PEERS names no folder with a checkout of {name}: not tested beside it")
    package = "peer_" + "".join(letter if letter.isalnum() else "_" for letter in folder.name)
    if package not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            package, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        sys.modules[package] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[package])
    return sys.modules[package]


def nodes_of(name):
    """{id: class} of a checkout's nodes, in whichever of the host's ways it tells them."""
    package = pack(name)
    if hasattr(package, "NODE_CLASS_MAPPINGS"):
        return package.NODE_CLASS_MAPPINGS

    async def listed():
        return await (await package.comfy_entrypoint()).get_node_list()

    return {node.GET_SCHEMA().node_id: node for node in asyncio.run(listed())}
