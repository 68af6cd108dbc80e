"""The workflows for word edits: every kind, the paper's recipe, its ablations and baselines."""

from __future__ import annotations

from .recipe import recipe
from .worlds import DEMO, OWN_CLIP, SD15

BALL, CAR = "a red ball on the beach", "a red car in the snow"
STAR = "a red star on the beach"
RIDER, ROBOT = "a man is riding a motorbike", "a robot is riding a motorbike"
RABBIT = "a rabbit is eating a watermelon"

PAPER_INFLATION = {"frames_read": "first", "norm_over_frames": True}
SHAPE = {"blend_source": "ball", "blend_target": "star"}


# --- the kinds of edit ------------------------------------------------------------------------------------------------


@recipe(
    """## Word swap

One word of the caption is replaced, and the moving thing with it. The clip is tuned on first, so that its frames hold
together; the inversion is *direct*, which reconstructs the source exactly and needs no optimisation.

**blend words** keep the edit where the old and the new thing are.

Another target prompt runs only the controller and what follows it.""",
    DEMO,
    SD15,
)
def word_swap(studio):
    opened(studio, BALL, RIDER)
    edit_of(studio, [(STAR, SHAPE)], [(ROBOT, {"blend_source": "man", "blend_target": "robot"})])


@recipe(
    """## Refinement

Words are added; those that both prompts share keep their attention, so shape and motion stay.""",
    DEMO,
    SD15,
)
def refine(studio):
    opened(studio, BALL, RABBIT)
    edit_of(
        studio,
        [("a striped red ball on the beach", {"cross_window": 0.4, "blend_source": "ball", "blend_target": "ball"})],
        [
            (
                "an origami rabbit is eating a watermelon",
                {"cross_window": 0.4, "blend_source": "rabbit", "blend_target": "rabbit"},
            )
        ],
    )


@recipe(
    """## Re-weighting

The same added word weighed three times, from one pass of the source: 0 takes its own attention out (what the text
encoder carried on to later words stays), 1 is as it is, more is stronger. A weight acts inside the cross window, so
that is long here.""",
    DEMO,
    SD15,
)
def reweight(studio):
    opened(studio, CAR, RABBIT)
    night, origami = "a red car in the snow at night", "an origami rabbit is eating a watermelon"
    blend = {"cross_window": 0.8, "blend_source": "rabbit", "blend_target": "rabbit"}
    edit_of(
        studio,
        [(night, {"cross_window": 0.8, "word_weights": f"night: {weight}"}) for weight in ("0", "1", "4")],
        [(origami, blend | {"word_weights": f"origami: {weight}"}) for weight in ("0.5", "1", "2")],
    )


@recipe(
    """## Style

The whole picture changes, so there are no blend words; a long cross window (0.8) keeps layout and shapes.""",
    DEMO,
    SD15,
)
def style(studio):
    opened(studio, BALL, RIDER)
    edit_of(
        studio,
        [("a red ball on the beach at night", {"cross_window": 0.8})],
        [("a man is riding a motorbike, watercolor painting", {"cross_window": 0.8})],
    )


@recipe(
    """## Background kept by LocalBlend

The same edit without and with blend words, from one pass of the source. With them everything outside the words' place
is the source's own; the mask shows that place.""",
)
def local_blend(studio):
    opened(studio, CAR, RIDER)
    blue = "a blue car in the snow"
    edit_of(
        studio,
        [
            (blue, {"cross_window": 0.4}),
            (blue, {"cross_window": 0.4, "blend_source": "car", "blend_target": "car"}),
        ],
        [],
    )


