"""What recipes have in common: prompts of the clips, how a graph begins, and how it ends in an edit."""

from __future__ import annotations

from .worlds import DEMO

BALL, CAR = "a red ball on the beach", "a red car in the snow"
STAR = "a red star on the beach"
RIDER, ROBOT = "a man is riding a motorbike", "a robot is riding a motorbike"
RABBIT = "a rabbit is eating a watermelon"
PAPER_INFLATION = {"frames_read": "first", "norm_over_frames": True}
SHAPE = {"blend_source": "ball", "blend_target": "star"}


def opened(studio, demo_prompt, own_prompt, *, tune=True, inflation=(), method="direct", checked=False, **settings):
    """The first three columns: clip, prompt, tuned model and inversion, under its settings. `inflation` None leaves the
    model an image model; `checked` measures what a replay brings back."""
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
        studio.invert(method, **settings)


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
