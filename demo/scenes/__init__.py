"""The demo world: small scenes in three dimensions, with exact ground truth.

`render` is a pure function of a `Scene` and a time, and every random choice hangs on the seed and on the name of what
it shapes: `dataclasses.replace(scene, colour="blue")` is the same clip with only the colour changed.
"""

from . import silhouettes
from .captions import (
    EDITED,
    JUDGED,
    VOCABULARY,
    WORD_WEIGHTS,
    caption,
    caption_words,
    described,
    varied_caption,
    word_regions,
)
from .frames import Frame, clip, flow, render, render_empty
from .scene import FIELDS, FIRST_EVALUATION_SEED, SIZE, Scene, Thing, of_one_thing, random_scene

__all__ = [
    "EDITED", "FIELDS", "FIRST_EVALUATION_SEED", "JUDGED", "SIZE", "VOCABULARY", "WORD_WEIGHTS", "Frame", "Scene",
    "Thing", "caption", "caption_words", "clip", "described", "flow", "of_one_thing", "random_scene", "render",
    "render_empty", "silhouettes", "varied_caption", "word_regions",
]  # fmt: skip
