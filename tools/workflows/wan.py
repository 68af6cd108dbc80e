"""The workflow for Wan, which needs neither inflation nor tuning."""

from __future__ import annotations

from .bridges import WAN_FILES, WAN_TEXT, WAN_VAE
from .graph import Node
from .recipe import RECIPES, Recipe
from .recipes import RIDER, ROBOT
from .studio import OWN_CLIP, SD15, Studio

FRAMES, SIDE = 33, 480  # Wan's VAE takes 4 n + 1 frames, its patches are 16 pixels wide
NAME = "wan2.1_t2v_1.3B_fp16.safetensors"
TEXT_TO_VIDEO = {"name": NAME, "url": f"{WAN_FILES}/diffusion_models/{NAME}", "directory": "diffusion_models"}


def word_swap(studio: Studio) -> None:
    graph = studio.graph
    graph.column("1 Model and clip")
    (studio.model,) = graph.add("UNETLoader", unet_name=NAME, models=[TEXT_TO_VIDEO])
    (studio.clip,) = graph.add("CLIPLoader", clip_name=WAN_TEXT["name"], type="wan", models=[WAN_TEXT])
    (studio.vae,) = graph.add("VAELoader", vae_name=WAN_VAE["name"], models=[WAN_VAE])
    take(studio, graph.add("LoadVideo", "Load your clip", file=OWN_CLIP))
    studio.encode()
    studio.describe(RIDER)
    graph.column("3 Invert")
    studio.invert("direct", cfg=5.0)
    graph.column("4 Edit")
    edit = studio.control(ROBOT, blend_source="man", blend_target="robot", temporal_window=0.3)
    sampled = studio.sample(edit["edit"])
    graph.column("5 Result")
    studio.save(sampled["edited"])
    graph.column("6 Look closer")
    studio.check(sampled)


def take(studio: Studio, video: Node) -> None:
    parts = studio.graph.add("GetVideoComponents", video=video)
    studio.fps = parts["fps"]
    first = studio.graph.add(
        "ImageFromBatch", f"The first {FRAMES} frames", image=parts["images"], batch_index=0, length=FRAMES
    )
    (studio.frames,) = studio.graph.add(
        "ImageScale", f"Crop to {SIDE} x {SIDE}", image=first, upscale_method="lanczos", width=SIDE, height=SIDE,
        crop="center",
    )  # fmt: skip


RECIPES["wan_word_swap"] = Recipe(
    word_swap,
    SD15,
    f"""## Word swap on Wan

Wan sees all frames together, so there is no Inflate UNet and no Tune on Video: its own attention over all frames stands
for the attention over time. The inversion is *direct*; keep_source, passes and cache_every are for image models.

**blend words** are found by the middle half of the model's blocks; *blend blocks* of Attention Controller names others.
*temporal window* keeps the motion. What the source's attention sees in a step is kept in main memory, two thirds of it
for this window: 0 where memory is short.

Wan takes 4 n + 1 frames (17, 33, 81): set *The first {FRAMES} frames* to such a number, and the size to multiples of
16.""",
)
