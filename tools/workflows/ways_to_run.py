"""The workflows for other ways to run an edit: faster, the paper's, measured, swept, kept, and among other nodes."""

from __future__ import annotations

from .courses import AT_THE_END, CAR, EATING, PAPER_INFLATION, RABBIT, RIDER, ROBOT, SHAPE, STAR, THING, edit_of, opened
from .recipe import recipe
from .worlds import DEMO, OWN_CLIP, SD15


@recipe(
    """## Fast mode

No tuning and no null-text: every frame reads the first one and itself, the inversion is *direct-exact*. Seconds to the
first result; tune when frames drift apart.""",
    DEMO,
    SD15,
)
def fast(studio):
    opened(studio, CAR, RIDER, tune=False)
    edit_of(
        studio,
        [("a blue car in the snow", {"cross_window": 0.4, "blend_source": "car", "blend_target": "car"})],
        [(ROBOT, {"blend_source": "man", "blend_target": "robot"})],
    )


@recipe(
    """## The paper's recipe

Frames read the first one, norms run over all frames, the clip is tuned on, and one null text shared by all frames is
optimised so that the source is reconstructed under guidance. Slower than *direct*; here for comparison and for
checkpoints tuned with the official code.""",
    DEMO,
    SD15,
)
def null_text(studio):
    opened(studio, RABBIT, RIDER, inflation=PAPER_INFLATION, method="shared null-text", checked=True)
    riding = {"blend_source": "man", "blend_target": "robot"}
    edit_of(studio, [(STAR, SHAPE)], [(ROBOT, riding)], set_in=False)


@recipe(
    """## Compare and measure

The edit beside the source, as one animation, and what it did in numbers: how well the rest was kept, outside of the
mask that the blend words made. With a CLIP Vision model wired in, *Edit Metrics* says as well how steady the thing is
over the frames and how well the clip shows the target prompt.

*DDIM Invert* has the VAE and the frames here, so that its plot tells how much a replay from the noise brings back.""",
    DEMO,
    SD15,
)
def compare(studio):
    opened(studio, CAR, RIDER, tune=False, method="direct", checked=True)
    graph = studio.graph
    target, settings = (
        ("a blue car in the snow", {"cross_window": 0.4, "blend_source": "car", "blend_target": "car"})
        if studio.world == DEMO
        else (ROBOT, {"blend_source": "man", "blend_target": "robot"})
    )
    graph.column("4 Edit")
    sampled = studio.sample(studio.control(target, **settings)["edit"])
    graph.column("5 Result")
    edited = studio.save(sampled["edited"])
    graph.column("6 Compare and measure")
    graph.add("VP2P_CompareVideos", before=studio.frames, after=edited, fps=studio.fps)
    metrics = graph.add("VP2P_EditMetrics", source=studio.frames, edited=edited, mask=sampled["mask"])
    graph.add("PreviewImage", "Figures", images=metrics["table"])


@recipe(
    """## A sweep over settings

One edit in nine variants from one inversion and one pass of the source: three cross windows, and three weights of the
added word. The contact sheet shows them all, a weight a row, a window a column; take over the settings under the clip
that you like.

A weight acts only inside the cross window. Further target prompts, one a line, need the CLIP connected to *Sweep
Edits*.""",
    DEMO,
    SD15,
)
def sweep(studio):
    opened(studio, CAR, EATING)
    graph = studio.graph
    graph.column("4 Edits")
    if studio.world == DEMO:
        edit = studio.control("a red car in the snow at night", **AT_THE_END)
        tried = {"word": "night", "word_weights": "0, 1, 4"}
    else:
        edit = studio.control("an origami rabbit is eating a watermelon", **THING, **AT_THE_END)
        tried = {"word": "origami"}
    swept = graph.add("VP2P_SweepEdits", edit=edit["edit"], **tried)
    sampled = studio.sample(swept["edits"])
    graph.column("5 Result")
    frames = studio.set_in(sampled, exchanged=False)["images"]
    graph.add(
        "VP2P_ContactSheet", images=frames, labels=swept["labels"], columns=swept["columns"], fps=studio.fps
    )  # fmt: skip


@recipe(
    """## Keep a tuning and an inversion

Tunes, inverts, and saves both under models/videop2p. *re_edit* goes on from these files in a later session.""",
    DEMO,
    SD15,
)
def keep(studio):
    opened(studio, RABBIT, RIDER)
    studio.graph.column("4 Keep both")
    name = "rabbit" if studio.world == DEMO else "rider"
    studio.graph.add("VP2P_SaveTuning", tuning=studio.tuning, filename_prefix=name)
    studio.graph.add("VP2P_SaveInversion", inversion=studio.inversion, filename_prefix=name)


@recipe(
    """## Edit again from saved files

No tuning and no inversion: both come from the files that *keep* saved. Run that one first, reload the browser page or
press R, and choose the files.""",
    DEMO,
    SD15,
)
def re_edit(studio):
    prompt, name = (RABBIT, "rabbit") if studio.world == DEMO else (RIDER, "rider")
    file = f"{name}_00001_.safetensors"
    graph = studio.graph
    graph.column("1 Model")
    if studio.world == DEMO:
        studio.model, studio.clip, studio.vae = graph.add("VP2P_LoadDemoModel")
    else:
        studio.load_checkpoint()
    (studio.prompt,) = graph.add("PrimitiveStringMultiline", "Source prompt", value=prompt)
    graph.column("2 What was kept")
    studio.inflate()
    studio.model = graph.add("VP2P_LoadTuning", model=studio.model, tuning_name=file)["MODEL"]
    (studio.inversion,) = graph.add("VP2P_LoadInversion", inversion_name=file)
    studio.fps = 8.0
    edit_of(
        studio,
        [("a red heart on the beach", {"blend_source": "rabbit", "blend_target": "heart"})],
        [(ROBOT, {"blend_source": "man", "blend_target": "robot"})],
        set_in=False,
    )


