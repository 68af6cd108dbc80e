"""The places of the demo world: sky, scenery and ground, each from the seed."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from .noise import Noise, colour, mix, ramp
from .scene import Scene
from .scenery import (
    Layer,
    Place,
    cactus,
    dots,
    each,
    fading,
    fir,
    hills,
    mesa,
    palm,
    peaks,
    plain,
    round_tree,
    skyline,
)

FAR = 90.0  # where the ground ends


def gradient_sky(low: str, middle: str, high: str):
    a, b, c = colour(low), colour(middle), colour(high)
    return lambda right, up: mix(mix(a, b, ramp(-0.02, 0.1, up)), c, ramp(0.08, 0.3, up))


def with_clouds(sky, rng, shade: str, amount: float):
    noise, tint = Noise(rng), colour(shade)
    x, y = rng.uniform(0, 50, 2)

    def clouded(right, up):
        puffs = noise.layered(right * 9 + x, up * 26 + y, 2)
        return mix(sky(right, up), tint, ramp(0.56, 0.74, puffs) * amount * ramp(0.0, 0.06, up))

    return clouded


def with_disc(sky, at: tuple[float, float], radius: float, shade: str, glow: float):
    tint = colour(shade)

    def shining(right, up):
        away = np.hypot(right - at[0], up - at[1])
        lit = mix(sky(right, up), tint, glow * np.exp(-((away / (radius * 2.6)) ** 2)))
        return mix(lit, tint, ramp(0.004, -0.004, away - radius))

    return shining


def aside(rng) -> float:
    """A direction away from the middle, where the thing stands."""
    return float(rng.choice((-1, 1)) * rng.uniform(0.14, 0.26))


def beach(rng):
    sky = with_clouds(gradient_sky("#fdf3dc", "#bfe6f0", "#4fb0e0"), rng, "#ffffff", 0.9)
    sky = with_disc(sky, (aside(rng), rng.uniform(0.12, 0.2)), 0.032, "#fff3b8", 0.55)
    noise, shore, swell = Noise(rng), rng.uniform(-5.5, -3.2), rng.uniform(0, 6)
    sea, deep, foam = colour("#5fd0cf"), colour("#1d86b4"), colour("#f7fdfb")
    sand, wet, speck = colour("#f6dfae"), colour("#dcbf8a"), colour("#e2c48e")

    def ground(x, z, away):
        edge = z - shore - 0.35 * np.sin(0.7 * x + swell) - 0.15 * np.sin(1.9 * x + 2 * swell)
        fine = ramp(22, 6, away)
        land = mix(sand, speck, 0.45 * noise(x * 1.3, z * 1.3) * fine)
        land = mix(wet, land, ramp(0.15, 0.6, edge))
        water = mix(sea, deep, ramp(-1, -26, edge))
        water = mix(water, foam, 0.8 * ramp(0.62, 0.8, noise(x * 0.7, z * 2.2)) * ramp(40, 8, away))
        return mix(mix(water, foam, ramp(-0.34, -0.26, edge)), land, ramp(-0.05, 0.05, edge))

    island = hills(rng, rng.uniform(-0.5, 0.8), 3.2, 60)
    trees = each(rng, 3.4, 0.45, palm, clear=1.7)
    return Place(
        sky,
        [
            Layer(-70, island, plain(colour("#8fbfc4"))),
            Layer(-3.0, trees, fading(colour("#8a5a34"), colour("#2f8f5b"), 1.9, 2.5)),
        ],
        ground,
    )


def meadow(rng):
    sky = with_clouds(gradient_sky("#f4f7df", "#c4e7ef", "#6cbce6"), rng, "#ffffff", 0.95)
    noise = Noise(rng)
    grass, lush, dry = colour("#79c257"), colour("#57a944"), colour("#a5d86b")
    petals = np.stack([colour(c) for c in ("#fff7ee", "#ffd84a", "#ff8fa8", "#ffffff")])

    def ground(x, z, away):
        turf = mix(
            mix(grass, lush, noise.layered(x * 0.5, z * 0.5, 2)), dry, 0.3 * noise(x * 1.6, z * 1.2) * ramp(18, 5, away)
        )
        flower, which = dots(noise, x, z, 1.0, 0.13, 0.4)
        return mix(turf, petals[(which * 3.99).astype(int)], ramp(-0.03, 0.03, flower) * ramp(11, 7, away))

    far, near = hills(rng, 5.2, 2.6, 40), hills(rng, 2.6, 1.0, 22)
    trees = each(rng, 2.6, 0.5, round_tree, clear=1.2)
    layers = [
        Layer(-60, far, fading(colour("#a9d5b0"), colour("#8cc6a4"), 0, 7)),
        Layer(-28, near, fading(colour("#8fcd72"), colour("#6fb85f"), 0, 3.5)),
        Layer(-11, lambda x, y: trees(x, y - 0.1), fading(colour("#54943f"), colour("#3f8a48"), 0.4, 2.0)),
    ]
    return Place(sky, layers, ground)


def desert(rng):
    sky = with_disc(
        gradient_sky("#fde3b4", "#f9bf94", "#e58f86"), (aside(rng), rng.uniform(0.1, 0.2)), 0.05, "#fff0cf", 0.6
    )
    noise, turn = Noise(rng), rng.uniform(-0.5, 0.5)
    sand, shadow = colour("#eea863"), colour("#d9854a")

    def ground(x, z, away):
        ripple = np.sin(5.5 * (z + turn * x) + 3 * noise(x * 0.5, z * 0.5)) * 0.5 + 0.5
        return mix(sand, shadow, 0.5 * ripple * ramp(16, 6, away) + 0.35 * noise(x * 0.35, z * 0.35))

    tables, dunes = each(rng, 9.0, 0.6, lambda x, y, s: mesa(x / 2.0, y / 2.4, s) * 2.0), hills(rng, 1.6, 1.1, 16)
    plants = each(rng, 3.0, 0.55, lambda x, y, s: cactus(x, y, 0.78 * s), clear=1.6)
    layers = [
        Layer(-60, tables, fading(colour("#dd8a6c"), colour("#c4655c"), 1, 6)),
        Layer(-24, dunes, fading(colour("#e7975a"), colour("#f2b273"), 0, 2.6)),
        Layer(-4.2, plants, fading(colour("#3f7f5c"), colour("#57a071"), 0.2, 2.0)),
    ]
    return Place(sky, layers, ground)


def snow(rng):
    sky = with_clouds(gradient_sky("#eef4f8", "#c9dff0", "#8db9de"), rng, "#fafdff", 0.8)
    noise = Noise(rng)
    bright, blue, rock, cap = colour("#f6fafd"), colour("#c9dcee"), colour("#7f97b8"), colour("#fbfdff")

    def ground(x, z, _away):
        return mix(bright, blue, 0.75 * ramp(0.35, 0.8, noise.layered(x * 0.55, z * 0.8, 2)))

    mountains = peaks(rng, 15.0, 17)

    def stone(x, y):
        line = 6.5 + 2.2 * np.sin(x * 0.9) + 1.2 * np.sin(x * 2.3 + 1)
        return mix(mix(rock, colour("#a9bdd6"), ramp(6, 0, y)), cap, ramp(-0.2, 0.2, y - line))

    firs, near = each(rng, 2.0, 0.7, lambda x, y, s: fir(x, y, 1.1 * s)), each(rng, 2.8, 0.5, fir, clear=2.0)
    layers = [
        Layer(-60, mountains, stone),
        Layer(-18, firs, fading(colour("#5f8f95"), colour("#7fa9b0"), 0, 3)),
        Layer(-5, near, fading(colour("#2f6a68"), colour("#4d8f88"), 0, 2.6)),
    ]
    return Place(sky, layers, ground)


def moon(rng):
    base = gradient_sky("#4a3d7a", "#2a2459", "#141336")
    noise, x, y = Noise(rng), *rng.uniform(0, 40, 2)
    star, planet_at, lean = colour("#fff8e6"), (aside(rng), rng.uniform(0.13, 0.2)), rng.uniform(-0.5, 0.5)
    light, dark, band = (
        colour(c) for c in rng.choice((("#7fd0e6", "#2d6fb6", "#e8fbff"), ("#ffb27a", "#b2506a", "#ffe3bd")))
    )

    def sky(right, up):
        points, _ = dots(noise, right + 3, up + 3, 0.07, 0.0085, 0.4)
        lit = mix(base(right, up), star, ramp(-0.005, 0.003, points))
        u, v = right - planet_at[0], up - planet_at[1]
        away = np.hypot(u, v)
        stripes = ramp(0.45, 0.6, noise(u * 8 + x, (v - lean * u) * 60 + y))
        globe = mix(mix(light, band, 0.75 * stripes), dark, ramp(-0.01, 0.075, 0.6 * u - 0.8 * v + 0.012))
        lit = mix(lit, globe, ramp(0.003, -0.003, away - 0.062))
        flat = np.hypot(u, 4.2 * (v - lean * u))
        behind = (away < 0.062) & (v > lean * u)
        return mix(lit, band, 0.85 * ramp(0.006, 0.0, abs(flat - 0.105) - 0.012) * ~behind)

    soil, dim, rimmed = colour("#b9b2cc"), colour("#8a82a8"), colour("#dcd6ea")

    def ground(px, z, away):
        floor = mix(
            soil,
            dim,
            0.6 * noise.layered(px * 0.7, z * 0.7, 2),
        )
        bowl, _ = dots(noise, px, z, 2.3, 0.62, 0.75)
        floor = mix(floor, dim * 0.82, 0.75 * ramp(-0.02, 0.1, bowl))
        return mix(floor, rimmed, 0.8 * ramp(0.11, 0.03, abs(bowl + 0.02)) * ramp(30, 8, away))

    ridge, rocks = peaks(rng, 6.5, 14), hills(rng, 0.9, 0.8, 9)
    layers = [
        Layer(-60, ridge, fading(colour("#6d6496"), colour("#8d84b0"), 0, 6)),
        Layer(-22, rocks, fading(colour("#9088b0"), colour("#a49cc0"), 0, 2)),
    ]
    return Place(sky, layers, ground)


def city(rng):
    sky = with_disc(
        gradient_sky("#ffd9b0", "#f7a9a8", "#8d7fc4"), (aside(rng), rng.uniform(0.09, 0.15)), 0.045, "#fff1cc", 0.5
    )
    noise, glow = Noise(rng), colour("#ffe08a")
    stone, joint, line = colour("#a79fae"), colour("#8a8397"), colour("#c9c1cb")

    def ground(x, z, away):
        i, j = np.floor(x / 0.9), np.floor(z / 0.9)
        tile = mix(stone, line, 0.55 * noise.table(i + 31 * j, 2))
        seam = np.maximum(abs(x / 0.9 - i - 0.5), abs(z / 0.9 - j - 0.5))
        return mix(tile, joint, ramp(0.45, 0.49, seam) * ramp(14, 6, away))

    far, _ = skyline(rng, 6.0, 6, 16)
    near, lit = skyline(rng, 4.2, 2.6, 9.5)
    front = fading(colour("#6d5f8f"), colour("#5a5488"), 0, 8)
    layers = [
        Layer(-60, far, fading(colour("#d79aac"), colour("#b98bb4"), 0, 14)),
        Layer(-30, near, lambda x, y: mix(front(x, y), glow, 0.8 * ramp(-0.15, 0.15, lit(x, y)))),
    ]
    return Place(sky, layers, ground)


BUILT = {"beach": beach, "meadow": meadow, "desert": desert, "snow": snow, "moon": moon, "city": city}


@lru_cache(maxsize=8)
def place_of(scene: Scene) -> Place:
    return BUILT[scene.place](scene.random("scenery"))


def look(place: Place, origin, directions) -> tuple[np.ndarray, np.ndarray]:
    """(colour [points, 3], distance along the ray; infinity for the sky) of what is behind all things."""
    dx, dy, dz = directions
    forward = np.minimum(dz, -1e-3)
    colours = place.sky(dx / -forward, dy / -forward)
    far = np.full_like(dx, np.inf)
    below = dy < -1e-4
    reach = np.where(below, -origin[1] / np.minimum(dy, -1e-4), np.inf)
    on_ground = below & (origin[2] + dz * np.where(below, reach, 0) > -FAR)
    t = reach[on_ground]
    colours[on_ground] = place.ground(origin[0] + dx[on_ground] * t, origin[2] + dz[on_ground] * t, t)
    far[on_ground] = t
    for layer in place.layers:
        t = (layer.z - origin[2]) / forward
        y = origin[1] + dy * t
        seen = np.flatnonzero((y > -0.05) & (t < far) | (y > 0))
        x, y, pixel = origin[0] + dx[seen] * t[seen], y[seen], t[seen] * (0.7 * 2 / 128 / 3.3)
        depth = layer.inside(x, y) / pixel
        opaque = depth > -1
        seen = seen[opaque]
        cover = ramp(-1, 1, depth[opaque])
        colours[seen] = mix(colours[seen], layer.paint(x[opaque], y[opaque]), cover)
        far[seen] = np.where(cover > 0.5, t[seen], far[seen])
    return colours, far
