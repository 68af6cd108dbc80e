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
from PIL import Image, ImageDraw

SIZE = 128  # pixels a side of the model's pictures
SUPERSAMPLING = 3
FIRST_EVALUATION_SEED = 1_000_000

COLOURS = {
    "red": (222, 44, 40),
    "orange": (248, 138, 22),
    "yellow": (252, 218, 48),
    "green": (52, 172, 74),
    "blue": (44, 98, 224),
    "purple": (132, 62, 186),
    "pink": (250, 146, 196),
    "white": (244, 244, 246),
}
OBJECTS = ("ball", "star", "heart", "fish", "car", "rabbit")
PATTERNS = ("plain", "striped", "spotted", "shiny")
BACKGROUNDS = ("beach", "forest", "city", "space", "snow")
STYLES = ("plain", "sketch", "night")
FIELDS = {"object": OBJECTS, "colour": tuple(COLOURS), "pattern": PATTERNS, "background": BACKGROUNDS, "style": STYLES}

PLACES = {
    "beach": "on the beach",
    "forest": "in the forest",
    "city": "in the city",
    "space": "in space",
    "snow": "in the snow",
}
OUTLINE = (38, 30, 44)


@dataclass(frozen=True)
class Scene:
    """What a clip shows. Fields that are words of its caption, and the seed of all the rest."""

    seed: int
    object: str
    colour: str
    pattern: str
    background: str
    style: str = "plain"

    def random(self, purpose: str) -> np.random.Generator:
        """A generator of its own for each purpose, so that changing one word disturbs no other choice."""
        return np.random.default_rng([self.seed, *purpose.encode()])


@dataclass(frozen=True)
class Frame:
    """One rendered frame: `image` [height, width, 3] in 0..1, `mask` [height, width] in 0..1, the object's coverage."""

    image: np.ndarray
    mask: np.ndarray


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
    return replace(scene, **{field: found[0] if found else "plain" for field, found in named.items()})


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


# --- shapes, in a unit square around the object's centre, x to the right and y down -----------------------------------


def ellipse(cx, cy, rx, ry, turn=0.0, points=56) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    x, y = rx * np.cos(angle), ry * np.sin(angle)
    return np.stack([cx + x * np.cos(turn) - y * np.sin(turn), cy + x * np.sin(turn) + y * np.cos(turn)], axis=1)


def star() -> np.ndarray:
    angle = np.arange(10) * np.pi / 5 - np.pi / 2
    radius = np.where(np.arange(10) % 2 == 0, 1.12, 0.5)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle) + 0.06], axis=1)


def heart() -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return np.stack([x, y - 2.0], axis=1) / 16.5


def parts(name: str) -> list[tuple[str, np.ndarray]]:
    """The polygons of an object from back to front, each with its filling: body, shade (darker), dark, light, glass."""
    if name == "ball":
        return [("body", ellipse(0, 0, 0.94, 0.94))]
    if name == "star":
        return [("body", star())]
    if name == "heart":
        return [("body", heart())]
    if name == "fish":
        tail = np.array([(0.5, 0.0), (1.14, -0.56), (0.98, 0.0), (1.14, 0.56)])
        top = np.array([(-0.25, -0.42), (0.12, -0.86), (0.42, -0.3)])
        return [
            ("shade", tail),
            ("shade", top),
            ("body", ellipse(-0.2, 0, 0.84, 0.56)),
            ("shade", np.array([(-0.02, 0.06), (0.34, 0.3), (0.02, 0.36)])),
            ("light", ellipse(-0.66, -0.14, 0.15, 0.15)),
            ("dark", ellipse(-0.69, -0.14, 0.075, 0.075)),
        ]
    if name == "car":
        hull = np.array([(-1.1, 0.1), (-1.02, -0.14), (-0.62, -0.22), (-0.36, -0.66), (0.42, -0.66), (0.72, -0.2),
                         (1.04, -0.12), (1.12, 0.14), (1.08, 0.4), (-1.08, 0.4)])  # fmt: skip
        return [
            ("body", hull),
            ("glass", np.array([(-0.44, -0.2), (-0.27, -0.54), (0.0, -0.54), (0.0, -0.2)])),
            ("glass", np.array([(0.1, -0.2), (0.1, -0.54), (0.36, -0.54), (0.55, -0.2)])),
            ("dark", ellipse(-0.58, 0.42, 0.28, 0.28)),
            ("light", ellipse(-0.58, 0.42, 0.12, 0.12)),
            ("dark", ellipse(0.58, 0.42, 0.28, 0.28)),
            ("light", ellipse(0.58, 0.42, 0.12, 0.12)),
        ]
    if name == "rabbit":
        return [
            ("body", ellipse(-0.3, -0.78, 0.17, 0.5, -0.16)),
            ("body", ellipse(0.3, -0.78, 0.17, 0.5, 0.16)),
            ("shade", ellipse(-0.3, -0.76, 0.07, 0.34, -0.16)),
            ("shade", ellipse(0.3, -0.76, 0.07, 0.34, 0.16)),
            ("body", ellipse(0, 0.72, 0.66, 0.5)),
            ("body", ellipse(0, 0.02, 0.6, 0.52)),
            ("dark", ellipse(-0.23, -0.06, 0.085, 0.12)),
            ("dark", ellipse(0.23, -0.06, 0.085, 0.12)),
            ("light", ellipse(0, 0.2, 0.2, 0.13)),
            ("dark", ellipse(0, 0.14, 0.07, 0.05)),
        ]
    raise ValueError(f"'{name}' is not an object of the demo world: {', '.join(OBJECTS)}")


