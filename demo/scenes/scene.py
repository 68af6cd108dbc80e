"""What a clip of the demo world shows, and what its seed decides.

A `Scene` holds the words of its caption; its seed decides all that has no word: pose, path, camera, light, hills,
where stripes and spots lie, the grain of wood. Every random choice hangs on the seed and on the name of what it shapes,
so `dataclasses.replace(scene, colour="blue")` is the same clip with only the colour changed, which is the ground truth
of an edit.

Training draws seeds below 1,000,000; those from there on are kept for evaluation.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .things import KINDS

SIZE = 128  # pixels a side of the model's pictures
FIRST_EVALUATION_SEED = 1_000_000
OBJECTS = tuple(KINDS)
COLOURS = ("red", "orange", "green", "blue", "purple", "pink", "white", "golden")
MATERIALS = ("plain", "wooden", "origami", "striped", "spotted", "shiny")
PLACES = ("beach", "meadow", "desert", "snow", "moon", "city")
STYLES = ("plain", "sketch", "night", "watercolour")
FIELDS = {"object": OBJECTS, "colour": COLOURS, "material": MATERIALS, "place": PLACES, "style": STYLES}
PAIRS = 0.12  # of the scenes have a second thing


@dataclass(frozen=True)
class Thing:
    object: str
    colour: str
    material: str = "plain"


@dataclass(frozen=True)
class Scene:
    """One thing in a place, and now and then another `beside` it."""

    seed: int
    object: str
    colour: str
    material: str
    place: str
    style: str = "plain"
    beside: Thing | None = None

    @property
    def things(self) -> tuple[Thing, ...]:
        first = Thing(self.object, self.colour, self.material)
        return (first, self.beside) if self.beside else (first,)

    def random(self, purpose: str) -> np.random.Generator:
        """A generator of its own for each purpose, so that changing one word disturbs no other choice."""
        return np.random.default_rng([self.seed, *purpose.encode()])


def random_thing(rng: np.random.Generator) -> Thing:
    material = rng.choice(MATERIALS, p=(0.3, *[0.14] * 5))
    return Thing(str(rng.choice(OBJECTS)), str(rng.choice(COLOURS)), str(material))


def random_scene(seed: int) -> Scene:
    """The scene of a seed: plain surfaces are commoner than each material, one scene in five has a style."""
    rng = np.random.default_rng([seed, 21])
    thing, place = random_thing(rng), str(rng.choice(PLACES))
    style = str(rng.choice(STYLES, p=(0.79, 0.07, 0.07, 0.07)))
    beside = random_thing(rng) if rng.random() < PAIRS else None
    if beside and beside.object == thing.object:
        beside = None
    return Scene(seed, thing.object, thing.colour, thing.material, place, style, beside)


def of_one_thing(seed: int) -> Iterator[Scene]:
    """The scenes of a seed and those after it, without the ones of two things: nobody could say which of them a judge
    is to name, or an edit to change."""
    return (scene for scene in map(random_scene, itertools.count(seed)) if scene.beside is None)
