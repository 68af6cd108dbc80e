"""A small trained model and short clips that come with the pack, so that every workflow can be tried at once."""

from comfy_api.latest import io

from ..videop2p_core.host.demo_model import FIRST_CLIP, as_distilled, demo_clips, load_demo_clip, load_demo_model
from .types import CATEGORY


class LoadDemoModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VP2P_LoadDemoModel",
            display_name="Load Demo Model",
            category=CATEGORY,
            search_aliases=["video p2p demo", "prompt to prompt", "tiny stable diffusion", "checkpoint"],
            description=(
                "The small SD1.x model that comes with this pack: it draws rabbits, cats, cars, boats and eight other "
                "things at 128 x 128. Stands where Load Checkpoint would, and takes only the words that it learnt."
            ),
            inputs=[
                io.Boolean.Input(
                    "distilled",
                    optional=True,
                    default=False,
                    advanced=True,
                    tooltip=(
                        "Under its latent consistency LoRA: edits take 4 steps and no guidance, a third of the time, "
                        "and come out weaker."
                    ),
                ),
            ],
            outputs=[
                io.Model.Output(tooltip="The demo UNet, ready for any sampler."),
                io.Clip.Output(tooltip="The demo text encoder, with CLIP's own tokenizer."),
                io.Vae.Output(tooltip="The demo VAE."),
            ],
        )

    @classmethod
    def execute(cls, distilled: bool = False) -> io.NodeOutput:
        model, clip, vae = load_demo_model()
        return io.NodeOutput(as_distilled(model) if distilled else model, clip, vae)


class LoadDemoClip(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VP2P_LoadDemoClip",
            display_name="Load Demo Clip",
            category=CATEGORY,
            search_aliases=["video p2p demo", "example video", "load video"],
            description=(
                "A short clip of the world that the demo model knows, 8 frames of 128 x 128. Stands where Load Video "
                "would; its name is what it shows, and so its source prompt."
            ),
            inputs=[
                io.Combo.Input(
                    "clip", options=demo_clips(), default=FIRST_CLIP, tooltip="What the clip shows, in words."
                ),
            ],
            outputs=[
                io.Video.Output(tooltip="The clip, for Clip Frames or Get Video Components."),
                io.Image.Output(id="images", display_name="images", tooltip="Its frames, for VAE Encode."),
                io.Float.Output(display_name="fps", tooltip="Frames a second, for Create Video and Compare Videos."),
                io.String.Output(display_name="caption", tooltip="What it shows: the source prompt."),
            ],
        )

    @classmethod
    def execute(cls, clip: str) -> io.NodeOutput:
        video = load_demo_clip(clip)
        parts = video.get_components()
        return io.NodeOutput(video, parts.images, float(parts.frame_rate), clip)


NODES = [LoadDemoModel, LoadDemoClip]
