"""What ComfyUI takes of the pack when it loads it."""

from types import ModuleType

from comfy_api.latest import ComfyExtension, io

from ..videop2p_core.host.seam import host_check as seam
from ..videop2p_core.log import LOG
from . import TOPICS


class VideoP2PExtension(ComfyExtension):
    async def on_load(self) -> None:
        for routes in seam.imported([seam.ROUTES], _routes):
            routes.add_routes()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [node for topic in TOPICS for node in topic.NODES if _has_schema(node)]


def _routes(_: str) -> ModuleType:
    from ..videop2p_core.host import routes

    return routes


def _has_schema(node: type[io.ComfyNode]) -> bool:
    """Whether the host accepts it: for one that it does not it would leave out all."""
    try:
        node.GET_SCHEMA()
    except Exception as error:  # of a host that nobody has seen yet
        LOG.warning(
            f"ComfyUI {seam.version()} refuses {node.__name__} of Video-P2P ({seam.in_one_line(error)}): update it"
        )
        return False
    return True
