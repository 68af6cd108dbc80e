"""The workflows for other families of models than Stable Diffusion 1.5."""

from __future__ import annotations

from dataclasses import replace

from .courses import RIDER, ROBOT
from .recipe import RECIPES, recipe
from .worlds import SD2, SD15, SD15_INPAINT, SDXL

for name, worlds in {"word_swap": (SD2, SDXL), "fast": (SDXL,)}.items():
    for world in worlds:
        RECIPES[f"{world}_{name}"] = replace(RECIPES[f"{SD15}_{name}"], world=world)


@recipe(
    """## Word swap on an inpainting model

An inpainting model sees what is around the thing while it paints, so that the new one fits in. Where the thing is comes
from its word: of the clip, inverted from the text alone, *Attention Maps* finds it in every frame, and *Edit Region*
makes a mask of that, which the edit is kept to. A mask of your own can take its place.

**InpaintModelConditioning** shows the model the frames without the thing. Source, target and null text go through it,
before the inversion and before the edit alike: *Decoupled Sample* has all three on its inputs.

Another target prompt runs only the second controller and what follows it.""",
    SD15_INPAINT,
)
def word_swap(studio):
    graph = studio.graph
    studio.open(RIDER)
    graph.column("3 Find the thing")
    studio.inflate()
    studio.invert("direct")
    # Both prompts are the source: so the mask, and with it the second inversion, does not wait for the target.
    word = studio.control(studio.prompt, "The word to look for", blend_source="man")
    maps = graph.add(
        "VP2P_AttentionMaps", model=studio.model, inversion=studio.inversion, edit=word["edit"], sharp=True
    )
    region = graph.add("VP2P_EditRegion", masks=maps["masks"], images=studio.frames)
    graph.add("PreviewImage", "The region", images=region["preview"])
    graph.column("4 Invert around it")
    painted = {"negative": studio.null, "vae": studio.vae, "pixels": studio.frames, "mask": region["region"]}
    painted |= {"noise_mask": False}
    shown = graph.add("InpaintModelConditioning", "Around the source", positive=studio.source, **painted)
    studio.source, studio.null, studio.latent = shown
    studio.invert("direct")
    graph.column("5 Edit")
    edit = studio.control(ROBOT, mask=region["region"])
    target = graph.add("InpaintModelConditioning", "Around the target", positive=edit["target"], **painted)
    sampled = studio.sample(edit["edit"], source=studio.source, target=target, null=studio.null)
    graph.column("6 Result")
    studio.save(sampled["edited"])
    graph.column("7 Look closer")
    studio.check(sampled, sampled["mask"])
