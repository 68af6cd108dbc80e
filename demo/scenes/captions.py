"""Captions of scenes, and scenes of captions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .scene import COLOURS, FIELDS, MATERIALS, OBJECTS, STYLES, Scene, Thing

WHERE = {
    "beach": "on the beach",
    "meadow": "in the meadow",
    "desert": "in the desert",
    "snow": "in the snow",
    "moon": "on the moon",
    "city": "in the city",
}
JUDGED = ("object", "colour", "material", "place")  # what the judge must be right about
# Which field each kind of edit changes.
EDITED = {
    "object": "object",
    "colour": "colour",
    "pattern": "material",
    "refinement": "material",
    "background": "place",
}
WORD_WEIGHTS = {
    "object": 1.0,
    "colour": 0.5,
    "material": 0.5,
}  # of each word's attention map, when training looks at it


def article(phrase: str) -> str:
    return "an" if phrase[0] in "aeiou" else "a"


def adjectives(thing: Thing, fields: tuple[str, ...] = ("colour", "material")) -> list[str]:
    return [getattr(thing, field) for field in fields if getattr(thing, field) != "plain"]


def noun(thing: Thing, fields: tuple[str, ...] = ("colour", "material")) -> str:
    """'a red wooden rabbit', with only the named adjectives."""
    phrase = " ".join([*adjectives(thing, fields), thing.object])
    return f"{article(phrase)} {phrase}"


def styled(text: str, style: str) -> str:
    pictures = {"sketch": f"a sketch of {text}", "watercolour": f"a watercolour of {text}", "night": f"{text} at night"}
    return pictures.get(style, text)


def caption(scene: Scene) -> str:
    """The plain full caption: 'a red wooden rabbit beside a blue car on the beach', 'a sketch of a golden fish ...'."""
    return styled(f"{' beside '.join(map(noun, scene.things))} {WHERE[scene.place]}", scene.style)


def varied_caption(scene: Scene, rng: np.random.Generator) -> str:
    """A caption in one of many grammars, sometimes with words left out: what training reads."""
    fields = [field for field in ("colour", "material") if rng.random() > 0.05]
    if rng.random() < 0.2:
        fields.reverse()
    nouns = [noun(thing, tuple(fields)) for thing in scene.things]
    if len(nouns) == 2 and rng.random() < 0.3:
        nouns.reverse()
    who = f" {rng.choice(('beside', 'beside', 'and', 'next to', 'with'))} ".join(nouns)
    place = WHERE[scene.place]
    verb = "are" if " and " in who else "is"
    text = (
        f"{who} {place}",
        f"{who} {place}",
        f"{who} {place}",
        f"there {verb} {who} {place}",
        f"{place}, {who}",
        f"{place} there {verb} {who}",
        f"{who} {verb} {place}",
        who if rng.random() < 0.4 else f"{who}, {place}",
    )[rng.integers(8)]
    if scene.style == "night":
        return f"{text} at night" if rng.random() < 0.6 else f"at night, {text}"
    if scene.style != "plain":
        words = {"sketch": ("sketch", "drawing"), "watercolour": ("watercolour", "watercolour painting")}[scene.style]
        return f"a {rng.choice(words)} of {text}"
    return f"a {rng.choice(('photo', 'picture'))} of {text}" if rng.random() < 0.15 else text


def described(scene: Scene, text: str) -> Scene:
    """The same clip as another caption describes it: what its words leave out is plain, or as it was."""
    words = text.replace(",", "").split()
    named: list[dict[str, str]] = [{}]
    for word in words:
        for field, values in (("colour", COLOURS), ("material", MATERIALS), ("object", OBJECTS)):
            if word in values:
                named[-1][field] = word
        if "object" in named[-1]:
            named.append({})
    things = [
        Thing(part["object"], part.get("colour", scene.colour), part.get("material", "plain"))
        for part in named
        if "object" in part
    ]
    first, *others = things or [Thing(scene.object, scene.colour, scene.material)]
    place = next((place for place in WHERE if place in words), scene.place)
    style = next((style for style in STYLES if style in words), "plain")
    changed = replace(
        scene, object=first.object, colour=first.colour, material=first.material, place=place, style=style
    )
    return replace(changed, beside=others[0] if others else None)


def caption_words() -> list[str]:
    """Every word that a caption can hold: the vocabulary of the demo model."""
    fixed = "a an the of there is are and with beside next to on in at drawing painting photo picture"
    named = {word for values in FIELDS.values() for word in values if word != "plain"}
    return sorted({*fixed.split(), *named})


VOCABULARY = tuple(caption_words())


def word_regions(scene: Scene) -> dict[str, str]:
    """Which region each content word of the caption belongs to: 'object', 'beside' (the second thing) or 'background'.

    A word that both things have belongs to the first.
    """
    regions = {scene.place: "background"}
    for region, thing in reversed(list(zip(("object", "beside"), scene.things, strict=False))):
        regions |= dict.fromkeys([*adjectives(thing), thing.object], region)
    return regions
