"""Rays against solids: where they hit, and how much light comes to a point."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from . import things
from .motion import Pose, to_body
from .things import REACH, Points, gradient

STEPS, SHADOW_STEPS = 34, 10
NEAR_ENOUGH = 0.006
CAREFUL = 0.82  # of the distance is stepped, as bends shorten it


@dataclass(frozen=True)
class Solid:
    """A kind of thing in a pose."""

    kind: str
    pose: Pose

    @cached_property
    def ball(self) -> tuple[tuple[float, float, float], float]:
        """Centre and radius of a ball around it."""
        x, y, z = self.pose.place
        return (x, y + self.pose.scale * self.pose.stretch, z), REACH * self.pose.scale * max(
            self.pose.stretch, self.pose.breadth
        )

    def distance(self, points: Points) -> np.ndarray:
        body = to_body(points, self.pose)
        return things.distance(self.kind, body) * (self.pose.scale * min(self.pose.stretch, self.pose.breadth))


def along(origin, directions: Points, t: np.ndarray) -> Points:
    return tuple(o + d * t for o, d in zip(origin, directions, strict=True))


def crossing(origin, directions: Points, ball) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(whether rays meet the ball, where they enter, where they leave)"""
    centre, radius = ball
    offset = [o - c for o, c in zip(origin, centre, strict=True)]
    b = sum(o * d for o, d in zip(offset, directions, strict=True))
    root = b * b - sum(o * o for o in offset) + radius * radius
    half = np.sqrt(np.maximum(root, 0))
    return (root > 0) & (half - b > 0), np.maximum(-b - half, 0), half - b


def march(origin, directions: Points, solid: Solid, begin: np.ndarray | float = 0.0) -> np.ndarray:
    """How far along each ray the solid is; infinity where it is missed. No ray meets it before `begin`."""
    meets, enter, leave = crossing(origin, directions, solid.ball)
    enter = np.maximum(enter, begin)
    meets = meets & (enter < leave)
    far = np.full(len(enter), np.inf, np.float32)
    active = np.flatnonzero(meets)
    t, leave, ways = enter[active], leave[active], tuple(d[active] for d in directions)
    for _ in range(STEPS):
        if not len(active):
            break
        away = solid.distance(along(origin, ways, t))
        arrived = away < NEAR_ENOUGH
        far[active[arrived]] = t[arrived]
        t = t + CAREFUL * away
        going = ~arrived & (t < leave)
        active, t, leave, ways = active[going], t[going], leave[going], tuple(d[going] for d in ways)
    return far


def sunlight(points: Points, light: tuple[float, float, float], solids: list[Solid], softness: float) -> np.ndarray:
    """1 where nothing stands between a point and the sun, 0 in full shadow, soft at the border."""
    lit = np.ones_like(points[0])
    ways = tuple(np.full_like(points[0], part) for part in light)
    for solid in solids:
        centre, radius = solid.ball
        meets, enter, leave = crossing(points, ways, (centre, radius * 1.12))
        active = np.flatnonzero(meets)
        if not len(active):
            continue
        start = tuple(p[active] for p in points)
        t, leave = np.maximum(enter[active], 0.04), leave[active]
        open_to = np.ones_like(t)
        step = (leave - t) / SHADOW_STEPS
        for _ in range(SHADOW_STEPS):
            away = solid.distance(along(start, light, t))
            open_to = np.minimum(open_to, 0.5 + away / (softness * t))
            t = t + np.maximum(np.minimum(away, 2 * step), 0.7 * step)
        lit[active] = np.minimum(lit[active], np.clip(open_to, 0, 1))
    return lit * lit * (3 - 2 * lit)


def openness(points: Points, normals: Points, solids: list[Solid]) -> np.ndarray:
    """How much of the sky reaches a point: less in creases and near the ground."""
    closed = np.zeros_like(points[0])
    for reach, weight in ((0.08, 1.0), (0.2, 0.6), (0.42, 0.35)):
        probe = along(points, normals, np.float32(reach))
        away = np.minimum.reduce([np.maximum(probe[1], 0), *(solid.distance(probe) for solid in solids)])
        closed = closed + weight * np.maximum(reach - away, 0) / reach
    return np.clip(1 - 0.62 * closed, 0.12, 1)


def normal(points: Points, solid: Solid) -> Points:
    return gradient(solid.distance, points)
