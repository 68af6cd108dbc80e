"""Video-P2P for ComfyUI: edit a video by changing words of its caption."""

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    from .nodes import TOPICS

    if not TOPICS:
        return None  # the log says what this ComfyUI lacks
    from .nodes.extension import VideoP2PExtension

    return VideoP2PExtension()
