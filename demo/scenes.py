"""The demo world: captioned scenes of one moving thing, with exact ground truth.

A `Scene` names what is seen (object, colour, pattern, background, style) and carries a seed for everything that has
no word (pose, path, hills, stars). Rendering is a pure function of the scene, and every random choice hangs on the
seed and on the name of the thing it shapes: so `dataclasses.replace(scene, colour="blue")` is the same clip with only
the colour changed, which is the ground truth of an edit.

Seeds of 1,000,000 and more are kept for evaluation; training draws from below.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from .backgrounds import BACKGROUNDS, paint_background
from .drawing import as_array, as_picture
from .objects import COLOURS, OBJECTS, PATTERNS, Pose, local_coordinates, paint_object
from .scene import Scene

SIZE = 128  # pixels a side of the model's pictures
SUPERSAMPLING = 3
FIRST_EVALUATION_SEED = 1_000_000
STYLES = ("plain", "sketch", "night")
JUDGED = ("object", "colour", "background")  # what the judge must be right about
# Which field each kind of edit changes.
EDITED = {
    "object": "object",
    "colour": "colour",
    "pattern": "pattern",
    "refinement": "pattern",
    "background": "background",
}
WORD_WEIGHTS = {"object": 1.0, "colour": 0.5, "pattern": 0.5}  # of each word's attention map, when training looks at it
FIELDS = {"object": OBJECTS, "colour": tuple(COLOURS), "pattern": PATTERNS, "background": BACKGROUNDS, "style": STYLES}

PLACES = {
    "beach": "on the beach",
    "forest": "in the forest",
    "city": "in the city",
    "space": "in space",
    "snow": "in the snow",
}


@dataclass(frozen=True)
class Frame:
    """One rendered frame: `image` [height, width, 3] in 0..1, `mask` [height, width] in 0..1, the object's coverage."""

    image: np.ndarray
    mask: np.ndarray

    @property
    def masks(self) -> np.ndarray:
        """Of all things [1, height, width]."""
        return self.mask[None]


def random_scene(seed: int) -> Scene:
    """The scene of a seed: fields plain surfaces twice as often as each pattern, one scene in six in a style."""
    rng = np.random.default_rng([seed, 1])
    style = rng.choice(STYLES, p=(0.84, 0.08, 0.08))
    pattern = rng.choice(PATTERNS, p=(0.4, 0.2, 0.2, 0.2))
    return Scene(
        seed,
        str(rng.choice(OBJECTS)),
        str(rng.choice(tuple(COLOURS))),
        str(pattern),
        str(rng.choice(BACKGROUNDS)),
        str(style),
    )


# --- captions ---------------------------------------------------------------------------------------------------------


def article(phrase: str) -> str:
    return "an" if phrase[0] in "aeiou" else "a"


def thing(scene: Scene, words=("pattern", "colour")) -> str:
    """'striped red ball', with only the named adjectives."""
    adjectives = [getattr(scene, word) for word in words if getattr(scene, word) != "plain"]
    return " ".join([*adjectives, scene.object])


def caption(scene: Scene) -> str:
    """The plain full caption: 'a striped red ball on the beach', 'a sketch of a red fish in space'."""
    noun = thing(scene)
    text = f"{article(noun)} {noun} {PLACES[scene.background]}"
    return {"plain": text, "sketch": f"a sketch of {text}", "night": f"{text} at night"}[scene.style]


def described(scene: Scene, text: str) -> Scene:
    """The same clip as another caption describes it: what the words leave out is plain."""
    words = text.split()
    named = {field: [word for word in values if word in words] for field, values in FIELDS.items()}
    return replace(scene, **{field: values[0] if values else "plain" for field, values in named.items()})


def varied_caption(scene: Scene, rng: np.random.Generator) -> str:
    """A caption in one of many grammars, sometimes with words left out: what training reads."""
    words = [word for word in ("pattern", "colour") if rng.random() > 0.06]
    if rng.random() < 0.15:
        words.reverse()
    noun, place = thing(scene, tuple(words)), PLACES[scene.background]
    a_noun = f"{article(noun)} {noun}"
    grammar = rng.integers(9)
    text = (
        f"{a_noun} {place}",
        f"{a_noun} {place}",
        f"{a_noun} is moving {place}",
        f"there is {a_noun} {place}",
        f"the {noun} is {place}",
        f"{place}, {a_noun}",
        f"{place} there is {a_noun}",
        f"{a_noun} moves {place}",
        a_noun if rng.random() < 0.5 else f"{a_noun}, {place}",
    )[grammar]
    if scene.style == "sketch":
        return f"a {rng.choice(('sketch', 'drawing'))} of {text}"
    if scene.style == "night":
        return f"{text} at night" if rng.random() < 0.7 else f"at night, {text}"
    return f"a {rng.choice(('photo', 'picture'))} of {text}" if rng.random() < 0.2 else text


