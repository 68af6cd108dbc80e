"""Load Demo Model: a small trained model that comes with the pack, so that every workflow can be tried at once."""

from comfy_api.latest import io

from ..videop2p_core.host.demo import load_demo_model


class LoadDemoModel(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="VP2P_LoadDemoModel",
            display_name="Load Demo Model",
            category="video/Video-P2P",
            search_aliases=["video p2p demo", "prompt to prompt", "tiny stable diffusion", "checkpoint"],
            description=(
                "The small SD1.x model that comes with this pack: it draws balls, stars, hearts, fish, cars and "
                "rabbits at 128 x 128. Stands where Load Checkpoint would, and takes only the words that it learnt."
            ),
            outputs=[
                io.Model.Output(tooltip="The demo UNet, ready for any sampler."),
                io.Clip.Output(tooltip="The demo text encoder, with CLIP's own tokenizer."),
                io.Vae.Output(tooltip="The demo VAE."),
            ],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(*load_demo_model())


NODES = [LoadDemoModel]
