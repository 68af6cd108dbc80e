"""What the demo model is measured on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from .editions import Edition
from .ways import Way

FRAMES = 8


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
