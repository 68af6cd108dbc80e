"""What a clip of the demo world shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Scene:
    """What a clip shows. Fields that are words of its caption, and the seed of all the rest."""

    seed: int
    object: str
    colour: str
    pattern: str
    background: str
    style: str = "plain"

    @property
    def things(self) -> tuple[Scene]:
        """What has object, colour and pattern: there is but one thing."""
        return (self,)

    def random(self, purpose: str) -> np.random.Generator:
        """A generator of its own for each purpose, so that changing one word disturbs no other choice."""
        return np.random.default_rng([self.seed, *purpose.encode()])
