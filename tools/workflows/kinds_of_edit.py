"""The workflows for the kinds of word edits."""

from __future__ import annotations

from .courses import AT_THE_END, CAR, EATING, QUICK, RABBIT, RIDER, ROBOT, SHAPE, STAR, SWAPPED, THING, edit_of, opened
from .recipe import recipe
from .worlds import DEMO, SD15


@recipe(
    """## Start here

Press **Run**: the rabbit becomes a star, and everything that the word does not name stays. Before and after play beside
each other in *Compare Videos*.

Then write another target prompt in *Attention Controller*, `a red heart on the beach` for instance, and run again: only
what follows it is done anew. Colours and patterns come out better from *Video-P2P-03*. The other templates take your
own clip.""",
)
def first(studio):
    graph = studio.graph
    graph.column("1 Model and clip")
    studio.load_checkpoint()
    clip = graph.add("VP2P_LoadDemoClip", clip=RABBIT)
    studio.frames, studio.fps, studio.prompt = clip["images"], clip["fps"], clip["caption"]
    studio.encode()
    graph.column("2 Invert")
    studio.encode_prompts()
    studio.inflate(temporal_layers=False)
    studio.invert(**QUICK, steps=studio.home.virtual_steps)
    graph.column("3 Say what changes")
    sampled = studio.sample(studio.control(STAR, **SWAPPED, **AT_THE_END)["edit"])
    graph.column("4 Result")
    composite = studio.set_in(sampled, exchanged=True)
    graph.add("VP2P_CompareVideos", before=studio.frames, after=composite["images"], fps=studio.fps)


@recipe(
    """## Word swap

One word of the caption is replaced, and the moving thing with it. *virtual* inverts nothing: the clip lies under noise
that is the same in every frame, so that few steps do and the new thing holds together. Nothing is tuned: where frames
drift apart turn *temporal layers* on in *Inflate UNet* and add *Tune on Video* after it. For new colours and patterns
choose *direct-exact*.

**blend words** say what the old and the new thing are; *auto* takes the words that are swapped. *Composite Edit* cuts
both out of the finished edit and sets them into the clip's own frames: outside of the matte every pixel is the file's.

Another target prompt runs only the controller and what follows it: what the source's attention saw is kept. Another
*noise seed* draws the edit anew.""",
    DEMO,
    SD15,
)
def word_swap(studio):
    quick = QUICK | {"steps": studio.home.virtual_steps}
    opened(studio, RABBIT, RIDER, tune=False, inflation={"temporal_layers": False}, **quick)
    edit_of(studio, [(STAR, SWAPPED)], [(ROBOT, SWAPPED)])


@recipe(
    """## Refinement

Words are added; those that both prompts share keep their attention, so shape and motion stay.""",
    DEMO,
    SD15,
)
def refine(studio):
    opened(studio, RABBIT, EATING)
    edit_of(
        studio,
        [("a red origami rabbit on the beach", {"cross_window": 0.4} | THING)],
        [("an origami rabbit is eating a watermelon", {"cross_window": 0.4} | THING)],
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
    opened(studio, CAR, EATING)
    night, origami = "a red car in the snow at night", "an origami rabbit is eating a watermelon"
    blend = {"cross_window": 0.8} | THING
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
    opened(studio, RABBIT, RIDER)
    edit_of(
        studio,
        [("a red rabbit on the beach at night", {"cross_window": 0.8})],
        [("a man is riding a motorbike, watercolor painting", {"cross_window": 0.8})],
        set_in=False,
    )


@recipe(
    """## Background kept by LocalBlend

The same edit without and with blend words, from one pass of the source. With them everything outside the words' place
is the source's own; the mask shows that place.""",
)
def local_blend(studio):
    opened(studio, CAR, RIDER, method="direct")
    blue = "a blue car in the snow"
    edit_of(
        studio,
        [
            (blue, {"cross_window": 0.4}),
            (blue, {"cross_window": 0.4, "blend_source": "car", "blend_target": "car"}),
        ],
        [],
        set_in=False,
    )


@recipe(
    """## Several prompts at once

A list of edits into one Decoupled Sample: the source is denoised once a step for all of them, and the clips come back
as a list in the same order.""",
    DEMO,
    SD15,
)
def several_prompts(studio):
    opened(studio, RABBIT, RIDER)
    demo = [
        (STAR, SHAPE),
        ("a red heart on the beach", {"blend_source": "rabbit", "blend_target": "heart"}),
        ("a blue rabbit on the beach", {"cross_window": 0.4} | THING),
    ]
    riders = [
        (f"a {rider} is riding a motorbike", {"blend_source": "man", "blend_target": rider})
        for rider in ("robot", "gorilla", "astronaut")
    ]
    edit_of(studio, demo, riders)
