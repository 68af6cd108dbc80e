"""Video-P2P for ComfyUI: edit a video by changing words of its caption."""


async def comfy_entrypoint():
    from .nodes import VideoP2PExtension

    return VideoP2PExtension()