def caption_words() -> list[str]:
    """Every word that a caption can hold: the vocabulary of the demo model."""
    fixed = "a an the of is there moves moving in on at night beach forest city space snow sketch drawing photo picture"
    return sorted({*fixed.split(), *OBJECTS, *COLOURS, *PATTERNS[1:]})


def word_regions(scene: Scene) -> dict[str, str]:
    """Which region each content word of the caption belongs to: 'object' or 'background'."""
    regions = {scene.object: "object", scene.colour: "object", scene.background: "background"}
    return regions if scene.pattern == "plain" else {**regions, scene.pattern: "object"}


# --- drawing ----------------------------------------------------------------------------------------------------------


def pose(scene: Scene, time: float) -> Pose:
    """The object's pose at `time` 0..1: a path with a swing, a slow turn, a slight pan of the background."""
    rng = scene.random("path")
    x, y = rng.uniform(0.42, 0.58), rng.uniform(0.48, 0.6)
    radius = rng.uniform(0.27, 0.36)
    heading = rng.choice((-1, 1)) * rng.uniform(0.1, 0.22)
    lift, swing = rng.uniform(-0.06, 0.06), rng.uniform(0, 0.03)
    start, spin = rng.uniform(-0.22, 0.22), rng.uniform(-0.5, 0.5)
    t = time - 0.5
    return Pose(
        x + heading * t,
        y + lift * t + swing * np.sin(2 * np.pi * time),
        radius,
        start + spin * t,
        0.08 * heading * time,
    )


def stylise(image: np.ndarray, style: str) -> np.ndarray:
    """The whole picture [height, width, 3] in a style, at the supersampled size."""
    if style == "night":
        return image * np.array((0.55, 0.6, 0.85), dtype=np.float32)
    if style == "sketch":
        step = image.shape[0] // 128
        grey = image.mean(axis=2)
        edge = np.abs(grey - np.roll(grey, step, axis=0)) + np.abs(grey - np.roll(grey, step, axis=1))
        line = np.clip(edge * 5, 0, 1)[..., None]
        paper = np.array((0.98, 0.96, 0.91), dtype=np.float32)
        wash = 0.7 * image + 0.3 * paper
        return wash * (1 - line) + line * np.array((0.2, 0.19, 0.24), dtype=np.float32)
    raise ValueError(f"'{style}' is not a style of the demo world: {', '.join(STYLES)}")


def render(scene: Scene, time: float = 0.5, size: int = SIZE) -> Frame:
    """The scene at `time` 0..1, antialiased, with the object's true mask."""
    p = pose(scene, time)
    canvas = paint_background(scene, p.pan, size * SUPERSAMPLING)
    coverage = paint_object(canvas, scene, p)
    return Frame(finished(canvas, scene.style), as_array(coverage.reduce(SUPERSAMPLING)))


def render_empty(scene: Scene, time: float) -> np.ndarray:
    """The image of the scene at `time` 0..1 without its object."""
    return finished(paint_background(scene, pose(scene, time).pan, SIZE * SUPERSAMPLING), scene.style)


def finished(canvas: Image.Image, style: str) -> np.ndarray:
    """The image of what was painted, in a style, antialiased."""
    canvas = canvas if style == "plain" else as_picture(stylise(as_array(canvas), style))
    return as_array(canvas.reduce(SUPERSAMPLING))


def flow(scene: Scene, time: float, later: float, size: int = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """Where the point seen at each pixel is `later` -> (shift [height, width, 2] in pixels, right and down; whether it
    is still seen [height, width])."""
    before, after = pose(scene, time), pose(scene, later)
    thing, thing_later = (render(scene, t, size).mask > 0.5 for t in (time, later))
    axis = (np.arange(size) + 0.5) / size
    x, y = np.meshgrid(axis, axis)
    u, v = local_coordinates(before, size)
    c, s = np.cos(after.turn) * after.radius, np.sin(after.turn) * after.radius
    to_x = np.where(thing, after.x + c * u - s * v, x + after.pan - before.pan)
    to_y = np.where(thing, after.y + s * u + c * v, y)
    inside = (to_x >= 0) & (to_x < 1) & (to_y >= 0) & (to_y < 1)
    column, row = (np.clip((to * size).astype(int), 0, size - 1) for to in (to_x, to_y))
    shift = np.stack([to_x - x, to_y - y], axis=-1) * size
    return shift.astype(np.float32), inside & (thing == thing_later[row, column])


def clip(scene: Scene, frames: int = 8, size: int = SIZE) -> list[Frame]:
    """The whole clip, from time 0 to 1."""
    return [render(scene, i / max(frames - 1, 1), size) for i in range(frames)]