@recipe(
    """## Several prompts at once

A list of edits into one Decoupled Sample: the source is denoised once a step for all of them, and the clips come back
as a list in the same order.""",
    DEMO,
    SD15,
)
def several_prompts(studio):
    opened(studio, BALL, RIDER)
    demo = [
        (STAR, SHAPE),
        ("a red heart on the beach", {"blend_source": "ball", "blend_target": "heart"}),
        ("a blue ball on the beach", {"cross_window": 0.4, "blend_source": "ball", "blend_target": "ball"}),
    ]
    riders = [
        (f"a {rider} is riding a motorbike", {"blend_source": "man", "blend_target": rider})
        for rider in ("robot", "gorilla", "astronaut")
    ]
    edit_of(studio, demo, riders)


# --- ways to run it ---------------------------------------------------------------------------------------------------


@recipe(
    """## Fast mode

No tuning and no null-text: every frame reads the first one and itself, the inversion is direct. Seconds to the first
result; tune when frames drift apart.""",
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
    opened(studio, BALL, RIDER, inflation=PAPER_INFLATION, method="shared null-text", checked=True)
    edit_of(studio, [(STAR, SHAPE)], [(ROBOT, {"blend_source": "man", "blend_target": "robot"})])


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
    opened(studio, CAR, RIDER, tune=False, checked=True)
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
    opened(studio, CAR, RABBIT)
    graph = studio.graph
    graph.column("4 Edits")
    if studio.world == DEMO:
        edit = studio.control("a red car in the snow at night")
        tried = {"word": "night", "word_weights": "0, 1, 4"}
    else:
        edit = studio.control("an origami rabbit is eating a watermelon", blend_source="rabbit", blend_target="rabbit")
        tried = {"word": "origami"}
    swept = graph.add("VP2P_SweepEdits", edit=edit["edit"], **tried)
    sampled = studio.sample(swept["edits"])
    graph.column("5 Result")
    frames = graph.add("VAEDecode", "Decode the edits", samples=sampled["edited"], vae=studio.vae)
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
    opened(studio, BALL, RIDER)
    studio.graph.column("4 Keep both")
    name = "ball" if studio.world == DEMO else "rider"
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
    prompt, file = (BALL, "ball_00001_.safetensors") if studio.world == DEMO else (RIDER, "rider_00001_.safetensors")
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
        [("a red heart on the beach", {"blend_source": "ball", "blend_target": "heart"})],
        [(ROBOT, {"blend_source": "man", "blend_target": "robot"})],
    )


@recipe(
    """## In the stock sampler

Decoupled Guider and Decoupled Sampler under SamplerCustomAdvanced, for graphs that are built around it. A noise mask
set on the latent is respected.""",
)
def custom_sampler(studio):
    opened(studio, BALL, RIDER)
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
    opened(studio, BALL, RIDER, tune=False)
    graph = studio.graph
    graph.column("4 Words")
    edit = studio.control(STAR, **SHAPE)
    maps = graph.add(
        "VP2P_AttentionMaps", model=studio.model, inversion=studio.inversion, edit=edit["edit"],
        words="red, ball, beach", images=studio.frames,
    )  # fmt: skip
    graph.column("5 Look")
    graph.add("PreviewImage", "A row a word, a column a frame", images=maps["grid"])
    graph.add("PreviewImage", "Over the frames", images=maps["overlay"])
    mask = graph.add("MaskToImage", mask=maps["masks"])
    graph.add("PreviewImage", "As masks", images=mask)


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
    studio.invert("direct")
    graph.column("4 Edit")
    sampled = studio.sample(studio.control(ROBOT, blend_source="man", blend_target="robot")["edit"])
    graph.column("5 Result")
    frames = graph.add("VAEDecode", "Decode the edit", samples=sampled["edited"], vae=studio.vae)
    graph.add(
        "VHS_VideoCombine", "Save the edited clip", images=frames, filename_prefix="Video-P2P", format="video/h264-mp4",
        scripted={"pix_fmt": "yuv420p", "crf": 19, "save_metadata": True, "trim_to_audio": False},
    )  # fmt: skip


# --- the paper's ablations and baselines ------------------------------------------------------------------------------


