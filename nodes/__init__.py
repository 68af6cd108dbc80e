"""What an artist sees: one file a topic, each with its NODES."""

from comfy_api.latest import ComfyExtension

from . import control, demo, inflate, inspect, invert, sample, tune

TOPICS = [demo, inflate, tune, invert, control, sample, inspect]


class VideoP2PExtension(ComfyExtension):
    async def get_node_list(self):
        return [node for topic in TOPICS for node in topic.NODES]