# --- drawing ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pose:
    """Where the object is in one frame, in fractions of the picture; `turn` in radians; `pan` moves the background."""

    x: float
    y: float
    radius: float
    turn: float
    pan: float


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


def place(points: np.ndarray, p: Pose, pixels: int) -> list[tuple[float, float]]:
    """Points of the unit square into pixels of the picture."""
    c, s = np.cos(p.turn), np.sin(p.turn)
    turned = points @ np.array([(c, s), (-s, c)]) * p.radius
    return [(float(x), float(y)) for x, y in (turned + (p.x, p.y)) * pixels]


def local_coordinates(p: Pose, pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """Each pixel's position in the object's own unit square: patterns turn with the object."""
    axis = (np.arange(pixels, dtype=np.float32) + 0.5) / pixels
    x, y = np.meshgrid(axis - p.x, axis - p.y)
    c, s = np.cos(p.turn), np.sin(p.turn)
    return (c * x + s * y) / p.radius, (-s * x + c * y) / p.radius


def surface(scene: Scene, p: Pose, pixels: int) -> np.ndarray:
    """The body's colour at each pixel [pixels, pixels, 3] in 0..1: base colour, pattern, light from the upper left."""
    colour = np.array(COLOURS[scene.colour], dtype=np.float32) / 255
    u, v = local_coordinates(p, pixels)
    light = np.clip(0.98 - 0.16 * u - 0.2 * v, 0.68, 1.16)[..., None]
    # A pattern must show on every colour: bright ones are marked in a dark tone, the others in a pale one.
    bright = scene.colour in ("white", "yellow")
    mark = colour * 0.45 if bright else 0.2 * colour + 0.8
    if scene.pattern == "striped":
        phase = (u * 0.85 + v * 0.5) * 2 * np.pi / 0.56
        stripe = np.clip(np.sin(phase) * 4 - 1.0, 0, 1)[..., None]
        return np.clip((colour * (1 - stripe) + mark * stripe) * light, 0, 1)
    if scene.pattern == "spotted":
        pitch = 0.5
        row = np.floor(v / pitch)
        du = (u / pitch + 0.5 * (row % 2)) % 1 - 0.5
        dv = v / pitch - row - 0.5
        spot = np.clip((0.33 - np.hypot(du, dv)) * 14, 0, 1)[..., None]
        return np.clip((colour * (1 - spot) + mark * spot) * light, 0, 1)
    if scene.pattern == "shiny":
        glow = np.exp(-(((u + 0.3) / 0.34) ** 2 + ((v + 0.32) / 0.26) ** 2) * 1.4)[..., None]
        rim = np.clip(1.12 - 0.62 * np.hypot(u + 0.2, v + 0.2), 0.4, 1.1)[..., None]
        return np.clip(colour * rim * (1 - glow) + glow * 1.0, 0, 1)
    return np.clip(colour * light, 0, 1)


def paint_object(canvas: Image.Image, scene: Scene, p: Pose) -> Image.Image:
    """Paint the object over `canvas` in place; returns its coverage, 0 or 255, as a picture of the same size."""
    pixels = canvas.width
    polygons = [(fill, place(points, p, pixels)) for fill, points in parts(scene.object)]
    coverage = Image.new("L", canvas.size)
    pen = ImageDraw.Draw(coverage)
    for _, polygon in polygons:
        pen.polygon(polygon, fill=255)
        pen.line([*polygon, polygon[0], polygon[1]], fill=255, width=round(pixels * 0.02), joint="curve")
    canvas.paste(OUTLINE, mask=coverage)
    body = surface(scene, p, pixels)
    fills = {
        "body": as_picture(body),
        "shade": as_picture(body * 0.7),
        "dark": (33, 31, 41),
        "light": (247, 247, 242),
        "glass": (168, 219, 242),
    }
    for fill, polygon in polygons:
        inside = Image.new("L", canvas.size)
        ImageDraw.Draw(inside).polygon(polygon, fill=255)
        canvas.paste(fills[fill], mask=inside)
    return coverage


def vertical_gradient(top, bottom, y: np.ndarray) -> np.ndarray:
    blend = np.clip(y, 0, 1)[..., None]
    return np.array(top, dtype=np.float32) / 255 * (1 - blend) + np.array(bottom, dtype=np.float32) / 255 * blend


def as_picture(colours: np.ndarray) -> Image.Image:
    """[height, width, 3] in 0..1 as a Pillow picture."""
    return Image.fromarray((np.clip(colours, 0, 1) * 255).astype(np.uint8))


def paint_background(scene: Scene, pan: float, pixels: int) -> Image.Image:
    """The scenery, moved sideways by `pan`."""
    rng = scene.random("scenery")
    y = ((np.arange(pixels) + 0.5) / pixels)[:, None]  # [height, 1]: skies and grounds are made of rows
    rows, shapes = SCENERY[scene.background](rng, y)
    picture = as_picture(rows).resize((pixels, pixels), Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(picture)
    for colour, points in shapes:
        pen.polygon([((x + pan) * pixels, v * pixels) for x, v in points], fill=colour)
    return picture


def box(x0, y0, x1, y1):
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def beach(rng, y):
    horizon, shore = rng.uniform(0.38, 0.46), rng.uniform(0.58, 0.66)
    picture = vertical_gradient((96, 190, 245), (214, 240, 250), y / horizon)
    picture[y > horizon] = vertical_gradient((24, 128, 176), (62, 188, 200), (y - horizon) / (shore - horizon))[
        y > horizon
    ]
    picture[y > shore] = vertical_gradient((246, 226, 168), (226, 192, 120), (y - shore) / (1 - shore))[y > shore]
    sun = ellipse(rng.choice((0.14, 0.86)) + rng.uniform(-0.05, 0.05), rng.uniform(0.1, 0.18), 0.085, 0.085)
    foam = [(x, shore + 0.008 * np.sin(x * 26) - 0.012) for x in np.linspace(-0.2, 1.2, 60)]
    return picture, [((255, 244, 190), sun), ((245, 250, 248), [*foam, (1.2, shore + 0.016), (-0.2, shore + 0.016)])]


def forest(rng, y):
    picture = vertical_gradient((150, 200, 130), (70, 130, 66), y / 0.72)
    picture[y > 0.76] = vertical_gradient((64, 116, 44), (38, 78, 30), (y - 0.76) / 0.24)[y > 0.76]
    shapes = []
    for x in np.arange(-0.1, 1.15, 0.2) + rng.uniform(-0.05, 0.05, 7):
        width = rng.uniform(0.035, 0.05)
        shapes.append(((94, 62, 36), box(x - width, -0.1, x + width, rng.uniform(0.76, 0.83))))
    for x in np.arange(-0.1, 1.15, 0.16) + rng.uniform(-0.05, 0.05, 8):
        tone = rng.integers(0, 26)
        shapes.append(((26 + tone, 84 + tone, 34), ellipse(x, rng.uniform(-0.02, 0.1), 0.17, 0.15)))
    return picture, shapes


def city(rng, y):
    picture = vertical_gradient((250, 196, 150), (252, 226, 196), y / 0.7)
    picture[y > 0.82] = np.array((74, 76, 86), dtype=np.float32) / 255
    shapes, left = [], -0.2
    while left < 1.2:
        width, top = rng.uniform(0.15, 0.24), rng.uniform(0.12, 0.42)
        tone = int(rng.integers(0, 36))
        shapes.append(((92 + tone, 100 + tone, 128 + tone), box(left, top, left + width, 0.82)))
        for wx in np.arange(left + 0.03, left + width - 0.035, 0.062):
            shapes += [((250, 232, 150), box(wx, wy, wx + 0.03, wy + 0.04)) for wy in np.arange(top + 0.04, 0.74, 0.09)]
        left += width + 0.012
    shapes += [((232, 232, 220), box(x, 0.9, x + 0.1, 0.925)) for x in np.arange(-0.2, 1.2, 0.22)]
    return picture, shapes


def space(rng, y):
    picture = vertical_gradient((14, 12, 40), (40, 20, 66), y)
    shapes = []
    for x, v, r in rng.uniform((-0.1, 0, 0.004), (1.1, 1, 0.011), (46, 3)):
        shapes.append(((236, 236, 255), ellipse(x, v, r, r, points=10)))
    cx, cy = rng.choice((0.16, 0.84)), rng.uniform(0.14, 0.24)
    shapes += [((196, 150, 110), ellipse(cx, cy, 0.11, 0.11)), ((226, 190, 150), ellipse(cx, cy, 0.2, 0.035, -0.35))]
    return picture, shapes


def snow(rng, y):
    picture = vertical_gradient((168, 196, 226), (224, 234, 244), y / 0.6)
    shapes = []
    for x in np.array((0.1, 0.48, 0.9)) + rng.uniform(-0.08, 0.08, 3):
        height, half = rng.uniform(0.3, 0.42), rng.uniform(0.26, 0.34)
        peak = 0.66 - height
        shapes.append(((132, 150, 182), [(x - half, 0.68), (x, peak), (x + half, 0.68)]))
        shapes.append(
            (
                (250, 252, 255),
                [
                    (x - half * 0.36, peak + height * 0.36),
                    (x, peak),
                    (x + half * 0.36, peak + height * 0.36),
                    (x, peak + height * 0.28),
                ],
            )
        )
    ground = [(x, 0.66 + 0.02 * np.sin(4 * x + rng.uniform(0, 0.2))) for x in np.linspace(-0.3, 1.3, 24)]
    shapes.append(((240, 245, 252), [*ground, (1.3, 1.1), (-0.3, 1.1)]))
    for x in np.array((0.03, 0.2, 0.8, 0.97)) + rng.uniform(-0.04, 0.04, 4):
        base = rng.uniform(0.7, 0.78)
        shapes += [
            ((52, 96, 92), [(x - 0.06, base - i * 0.07), (x, base - 0.13 - i * 0.07), (x + 0.06, base - i * 0.07)])
            for i in range(3)
        ]
    return picture, shapes


SCENERY = {"beach": beach, "forest": forest, "city": city, "space": space, "snow": snow}


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
    pixels = size * SUPERSAMPLING
    p = pose(scene, time)
    canvas = paint_background(scene, p.pan, pixels)
    coverage = paint_object(canvas, scene, p)
    if scene.style != "plain":
        canvas = as_picture(stylise(as_array(canvas), scene.style))
    return Frame(as_array(canvas.reduce(SUPERSAMPLING)), as_array(coverage.reduce(SUPERSAMPLING)))


def as_array(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture, dtype=np.float32) / 255


def clip(scene: Scene, frames: int = 8, size: int = SIZE) -> list[Frame]:
    """The whole clip, from time 0 to 1."""
    return [render(scene, i / max(frames - 1, 1), size) for i in range(frames)]