@recipe(
    """## Ablation: no tuning

The paper's recipe on an inflated but untuned model: frames read the first one only, so they lose what it does not
show.""",
)
def ablation_no_tuning(studio):
    opened(studio, BALL, RIDER, tune=False, inflation={"frames_read": "first"}, method="shared null-text")
    edit_of(studio, [(STAR, SHAPE)], [])


@recipe(
    """## Ablation: a null text for every frame

Reconstructs a little better than one shared by all, and loses it again in the edit, where frames drift apart.""",
)
def ablation_per_frame_null_text(studio):
    opened(studio, BALL, RIDER, inflation=PAPER_INFLATION, method="per-frame null-text")
    edit_of(studio, [(STAR, SHAPE)], [])


@recipe(
    """## Ablation: coupled guidance

Source and target share the optimised null text. It was made to bring the source back, and does so in the target
too.""",
)
def ablation_coupled_guidance(studio):
    opened(studio, BALL, RIDER, inflation=PAPER_INFLATION, method="shared null-text")
    edit_of(studio, [(STAR, SHAPE)], [], guidance="coupled")


@recipe(
    """## Baseline: image Prompt-to-Prompt on every frame

The same edit with no inflation at all: each frame is edited by itself, and they flicker.""",
)
def baseline_image_p2p(studio):
    opened(studio, BALL, RIDER, tune=False, inflation=None)
    edit_of(studio, [(STAR, SHAPE | {"temporal_window": 0.0})], [])


@recipe(
    """## Baseline: Tune-A-Video

Sparse-causal frame attention, tuned on the clip; the stock sampler draws the target prompt from the clip's inverted
noise. No attention control: the scene changes with the thing.""",
)
def baseline_tune_a_video(studio):
    opened(studio, BALL, RIDER, inflation={"frames_read": "first+previous"})
    graph = studio.graph
    graph.column("4 Sample")
    target = graph.add("CLIPTextEncode", "Target prompt", clip=studio.clip, text=STAR)
    sampler = graph.add("KSamplerSelect", sampler_name="ddim")
    sigmas = graph.add("BasicScheduler", model=studio.model, scheduler="ddim_uniform", steps=50)
    sampled = graph.add(
        "SamplerCustom", model=studio.model, add_noise=False, cfg=7.5, positive=target, negative=studio.null,
        sampler=sampler, sigmas=sigmas, latent_image=studio.inverted["noise"],
    )  # fmt: skip
    graph.column("5 Result")
    studio.save(sampled["output"])


# --- common courses ---------------------------------------------------------------------------------------------------


def opened(studio, demo_prompt, own_prompt, *, tune=True, inflation=(), method="direct", checked=False):
    """The first three columns: clip, prompt, tuned model and inversion. `inflation` None leaves the model an image
    model; `checked` measures what a replay brings back."""
    studio.open(demo_prompt if studio.world == DEMO else own_prompt)
    studio.graph.column("3 Tune and invert" if tune else "3 Invert")
    if inflation is not None:
        studio.inflate(**dict(inflation))
    if tune:
        studio.tune()
    if checked:
        studio.invert(method, vae=studio.vae, images=studio.frames)
        studio.graph.add("PreviewImage", "How much a replay brings back", images=studio.inverted["plot"])
    else:
        studio.invert(method)


def edit_of(studio, demo_edits, own_edits, **sampling):
    """The last two columns: one edit, or several from one pass of the source, and what came of it."""
    edits = demo_edits if studio.world == DEMO else own_edits
    studio.graph.column("4 Edit")
    controllers = [studio.control(target, **settings) for target, settings in edits]
    edit = controllers[0]["edit"] if len(controllers) == 1 else studio.gather(*controllers)
    sampled = studio.sample(edit, **sampling)
    studio.graph.column("5 Result")
    studio.save(sampled["edited"])
    studio.graph.column("6 Look closer")
    studio.check(sampled)
    studio.graph.add("PreviewImage", "How the words belong together", images=controllers[0]["alignment"])
