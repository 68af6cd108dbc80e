"""What an artist sees: one file a topic, each with its NODES."""

from comfy_api.latest import ComfyExtension

from . import compare, control, demo, export, inflate, inspect, invert, region, sample, sweep, tune

TOPICS = [demo, inflate, tune, export, invert, control, sample, sweep, inspect, region, compare]


class VideoP2PExtension(ComfyExtension):
    async def on_load(self):
        from ..videop2p_core.host.routes import add_routes

        add_routes()

    async def get_node_list(self):
        return [node for topic in TOPICS for node in topic.NODES]