@recipe(
    """## In the stock sampler

Decoupled Guider and Decoupled Sampler under SamplerCustomAdvanced, for graphs that are built around it. A noise mask
set on the latent is respected.""",
)
def custom_sampler(studio):
    opened(studio, RABBIT, RIDER, method="direct")
    graph = studio.graph
    graph.column("4 Edit")
    edit = studio.control(STAR, **SHAPE)
    guider, sigmas, latent = graph.add(
        "VP2P_DecoupledGuider", model=studio.model, inversion=studio.inversion, edit=edit["edit"]
    )
    sampler = graph.add("VP2P_DecoupledSampler")
    noise = graph.add("DisableNoise", "No noise: it starts from the inversion's")
    sampled = graph.add(
        "SamplerCustomAdvanced", noise=noise, guider=guider, sampler=sampler, sigmas=sigmas, latent_image=latent
    )
    graph.column("5 Result")
    studio.save(sampled["output"])


@recipe(
    """## Where words look

For every word a heat map over the frames, of the source or, with *branch* set to target, while the clip is edited. It
tells which words to blend by: a good one lights up the thing and nothing else. As masks the maps serve other nodes.""",
)
def attention_maps(studio):
    opened(studio, RABBIT, RIDER, tune=False, method="direct")
    graph = studio.graph
    graph.column("4 Words")
    edit = studio.control(STAR, **SHAPE)
    maps = graph.add(
        "VP2P_AttentionMaps", model=studio.model, inversion=studio.inversion, edit=edit["edit"],
        words="red, rabbit, beach", images=studio.frames,
    )  # fmt: skip
    graph.column("5 Look")
    graph.add("PreviewImage", "A row a word, a column a frame", images=maps["grid"])
    graph.add("PreviewImage", "Over the frames", images=maps["overlay"])
    mask = graph.add("MaskToImage", mask=maps["masks"])
    graph.add("PreviewImage", "As masks", images=mask)


@recipe(
    """## A part of a large clip

A large clip is too much for the model, and a small thing in it too small to be drawn well. A copy at the model's size
shows where a word looks (*Attention Maps*, *sharp*); *Crop Region* cuts that part out of the large frames; it alone is
inverted and edited; *Composite Edit* sets the edit back into the large frames, whose other pixels stay the file's.""",
)
def crop_region(studio):
    graph = studio.graph
    opened(studio, RABBIT, RIDER, tune=False)
    whole = graph.add(
        "ImageScale", "In the place of your large clip", image=studio.frames, upscale_method="lanczos", width=384,
        height=384, crop="disabled",
    )["IMAGE"]  # fmt: skip
    graph.column("4 Crop")
    word = studio.control(studio.prompt, "The word to look for", blend_source="rabbit")
    maps = graph.add(
        "VP2P_AttentionMaps", model=studio.model, inversion=studio.inversion, edit=word["edit"], sharp=True
    )
    part = graph.add("VP2P_CropRegion", images=whole, masks=maps["masks"], longest=128, margin=0.5)
    studio.frames = part["images"]
    studio.encode()
    studio.invert()
    graph.column("5 Edit")
    sampled = studio.sample(studio.control(STAR, **AT_THE_END | SHAPE)["edit"])
    graph.column("6 Result")
    composite = studio.set_in(sampled, exchanged=True, source=whole, crop=part["crop"])
    studio.show(composite["images"])
    graph.add("PreviewImage", "The part", images=part["images"])


@recipe(
    """## With VideoHelperSuite

Word swap between *Load Video* and *Video Combine* of ComfyUI-VideoHelperSuite, which choose frames and frame rate on
their own.""",
    SD15,
    needs="VHS_LoadVideo",
)
def video_helper_suite(studio):
    graph = studio.graph
    graph.column("1 Model and clip")
    studio.load_checkpoint()
    loaded = graph.add(
        "VHS_LoadVideo", "Load your clip", video=OWN_CLIP, custom_width=512, custom_height=512, frame_load_cap=8
    )
    studio.frames = loaded["IMAGE"]
    studio.encode()
    studio.describe(RIDER)
    graph.column("3 Tune and invert")
    studio.inflate()
    studio.tune()
    studio.invert()
    graph.column("4 Edit")
    edit = studio.control(ROBOT, blend_source="man", blend_target="robot", **AT_THE_END)
    sampled = studio.sample(edit["edit"])
    graph.column("5 Result")
    frames = studio.set_in(sampled, exchanged=True)["images"]
    graph.add(
        "VHS_VideoCombine", "Save the edited clip", images=frames, filename_prefix="Video-P2P", format="video/h264-mp4",
        scripted={"pix_fmt": "yuv420p", "crf": 19, "save_metadata": True, "trim_to_audio": False},
    )  # fmt: skip
