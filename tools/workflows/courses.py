"""What recipes have in common: prompts of the clips, how a graph begins, and how it ends in an edit."""

from __future__ import annotations

from ...videop2p_core.edit.edit_fields import AUTO
from .studio import EXACT
from .worlds import DEMO

RABBIT, CAR = "a red rabbit on the beach", "a red car in the snow"
STAR = "a red star on the beach"
RIDER, ROBOT = "a man is riding a motorbike", "a robot is riding a motorbike"
EATING = "a rabbit is eating a watermelon"
PAPER_INFLATION = {"frames_read": "first", "norm_over_frames": True}
SHAPE = {"blend_source": "rabbit", "blend_target": "star"}
THING = {"blend_source": "rabbit", "blend_target": "rabbit"}
# Nothing is inverted, and a further edit does not run the source again.
QUICK = {"method": "virtual", "keep_source": "in memory"}
SWAPPED = {"blend_source": AUTO, "blend_target": AUTO}
# The thing is cut out of the finished edit, and keeps its outline where only its looks change.
AT_THE_END = {"blend_start": 1.0, "structure_window": -1.0, "fresh_noise": -1.0}


def opened(studio, demo_prompt, own_prompt, *, tune=True, inflation=(), method=EXACT, checked=False, **settings):
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


def edit_of(studio, demo_edits, own_edits, *, set_in=True, **sampling):
    """The last three columns: one edit, or several from one pass of the source, and what came of it; `set_in` puts the
    edited things into the clip's own frames."""
    edits = demo_edits if studio.world == DEMO else own_edits
    studio.graph.column("4 Edit")
    common = AT_THE_END if set_in else {}
    controllers = [studio.control(target, **common | settings) for target, settings in edits]
    edit = controllers[0]["edit"] if len(controllers) == 1 else studio.gather(*controllers)
    sampled = studio.sample(edit, **sampling)
    studio.graph.column("5 Result")
    if set_in:
        exchanged = any(
            words == SWAPPED or words.get("blend_source") != words.get("blend_target") for _, words in edits
        )
        composite = studio.set_in(sampled, exchanged)
        studio.show(composite["images"])
    else:
        studio.save(sampled["edited"])
    studio.graph.column("6 Look closer")
    studio.check(sampled, composite["matte"] if set_in else sampled["mask"])
    studio.graph.add("PreviewImage", "How the words belong together", images=controllers[0]["alignment"])
