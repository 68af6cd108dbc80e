"""The workflows in which Video-P2P finds the region and another sampler or model paints it."""

from __future__ import annotations

from .courses import RABBIT, RIDER, ROBOT, STAR, opened
from .graph import Link, Node
from .recipe import RECIPES, Recipe, recipe
from .studio import Studio
from .worlds import OWN_CLIP, SD15, wan

FRAMES, SIDE = 17, 512  # Wan's VAE takes 4 n + 1 frames, its patches are 16 pixels wide


@recipe(
    """## The region for an inpainting sampler

*Attention Maps* finds the rabbit in every frame from its word alone, the blend word of *Attention Controller*. *Edit
Region* makes that a mask to paint in, and the stock KSampler paints the target prompt there. Nothing outside the mask
changes. In the place of KSampler any sampler or model can stand that takes a masked latent.

The clip is inverted because the maps come from it; no edit is run.""",
)
def region_inpaint(studio):
    opened(studio, RABBIT, "", tune=False, method="direct")
    graph = studio.graph
    graph.column("4 Find the region")
    edit, region = region_of(studio, STAR, "rabbit", grow=8, feather=4)
    graph.column("5 Paint it")
    masked = graph.add("SetLatentNoiseMask", samples=studio.latent, mask=region["region"])
    alike = graph.add("LatentBatchSeedBehavior", "The same noise in every frame", samples=masked, seed_behavior="fixed")
    painted = graph.add(
        "KSampler", model=studio.model, positive=edit["target"], negative=studio.null, latent_image=alike, seed=0,
        steps=20, cfg=7.5, sampler_name="euler", scheduler="normal",
    )  # fmt: skip
    graph.column("6 Result")
    studio.save(painted["LATENT"])


def vace_region(studio):
    graph = studio.graph
    graph.column("1 Model and clip")
    studio.load_checkpoint()
    video = graph.add("LoadVideo", "Load your clip", file=OWN_CLIP)
    studio.choose(video, every_nth=1, frames=FRAMES, side=SIDE)
    studio.encode()
    studio.describe(RIDER)
    graph.column("3 Invert")
    studio.inflate()
    studio.invert("direct")
    graph.column("4 Find the region")
    (target,) = graph.add("PrimitiveStringMultiline", "Target prompt", value=ROBOT)
    _, region = region_of(studio, target, "man", feather=0, steady=4)
    graph.column("5 Wan VACE")
    model, clip, studio.vae = wan("wan2.1_vace_1.3B_fp16.safetensors")(graph)
    model = graph.add("ModelSamplingSD3", model=model, shift=5.0)
    positive = graph.add("CLIPTextEncode", "What Wan paints", clip=clip, text=target)
    negative = graph.add("CLIPTextEncode", "What it does not", clip=clip, text="blurry, static, deformed, watermark")
    graph.column("6 Paint it")
    size = graph.add("GetImageSize", image=studio.frames)
    vace = graph.add(
        "WanVaceToVideo", positive=positive, negative=negative, vae=studio.vae, width=size["width"],
        height=size["height"], length=size["batch_size"], control_video=region["greyed"],
        control_masks=region["region"],
    )  # fmt: skip
    painted = graph.add(
        "KSampler", model=model, positive=vace["positive"], negative=vace["negative"], latent_image=vace["latent"],
        seed=0, steps=20, cfg=6.0, sampler_name="uni_pc", scheduler="simple",
    )  # fmt: skip
    graph.column("7 Result")
    studio.save(painted["LATENT"])


RECIPES["wan_vace_region"] = Recipe(
    vace_region,
    SD15,
    """## Video-P2P finds the region, Wan VACE paints it

Stable Diffusion 1.5 is asked one thing only: where the blend word of the source prompt looks, in every frame. *Edit
Region* makes a mask of that, and Wan 2.1 VACE, which has learnt motion, paints the target prompt there.

Wan takes 4 n + 1 frames (9, 17, 33, 81): set *frames* in *Clip Frames* to such a number. VACE reads hard masks, so
*feather* is 0, and one of them for four frames, so *steady* is 4; *grow* gives the new thing room. Words for Wan may
say more than those for *Attention Controller*: write them into *What Wan paints* then.""",
)


# --- common courses ---------------------------------------------------------------------------------------------------


def region_of(studio: Studio, target: str | Link, word: str, **settings) -> tuple[Node, Node]:
    """The controller, which knows the words of both prompts, and the region where a word of the source looks."""
    graph = studio.graph
    edit = studio.control(target, blend_source=word)
    maps = graph.add(
        "VP2P_AttentionMaps", model=studio.model, inversion=studio.inversion, edit=edit["edit"], sharp=True
    )
    region = graph.add("VP2P_EditRegion", masks=maps["masks"], images=studio.frames, **settings)
    graph.add("PreviewImage", "The region", images=region["preview"])
    return edit, region
