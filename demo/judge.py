"""The judge of the demo world: a small classifier of what a scene shows, trained on renders alone.

It names object, colour, material, place and style, and never saw a picture that a model made.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from safetensors.torch import load_file

from . import runs, scenes

SIDE = 128  # of the pictures that are judged: what a thing is made of shows in its finest marks
LAYERS = ((32, 2), (64, 2), (64, 1), (112, 2), (112, 1), (160, 2), (160, 1))  # channels and stride of each


class Judge(torch.nn.Module):
    """Pictures [batch, 3, height, width] in 0..1 -> {field: logits [batch, values]}."""

    def __init__(self, fields: dict[str, tuple[str, ...]]):
        super().__init__()
        self.fields = fields
        layers, before = [], 3
        for after, stride in LAYERS:
            layers += [
                torch.nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False),
                torch.nn.BatchNorm2d(after),
                torch.nn.ReLU(),
            ]
            before = after
        self.features = torch.nn.Sequential(*layers)
        self.heads = torch.nn.ModuleDict(
            {field: torch.nn.Linear(before * 16, len(values)) for field, values in fields.items()}
        )

    def forward(self, pictures: torch.Tensor) -> dict[str, torch.Tensor]:
        x = F.interpolate(pictures, size=(SIDE, SIDE), mode="area") * 2 - 1
        x = rearrange(F.adaptive_avg_pool2d(self.features(x), 4), "b c h w -> b (c h w)")
        return {field: head(x) for field, head in self.heads.items()}


def frame_probabilities(judge: Judge, frames: torch.Tensor) -> dict[str, torch.Tensor]:
    """What each picture shows: frames [frames, height, width, 3] in 0..1 -> {field: [frames, values]}, the mean of the
    picture and its mirror image."""
    with torch.inference_mode():
        pictures = rearrange(frames.float(), "f h w c -> f c h w")
        both = judge(torch.cat([pictures, pictures.flip(3)]))
    return {
        field: reduce(values.softmax(dim=-1), "(sides frames) values -> frames values", "mean", sides=2)
        for field, values in both.items()
    }


def probabilities(judge: Judge, frames: torch.Tensor) -> dict[str, torch.Tensor]:
    """What a clip shows: {field: [values]}, the mean over the frames."""
    return {field: values.mean(dim=0) for field, values in frame_probabilities(judge, frames).items()}


def seen(judge: Judge, frames: torch.Tensor) -> dict[str, str]:
    """The likeliest value of every field."""
    return {field: judge.fields[field][int(p.argmax())] for field, p in probabilities(judge, frames).items()}


def load_judge() -> Judge:
    judge = Judge(scenes.FIELDS)
    judge.load_state_dict(
        {
            name: tensor.float() if tensor.is_floating_point() else tensor
            for name, tensor in load_file(runs.JUDGE).items()
        }
    )
    return judge.eval()
