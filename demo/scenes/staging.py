"""Where things, camera and sun are at a moment of a clip: what the seed decides of a scene's movement."""

from __future__ import annotations

import numpy as np

from .camera import Camera
from .motion import Pose
from .scene import Scene
from .things import KINDS

MOTIONS = ("jump", "go", "spin", "sway")
ALONE, PAIRED = 1.0, 0.74  # scales
DISTANCE = 5.3  # of the camera


def sun(scene: Scene) -> tuple[float, float, float]:
    """The direction to the light."""
    rng = scene.random("sun")
    side = rng.uniform(-0.75, -0.3) if rng.random() < 0.7 else rng.uniform(0.3, 0.75)
    way = np.array((side, rng.uniform(0.85, 1.1), rng.uniform(0.45, 0.75)))
    return tuple(float(part) for part in way / np.linalg.norm(way))


def camera(scene: Scene, time: float) -> Camera:
    """The camera at `time` 0..1: it drifts to a side, rises or sinks, and keeps its eyes on the middle."""
    rng = scene.random("camera")
    height, side, away = rng.uniform(1.0, 1.7), rng.uniform(-0.35, 0.35), DISTANCE * rng.uniform(0.95, 1.1)
    drift, rise, look = rng.uniform(-0.55, 0.55), rng.uniform(-0.12, 0.12), rng.uniform(-0.05, 0.05)
    t = time - 0.5
    x, y = side + drift * t, height + rise * t
    target = 1.02 if scene.beside is None else 0.86
    return Camera(
        (float(x), float(y), float(away)),
        float(-x / away + look),
        float((target - y) / away),
    )


def pose(scene: Scene, index: int, time: float) -> Pose:
    """The pose of the scene's thing number `index` at `time` 0..1."""
    kind = KINDS[scene.things[index].object]
    rng = scene.random(f"path {index}")
    motion = str(rng.choice(MOTIONS))
    facing = float(rng.choice((-1, 1)))
    aside = rng.uniform(-0.22, 0.22), rng.uniform(-0.2, 0.2)
    beats, phase, strength = rng.uniform(0.8, 1.5), rng.uniform(0, 1), rng.uniform(0.75, 1.25)
    angle, turning, size = rng.uniform(-14, 14), rng.uniform(-16, 16), rng.uniform(0.92, 1.06)
    t, swing = time - 0.5, float(np.sin(2 * np.pi * (beats * time + phase)))
    x, y, z = aside[0], kind.floats, aside[1]
    turn, lean, stretch, stride, nod, wag = angle + turning * t, 0.0, 1.0, 0.0, 0.0, 0.0
    if motion == "jump":
        hop = abs(swing)
        y += 0.42 * strength * hop
        stretch = 1 + 0.2 * kind.softness * strength * (hop - 0.5)
        nod = -0.22 * kind.softness * strength * float(np.cos(2 * np.pi * (beats * time + phase))) * np.sign(swing)
    elif motion == "go":
        x += facing * 0.7 * strength * t
        y += 0.06 * abs(swing)
        lean = -0.05 * facing * strength
        stride = 0.5 * swing * kind.walks * (0.5 + kind.softness / 2)
        nod = 0.1 * kind.softness * swing
    elif motion == "spin":
        turn += 75 * strength * t * (1 if rng.random() < 0.5 else -1)
    else:
        lean = 0.17 * strength * swing
        stretch = 1 + 0.08 * kind.softness * swing
    wag = 0.4 * strength * float(np.sin(2 * np.pi * (1.6 * beats * time + phase))) if kind.wags else 0.0
    scale = kind.size * size * (ALONE if scene.beside is None else PAIRED)
    if scene.beside is not None:
        left = scene.random("sides").random() < 0.5
        x = 0.45 * x + (-0.92 if (index == 0) == left else 0.92)
    return Pose(
        (float(x), float(y), float(z)),
        float(np.deg2rad(facing * kind.view + turn)),
        float(lean),
        float(scale),
        float(stretch),
        float(stride),
        float(nod),
        float(wag),
    )
