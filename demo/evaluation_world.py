"""What the demo model is measured on."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..videop2p_core.host.demo_model import load_demo_model
from . import runs, scenes
from .judge import load_judge
from .ways import DEFAULT_WAY, WAYS, Way

FRAMES = 8
MANY_STEPS = 50


@dataclass
class World:
    """What every part works with."""

    model: object
    clip: object
    vae: object
    judge: torch.nn.Module
    scenes: list[scenes.Scene]
    steps: int
    way: Way  # of the edits that are judged
    folder: Path | None

    def encode(self, text: str):
        return self.clip.encode_from_tokens_scheduled(self.clip.tokenize(text))

    def rendered(self, scene: scenes.Scene) -> tuple[torch.Tensor, torch.Tensor]:
        """frames [frames, height, width, 3] and the object's masks [frames, height, width]."""
        frames = scenes.clip(scene, FRAMES)
        return torch.from_numpy(np.stack([f.image for f in frames])), torch.from_numpy(
            np.stack([f.mask for f in frames])
        )

    def save(self, name: str, picture: Image.Image) -> None:
        if self.folder:
            self.folder.mkdir(parents=True, exist_ok=True)
            picture.save(self.folder / name)


def opened(seed: int, clips: int, steps: int | None = None, folder: Path | None = None) -> World:
    """Model, judge and so many scenes from a seed on; steps: of inversions and edits, None for their own
    numbers. SystemExit for a seed that training draws."""
    if seed < scenes.FIRST_EVALUATION_SEED:
        first = scenes.FIRST_EVALUATION_SEED
        raise SystemExit(f"seed {seed} belongs to training: evaluate on seeds from {first}")
    drawn = list(itertools.islice(scenes.of_one_thing(seed), clips))
    way = Way(steps, steps) if steps else WAYS[DEFAULT_WAY]
    model, judge = load_demo_model(runs.MODEL), load_judge()
    return World(*model, judge, drawn, steps or MANY_STEPS, way, folder)
