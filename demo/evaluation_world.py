"""What the demo model is measured on."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..videop2p_core.host.demo_model import load_demo_model
from .editions import EDITIONS, Edition
from .judge import load_judge
from .ways import DEFAULT_WAY, WAYS, Way

FRAMES = 8
MANY_STEPS = 50


@dataclass
class World:
    """What every part works with."""

    edition: Edition
    model: object
    clip: object
    vae: object
    judge: torch.nn.Module
    scenes: list[Any]
    steps: int
    way: Way  # of the edits that are judged
    folder: Path | None

    def encode(self, text: str):
        return self.clip.encode_from_tokens_scheduled(self.clip.tokenize(text))

    def rendered(self, scene: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """frames [frames, height, width, 3] and the object's masks [frames, height, width]."""
        frames = self.edition.scenes.clip(scene, FRAMES)
        return torch.from_numpy(np.stack([f.image for f in frames])), torch.from_numpy(
            np.stack([f.mask for f in frames])
        )

    def save(self, name: str, picture: Image.Image) -> None:
        if self.folder:
            self.folder.mkdir(parents=True, exist_ok=True)
            picture.save(self.folder / name)


def opened(name: str, seed: int, clips: int, steps: int | None = None, folder: Path | None = None) -> World:
    """An edition's model, judge and so many scenes from a seed on; steps: of inversions and edits, None for their own
    numbers. SystemExit for a seed that training draws."""
    edition = EDITIONS[name]
    if seed < edition.scenes.FIRST_EVALUATION_SEED:
        first = edition.scenes.FIRST_EVALUATION_SEED
        raise SystemExit(f"seed {seed} belongs to training: evaluate on seeds from {first}")
    # Of two things nobody could say which one the judge is to name.
    alone = (scene for scene in map(edition.scenes.random_scene, itertools.count(seed)) if len(scene.things) == 1)
    scenes, way = list(itertools.islice(alone, clips)), Way(steps, steps) if steps else WAYS[DEFAULT_WAY]
    model, judge = load_demo_model(edition.model), load_judge(edition)
    return World(edition, *model, judge, scenes, steps or MANY_STEPS, way, folder)
